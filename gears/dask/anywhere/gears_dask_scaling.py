"""How many jobs a cluster has: as many as its work wants, whole jobs only, and none is closed that works.

Dask's own adaptive scaling counts workers. Where a job has several it closes one of them, and the batch system the
others in the middle of their work; after three such losses a task is given up (KilledWorker). It never replaces a job
whose workers have gone, and asks again every second where the batch system refuses. So the counting here is of jobs.
For a cluster without a batch system a job is one worker.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

LOST_S = 10.0
"""After so long without any of its workers a job is over: Dask itself starts a worker again within a few seconds."""

HAND_OVER_S = 300.0
"""So long before the workers of a job leave another job is asked for: it may wait in the queue, and has to start."""

PAUSES_S = (10.0, 30.0, 60.0, 120.0, 300.0)
"""Before the batch system is asked again after it has refused, each time longer."""


@dataclass
class Job:
    """`id`: of the batch system; "" while it is submitted. `came`: when its first worker did. `idle_since`: since when
    it has nothing to do, or is not needed while it waits; None: it works."""

    name: str
    id: str = ""
    asked: float = 0.0
    came: float | None = None
    gone_since: float | None = None
    idle_since: float | None = None
    workers: int = 0
    busy: bool = False
    held: int = 0
    limit: int = 0


def choose(jobs: Iterable[Job], want: int, most: int, idle_s: float, now: float) -> list[str]:
    """Choose the jobs to close, of all there are, so that `want` are left. Pure.

    One that waits or has nothing to do goes first, once that has been so for `idle_s`; its data must have room in what
    is left. What is above `most`, which a person has set, goes at once, at work or not.
    """
    every = sorted(jobs, key=lambda job: (job.came is not None, job.busy, job.held, -job.asked))
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
    """What the batch system said when it refused, and until when it is not asked again."""

    message: str = ""
    since: float = 0.0
    count: int = 0
    until: float = 0.0

    def met(self, message: str, now: float) -> None:
        """Note a refusal. Where several jobs are refused at once each is noted, and the pause is that of one."""
        self.message, self.since = message, self.since or now
        if now >= self.until:
            self.until = now + PAUSES_S[min(self.count, len(PAUSES_S) - 1)]
            self.count += 1

    def over(self) -> None:
        """Forget all refusals: the batch system may be asked at once."""
        self.message, self.count, self.since, self.until = "", 0, 0.0, 0.0


@dataclass
class Scaling:
    """The jobs of one `SpecCluster`, whose scheduler is in this process. `step` is to be called every second.

    `life_s`: after so long the workers of a job may leave, since its walltime is near. Somebody has to be there to whom
    they hand what they hold, or all of it is computed again; so another job is asked for in time.
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
        """Submit or close jobs as the work wants. `minimum`, `maximum`: of workers.

        Closing jobs may take some seconds, while their data is handed on.
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
            more = 1 if self.trouble.message else want - len(staying)  # after a refusal, one tells whether it is over
            self._add(min(more, self.most_jobs - len(self.jobs)))
        elif want < len(staying):
            await self._close(choose(staying, want, most, self.idle_s, now))
        else:
            self._keep_waiting()

    # --- what the cluster's own jobs tell (see gears_dask_owner.watched) -------------------------

    def submitted(self, name: str, id: str) -> None:
        """Note the id that the batch system has given to a job."""
        self.counts["submitted"] += 1
        self._job(name).id = id

    def refused(self, name: str, words: str) -> None:
        """Forget a job that the batch system has refused, with its words, and wait before the next."""
        self.counts["refused"] += 1
        self._drop(name)
        self.trouble.met(words, self.now())

    async def ended(self, name: str, why: str) -> None:
        """End a job that the batch system says is over, and of which no worker has ever come."""
        await self._forget(name)
        self.trouble.met(why, self.now())

    def waiting(self) -> list[Job]:
        """List the submitted jobs of which no worker has come yet."""
        return [job for job in self.jobs.values() if job.came is None and job.id]

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
            if job.came is None:
                self.trouble.over()
            job.came, job.gone_since = job.came or now, None
        elif job.came is not None:
            job.gone_since = job.gone_since or now
        job.idle_since = None if job.busy else job.idle_since or now

    def _leaves(self, job: Job, now: float) -> bool:
        if self.life_s is None or job.came is None:
            return False
        return now - job.came >= self.life_s - min(HAND_OVER_S, self.life_s / 4)

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
        """Do not count jobs as idle that wait and are needed."""
        for job in self.jobs.values():
            if job.came is None:
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
        """End a job in the batch system too, in whatever state it is there."""
        job = self._drop(name)
        if job is not None:
            await job.close()

    def _drop(self, name: str) -> Any:
        self.cluster._i += 1  # a name is used once: a worker of the former may still say goodbye
        self.cluster.worker_spec.pop(name, None)
        self.jobs.pop(name, None)
        return self.cluster.workers.pop(name, None)

    def _job(self, name: str) -> Job:
        return self.jobs.setdefault(name, Job(name, asked=self.now()))

    def _job_name(self, worker: Any) -> Any:
        """Return the name of a worker's job.

        dask-jobqueue calls the workers of one job by its name, with -0, -1 … behind where there are several.
        """
        return str(worker).rpartition("-")[0] if self.processes > 1 else worker
