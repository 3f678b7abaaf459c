"""`gears sites`."""

from __future__ import annotations

import argparse

from gears.cli.console import show
from gears.cli.options import Commands, add_command


def add(commands: Commands) -> None:
    """Add the words of the command."""
    sites = add_command(commands, "sites", "the site profiles", do_sites_list, site=False)
    verbs = sites.add_subparsers(metavar="list|show NAME|new NAME")
    add_command(verbs, "list", "the sites that are known, and where from", do_sites_list, site=False)
    show = add_command(verbs, "show", "the profile in force, each key with its file", do_sites_show, site=False)
    new = add_command(verbs, "new", "a new profile, to be filled in", do_sites_new, site=False)
    for verb in (show, new):
        verb.add_argument("name", metavar="NAME")


def do_sites_list(_args: argparse.Namespace) -> int:
    """Print a line for each known site: its name, and where its profile is."""
    from gears.sites.load import site_names

    for name, source in site_names():
        print(f"{name:12} {source}")
    return 0


def do_sites_show(args: argparse.Namespace) -> int:
    """Print the profile in force as TOML, each key with its file."""
    from gears.sites.export import render_toml
    from gears.sites.load import load_site

    print(render_toml(load_site(args.name)), end="")
    return 0


def do_sites_new(args: argparse.Namespace) -> int:
    """Begin a new profile, and print where it is."""
    from gears.sites.export import new_site

    show(f"Created {new_site(args.name)}\n  next: edit it, then: gears sites show {args.name}")
    return 0
