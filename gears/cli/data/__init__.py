"""`gears data`: one module for each group of verbs."""

from __future__ import annotations

from gears.cli.data import due, moving, places, restore, tracking
from gears.cli.options import Commands, add_internal


def add(commands: Commands) -> None:
    """Add the command and its verbs; and `_data`, the same on this host, whatever its names are."""
    from gears.cli.registry import COMMANDS

    summary = COMMANDS["data"][1]
    data = commands.add_parser("data", help=summary, description=summary)
    on_this_host = commands.add_parser("_data")
    for parser, here in ((data, False), (on_this_host, True)):
        parser.set_defaults(here=here)
        verbs = parser.add_subparsers(metavar="VERB", required=True)
        places.add(verbs)
        moving.add(verbs)
        tracking.add(verbs)
        due.add(verbs)
        restore.add(verbs)
    for verb, action in (("_work", moving.do_work), ("_help", moving.do_help)):
        worker = add_internal(verbs, verb, action, "name")
        worker.add_argument("--site", required=True)
        worker.add_argument("--job-name", default="")
    member = add_internal(verbs, "_member", moving.do_serve, "mark")
    member.add_argument("--jobs", type=int, default=0)
