"""The stanzas for the laptop, of one site or of all, printed or written into ~/.ssh/config."""

from __future__ import annotations

import os
from pathlib import Path

from gears.sites.load import default_site, load_site, site_names
from gears.sites.locate import knows_front_path
from gears.ssh.remote_gears import assumed_root
from gears.ssh.stanza import plan_stanza
from gears.system.host import this_host
from gears.system.installation import gears_home


def stanzas(site: str | None, *, port: int | None, user: str | None) -> str:
    """Return the stanza of `site`; without one those of every site started from here, else the default one's.

    `$GEARS_SITE` counts as `site`. Raises what `stanza` raises.
    """
    return "\n".join(stanza(name, port=port, user=user) for name in _sites(site))


def write_stanzas(site: str | None, *, port: int | None, user: str | None) -> list[str]:
    """Put the stanzas into ~/.ssh/config. Return one line for each, saying what became of it.

    Raises what `user_config.write_stanza` raises.
    """
    from gears.ssh.user_config import write_stanza

    lines = []
    for name in _sites(site):
        written = write_stanza(stanza(name, port=port, user=user), name)
        backup = f" (before: {written.backup})" if written.backup else ""
        lines.append(f"{name}: {'written to' if written.changed else 'already in'} {written.config}{backup}")
    return lines


def every_stanza(*, user: str | None) -> str:
    """Return the stanzas of all sites that are known here, but for this machine's own."""
    return "\n".join(stanza(name, port=None, user=user) for name in _remote_sites())


def include_stanzas(*, user: str | None) -> str:
    """Put the stanzas of all sites into a file beside ~/.ssh/config, which is told to include it.

    Return a line that says what became of it. Raises what `user_config.write_include` raises.
    """
    from gears.ssh.user_config import write_include

    names = _remote_sites()
    written = write_include(every_stanza(user=user), names)
    backup = f" (before: {written.backup})" if written.backup else ""
    what = "included in" if written.changed else "already in"
    return f"{', '.join(names)}: {what} {written.config}{backup}"


def _remote_sites() -> list[str]:
    sites = [load_site(name) for name, _ in site_names()]
    return [site.name for site in sites if site.lab.host is not None]


def stanza(name: str, *, port: int | None, user: str | None) -> str:
    """Return the stanza of the site called `name`.

    `port`: the laptop's; None: the profile's. `user`: the name on the front; None: the profile's, else the one here.
    May ask the resolver. Raises UsageError, ProfileError, UnsafePath.
    """
    site = load_site(name)
    here = this_host(full_name=site.lab.host is None)
    user = user or site.front.user or here.user
    known = knows_front_path(site, here)
    root = str(gears_home()) if known else assumed_root(site, user)
    return plan_stanza(site, front_root=root, user=user, port=port, local_host=here.full_name, assumed=not known)


def _sites(site: str | None) -> list[str]:
    if site or os.environ.get("GEARS_SITE"):
        return [site or os.environ["GEARS_SITE"]]
    runs = sorted(path.parent.name for path in Path(gears_home() / "run").glob("*/state.json"))
    return runs or [default_site()]
