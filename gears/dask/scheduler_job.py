"""The owner of a cluster as a batch job: its submission, and the wait until it starts.

The job has the same name as its workers' jobs, so that one name finds or cancels all of them in the queue.
"""

from __future__ import annotations

import time
from dataclasses import replace

from gears.dask.cluster import Cluster, settle_job
from gears.dask.records import ClusterState, Plan, remove_plan, save_plan
from gears.errors import GearsError
from gears.schedulers.base import JobSpec, scheduler
from gears.sites import validators
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.system import files

QUEUE_PAUSE_S = 5.0
"""Before the first query of why the owner's job is pending; then the pauses double, up to a minute."""


def submit(context: Context, plan: Plan) -> None:
    """Submit the owner as a job with the same name as its workers' jobs.

    Raises SubmissionRefused, CommandFailed; then nothing is left behind.
    """
    paths = context.paths
    assert plan.kind
    files.write_private(paths.dask / "logs" / "owner.out", "")
    try:
        job = scheduler(plan.kind).submit(paths.dask_file("owner.sh"))
    except GearsError:
        remove_plan(paths)
        raise
    save_plan(paths, replace(plan, job=job))
    context.say(f"{context.route.here}: submitted job {job}, which will own the Dask cluster of {paths.site}")


def header(context: Context, plan: Plan) -> list[str]:
    """Return the directives for the owner's script; none if the owner is not a job."""
    batch = context.site.scheduler
    if not plan.in_job or batch is None:
        return []
    limit_s = validators.walltime_s(batch.walltime)
    resources = (batch.account, batch.queue, None, limit_s, batch.directives)
    return scheduler(batch.kind).header(JobSpec(plan.id, context.paths.dask / "logs" / "owner.out", *resources))


class QueueQuery:
    """The last query of the batch system, and the pause before the next. `began`, `at`: of the monotonic clock."""

    def __init__(self) -> None:
        self.began = self.at = time.monotonic()
        self.pause_s, self.reason = QUEUE_PAUSE_S, ""


def query_queue(paths: RunDir, found: Cluster, last: QueueQuery) -> Cluster:
    """Query why the owner's job is pending, or repeat the last answer until the pause is over."""
    if time.monotonic() - last.at > last.pause_s:
        found = settle_job(paths, found)
        last.at, last.pause_s = time.monotonic(), min(60.0, 2 * last.pause_s)
        last.reason = found.record.reason or ""
    if found.state != ClusterState.QUEUED:
        return found
    return replace(found, record=replace(found.record, reason=last.reason))
