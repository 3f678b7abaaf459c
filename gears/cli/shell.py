"""`gears shell`."""

from __future__ import annotations

import argparse

from gears.cli.console import say
from gears.cli.options import Commands, add_command, add_internal, site_name


def add(commands: Commands) -> None:
    """Add the arguments of the command."""
    shell = add_command(commands, "shell", do_shell)
    on_lab_host = add_internal(commands, "_shell", do_shell_on_lab_host, "site")
    on_lab_host.add_argument("--stay", action="store_true")
    for command in (shell, on_lab_host):
        command.add_argument("--ipython", action="store_true", help="run IPython instead of a shell")
        command.add_argument("--env", metavar="NAME", help="activate an environment of yours instead of gears' own")


def do_shell(args: argparse.Namespace) -> int:
    """Enter the tmux session on the site's lab host, and return its exit status."""
    from gears.sessions import shell

    return shell.enter(site_name(args), shell.ShellOptions(args.ipython, args.env), say=say)


def do_shell_on_lab_host(args: argparse.Namespace) -> int:
    """Enter that session on this host, the lab host, whatever its names are."""
    from gears.sessions import shell

    return shell.enter_on_lab_host(args.site, shell.ShellOptions(args.ipython, args.env), stay=args.stay, say=say)
