"""`gears sites`."""

from __future__ import annotations

import argparse

from gears.cli.console import show
from gears.cli.options import Commands, add_command


def add(commands: Commands) -> None:
    """Add the arguments of the command."""
    sites = add_command(commands, "sites", do_sites_list, site=False)
    verbs = sites.add_subparsers(metavar="list|show NAME|new NAME")
    add_command(verbs, "list", do_sites_list, summary="list all sites and the sources of their profiles", site=False)
    show = add_command(
        verbs, "show", do_sites_show, summary="show the effective profile, each key with its source", site=False
    )
    new = add_command(verbs, "new", do_sites_new, summary="create a profile to edit", site=False)
    for verb in (show, new):
        verb.add_argument("name", metavar="NAME")


def do_sites_list(_args: argparse.Namespace) -> int:
    """Print a line for each site: its name, and the sources of its profile."""
    from gears.sites.load import site_names

    for name, source in site_names():
        print(f"{name:12} {source}")
    return 0


def do_sites_show(args: argparse.Namespace) -> int:
    """Print the effective profile as TOML, each key with its source."""
    from gears.sites.export import render_toml
    from gears.sites.load import load_site

    print(render_toml(load_site(args.name)), end="")
    return 0


def do_sites_new(args: argparse.Namespace) -> int:
    """Create a profile, and print its path."""
    from gears.sites.export import new_site

    show(f"Created {new_site(args.name)}\n  next: edit it, then: gears sites show {args.name}")
    return 0
