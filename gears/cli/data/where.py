"""On which host a verb of `gears data` is carried out, and the site as seen from there."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gears.cli.console import say

if TYPE_CHECKING:
    from gears.sites.context import Context
    from gears.sites.route import Route


def route_to(args: argparse.Namespace) -> Route:
    """Find the route to the site of the command line."""
    from gears.sites.load import default_site
    from gears.sites.locate import locate

    return locate(args.site or default_site())


def has_records(args: argparse.Namespace, route: Route) -> bool:
    """Tell whether this host has the records of the site's transfers: those of a laptop are its own."""
    from gears.sites.locate import host_role

    role = host_role(route)
    return args.here or role == "lab" or (role == "front" and route.site.lab.home == "shared")


def open_context(route: Route) -> Context:
    """Open the site's records in this home."""
    from gears.sites.context import Context
    from gears.sites.directories import open_records
    from gears.system.host import this_host
    from gears.system.installation import gears_home

    site = route.site
    return Context(route, open_records(gears_home(), site.name, site.local, this_host().user), say)


def pass_on(route: Route, words: Sequence[str]) -> int:
    """Run `gears data WORDS` on the next host towards the records. Return its exit status."""
    from gears.ssh import target

    site = route.site.name
    return target.pass_on(route, "data", [*words, f"--site={site}"], again=f"gears data status --site {site}")


def transfer_target(args: argparse.Namespace, route: Route) -> str:
    """Return the host for transfers if it is another one than this, else "". Can query the resolver."""
    from gears.system.host import is_this_host, this_host

    host = route.site.transfer.host
    return "" if args.here or not host or is_this_host(host, this_host()) else host


def pass_to_transfer_host(route: Route, host: str, words: Sequence[str]) -> int:
    """Run `gears data WORDS` on the host for transfers, which has the same home. Return its exit status."""
    import shlex

    from gears.ssh.login_shell import for_login_shell
    from gears.ssh.remote_gears import next_gears
    from gears.ssh.target import Target, run_remote

    site = route.site.name
    remote = f"{next_gears(route.site, 'lab')} {shlex.join(['_data', *words, f'--site={site}'])}"
    return run_remote(Target(host), for_login_shell(remote), again=f"gears data status --site {site}")
