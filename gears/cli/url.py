"""`gears url`."""

from __future__ import annotations

import argparse

from gears.cli.options import Commands, add_command, site_name
from gears.errors import NothingRunning


def add(commands: Commands) -> None:
    """Add the command and its options."""
    add_command(commands, "url", do_url)


def do_url(args: argparse.Namespace) -> int:
    """Print the address to open, with its token. Raises NothingRunning where the site is not up."""
    from gears.lab.status.status import look, with_token
    from gears.sites.locate import locate

    name = site_name(args)
    status = look(locate(name))
    if not status.url:
        raise NothingRunning(f"{name} is {status.state}: {status.reason or 'nothing runs'}", next=f"gears lab {name}")
    print(with_token(name, status.url, password=bool(status.lab and status.lab.has_password)))
    return 0
