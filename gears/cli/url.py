"""`gears url`."""

from __future__ import annotations

import argparse

from gears.cli.options import Commands, add_command, site_name
from gears.errors import NothingRunning


def add(commands: Commands) -> None:
    """Add the words of the command."""
    add_command(commands, "url", "the address to open", do_url)


def do_url(args: argparse.Namespace) -> int:
    """Print the address to open, with its token. Raises NothingRunning where the site is not up."""
    from gears.lab.address import with_token
    from gears.lab.status.status import look
    from gears.sites.locate import locate

    name = site_name(args)
    record = look(locate(name))
    if not record["url"]:
        raise NothingRunning(
            f"{name} is {record['state']}: {record['reason'] or 'nothing runs'}", next=f"gears lab {name}"
        )
    print(with_token(name, record["url"], record["lab"] or {}))
    return 0
