"""`gears ssh-config`."""

from __future__ import annotations

import argparse

from gears.cli.options import Commands, add_command
from gears.errors import UsageError


def add(commands: Commands) -> None:
    """Add the words of the command."""
    stanza = add_command(commands, "ssh-config", "the block for ~/.ssh/config on your laptop", do_ssh_config)
    stanza.add_argument("--port", type=int, help="the laptop's port (default: the profile's)")
    stanza.add_argument("--user", help="your name on the front (default: the one you have here)")
    stanza.add_argument("--write", action="store_true", help="put it into this machine's ~/.ssh/config")
    stanza.add_argument("--all", action="store_true", help="every site known here; with --write in a file of its own")


def do_ssh_config(args: argparse.Namespace) -> int:
    """Print the stanza of a site, or of all; with `--write` put it into ~/.ssh/config, and print what became of it."""
    from gears.ssh import install

    if args.all and (args.site or args.port):
        raise UsageError("--all is for every site, each at its own port", next="gears ssh-config --all")
    if args.all and args.write:
        print(install.include_stanzas(user=args.user))
    elif args.all:
        print(install.every_stanza(user=args.user), end="")
    elif args.write:
        for line in install.write_stanzas(args.site, port=args.port, user=args.user):
            print(line)
    else:
        print(install.stanzas(args.site, port=args.port, user=args.user), end="")
    return 0
