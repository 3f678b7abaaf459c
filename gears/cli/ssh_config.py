"""`gears ssh-config`."""

from __future__ import annotations

import argparse

from gears.cli.options import Commands, add_command
from gears.errors import UsageError


def add(commands: Commands) -> None:
    """Add the command and its options."""
    stanza = add_command(commands, "ssh-config", "print the stanza for ~/.ssh/config on your laptop", do_ssh_config)
    stanza.add_argument("--port", type=int, help="local port (default: the profile's)")
    stanza.add_argument("--user", help="user name on the front (default: the one on this host)")
    stanza.add_argument("--write", action="store_true", help="write it to ~/.ssh/config of this machine")
    stanza.add_argument("--all", action="store_true", help="all sites; with --write in a separate file")


def do_ssh_config(args: argparse.Namespace) -> int:
    """Print the stanza of a site, or of all; with `--write` write it to ~/.ssh/config, and print the result."""
    from gears.ssh import install

    if args.all and (args.site or args.port):
        raise UsageError("--all can't be combined with SITE or --port", next="gears ssh-config --all")
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
