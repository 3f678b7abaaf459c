"""Check that JupyterLab on this host requires a login, by trying without one, as any user of this host could."""

from __future__ import annotations

from collections.abc import Iterator

from gears.doctor.finding import Finding, failed, ok, warning
from gears.lab.jupyter import closed
from gears.lab.state import load_lab
from gears.sites.context import Context


def check_login(context: Context) -> Iterator[Finding]:
    """Check that JupyterLab requires a login, and report the settings that it does not use.

    Yields nothing if the site's JupyterLab does not run here.
    """
    site, lab = context.site.name, load_lab(context.paths.lab_here)
    if not lab or not lab.process.alive():
        return
    if port := lab.port:
        try:
            closed.ask_port(port)
            yield ok("access", f"port {port} of JupyterLab requires a login")
        except closed.Open as exc:
            yield failed("access", f"JupyterLab is open to every user of this host: {exc}", f"gears stop {site}")
        except OSError as exc:
            yield warning("access", f"port {port} of JupyterLab does not answer: {exc}", f"gears logs {site}")
    else:
        yield ok("access", "JupyterLab has no port; other users can't open its socket")
    for note in lab.overridden:
        yield warning(
            "Jupyter settings", note, "remove it, or keep it for other Jupyter servers: gears runs without it"
        )
