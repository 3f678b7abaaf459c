"""What a person opens and pastes: the address with its token, the stanzas for the laptop."""

from __future__ import annotations

import os
from pathlib import Path

from gears import store
from gears.here import Here, is_me, this_host
from gears.route import Route, matches, plan_route
from gears.rundir import gears_home
from gears.sites import Site, default_site, load_site, site_names
from gears.stanza import assumed_root, plan_stanza


def with_token(site: str, url: str, lab: store.Record) -> str:
    """Return the address with the token in it, for the person's own screen; without one where a password is set."""
    if lab.get("login") == "password":
        return url
    token = store.read_text(gears_home() / "run" / site / "token").strip()
    return f"{url}?token={token}" if token else url


def stanzas(site: str | None, *, port: int | None, user: str | None) -> str:
    """Return the stanza of `site`; without one those of every site started from here, else the default one's.

    `$GEARS_SITE` counts as `site`. Raises what `stanza` raises.
    """
    return "\n".join(stanza(name, port=port, user=user) for name in _sites(site))


def write_stanzas(site: str | None, *, port: int | None, user: str | None) -> list[str]:
    """Put the stanzas into ~/.ssh/config. Return one line for each, saying what became of it.

    Raises what `laptop.write_stanza` raises.
    """
    from gears.laptop import write_stanza

    lines = []
    for name in _sites(site):
        written = write_stanza(stanza(name, port=port, user=user), name)
        backup = f" (before: {written.backup})" if written.backup else ""
        lines.append(f"{name}: {'written to' if written.changed else 'already in'} {written.config}{backup}")
    return lines


def every_stanza(*, user: str | None) -> str:
    """Return the stanzas of all sites that are known here, but for this machine's own."""
    return "\n".join(stanza(name, port=None, user=user) for name in _far_sites())


def include_stanzas(*, user: str | None) -> str:
    """Put the stanzas of all sites into a file beside ~/.ssh/config, which is told to include it.

    Return a line that says what became of it. Raises what `laptop.write_include` raises.
    """
    from gears.laptop import write_include

    names = _far_sites()
    written = write_include(every_stanza(user=user), names)
    backup = f" (before: {written.backup})" if written.backup else ""
    what = "included in" if written.changed else "already in"
    return f"{', '.join(names)}: {what} {written.config}{backup}"


def _far_sites() -> list[str]:
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
    known = _is_front(site, here)
    root = str(gears_home()) if known else assumed_root(site, user)
    return plan_stanza(site, front_root=root, user=user, port=port, local_host=here.full_name, assumed=not known)


def _is_front(site: Site, here: Here) -> bool:
    """Tell whether gears' path here is its path on the front: this is the front, or a lab host that shares its home.

    A host that one is logged in to by ssh is no laptop.
    """
    at_lab = site.lab.host is not None and (matches(site, here) or is_me(site.lab.host, here))
    route: Route = plan_route(site, here, here_is_lab=at_lab)
    if route.kind != "relay":
        return route.role == "lab"
    if route.role == "lab":
        return site.lab.home == "shared"
    return is_at_front(site)


def is_at_front(site: Site) -> bool:
    """Tell of a relay, on a host that is not its lab host, whether this is the front, and no laptop.

    True where one is logged in by ssh, where the site was started, or where the front's name leads to this machine. May
    ask the resolver.
    """
    front = str(site.front.host)
    return bool(os.environ.get("SSH_CONNECTION")) or started_here(site.name) or is_me(front, this_host())


def started_here(name: str) -> bool:
    """Tell whether the site was ever started from this home: a keeper left its status there."""
    return (gears_home() / "run" / name / "state.json").is_file()


def _sites(site: str | None) -> list[str]:
    if site or os.environ.get("GEARS_SITE"):
        return [site or os.environ["GEARS_SITE"]]
    runs = sorted(path.parent.name for path in Path(gears_home() / "run").glob("*/state.json"))
    return runs or [default_site()]
