"""Where we are: the site's profile, and what this host is to it; the paths that go with both."""

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
    """Find the site's profile and the route as seen from this host. May ask the resolver, for 3 s at most.

    `directory`: where the lab starts, `env`: the environment that new notebooks get, in place of the profile's. Raises
    UsageError, ProfileError.
    """
    site = load_site(name)
    site = with_directory(site, directory) if directory else site
    return route_of(with_env(site, env) if env else site)


def with_directory(site: Site, directory: str) -> Site:
    """Return the site with another directory for its lab. UsageError where that can't be one."""
    try:
        return replace(site, lab=replace(site.lab, directory=validators.path(directory)))
    except ValueError as exc:
        raise UsageError(f"--dir {directory}: {exc}", next=f"gears lab {site.name} --dir ~/…") from exc


def with_env(site: Site, env: str) -> Site:
    """Return the site with another environment for new notebooks. UsageError for a name that can't be one."""
    try:
        return replace(site, envs=replace(site.envs, default=validators.setting_name(env)))
    except ValueError as exc:
        raise UsageError(f"--env {env}: {exc}", next="gears env list") from exc


def route_of(site: Site) -> Route:
    """Find the route to a site as seen from this host. May ask the resolver, unless a loop was started here."""
    here = this_host()
    if (known := _known_role(site, here)) is not None:
        at_lab = known == "lab"
    else:
        at_lab = site.lab.host is not None and not matches_lab_host(site, here) and is_this_host(site.lab.host, here)
    return plan_route(site, here, on_lab_host=at_lab)


def _known_role(site: Site, here: Host) -> str | None:
    """Return what this host was to the site when its loop was started; None where that is not known.

    It spares the resolver, which may be slow.
    """
    paths = directories.find_rundir(gears_home(), site.name, site.local, here.user)
    record = load_route_record(paths) if paths else None
    same = record and record.here == here.hostname and record.lab_host == site.lab.host
    return record.role if record and same else None


def lab_route(site: Site) -> Route:
    """Find the route as a hop's remote command takes it: whatever names this host has, the lab is here."""
    route = route_of(site)
    return replace(route, role="lab", lab=route.here)


def open_paths(route: Route, *, local: Path | None = None) -> RunDir:
    """Make and check the site's directories. Raises UnsafePath."""
    return directories.open_rundir(gears_home(), route.site.name, route.site.local, this_host().user, local=local)


def find_paths(route: Route) -> RunDir | None:
    """Find the site's paths if it was ever started from this home; None else. Makes nothing."""
    return directories.find_rundir(gears_home(), route.site.name, route.site.local, this_host().user)


def shares_front_path(site: Site, here: Host) -> bool:
    """Tell whether gears' path here is its path on the front: this is the front, or a lab host that shares its home.

    A host that one is logged in to by ssh is no laptop.
    """
    at_lab = site.lab.host is not None and (matches_lab_host(site, here) or is_this_host(site.lab.host, here))
    route: Route = plan_route(site, here, on_lab_host=at_lab)
    if route.kind != "relay":
        return route.role == "lab"
    if route.role == "lab":
        return site.lab.home == "shared"
    return is_front(site)


def is_front(site: Site) -> bool:
    """Tell of a relay, on a host that is not its lab host, whether this is the front, and no laptop.

    True where one is logged in by ssh, where the site was started, or where the front's name leads to this machine. May
    ask the resolver.
    """
    front = str(site.front.host)
    return bool(os.environ.get("SSH_CONNECTION")) or was_started_here(site.name) or is_this_host(front, this_host())


def was_started_here(name: str) -> bool:
    """Tell whether the site was ever started from this home: a keeper left its status there."""
    return (gears_home() / "run" / name / "state.json").is_file()


HostRole = Literal["lab", "front", "laptop"]


def host_role(route: Route) -> HostRole:
    """Tell what this host is to the site: where its lab runs, its front, or a laptop."""
    if route.role == "lab":
        return "lab"
    return "front" if route.kind == "relay" and is_front(route.site) else "laptop"
