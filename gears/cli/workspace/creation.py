"""`gears workspace new` and `join`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gears.cli.console import say, show
from gears.cli.options import Commands, add_command
from gears.errors import UsageError

if TYPE_CHECKING:
    from gears.sites.profile import Site


def add(verbs: Commands) -> None:
    """Add the verb and its arguments."""
    new = add_command(verbs, "new", do_new, summary="make a workspace from the template, committed", site=False)
    new.add_argument("directory", type=Path, metavar="DIR", help="where; it must be new or empty")
    new.add_argument("--defaults", action="store_true", help="ask no questions")
    new.add_argument("--template", default="", metavar="URL", help="another template of copier, in a git repository")
    new.add_argument("--site", metavar="SITE")
    join = add_command(verbs, "join", do_join, summary="clone a workspace, and set the clone up", site=False)
    join.add_argument("url", metavar="URL", help="of the repository; or a clone, which is set up again")
    join.add_argument("directory", nargs="?", type=Path, metavar="DIR", help="default: the name in URL")
    join.add_argument("--no-env", action="store_true", help="create no environment")
    join.add_argument("--site", metavar="SITE")


def do_new(args: argparse.Namespace) -> int:
    """Make a workspace, and say what to do next."""
    from gears.system.host import this_host
    from gears.workspace.creation import Wish, create

    if not args.defaults and not sys.stdin.isatty():
        raise UsageError("questions need a terminal", next=f"gears workspace new {args.directory} --defaults")
    top = create(Wish(args.directory, args.template, not args.defaults), site_of(args), this_host(), say)
    show(f"{top}: made, and committed\n  next: cd {top} && make test")
    return 0


def do_join(args: argparse.Namespace) -> int:
    """Clone a workspace and set it up. Status 1 if a part of that could not be done."""
    from gears.system.host import this_host
    from gears.workspace.joining import join

    joined = join(args.url, args.directory, site_of(args), this_host(), say, environment=not args.no_env)
    top = joined.top
    if joined.missing:
        again = f"gears workspace join {top}"
        show(f"{top}: joined, without its {' and '.join(joined.missing)}\n  next: as said above, then: {again}")
        return 1
    kernel = f"; in JupyterLab choose the kernel {joined.environment}" if joined.environment and not args.no_env else ""
    show(f"{top}: joined\n  next: cd {top} && make test{kernel}")
    return 0


def site_of(args: argparse.Namespace) -> Site:
    """Load the site given, else the default one."""
    from gears.sites.load import default_site, load_site

    return load_site(args.site or default_site())
