"""Adaptive scaling of a cluster by whole jobs, without closing a job that is working.

Dask's own adaptive scaling counts workers. If a job has several, it closes one of them, and the batch system ends the
others during their work; after three such losses Dask abandons a task (KilledWorker). It never replaces a job whose
workers are gone, and submits again every second if the batch system refuses. So this module counts jobs. For a cluster
without a batch system a job is one worker.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

LOST_S = 10.0
"""A job without any of its workers for this long is over: Dask itself restarts a worker within a few seconds."""

HAND_OVER_S = 300.0
"""Another job is submitted this long before the workers of a job leave, as it may be queued, and has to start."""

PAUSES_S = (10.0, 30.0, 60.0, 120.0, 300.0)
"""The pauses before the next submission after a refusal, each longer."""


@dataclass
class Job:
    """A job of workers. `id`: of the batch system; "" during submission. `connected`: when its first worker connected.
    `idle_since`: since when it is idle, or pending and not needed; None: it is working. Times: seconds since 1970."""

    name: str
    id: str = ""
    requested: float = 0.0
    connected: float | None = None
    gone_since: float | None = None
    idle_since: float | None = None
    workers: int = 0
    busy: bool = False
    held: int = 0
    limit: int = 0


def choose(jobs: Iterable[Job], want: int, most: int, idle_s: float, now: float) -> list[str]:
    """Choose the jobs to close so that `want` are left. Pure.

    Pending and idle jobs are closed first, after `idle_s`, if the remaining jobs have room for their data. Jobs above
    `most`, which the user has set, are closed at once, even while working.
    """
    every = sorted(jobs, key=lambda job: (job.connected is not None, job.busy, job.held, -job.requested))
    surplus, forced = len(every) - want, len(every) - most
    room, held = sum(job.limit for job in every), sum(job.held for job in every)
    closing: list[str] = []
    for job in every:
        if len(closing) >= max(surplus, forced):
            break
        must = len(closing) < forced
        idle = not job.busy and job.idle_since is not None and now - job.idle_since >= idle_s
        if must or (idle and (not held or room - job.limit >= 2 * held)):
            closing.append(job.name)
            room -= job.limit
    return closing


@dataclass
class Trouble:
    """The last refusal of the batch system, and until when nothing is submitted. Times: seconds since 1970."""

    message: str = ""
    since: float = 0.0
    count: int = 0
    until: float = 0.0

    def add(self, message: str, now: float) -> None:
        """Note a refusal. Several jobs that are refused at once cause only one pause."""
        self.message, self.since = message, self.since or now
        if now >= self.until:
            self.until = now + PAUSES_S[min(self.count, len(PAUSES_S) - 1)]
            self.count += 1

    def clear(self) -> None:
        """Forget all refusals: jobs can be submitted at once."""
        self.message, self.count, self.since, self.until = "", 0, 0.0, 0.0


@dataclass
class Scaling:
    """The jobs of one `SpecCluster`, whose scheduler is in this process. Call `step` every second.

    `life_s`: the age at which a job's workers leave, before its walltime ends. Other workers must be available then to
    take over their data, or it is computed again; so another job is submitted in time.
    """

    cluster: Any
    processes: int
    most_jobs: int
    idle_s: float
    life_s: float | None = None
    jobs: dict[str, Job] = field(default_factory=dict)
    trouble: Trouble = field(default_factory=Trouble)
    counts: dict[str, int] = field(default_factory=lambda: {"submitted": 0, "refused": 0, "lost": 0})
    now: Callable[[], float] = time.time

    async def step(self, minimum: int, maximum: int) -> None:
        """Submit or close jobs as the work requires. `minimum`, `maximum`: of workers.

        Closing jobs can take some seconds, while their data is handed over.
        """
        now = self.now()
        self._look(now)
        await self._forget_lost(now)
        most = min(self.most_jobs, math.ceil(maximum / self.processes))
        least = min(most, math.ceil(minimum / self.processes))
        wanted = math.ceil(self.cluster.scheduler.adaptive_target() / self.processes)
        want = max(least, min(most, wanted))
        staying = [job for job in self.jobs.values() if not self._leaves(job, now)]
        if want > len(staying) and now >= self.trouble.until:
            more = 1 if self.trouble.message else want - len(staying)  # after a refusal, try one job first
            self._add(min(more, self.most_jobs - len(self.jobs)))
        elif want < len(staying):
            await self._close(choose(staying, want, most, self.idle_s, now))
        else:
            self._keep_waiting()

    # --- reports of the cluster's jobs (see gears_dask_cluster.watched) --------------------------

    def submitted(self, name: str, id: str) -> None:
        """Note the id that the batch system has assigned to a job."""
        self.counts["submitted"] += 1
        self._job(name).id = id

    def refused(self, name: str, message: str) -> None:
        """Remove a job that the batch system has refused, note its message, and wait before the next."""
        self.counts["refused"] += 1
        self._drop(name)
        self.trouble.add(message, self.now())

    async def ended(self, name: str, why: str) -> None:
        """End a job that is over according to the batch system, and never had a worker."""
        await self._forget(name)
        self.trouble.add(why, self.now())

    def waiting(self) -> list[Job]:
        """List the submitted jobs without a worker yet."""
        return [job for job in self.jobs.values() if job.connected is None and job.id]

    # --- steps -----------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        for name in self.cluster.worker_spec:
            self._job(name)
        for name in [name for name in self.jobs if name not in self.cluster.worker_spec]:
            del self.jobs[name]
        workers: dict[str, list[Any]] = {name: [] for name in self.jobs}
        for worker in self.cluster.scheduler.workers.values():
            workers.setdefault(self._job_name(worker.name), []).append(worker)
        for name, job in self.jobs.items():
            self._update(job, workers[name], now)

    def _update(self, job: Job, workers: list[Any], now: float) -> None:
        job.workers = len(workers)
        job.busy = any(worker.processing or worker.long_running for worker in workers)
        job.held, job.limit = (sum(getattr(worker, what) for worker in workers) for what in ("nbytes", "memory_limit"))
        if workers:
            if job.connected is None:
                self.trouble.clear()
            job.connected, job.gone_since = job.connected or now, None
        elif job.connected is not None:
            job.gone_since = job.gone_since or now
        job.idle_since = None if job.busy else job.idle_since or now

    def _leaves(self, job: Job, now: float) -> bool:
        if self.life_s is None or job.connected is None:
            return False
        return now - job.connected >= self.life_s - min(HAND_OVER_S, self.life_s / 4)

    def _add(self, number: int) -> None:
        for _ in range(number):
            self.cluster.worker_spec.update(self.cluster.new_worker_spec())
        if number > 0:
            self.cluster.loop.add_callback(self.cluster._correct_state)

    async def _forget_lost(self, now: float) -> None:
        for job in list(self.jobs.values()):
            if job.gone_since is not None and now - job.gone_since >= LOST_S:
                self.counts["lost"] += 1
                await self._forget(job.name)

    def _keep_waiting(self) -> None:
        """Mark pending jobs, which are needed, as not idle."""
        for job in self.jobs.values():
            if job.connected is None:
                job.idle_since = None

    async def _close(self, names: list[str]) -> None:
        leaving = [
            worker.name for worker in self.cluster.scheduler.workers.values() if self._job_name(worker.name) in names
        ]
        if leaving:
            await self.cluster.scheduler.retire_workers(names=leaving, close_workers=True, remove=True)
        for name in names:
            await self._forget(name)

    async def _forget(self, name: str) -> None:
        """Remove a job, and cancel it in the batch system in any state."""
        job = self._drop(name)
        if job is not None:
            await job.close()

    def _drop(self, name: str) -> Any:
        self.cluster._i += 1  # use each name only once: a worker of the former job may still disconnect
        self.cluster.worker_spec.pop(name, None)
        self.jobs.pop(name, None)
        return self.cluster.workers.pop(name, None)

    def _job(self, name: str) -> Job:
        return self.jobs.setdefault(name, Job(name, requested=self.now()))

    def _job_name(self, worker: Any) -> Any:
        """Return the name of a worker's job: dask-jobqueue appends -0, -1 … if a job has several workers."""
        return str(worker).rpartition("-")[0] if self.processes > 1 else worker
