"""`gears forward`."""

from __future__ import annotations

import argparse
import sys

from gears.cli.console import say, show_now
from gears.cli.options import Commands, add_command


def add(commands: Commands) -> None:
    """Add the command and its options."""
    forward = add_command(commands, "forward", do_forward, site=False)
    forward.add_argument("words", nargs="*", metavar="HOST|SITE… | list | cancel [PORT]")


def do_forward(args: argparse.Namespace) -> int:
    """Forward servers and dashboards of hosts or sites to this machine; list or cancel such forwards.

    Tokens are shown only if standard output is a terminal.
    """
    from gears.laptop.forward import command

    match args.words:
        case ["list"]:
            lines = command.listed()
        case ["cancel", *ports]:
            lines = command.cancelled(ports)
        case names:
            from gears.sites.load import default_site

            names = names or [default_site()]
            command.forward(names, show=show_now, say=say, with_tokens=sys.stdout.isatty())
            return 0
    for line in lines:
        print(line)
    return 0
