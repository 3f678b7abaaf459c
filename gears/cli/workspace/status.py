"""`gears workspace status`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gears.cli.console import show
from gears.cli.options import Commands, add_command

if TYPE_CHECKING:
    from gears.workspace.holding import Holding
    from gears.workspace.runs import FoundRun
    from gears.workspace.status import Code, DataState, Status

MOST = 5


def add(verbs: Commands) -> None:
    """Add the verb and its arguments."""
    summary = "show what is not committed, not pushed, not in the cache"
    status = add_command(verbs, "status", do_status, summary=summary, site=False)
    status.add_argument("directory", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: this one")
    status.add_argument("--site", metavar="SITE")
    status.add_argument("--json", action="store_true", help="print the status as JSON")


def do_status(args: argparse.Namespace) -> int:
    """Look at a workspace, and print what was found."""
    from gears.cli.workspace.creation import site_of
    from gears.system.host import this_host
    from gears.workspace.status import find_status

    site = site_of(args)
    host = this_host(full_name=any(place.hosts for place in site.filesystem.values()))
    status = find_status(args.directory, site, host)
    if args.json:
        import json

        from gears.system.records import as_values

        print(json.dumps(as_values(status)))
    else:
        show("\n".join(as_lines(status)))
    return 0


def as_lines(status: Status) -> list[str]:
    """Write the status for a terminal."""
    newer = f", newer: {status.newer_template}" if status.newer_template else ""
    rows = {
        "workspace": f"{status.name} in {status.top}",
        "code": code_line(status.code),
        "data": data_line(status.data),
        "environment": f"{status.environment} ({status.environment_state})" if status.environment else "none",
        "template": f"{status.template}{newer}" if status.template else "none",
    }
    rows |= {"running": "; ".join(status.running)} if status.running else {}
    lines = [f"{word:<12} {text}" for word, text in rows.items()]
    lines += [f"{'job':<12} {job_line(job)}" for job in status.jobs]
    return [*lines, *(f"  next: {command}" for command in status.next)]


def job_line(job: FoundRun) -> str:
    """Write where a job is."""
    parts = [f"{job.job or job.name} of {' '.join(job.stages) or 'all stages'}: {job.state}"]
    parts += [job.reason] * bool(job.reason)
    parts += [f"branch {job.branch}"] * bool(job.branch)
    parts += [f"clone {job.clone}"] * bool(job.clone)
    return ", ".join(parts)


def code_line(code: Code) -> str:
    """Write what git has."""
    parts = [f"branch {code.branch}" if code.branch else "on no branch"]
    parts += [f"conflicts: {few(code.conflicts)}"] * bool(code.conflicts)
    parts += [f"not committed: {few(code.uncommitted)}"] * bool(code.uncommitted)
    parts += [f"commits not pushed: {code.unpushed}"] * bool(code.unpushed)
    parts += [f"commits behind: {code.behind}"] * bool(code.behind)
    parts += ["no remote"] * (not code.remote)
    return "; ".join(parts)


def data_line(data: DataState) -> str:
    """Write what DVC has."""
    if data.problem:
        return data.problem
    if data.keeper != "dvc":
        return f"kept by {data.keeper}" if data.keeper else "none in DVC"
    parts = [f"cache {data.cache or 'in this clone'}"]
    parts += [f"not there any more: {few(data.gone)}"] * bool(data.gone)
    parts += [f"not in the cache: {few(data.missing)}"] * bool(data.missing)
    parts += [f"changed: {few(data.changed)}"] * bool(data.changed)
    return "; ".join([*parts, *holding_parts(data.holding)])


def holding_parts(holding: Holding) -> list[str]:
    """Write which place has what the cache has not, what the remote place has not, and what a purge takes."""
    parts, lost = [], holding.lost
    if nowhere := tuple(one.path for one in lost if not one.held):
        parts.append(f"in no place that is known here: {few(nowhere)}")
    for place in dict.fromkeys(one.held[0] for one in lost if one.held):
        parts.append(f"{place} has {few(tuple(one.path for one in lost if one.held[:1] == (place,)))}")
    if holding.unpushed:
        parts.append(f"not pushed to {holding.remote}: {holding.unpushed} of {holding.objects} objects")
    if dying := holding.dying:
        parts.append(f"the purge of {dying.place} takes {dying.files} of its objects, the first on {dying.day}")
    return parts + ([f"the remote place is not known: {holding.problem}"] if holding.problem else [])


def few(paths: tuple[str, ...]) -> str:
    """Write the first MOST paths, and how many more there are."""
    more = f" and {len(paths) - MOST} more" if len(paths) > MOST else ""
    return ", ".join(paths[:MOST]) + more
