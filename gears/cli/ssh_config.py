"""`gears ssh-config`."""

from __future__ import annotations

import argparse

from gears.cli.options import Commands, add_command
from gears.errors import UsageError


def add(commands: Commands) -> None:
    """Add the arguments of the command."""
    stanza = add_command(commands, "ssh-config", do_ssh_config)
    stanza.add_argument("--port", type=int, help="port on the laptop (default: from the profile)")
    stanza.add_argument("--user", help="your account on the front (default: the local account name)")
    stanza.add_argument("--write", action="store_true", help="write it to this machine's ~/.ssh/config")
    stanza.add_argument("--all", action="store_true", help="for all sites known here; with --write in a separate file")


def do_ssh_config(args: argparse.Namespace) -> int:
    """Print the stanza of a site, or of all; with `--write` write it to ~/.ssh/config, and print the result."""
    from gears.ssh import install

    if args.all and (args.site or args.port):
        raise UsageError("--all cannot be combined with a site or --port", next="gears ssh-config --all")
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
