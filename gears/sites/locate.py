"""The route to a site as seen from this host, the host's role on it, and the paths of the site."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

from gears.errors import UsageError
from gears.sites import directories, validators
from gears.sites.load import load_site
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.sites.route import Route, matches_lab_host, plan_route
from gears.sites.route_record import load_route_record
from gears.system.host import Host, is_this_host, this_host
from gears.system.installation import gears_home


def locate(name: str, *, directory: str | None = None, env: str | None = None) -> Route:
    """Load the site's profile and find the route as seen from this host. Can query the resolver, for 3 s at most.

    `directory`: where the lab starts; `env`: the environment of new notebooks; both override the profile. Raises
    UsageError, ProfileError.
    """
    site = load_site(name)
    site = with_directory(site, directory) if directory else site
    return route_of(with_env(site, env) if env else site)


def with_directory(site: Site, directory: str) -> Site:
    """Return the site with another directory for its lab. Raises UsageError for an invalid path."""
    try:
        return replace(site, lab=replace(site.lab, directory=validators.path(directory)))
    except ValueError as exc:
        raise UsageError(f"--dir {directory}: {exc}", next=f"gears lab {site.name} --dir ~/…") from exc


def with_env(site: Site, env: str) -> Site:
    """Return the site with another environment for new notebooks. Raises UsageError for an invalid name."""
    try:
        return replace(site, envs=replace(site.envs, default=validators.setting_name(env)))
    except ValueError as exc:
        raise UsageError(f"--env {env}: {exc}", next="gears env list") from exc


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
    record = load_route_record(paths) if paths else None
    same = record and record.here == host.hostname and record.lab_host == site.lab.host
    return record.role if record and same else None


def lab_route(site: Site) -> Route:
    """Return the route for a hop's remote command: this host is the lab host, whatever its names are."""
    route = route_of(site)
    return replace(route, role="lab", lab=route.here)


def open_paths(route: Route, *, local: Path | None = None) -> RunDir:
    """Create and check the site's directories. Raises UnsafePath."""
    return directories.open_rundir(gears_home(), route.site.name, route.site.local, this_host().user, local=local)


def find_paths(route: Route) -> RunDir | None:
    """Return the site's paths; None if no site was ever started from this home. Creates nothing."""
    return directories.find_rundir(gears_home(), route.site.name, route.site.local, this_host().user)


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
    """Return the role of this host: it runs the lab, is the front, or is a laptop."""
    if route.role == "lab":
        return "lab"
    return "front" if route.kind == "relay" and is_front(route.site) else "laptop"
