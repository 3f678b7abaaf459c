"""What is known of transfers: the records, and what processes, hosts and schedulers say of them."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from gears.data import batch, records
from gears.data.planning import again
from gears.data.records import UNDER_WAY, Task, TaskState, Transfer
from gears.errors import NothingRunning
from gears.schedulers.base import OVER, WAITING, Job, JobState
from gears.sites.context import Context
from gears.system import processes
from gears.system.processes import Process

SIGN_S = 150.0
"""A worker on another host that has not written for so long is lost. It writes every 30 s at least; clocks differ."""
START_S = 60.0
"""How long a start or a submission may take."""
ASK_EVERY_S = 30.0
"""How often who watches asks the scheduler of the same job: administrators ban users who query constantly."""


class Answers:
    """What the scheduler has said of jobs, kept for ASK_EVERY_S, or until the record of the task says something new."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[float, Job]] = {}

    def ask(self, key: tuple[str, ...], query: Callable[[], Job]) -> Job:
        """Return the answer to a query, a new one if it is time."""
        now = time.monotonic()
        if key not in self._known or now - self._known[key][0] >= ASK_EVERY_S:
            self._known[key] = now, query()
        return self._known[key][1]


@dataclass(frozen=True, slots=True)
class Shown:
    """A transfer as it is. `state`, `reason`, `next`: concluded, not as recorded; `job`: of the scheduler."""

    transfer: Transfer
    task: Task | None
    state: TaskState
    reason: str = ""
    next: str = ""
    job: Job | None = None
    follows: str = ""  # the id of the job that goes on

    @property
    def under_way(self) -> bool:
        """Tell whether something is, or will be, done by itself."""
        return self.state in UNDER_WAY and not (self.task and self.task.ended)


def find(context: Context, name: str, answers: Answers | None = None) -> Shown:
    """Return a transfer. `answers`: of earlier looks. Raises NothingRunning for an unknown name."""
    transfer = records.load_transfer(context.paths, name)
    if transfer is None:
        site = context.site.name
        raise NothingRunning(f"{site} has no transfer {name}", next=f"gears data list --site {site}")
    return look(context, transfer, answers)


def every(context: Context, answers: Answers | None = None) -> list[Shown]:
    """Return all transfers of the site, by name."""
    return [look(context, transfer, answers) for transfer in records.all_transfers(context.paths)]


def look(context: Context, transfer: Transfer, answers: Answers | None = None) -> Shown:
    """Conclude how a transfer is. Can query the scheduler once or twice. Read again if it ended meanwhile."""
    task = records.load_task(context.paths, transfer.name)
    answers = answers or Answers()
    shown = _conclude(context, transfer, task, answers)
    if shown.state is TaskState.LOST and (now := records.load_task(context.paths, transfer.name)) != task:
        shown = _conclude(context, transfer, now, answers)
    return shown


def _conclude(context: Context, transfer: Transfer, task: Task | None, answers: Answers) -> Shown:
    if task is None:
        return _lost(context, Shown(transfer, None, TaskState.LOST), "it was never started")
    shown = Shown(transfer, task, task.state, task.reason, task.next)
    if task.ended or task.state not in UNDER_WAY:
        return shown
    if task.batch:
        return _by_job(context, shown, task, answers)
    return _by_process(context, shown, task)


def _lost(context: Context, shown: Shown, reason: str) -> Shown:
    verb = shown.task.verb if shown.task else None
    command = again(shown.transfer, context.site.name, verb)
    return replace(shown, state=TaskState.LOST, reason=reason, next=command)


# --- in tmux or in the foreground --------------------------------------------------------------


def _by_process(context: Context, shown: Shown, task: Task) -> Shown:
    loop = processes.read(batch.loop_path(context.paths, shown.transfer.name)) if task.job_name else None
    if not task.pid:
        begun = (loop and loop.alive() is not False) or _age_s(task.queued) < START_S
        return shown if begun else _lost(context, shown, "it did not start")
    alive = Process(task.host, task.pid, task.started_ticks).alive()
    if alive or (alive is None and _age_s(task.updated) < SIGN_S):
        return shown
    if alive is None:
        return _lost(context, shown, f"{task.host} has given no sign of it since {task.updated}")
    if loop and loop.alive():
        return replace(shown, reason="its worker was killed and is started again")
    return _lost(context, shown, f"its process on {task.host} was killed")


# --- in a batch job --------------------------------------------------------------------------


def _by_job(context: Context, shown: Shown, task: Task, answers: Answers) -> Shown:
    """Conclude from the job, and from the one that goes on where that has ended."""
    names = [name for name in (task.job_name, task.successor_name) if name]
    asked = shown.transfer.name, task.state, task.started
    found = [answers.ask((*asked, name), partial(_query, context, shown, task, name)) for name in names]
    job = found[0]
    live = [one for one in found if one.state not in OVER]
    follows = found[1].id if len(found) > 1 and found[1].state not in OVER else ""
    shown = replace(shown, job=job, follows=follows)
    if job.state is JobState.UNKNOWN:
        fresh = task.state is TaskState.RUNNING and _age_s(task.updated) < SIGN_S
        return replace(shown, state=shown.state if fresh else TaskState.UNKNOWN, reason=job.reason)
    if not live:
        if task.state is TaskState.PAUSED or job.state is JobState.GONE:
            return _lost(context, shown, f"job {job.id} has ended, and no other one goes on")
        return _lost(context, shown, f"job {job.id}: {job.reason or job.word}")
    if job.state in OVER:
        job, follows = live[0], ""
        shown = replace(shown, job=job, follows=follows)
    if job.state in WAITING:
        return replace(shown, state=TaskState.QUEUED, reason=job.reason)
    return shown


def _query(context: Context, shown: Shown, task: Task, job_name: str) -> Job:
    """Query a job by its id, or find it by its name after an interrupted submission."""
    id = batch.find(context.site, context.paths, shown.transfer.name, job_name)
    if id is None:
        return Job("", JobState.UNKNOWN, reason="the scheduler does not answer")
    if not id:
        new = _age_s(task.queued) < START_S and not task.started
        return Job("", JobState.SUBMITTING if new else JobState.GONE)
    return batch.query(context.site, id)


def _age_s(when: str) -> float:
    """Return how long ago a time in a record was; very long for none."""
    try:
        return time.time() - calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return float("inf")
