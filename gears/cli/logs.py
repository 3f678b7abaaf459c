"""`gears logs`."""

from __future__ import annotations

import argparse

from gears.cli.options import Commands, add_command, site_name


def add(commands: Commands) -> None:
    """Add the command and its options."""
    logs = add_command(commands, "logs", do_logs)
    logs.add_argument("-f", "--follow", action="store_true", help="show new lines as they are written")


def do_logs(args: argparse.Namespace) -> int:
    """Print the last lines of a site's logs; with `--follow` also new lines, until interrupted."""
    from gears.lab.logs import show_logs

    for line in show_logs(site_name(args), follow=args.follow):
        print(line, end="", flush=args.follow)
    return 0
