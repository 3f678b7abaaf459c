"""`gears password`."""

from __future__ import annotations

import argparse
import sys

from gears.cli.console import show
from gears.cli.options import Commands, add_command
from gears.errors import UsageError


def add(commands: Commands) -> None:
    """Add the words of the command."""
    add_command(commands, "password", "set JupyterLab's password", do_password, site=False)


def do_password(_args: argparse.Namespace) -> int:
    """Ask for JupyterLab's password and store its hash. Wants a terminal. A lab that runs goes on with what it had."""
    from gears.lab.jupyter.password import ask_password, set_password

    if not sys.stdin.isatty():
        raise UsageError("a password is asked for in a terminal, and there is none", next="gears password")
    path = set_password(ask_password())
    show(f"The password is set (hashed, in {path}); a lab that runs goes on with what it had.")
    show("  next: gears stop SITE; gears lab SITE   (its kernels end)")
    return 0
