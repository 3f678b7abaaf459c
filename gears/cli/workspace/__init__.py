"""`gears workspace`: one module for each group of verbs."""

from __future__ import annotations

from gears.cli.options import Commands, add_internal
from gears.cli.workspace import creation, exchange, running, status, updating


def add(commands: Commands) -> None:
    """Add the command and its verbs; and `_workspace`, for jobs."""
    from gears.cli.registry import COMMANDS

    summary = COMMANDS["workspace"][1]
    workspace = commands.add_parser("workspace", help=summary, description=summary)
    verbs = workspace.add_subparsers(metavar="VERB", required=True)
    creation.add(verbs)
    updating.add(verbs)
    running.add(verbs)
    exchange.add(verbs)
    status.add(verbs)
    jobs = commands.add_parser("_workspace").add_subparsers(metavar="VERB", required=True)
    add_internal(jobs, "work", running.do_work, "directory", "job_name")
