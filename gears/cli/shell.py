"""`gears shell`."""

from __future__ import annotations

import argparse

from gears.cli.console import say
from gears.cli.options import Commands, add_command, add_internal, site_name


def add(commands: Commands) -> None:
    """Add the words of the command."""
    what = "a tmux session there, with gears' environment active; again: back in it"
    shell = add_command(commands, "shell", what, do_shell)
    on_lab_host = add_internal(commands, "_shell", do_shell_on_lab_host, "site")
    on_lab_host.add_argument("--stay", action="store_true")
    for command in (shell, on_lab_host):
        command.add_argument("--ipython", action="store_true", help="IPython instead, which keeps its variables")
        command.add_argument("--env", metavar="NAME", help="an environment of yours active, instead of gears' own")


def do_shell(args: argparse.Namespace) -> int:
    """Enter the tmux session on the site's lab host, and return its exit status."""
    from gears.sessions import shell

    return shell.enter(site_name(args), shell.Inside(args.ipython, args.env), say=say)


def do_shell_on_lab_host(args: argparse.Namespace) -> int:
    """Enter that session on the host one was sent to, whatever names it has."""
    from gears.sessions import shell

    return shell.enter_on_lab_host(args.site, shell.Inside(args.ipython, args.env), stay=args.stay, say=say)
