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
    from gears.lab.status.model import Status
    from gears.sites.route import Route


def add(commands: Commands) -> None:
    """Add the command and its options."""
    lab = add_command(commands, "lab", do_lab)
    lab.add_argument("--dir", metavar="DIR", help="start directory (default: the profile's, else your home)")
    lab.add_argument("--env", metavar="NAME", help="default environment of new notebooks (default: the profile's)")
    add_job_options(lab)
    lab.add_argument("--no-wait", action="store_true", help="return without waiting until it is up")
    lab.add_argument("--json", action="store_true", help="print the status as JSON")


def do_lab(args: argparse.Namespace) -> int:
    """Start the lab if needed, and print how to reach it, or its status where it is not up yet.

    With `--json` always print the status; with `--verbose` also the job script, even of a refused job. Warns root.
    """
    from gears.lab import start
    from gears.lab.status.model import State
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
        _say_script(args, route)  # of the job that was refused, or did not start
        raise
    _say_script(args, route)
    if args.json:
        print(json.dumps(look(route).as_json()))
    elif status.state == State.UP:
        show(_how_to_reach(route, status))
    else:
        from gears.cli.status import as_text

        show(as_text(look(route)))
    return 0


def _say_script(args: argparse.Namespace, route: Route) -> None:
    from gears.sites.directories import find_paths

    paths = find_paths(route) if args.verbose else None
    if paths and paths.job_script.exists():
        say(f"{paths.job_script}:\n{paths.job_script.read_text()}")


def _how_to_reach(route: Route, status: Status) -> str:
    from gears.lab.status.status import lab_notes, with_token

    site, lab = route.site.name, status.lab
    host = lab.host if lab else status.hops[-1].target if status.hops else route.here
    password = bool(lab and lab.has_password)
    log_in = "with your password" if password else "with the token in the address   (a password: gears password)"
    lines = [
        f"JupyterLab of {site} is up on {host}.",
        f"  open     {with_token(site, status.url or '', password=password)}",
        f"  log in   {log_in}",
        f"  laptop   gears ssh-config {site}   prints the stanza for ~/.ssh/config; then: ssh {site}-jupyter",
        f"  stop     gears stop {site}",
    ]
    if route.kind == "local":
        port_line = f"           on this machine; on a laptop, through the stanza, port {route.site.laptop.port}"
        lines.insert(2, port_line)
    if status.job:
        variables = "".join(f", with your {variable}" for variable in status.job.variables)
        lines.insert(1, f"  job      {status.job.id}, until {status.job.ends}{variables}")
    if route.kind == "relay" and route.role == "lab":
        lines.insert(1, f"  hop      on {route.front}: gears lab {site}   (opens the connection from the laptop)")
    lines += lab_notes(lab) if lab else []
    return "\n".join(lines)
