"""`gears attach`."""

from __future__ import annotations

import argparse
import sys

from gears.cli.options import Commands, add_command, site_name
from gears.errors import NothingRunning, UsageError


def add(commands: Commands) -> None:
    """Add the command and its options."""
    add_command(commands, "attach", do_attach)


def do_attach(args: argparse.Namespace) -> int:
    """Attach this terminal to the site's tmux session and return tmux's exit status.

    Raises NothingRunning if this host has no session, UsageError if there is no terminal.
    """
    from gears.sites.load import load_site
    from gears.system import tmux

    name = load_site(site_name(args)).name
    if not tmux.has_session(name):
        raise NothingRunning(f"no tmux session {name} on this host", next=f"gears lab {name}")
    if not sys.stdin.isatty():
        raise UsageError("gears attach needs a terminal", next=" ".join(tmux.attach_command(name)))
    return tmux.attach(name).wait()
