"""The owner of a cluster as a batch job: its submission, and the wait until its turn comes.

The job has the name of its workers' jobs: what is looked for in the queue, or cancelled there, is one name.
"""

from __future__ import annotations

import time
from dataclasses import replace

from gears.dask.cluster import Cluster, settle_job
from gears.dask.records import ClusterState, Plan, forget_plan, save_plan
from gears.errors import GearsError
from gears.schedulers.base import JobSpec, scheduler
from gears.sites import validators
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.system import files
from gears.system.progress import Progress

QUEUE_PAUSE_S = 5.0
"""Before the batch system is first asked why the owner's job waits; then the pauses double, up to a minute."""


def submit(route: Route, paths: RunDir, plan: Plan, say: Progress) -> None:
    """Hand the owner in as a job, of the same name as its workers' jobs, so that none is left without the other.

    Raises SubmissionRefused, CommandFailed: then nothing is left.
    """
    assert plan.kind
    files.write_private(paths.dask / "logs" / "owner.out", "")
    try:
        job = scheduler(plan.kind).submit(paths.dask_file("owner.sh"))
    except GearsError:
        forget_plan(paths)
        raise
    save_plan(paths, replace(plan, job=job))
    say(f"{route.here}: submitted job {job}, which is to own the Dask cluster of {paths.site}")


def header(route: Route, paths: RunDir, plan: Plan) -> list[str]:
    """Return the lines that the batch system reads of the owner's script; none if the owner is no job."""
    batch = route.site.scheduler
    if not plan.in_job or batch is None:
        return []
    limit_s = validators.walltime_s(batch.walltime)
    asked = (batch.account, batch.queue, None, limit_s, batch.directives)
    return scheduler(batch.kind).header(JobSpec(plan.id, paths.dask / "logs" / "owner.out", *asked))


class Asked:
    """When the batch system was asked last, and how long until it is asked again."""

    def __init__(self) -> None:
        self.began = self.at = time.monotonic()
        self.pause_s, self.reason = QUEUE_PAUSE_S, ""


def ask_queue(paths: RunDir, now: Cluster, asked: Asked) -> Cluster:
    """Ask the batch system why the owner's job waits, or repeat its last answer until the pause is over."""
    if time.monotonic() - asked.at > asked.pause_s:
        now = settle_job(paths, now)
        asked.at, asked.pause_s = time.monotonic(), min(60.0, 2 * asked.pause_s)
        asked.reason = now.record.reason or ""
    if now.state != ClusterState.QUEUED:
        return now
    return replace(now, record=replace(now.record, reason=asked.reason))
