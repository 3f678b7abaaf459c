"""`gears password`."""

from __future__ import annotations

import argparse
import sys

from gears.cli.console import show
from gears.cli.options import Commands, add_command
from gears.errors import UsageError


def add(commands: Commands) -> None:
    """Add the command and its options."""
    add_command(commands, "password", do_password, site=False)


def do_password(_args: argparse.Namespace) -> int:
    """Ask for JupyterLab's password and store its hash. A running lab keeps its current login.

    Raises UsageError if there is no terminal.
    """
    from gears.lab.jupyter.password import ask_password, set_password

    if not sys.stdin.isatty():
        raise UsageError("gears password needs a terminal", next="gears password")
    path = set_password(ask_password())
    show(f"The password is set (hashed, in {path}); a running lab keeps its current login until restarted.")
    show("  next: gears stop SITE; gears lab SITE   (this ends its kernels)")
    return 0
