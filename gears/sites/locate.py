"""The route to a site as seen from this host, and the host's role on it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Literal

from gears.sites import directories
from gears.sites.context import load_record
from gears.sites.load import load_site
from gears.sites.profile import Site
from gears.sites.route import Route, matches_lab_host, plan_route
from gears.system.host import Host, is_this_host, this_host
from gears.system.installation import gears_home


def locate(name: str) -> Route:
    """Load the site's profile and find the route as seen from this host. Can query the resolver, for 3 s at most.

    Raises UsageError, ProfileError.
    """
    return route_of(load_site(name))


def route_of(site: Site) -> Route:
    """Find the route to a site as seen from this host. Can query the resolver, unless a loop was started here."""
    host = this_host()
    if (recorded := _recorded_role(site, host)) is not None:
        on_lab_host = recorded == "lab"
    else:
        by_name = matches_lab_host(site, host)
        on_lab_host = site.lab.host is not None and not by_name and is_this_host(site.lab.host, host)
    return plan_route(site, host, on_lab_host=on_lab_host)


def _recorded_role(site: Site, host: Host) -> str | None:
    """Return the role that this host had when the site's loop was started; None if there is no such record.

    Avoids the resolver, which can be slow.
    """
    paths = directories.find_rundir(gears_home(), site.name, site.local, host.user)
    record = load_record(paths) if paths else None
    same = record and record.here == host.hostname and record.lab_host == site.lab.host
    return record.role if record and same else None


def lab_route(site: Site) -> Route:
    """Return the route for a hop's remote command: this host is the lab host, whatever its names are."""
    route = route_of(site)
    return replace(route, role="lab", lab=route.here)


def shares_front_path(site: Site, host: Host) -> bool:
    """Tell whether gears has the front's path here: this is the front, or a lab host that shares its home."""
    on_lab_host = site.lab.host is not None and (matches_lab_host(site, host) or is_this_host(site.lab.host, host))
    route: Route = plan_route(site, host, on_lab_host=on_lab_host)
    if route.kind != "relay":
        return route.role == "lab"
    if route.role == "lab":
        return site.lab.home == "shared"
    return is_front(site)


def is_front(site: Site) -> bool:
    """Tell whether this host, which is not the lab host of a relay, is the front and not a laptop.

    It is the front if the user is logged in to it by ssh, if the site was started here, or if the front's name resolves
    to it. Can query the resolver.
    """
    front = str(site.front.host)
    return bool(os.environ.get("SSH_CONNECTION")) or was_started_here(site.name) or is_this_host(front, this_host())


def was_started_here(name: str) -> bool:
    """Tell whether the site was ever started from this home: the keeper's status is there."""
    return (gears_home() / "run" / name / "state.json").is_file()


HostRole = Literal["lab", "front", "laptop"]


def host_role(route: Route) -> HostRole:
    """Return where the user of a command is: on the lab host, the front of a relay, or a laptop.

    Unlike `Route.role`, by which any host but the lab host can be a relay's front. Can query the resolver.
    """
    if route.role == "lab":
        return "lab"
    return "front" if route.kind == "relay" and is_front(route.site) else "laptop"
