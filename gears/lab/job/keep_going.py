"""Let another job take over at the end of this one, on request of its JupyterLab: `--renew`, asked for later.

Runs in the job, while the login node's loop waits for the end of that job. First the record says that a job shall take
over: if nothing else does, that loop submits it at the end. Then it is submitted from here, to wait in the queue
meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gears.errors import MissingProgram, NothingRunning
from gears.lab.job import records
from gears.lab.job.records import JobRecord
from gears.lab.job.submit import NO_SUCCESSOR, submit_successor
from gears.sites.context import Context


@dataclass(frozen=True, slots=True)
class Kept:
    """The record with its successor. `later`: why that could not be submitted here, and is when the job ends."""

    job: JobRecord
    later: str = ""


def keep_going(context: Context) -> Kept:
    """Submit the successor of the job that runs here, unless it has one.

    Raises NothingRunning where no job runs, OSError where the record can't be written.
    """
    paths = context.paths
    job = records.read(paths)
    if not (job and job.id and job.on_node):
        raise NothingRunning("no job of this lab is running", next=f"gears status {paths.site}")
    if job.successor:
        return Kept(job)
    job = replace(job, renew=max(1, job.renew), trouble="")
    records.write(paths, job)
    login_node = replace(context, route=replace(context.route, here=job.host))  # to which a tunnel leads
    try:
        after = submit_successor(login_node, job, claimed_by=context.route.here)
    except MissingProgram as exc:
        return Kept(_save(context, replace(job, successor=None)), exc.message)
    later = "" if after.successor else after.trouble.removeprefix(NO_SUCCESSOR) or f"{job.host} is submitting a job"
    return Kept(_save(context, replace(job, successor=after.successor)), later)


def _save(context: Context, job: JobRecord) -> JobRecord:
    """Write the successor into the record as it is now, unless another job has taken over meanwhile."""
    paths, now = context.paths, records.read(context.paths)
    if now is None or now.number != job.number:
        return job
    if now.successor and not job.successor:
        paths.job_life(now.successor.number).unlink(missing_ok=True)  # it was not submitted: its number is free again
    now = replace(now, successor=job.successor, renew=job.renew, trouble=job.trouble)
    records.write(paths, now)
    return now
