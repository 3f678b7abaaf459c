"""Submit a job: one, however many requests come at once, and none without a record.

The record, with the job's name, is written before the job is submitted. So the job of a killed submission is found by
its name; and a job that the scheduler accepted although its submission failed ends as soon as it starts: its script
looks for its name in the record.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

from gears.dask.config_files import ensure_config
from gears.errors import CommandFailed, NotReachable, SubmissionRefused
from gears.lab.job import records
from gears.lab.job.options import check_scheduler
from gears.lab.job.records import JobRecord, Successor
from gears.lab.job.script import plan_job, render_script
from gears.schedulers.base import FIND_PAUSES_S, JobState, find_taken, scheduler
from gears.schedulers.environment import chosen, clusters, submission_environment
from gears.sites import validators
from gears.sites.context import Context
from gears.sites.load import to_json
from gears.sites.route import Route
from gears.system import files, timestamps

NO_SUCCESSOR = "no job will take over: "
"""Begins a record's `trouble` where a successor was not submitted."""


def submit(context: Context) -> JobRecord:
    """Submit a job, unless another host is doing so, and return the record of the current job.

    Waits for another host for twice SUBMISSION_TIMEOUT_S, then raises NotReachable. Raises SubmissionRefused or
    CommandFailed, with the record unchanged.
    """
    paths = context.paths
    before = records.read(paths)
    deadline = time.monotonic() + 2 * records.SUBMISSION_TIMEOUT_S
    while (claimed := records.claim(paths, context.route.here)) is None:
        now = records.read(paths)
        if now and now.live and now.id:
            return now
        if time.monotonic() > deadline:
            raise NotReachable("another host has been submitting a job for too long", next=f"gears status {paths.site}")
        time.sleep(0.2)
    now = records.read(paths)
    if now and now.live:
        return now
    record = _new_record(context.route, *claimed)
    records.write(paths, record)
    try:
        id, variables = _submit_script(context, record, after=None)
    except CommandFailed:
        paths.job_life(record.number).unlink(missing_ok=True)
        records.write(paths, before) if before else records.forget(paths)
        raise
    record = replace(record, id=id, variables=variables, state=JobState.PENDING, known=JobState.PENDING)
    records.write(paths, record)
    records.remove_old(paths, record.number)
    return record


def submit_successor(context: Context, record: JobRecord, *, claimed_by: str = "") -> JobRecord:
    """Submit a job that waits for the end of this one, and return the record with it.

    A failure is written into the record, and the submission is not retried. `claimed_by`: the host that submits it;
    empty: the one that monitors it.
    """
    paths = context.paths
    claimed = records.claim(paths, claimed_by or context.route.here)
    if claimed is None:
        return record
    number, name = claimed
    successor = Successor(number, name, clusters=record.id.partition(";")[2])
    records.write(paths, replace(record, successor=successor))
    try:
        id, variables = _submit_script(context, successor, after=record)
    except CommandFailed as exc:
        paths.job_life(number).unlink(missing_ok=True)
        return replace(record, successor=None, renew=0, trouble=f"{NO_SUCCESSOR}{exc.message}")
    return replace(record, successor=replace(successor, id=id, variables=variables))


def promote(record: JobRecord, successor: Successor) -> JobRecord:
    """Return the record with the successor in place of the job that has ended."""
    return replace(
        record,
        number=successor.number,
        name=successor.name,
        id=successor.id,
        clusters=successor.clusters,
        variables=record.variables if successor.variables is None else successor.variables,
        state=JobState.PENDING,
        known=JobState.PENDING,
        reason="",
        node=None,
        starts=None,
        ends=None,
        successor=None,
        renew=record.renew - 1,
        asked=0.0,
        gone=0.0,
    )


def settle(route: Route, record: JobRecord) -> JobRecord:
    """Return the record after an interrupted submission: the job is found by its name, or was never accepted."""
    found = scheduler(record.kind).find(record.name, record.clusters)
    if found is None:
        return replace(record, reason="the scheduler does not answer; it may have accepted the job")
    if found:
        return replace(record, id=found[0], state=JobState.PENDING, known=JobState.PENDING)
    if time.time() - record.begun < records.SUBMISSION_TIMEOUT_S and record.host != route.here:
        return record
    return replace(record, state=JobState.GONE, reason="the submission was interrupted")


def _new_record(route: Route, number: int, name: str) -> JobRecord:
    wanted = check_scheduler(route.site)
    return JobRecord(
        number=number,
        name=name,
        id="",
        kind=wanted.kind,
        host=route.here,
        state=JobState.SUBMITTING,
        known=JobState.SUBMITTING,
        submitted=timestamps.utc_now(),
        begun=time.time(),
        walltime_s=validators.walltime_s(wanted.walltime),
        renew=wanted.renew,
        profile=to_json(route.site),
        account=wanted.account,
        queue=wanted.queue,
        clusters=clusters(wanted.kind, wanted.directives, os.environ),
    )


def _submit_script(
    context: Context, job: JobRecord | Successor, *, after: JobRecord | None
) -> tuple[str, tuple[str, ...]]:
    """Submit the script; return the job's id, and the user's variables that were in effect."""
    paths = context.paths
    number, name = job.number, job.name
    spec = plan_job(context, number, name, after=after)
    before = after.number if after else None
    ensure_config(context.site, paths)
    files.write_private(paths.job_meet(number), context.route.here + "\n")
    for file in (spec.log, paths.job_log(number)):
        files.write_private(file, "")  # 0600, before the scheduler creates it
    script = render_script(context, number, spec, before=before)
    files.write_private(paths.job_script, script)
    kind = check_scheduler(context.site).kind
    variables = tuple(chosen(kind, submission_environment(script, os.environ)))
    try:
        return scheduler(kind).submit(paths.job_script), variables
    except CommandFailed as exc:
        pauses_s = FIND_PAUSES_S[: 1 if isinstance(exc, SubmissionRefused) else None]
        if taken := find_taken(kind, name, job.clusters, pauses_s):
            return taken, variables
        raise _with_fix(exc, paths.site) from exc


def _with_fix(exc: CommandFailed, site: str) -> CommandFailed:
    """Return the error with the command to run."""
    if isinstance(exc, SubmissionRefused):
        fix = (exc.next or "gears lab SITE --job --help").replace("SITE", site)
        return SubmissionRefused(f"the job was refused: {exc.message}", stderr=exc.stderr, next=fix)
    later = exc.next or f"gears lab {site} --job   (later: the scheduler did not answer)"
    return CommandFailed(f"no job was submitted: {exc.message}", stderr=exc.stderr, next=later)
