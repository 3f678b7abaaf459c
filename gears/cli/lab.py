"""`gears lab`."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING

from gears.cli.console import say, show
from gears.cli.options import Commands, add_command, add_job_options, lab_route
from gears.errors import GearsError, UsageError

if TYPE_CHECKING:
    from gears.lab.status.status import Status
    from gears.sites.route import Route


def add(commands: Commands) -> None:
    """Add the words of the command."""
    lab = add_command(commands, "lab", "start JupyterLab, or find the one that runs, and say how to reach it", do_lab)
    lab.add_argument("--dir", metavar="DIR", help="where JupyterLab starts (default: the profile's, else your home)")
    lab.add_argument("--env", metavar="NAME", help="the environment that new notebooks get (default: the profile's)")
    add_job_options(lab)
    lab.add_argument("--no-wait", action="store_true", help="return as soon as it is started")
    lab.add_argument("--json", action="store_true", help="print the status as JSON")


def do_lab(args: argparse.Namespace) -> int:
    """Make sure of the lab and print how to reach it, or its status where it is not up yet.

    With `--json` the status always; with `--verbose` the job script, of a job that was refused too. Root is warned.
    """
    from gears.lab import start
    from gears.lab.status.status import look

    route = lab_route(args)
    root = os.geteuid() == 0 and route.role == "lab"
    if root:
        say("you are root: JupyterLab and all code in its notebooks will run as root on this machine")
    try:
        status = start.bring_up(route, say=say, wait=not args.no_wait)
    except UsageError:
        raise
    except GearsError:
        _say_script(args, route)  # what was refused, or did not come up
        raise
    _say_script(args, route)
    if args.json:
        print(json.dumps(look(route)))
    elif status.state == "up":
        show(_how_to_reach(route, status))
    else:
        from gears.cli.status import as_text

        show(as_text(look(route)))
    return 0


def _say_script(args: argparse.Namespace, route: Route) -> None:
    from gears.sites.locate import find_paths

    paths = find_paths(route) if args.verbose else None
    if paths and paths.job_script.exists():
        say(f"{paths.job_script}:\n{paths.job_script.read_text()}")


def _how_to_reach(route: Route, status: Status) -> str:
    from gears.lab.address import with_token
    from gears.lab.status.status import lab_notes

    site, lab = route.site.name, status.lab or {}
    host = lab.get("host") or (status.hops[-1]["to"] if status.hops else route.here)
    password = lab.get("login") == "password"
    log_in = "with your password" if password else "with the token in the address   (a password: gears password)"
    lines = [
        f"JupyterLab of {site} is up on {host}.",
        f"  open     {with_token(site, status.url or '', lab)}",
        f"  log in   {log_in}",
        f"  laptop   gears ssh-config {site}   prints the stanza for ~/.ssh/config; then: ssh {site}-jupyter",
        f"  stop     gears stop {site}",
    ]
    if route.kind == "local":
        here = f"           on this machine; on a laptop, through the stanza, port {route.site.laptop.port}"
        lines.insert(2, here)
    if status.job:
        yours = "".join(f", with your {variable}" for variable in status.job.variables or ())
        lines.insert(1, f"  job      {status.job.id}, until {status.job.ends}{yours}")
    if route.kind == "relay" and route.role == "lab":
        lines.insert(1, f"  hop      on {route.front}: gears lab {site}   (it brings the way from the laptop up)")
    lines += lab_notes(lab)
    return "\n".join(lines)
