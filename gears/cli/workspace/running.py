"""`gears workspace run`, here or as a batch job."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gears.cli.console import say, show
from gears.cli.options import Commands, add_command
from gears.errors import UsageError

if TYPE_CHECKING:
    from gears.sites.profile import Site

JOB_OPTIONS = {"account": "-A", "nodes": "-N", "walltime": "-t", "queue": "-p", "directives": "--directive"}


def add(verbs: Commands) -> None:
    """Add the verb and its arguments."""
    summary = "run the stages whose input has changed, each once at a time in the whole team"
    run = add_command(verbs, "run", do_run, summary=summary, site=False)
    run.add_argument("stages", nargs="*", metavar="STAGE", help="with what it depends on; default: all")
    run.add_argument("--site", metavar="SITE")
    job = run.add_argument_group("as a batch job", "defaults are in the site's profile")
    job.add_argument("--job", action="store_true", help="in a clone of its own; its results come as a branch")
    job.add_argument("-A", "--account", help="account to charge")
    job.add_argument("-n", "-N", "--nodes", type=int, help="number of nodes")
    job.add_argument("-t", "--walltime", metavar="[D-]HH:MM:SS", help="time limit")
    job.add_argument("-p", "--queue", help="queue or partition")
    job.add_argument("--directive", action="append", dest="directives", metavar="LINE", help="further option, repeated")


def do_run(args: argparse.Namespace) -> int:
    """Run stages of the workspace around this directory. Returns the exit status of DVC; 0 for a job."""
    from gears.cli.workspace.creation import site_of
    from gears.system.host import this_host
    from gears.workspace import settings
    from gears.workspace.running import run

    given = {key: getattr(args, key) for key in JOB_OPTIONS}
    if unused := [JOB_OPTIONS[key] for key, value in given.items() if value is not None and not args.job]:
        raise UsageError(f"{unused[0]} requires --job", next=f"gears workspace run --job {unused[0]} …")
    top, found = settings.find(Path())
    site = site_of(args)
    if args.job:
        return submit(as_asked(site, given), args.stages)
    return run(top, found, args.stages, site, this_host(), say)


def as_asked(site: Site, given: dict[str, Any]) -> Site:
    """Return the site with the options of the job. Raises UsageError for one that is wrong, or without a scheduler."""
    from gears.lab.job.options import check_scheduler, with_request

    check_scheduler(site)
    try:
        return with_request(site, given)
    except UsageError as exc:
        raise UsageError(exc.message, next="gears workspace run --help") from exc


def submit(site: Site, stages: list[str]) -> int:
    """Submit the job, and say where its results will be."""
    from gears.system.host import this_host
    from gears.workspace import settings
    from gears.workspace.status import to_merge
    from gears.workspace.submission import submit as submit_job

    top, found = settings.find(Path())
    job = submit_job(top, found, stages, site, this_host(), say)
    run, seen = job.run, job.found
    already = " (already)" * job.already
    show(
        f"job {seen.job}: {run.words} at {run.commit[:12]}, in {run.clone}: {seen.state}{already}\n"
        f"to follow it: gears workspace status; tail -f {seen.log}\n"
        f"once it is done: {to_merge(top, run.branch)}"
    )
    return 0


def do_work(args: argparse.Namespace) -> int:
    """Do what a job has to. Returns the exit status of DVC."""
    from gears.workspace.job import work

    return work(Path(args.directory), args.job_name, say)
