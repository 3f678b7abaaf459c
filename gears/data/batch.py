"""Transfers as batch jobs: script, submission, the job that goes on, cancellation.

Each job submits the next one as it begins, so that even the end of its node does not end the transfer. The name of a
job is in the task's record before it is submitted: a job whose name is not there ends at once. Its id is in a file of
its own, since job and submission may write at the same time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from gears.data.addresses import parse, place_of
from gears.data.records import Method, Task, Verb, load_task, load_transfer
from gears.errors import CommandFailed, GearsError
from gears.schedulers.base import OVER, Job, JobSpec, JobState, check_output, find_taken, scheduler
from gears.schedulers.environment import current_job
from gears.sites import validators
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.system import files
from gears.system.installation import this_gears

PASSED_ON = ("GEARS_HOME", "PATH")
"""Variables that a job or a session has as they are here."""

NOT_AGAIN = {"slurm": ("--no-requeue",), "pbs": ("-r n",), "sge": ("-r n",)}
"""Directives by which a job whose node has failed ends: the next one goes on at once, while Slurm would start the same
one again two minutes later at the earliest."""

MOST_TRIES = 20
"""How often a worker that is killed is started again in one job or session; more seldom if it makes no progress."""


def is_wanted(site: Site) -> bool:
    """Tell whether transfers of the site are batch jobs."""
    return bool(site.transfer.queue and site.scheduler)


def new_name() -> str:
    """Return a name for a job or a session, which says nothing about the data."""
    return f"gears-data-{secrets.token_hex(2)}"


def id_path(paths: RunDir, name: str, job_name: str) -> Path:
    """Return the file with the scheduler's id of a job."""
    return paths.transfer(name) / f"{job_name}.id"


def script_path(paths: RunDir, name: str, job_name: str) -> Path:
    """Return the script of a job or session."""
    return paths.transfer(name) / f"{job_name}.sh"


def read_id(paths: RunDir, name: str, job_name: str) -> str:
    """Return the scheduler's id of a job; "" if it is not known."""
    return files.read_text(id_path(paths, name, job_name)).strip() if job_name else ""


def own_id(paths: RunDir, name: str, job_name: str) -> str:
    """Return the id of the job in which this runs, and record it if its submission could not."""
    if found := read_id(paths, name, job_name):
        return found
    found = current_job()
    files.write_private(id_path(paths, name, job_name), f"{found}\n")
    return found


def submit(context: Context, name: str, job_name: str, *, after: str = "") -> str:
    """Submit a job for a transfer and return its id. `after`: the id of a job that has to end first.

    Raises SubmissionRefused or CommandFailed; no such job runs then.
    """
    paths, wanted = context.paths, context.site.scheduler
    assert wanted is not None
    script = script_path(paths, name, job_name)
    files.write_private(script, render_script(context, name, job_name, after=after))
    files.write_private(_output(paths, name), "")
    module = scheduler(wanted.kind)
    try:
        id = module.submit(script)
    except CommandFailed as exc:
        id = find_taken(wanted.kind, job_name)
        if not id:
            script.unlink(missing_ok=True)
            exc.next = f"gears data places {paths.site}   ([transfer] and [scheduler] of the profile say how)"
            raise
    if not read_id(paths, name, job_name):
        files.write_private(id_path(paths, name, job_name), f"{id}\n")
    return id


def render_script(context: Context, name: str, job_name: str, *, after: str = "", in_job: bool = True) -> str:
    """Render the script of a job, or with `in_job` false that of a tmux session."""
    from gears.system.templates import render

    paths, site = context.paths, context.site
    wanted = site.scheduler if in_job else None
    spec = _plan(context, name, job_name, after) if in_job else None
    words = [name, "--site", site.name, "--job-name", job_name]
    return render(
        "data.sh.j2",
        header=scheduler(wanted.kind).header(spec) if wanted and spec else [],
        site=site.name,
        log=log_path(paths, name),
        prologue=wanted.prologue if wanted else (),
        environment={name: value for name in PASSED_ON if (value := os.environ.get(name))},
        process=loop_path(paths, name),
        walltime_s=spec.walltime_s if spec else 0,
        umask=files.current_umask(),
        work=[this_gears(), "_data", "_work", *words],
        help=[this_gears(), "_data", "_help", *words],
        other_nodes=scheduler(wanted.kind).other_nodes() if wanted and _writes_bundles(context, name) else "",
        script=script_path(paths, name, job_name),
        ended=paths.transfer(name) / f"{job_name}.ended",
        most_tries=MOST_TRIES,
    )


def _plan(context: Context, name: str, job_name: str, after: str) -> JobSpec:
    transfer, wanted = context.site.transfer, context.site.scheduler
    assert wanted is not None
    out = check_output(_output(context.paths, name))
    return JobSpec(
        name=job_name,
        log=out,
        account=wanted.account,
        queue=transfer.queue,
        nodes=transfer.nodes if transfer.nodes > 1 and not why_one_node(context, name) else 1,
        walltime_s=validators.walltime_s(transfer.walltime or wanted.walltime),
        directives=NOT_AGAIN.get(wanted.kind, ()),
        after=after,
    )


def why_one_node(context: Context, name: str) -> str:
    """Return why a transfer is the work of one node, although the profile allows several; "" if it is not."""
    wanted = context.site.scheduler
    if wanted is None or not scheduler(wanted.kind).other_nodes():
        return "gears starts processes on the other nodes with Slurm only"
    return "" if _writes_bundles(context, name) else _why_not_helped(context, name)


def _why_not_helped(context: Context, name: str) -> str:
    """Return why no crew helps with a transfer: programs of stores, such as hsi, have limits of their own."""
    site, transfer = context.site, load_transfer(context.paths, name)
    if transfer is None or transfer.method is Method.TREE:
        return ""
    held = place_of(parse(transfer.source if transfer.verb is Verb.GET else transfer.target, site), site)
    return "" if held.kind == "posix" else "bundles that a program keeps are read by one node"


def _writes_bundles(context: Context, name: str) -> bool:
    """Tell whether the job has tasks on other nodes that write bundles (`bundles.tasks`)."""
    transfer, task = load_transfer(context.paths, name), load_task(context.paths, name)
    if context.site.transfer.nodes <= 1 or transfer is None or (task and task.verb is not Verb.PUT):
        return False
    return (transfer.verb, transfer.method) == (Verb.PUT, Method.BUNDLES)


def helper_commands(context: Context, name: str, jobs: int) -> list[list[str]]:
    """Return the command for each other node of this job that starts a helper there (`crew`); [] where none can."""
    site = context.site
    if site.scheduler is None or site.transfer.nodes <= 1 or _why_not_helped(context, name):
        return []
    helper = [this_gears(), "_data", "_member", *[f"--jobs={jobs}"] * bool(jobs)]
    return [[*command, *helper] for command in scheduler(site.scheduler.kind).on_other_nodes()]


def log_path(paths: RunDir, name: str) -> Path:
    """Return the log of a transfer: what its workers print."""
    return paths.transfer(name) / "log"


def loop_path(paths: RunDir, name: str) -> Path:
    """Return the file with the process of the script that starts the workers."""
    return paths.transfer(name) / "loop"


def stop_path(paths: RunDir, name: str) -> Path:
    """Return the file that exists while a transfer is stopped on purpose: no job goes on with it."""
    return paths.transfer(name) / "stopped"


def _output(paths: RunDir, name: str) -> Path:
    return paths.transfer(name) / "job.out"


# --- jobs that were submitted ----------------------------------------------------------------


def query(site: Site, id: str) -> Job:
    """Query the scheduler: UNKNOWN if it does not answer, or this host has no program for that."""
    if site.scheduler is None:
        return Job(id, JobState.UNKNOWN, reason="the profile has no scheduler any more")
    return scheduler(site.scheduler.kind).query(id)


def find(site: Site, paths: RunDir, name: str, job_name: str) -> str | None:
    """Return the id of a job: as recorded, else by its name. None if the scheduler does not answer, "" if none is."""
    if found := read_id(paths, name, job_name):
        return found
    if site.scheduler is None:
        return None
    ids = scheduler(site.scheduler.kind).find(job_name)
    return None if ids is None else next(iter(ids), "")


def cancel_successor(site: Site, paths: RunDir, name: str, task: Task) -> None:
    """Cancel the job that was to go on. One that can't be cancelled ends by itself: the task is over."""
    if task.successor_name and site.scheduler:
        with contextlib.suppress(GearsError):
            if id := find(site, paths, name, task.successor_name):
                scheduler(site.scheduler.kind).cancel(id)


def cancel(site: Site, paths: RunDir, name: str, task: Task) -> list[str]:
    """Cancel the successor, then the job itself. Returns the ids. Raises CommandFailed."""
    assert site.scheduler is not None
    cancelled = []
    for job_name in filter(None, (task.successor_name, task.job_name)):
        id = find(site, paths, name, job_name)
        if id is None:
            raise CommandFailed("the scheduler does not answer", next=f"gears data stop {name} --site {site.name}")
        if id:
            scheduler(site.scheduler.kind).cancel(id)
            cancelled.append(id)
    return cancelled


def is_over(site: Site, id: str) -> bool:
    """Tell whether a job has certainly ended."""
    return query(site, id).state in OVER
