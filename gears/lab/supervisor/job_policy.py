"""Plan what the loop of a job does next. Pure."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from gears.lab.job.records import JobRecord, Life
from gears.lab.job.wait_for_exit import GONE
from gears.lab.state import Plan, Turn
from gears.schedulers.base import JobState
from gears.ssh.failures import Failure
from gears.system import timestamps

QUEUE_PAUSES_S = (3.0, 10.0, 12.0, 15.0, 20.0, 30.0, 45.0, 60.0)
"""Pauses between queries to the scheduler while the job waits. The first is short: it shows why the job waits."""

RUNNING_PAUSE_S = 60.0
"""Minimum pause between queries while the job runs. Centres block users who query more often."""

ENDING_PAUSE_S = 5.0
"""Pause while the scheduler cleans up a job that has ended: some seconds (Slurm's KillWait)."""

DIAL_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 5.0)

MOST_REFUSALS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """The input of a decision. `ended`: why the last ssh ended, if one did. `job`: None where this host has none."""

    last: Turn
    word: str
    job: JobRecord | None
    life: Life
    ended: Failure | None
    was_up: bool
    reach: str
    lines: int = 0  # of the life
    tunnel: bool = False  # the job's own tunnel is up
    moved: bool = False  # another login node monitors the job


def after_life(job: JobRecord, life: Life) -> JobRecord:
    """Update the job from its life: that it runs, where, and until when."""
    if not life.runs or not counts(job, life) or job.state == JobState.ENDING or not job.live:
        return job
    return replace(
        job,
        state=JobState.RUNNING,
        known=JobState.RUNNING,
        word="",
        reason="",
        position=None,
        node=life.host,
        starts=None,
        ends=job.ends or timestamps.utc_time(life.started + job.walltime_s),
    )


def should_ask(job: JobRecord, life: Life, word: str, *, now: float) -> bool:
    """Return whether to query the scheduler now: at most once a minute for a running job."""
    if not job.live:
        return False
    if life.ended is not None or word == str(GONE):
        return True
    age_s = now - job.asked
    if job.known == JobState.RUNNING:
        return age_s >= RUNNING_PAUSE_S and word != "news"
    return word == "tick" or (word == "adopt" and age_s >= QUEUE_PAUSES_S[1])


def on_purpose(life: Life) -> bool:
    """Return whether the user shut JupyterLab down: it exited with 0, and the job got no signal."""
    return life.ended == 0 and life.signal == "-"


def plan_job_turn(seen: Seen) -> Turn:
    """Plan the next turn. A job that has ended is replaced only by its successor, or on request."""
    last, job = seen.last, seen.job
    met = last.job or 0 if last.plan == Plan.MEET and seen.word.isdigit() else 0
    turn = Turn(
        number=last.number + 1,
        what="job",
        ended=seen.ended,
        ever_up=seen.was_up or (last.ever_up and seen.word != "submit"),
        lines=seen.lines,
        job=job.number if job else None,
        ended_meeting=met,
    )
    if not job:
        return replace(turn, plan=Plan.STOP, why="moved" if seen.moved else "stopped")
    if not job.live:
        over = on_purpose(seen.life)
        return replace(turn, plan=Plan.STOP, why="shut down") if over else replace(turn, plan=Plan.ASK)
    turn = replace(turn, lost=last.pid if seen.word == str(GONE) else last.lost)
    tunnel = seen.tunnel and job.number != met  # the socket of one that has just ended can still accept connections
    ready = tunnel if seen.reach == "reverse" else _new_lab(seen.life, turn.lost)
    if seen.reach == "reverse" and job.known == JobState.RUNNING:
        turn = replace(turn, socket=job.number)  # instead of the turn's: it does not change while the job lives
    if job.known != JobState.RUNNING or not ready:
        return _wait(turn, seen, job)
    return _dial(turn, seen, job) if seen.reach == "ssh" else replace(turn, plan=Plan.MEET)


def _new_lab(life: Life, lost: str | None) -> bool:
    """Return whether JupyterLab was started in the job, and is not the one known to have ended."""
    return life.lab is not None and life.lab[0] != lost


def _wait(turn: Turn, seen: Seen, job: JobRecord) -> Turn:
    """Plan a wait: in the queue, or for JupyterLab's start in the job, for its tunnel, or for the job's end."""
    last = seen.last
    waited = last.plan == Plan.QUEUE and last.job == job.number
    polls = last.polls + (seen.word == "tick") if waited else 0
    turn = replace(turn, plan=Plan.QUEUE, polls=polls)
    if job.known == JobState.ENDING:
        return replace(turn, pause_s=ENDING_PAUSE_S)
    if job.known == JobState.RUNNING:
        return replace(turn, pause_s=RUNNING_PAUSE_S)
    pause_s = QUEUE_PAUSES_S[min(polls, len(QUEUE_PAUSES_S) - 1)]
    return replace(turn, pause_s=math.ceil(pause_s * random.uniform(1.0, 1.2) * 10) / 10)


def _dial(turn: Turn, seen: Seen, job: JobRecord) -> Turn:
    failures = 0 if seen.was_up or seen.ended is None else seen.last.failures + 1
    refused = seen.ended is not None and seen.ended.kind != "network"
    if refused and failures > MOST_REFUSALS:
        return replace(turn, plan=Plan.ASK)
    pause_s = DIAL_PAUSES_S[min(failures, len(DIAL_PAUSES_S) - 1)] * random.uniform(0.8, 1.2)
    pid, start = seen.life.lab or ("", "")
    return replace(
        turn,
        plan=Plan.DIAL,
        how="batch",
        failures=failures,
        pause_s=round(pause_s, 2),
        node=job.node,
        pid=pid,
        start=start,
    )


def counts(job: JobRecord, life: Life) -> bool:
    """Return whether the life is of the current start, and not of one before the scheduler requeued the job."""
    return life.started > (job.requeued or 0.0)
