"""`gears logs`."""

from __future__ import annotations

import argparse

from gears.cli.options import Commands, add_command, site_name


def add(commands: Commands) -> None:
    """Add the words of the command."""
    logs = add_command(commands, "logs", "the logs of a site", do_logs)
    logs.add_argument("-f", "--follow", action="store_true", help="go on as they grow")


def do_logs(args: argparse.Namespace) -> int:
    """Print the last lines of a site's logs; with `--follow` go on as they grow, until interrupted."""
    from gears.lab.logs import show_logs

    for line in show_logs(site_name(args), follow=args.follow):
        print(line, end="", flush=args.follow)
    return 0
