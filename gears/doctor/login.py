"""Whether JupyterLab on this host refuses who has not logged in, found out by trying as anybody on this host could."""

from __future__ import annotations

from collections.abc import Iterator

from gears.doctor.finding import Finding, failed, ok, warning
from gears.lab.jupyter import closed
from gears.lab.state import load_lab
from gears.sites.paths import RunDir
from gears.sites.route import Route


def check_login(route: Route, paths: RunDir) -> Iterator[Finding]:
    """Check that JupyterLab refuses whoever has not logged in, and tell which settings it does not use.

    Nothing where no JupyterLab of the site runs here.
    """
    site, lab = route.site.name, load_lab(paths.lab_here)
    if not lab or not lab.process.alive():
        return
    if port := lab.port:
        try:
            closed.ask_port(port)
            yield ok("access", f"port {port} of JupyterLab answers nobody who has not logged in")
        except closed.Open as exc:
            yield failed("access", f"JupyterLab is open to every user of this host: {exc}", f"gears stop {site}")
        except OSError as exc:
            yield warning("access", f"port {port} of JupyterLab does not answer: {exc}", f"gears logs {site}")
    else:
        yield ok("access", "JupyterLab has no port; its socket is closed to others")
    for note in lab.overridden:
        yield warning("Jupyter settings", note, "take it out, or leave it for other Jupyters: gears goes on without")
