"""`gears open`."""

from __future__ import annotations

import argparse

from gears.cli.console import say, show
from gears.cli.options import (
    Commands,
    add_command,
    add_internal,
    add_job_options,
    check_job_options,
    lab_options,
    lab_route,
    port_number,
    site_name,
    user_name,
)


def add(commands: Commands) -> None:
    """Add the command and its options."""
    opened = add_command(commands, "open", do_open)
    opened.add_argument("--port", type=port_number, metavar="N", help="local port (default: the profile's)")
    opened.add_argument("--user", type=user_name, help="user name on the front (default: from your ssh configuration)")
    opened.add_argument("--no-browser", dest="browser", action="store_false", help="print the address only")
    opened.add_argument("--dir", metavar="DIR", help="directory in which JupyterLab starts, if it is not running yet")
    opened.add_argument("--env", metavar="NAME", help="environment of new notebooks, if JupyterLab is not running yet")
    add_job_options(opened)
    front = add_internal(commands, "_open", do_open_on_front, "site")
    front.add_argument("--start", action="store_true")
    front.add_argument("--ask", action="store_true")
    front.add_argument("--dir")
    front.add_argument("--env")
    add_job_options(front)


def do_open(args: argparse.Namespace) -> int:
    """Open the lab in this machine's browser; if it is remote, keep the connection up until interrupted."""
    from gears.laptop.open import command
    from gears.laptop.open.desktop import Desk
    from gears.sites.locate import locate
    from gears.system.installation import with_gears_path

    route = locate(site_name(args))
    check_job_options(args, route.site.name)
    desk = Desk(say, show, with_gears_path(f"gears open {route.site.name}"), browser=args.browser)
    if route.kind == "local":
        command.open_local(route, desk)
    else:
        port = args.port or route.site.laptop.port
        command.open_site(route, desk, port=port, user=args.user, words=lab_options(args))
    return 0


def do_open_on_front(args: argparse.Namespace) -> int:
    """Serve a `gears open` on a laptop: ensure that the lab is running, and hold the connection."""
    from gears.laptop.open import serve

    return serve.answer(lambda: lab_route(args), start=args.start, ask=args.ask)
