"""Stanzas for the laptop, of one site or of all: printed, or written to ~/.ssh/config."""

from __future__ import annotations

import os
from pathlib import Path

from gears.sites.load import default_site, load_site, site_names
from gears.sites.locate import shares_front_path
from gears.ssh.remote_gears import assumed_root
from gears.ssh.stanza import plan_stanza
from gears.system.host import this_host
from gears.system.installation import gears_home


def stanzas(site: str | None, *, port: int | None, user: str | None) -> str:
    """Return the stanza of `site` or `$GEARS_SITE`, else of every site started from here, else of the default site.

    Raises what `stanza` raises.
    """
    return "\n".join(stanza(name, port=port, user=user) for name in _sites(site))


def write_stanzas(site: str | None, *, port: int | None, user: str | None) -> list[str]:
    """Write the stanzas to ~/.ssh/config. Return one line of result for each.

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
    """Return the stanzas of all sites known here, except those of this machine alone."""
    return "\n".join(stanza(name, port=None, user=user) for name in _remote_sites())


def include_stanzas(*, user: str | None) -> str:
    """Write the stanzas of all sites to a file beside ~/.ssh/config, and include it there. Return one line of result.

    Raises what `user_config.write_include` raises.
    """
    from gears.ssh.user_config import write_include

    names = _remote_sites()
    written = write_include(every_stanza(user=user), names)
    backup = f" (before: {written.backup})" if written.backup else ""
    action = "included in" if written.changed else "already in"
    return f"{', '.join(names)}: {action} {written.config}{backup}"


def _remote_sites() -> list[str]:
    sites = [load_site(name) for name, _ in site_names()]
    return [site.name for site in sites if site.lab.host is not None]


def stanza(name: str, *, port: int | None, user: str | None) -> str:
    """Return the stanza of the site `name`.

    `port`: on the laptop; None: the profile's. `user`: account on the front; None: the profile's, else the local one.
    Can query the resolver. Raises UsageError, ProfileError, UnsafePath.
    """
    site = load_site(name)
    host = this_host(full_name=site.lab.host is None)
    user = user or site.front.user or host.user
    shared = shares_front_path(site, host)
    root = str(gears_home()) if shared else assumed_root(site, user)
    return plan_stanza(site, front_root=root, user=user, port=port, local_host=host.full_name, assumed=not shared)


def _sites(site: str | None) -> list[str]:
    if site or os.environ.get("GEARS_SITE"):
        return [site or os.environ["GEARS_SITE"]]
    runs = sorted(path.parent.name for path in Path(gears_home() / "run").glob("*/state.json"))
    return runs or [default_site()]
