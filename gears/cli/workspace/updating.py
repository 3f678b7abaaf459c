"""`gears workspace update`."""

from __future__ import annotations

import argparse
from pathlib import Path

from gears.cli.console import show
from gears.cli.options import Commands, add_command
from gears.errors import GearsError


def add(verbs: Commands) -> None:
    """Add the verb and its arguments."""
    update = add_command(verbs, "update", do_update, summary="merge the newer template, on a branch", site=False)
    update.add_argument("directory", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: this one")


def do_update(args: argparse.Namespace) -> int:
    """Merge the newer template, and say what to do next. Raises GearsError for conflicts."""
    from gears.workspace.updating import to_resolve, update

    updated = update(args.directory)
    top, name = updated.top, updated.branch
    if not updated.version:
        show(f"{top}: its template is the newest, {updated.current}")
        return 0
    head = f"{top}: template {updated.current} → {updated.version}, on the branch {name}, not committed"
    if updated.deleted:
        head += f"\nstay deleted here, although the template has changed them: {', '.join(updated.deleted)}"
    if updated.conflicts:
        raise GearsError(f"{head}\nconflicts: {', '.join(updated.conflicts)}", next=to_resolve(top))
    to_merge = f"git -C {top} switch {updated.base}; git -C {top} merge {name}"
    show(f"{head}\n  next: git -C {top} diff --cached; git -C {top} commit -m 'Template {updated.version}'; {to_merge}")
    return 0
