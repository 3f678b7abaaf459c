"""`gears workspace run`."""

from __future__ import annotations

import argparse
from pathlib import Path

from gears.cli.options import Commands, add_command


def add(verbs: Commands) -> None:
    """Add the verb and its arguments."""
    summary = "run the stages whose input has changed, each once at a time in the whole team"
    run = add_command(verbs, "run", do_run, summary=summary, site=False)
    run.add_argument("stages", nargs="*", metavar="STAGE", help="with what it depends on; default: all")
    run.add_argument("--site", metavar="SITE")


def do_run(args: argparse.Namespace) -> int:
    """Run stages of the workspace around this directory. Returns the exit status of DVC."""
    from gears.cli.workspace.creation import site_of
    from gears.system.host import this_host
    from gears.workspace import settings
    from gears.workspace.running import run

    top, found = settings.find(Path())
    return run(top, found, args.stages, site_of(args), this_host())
