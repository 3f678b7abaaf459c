"""`gears stop`."""

from __future__ import annotations

import argparse

from gears.cli.console import say
from gears.cli.options import Commands, add_command, site_name


def add(commands: Commands) -> None:
    """Add the command and its options."""
    add_command(commands, "stop", do_stop)


def do_stop(args: argparse.Namespace) -> int:
    """Stop the lab and its hop, and print whether anything was running. The site's Dask cluster keeps running."""
    from gears.lab.stop import stop
    from gears.sites.locate import locate

    name = site_name(args)
    ran = stop(locate(name), say=say)
    print(f"{name}: stopped" if ran else f"{name}: nothing was running")
    _say_of_cluster(name)
    return 0


def _say_of_cluster(name: str) -> None:
    from gears.dask.cluster import is_up

    if is_up(name):
        say(f"its Dask cluster keeps running; to stop it: gears dask down {name}")
