"""What the loop of a job does next, called once between two waits of it (see `gears.turn`). Its lines:

    queue SECONDS                               wait so long, or for a word: the job starts, its tunnel is here
    dial NUMBER PAUSE NODE PID START JOB        ssh to the node, where JupyterLab has that pid and start time
    meet NUMBER PAUSE                           wait for the end of the job's own tunnel
    ask, stop                                   as for the others

The scheduler is asked as seldom as can be: what a job does it writes down itself (`records.Life`), and the keeper sees.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, replace

from gears import store
from gears.hop import why_ended
from gears.jobs import WAITING, JobState, records, scheduler, submit
from gears.jobs.records import JobRecord, Life
from gears.jobs.request import check_scheduler
from gears.jobs.watch import GONE
from gears.keeper.probe import connects
from gears.route import Route
from gears.rundir import RunDir
from gears.state import Ended, Plan, Turn, load_given_up, load_turn, save_turn, was_up

QUEUE_PAUSES_S = (3.0, 10.0, 12.0, 15.0, 20.0, 30.0, 45.0, 60.0)
"""Between two questions to the scheduler while the job waits. The first comes soon: it tells why the job waits."""

RUNNING_PAUSE_S = 60.0
"""While it runs, or is thought to: at least so long between two questions. Centres ban those who ask more often."""

ENDING_PAUSE_S = 5.0
"""While the scheduler clears a job up that has ended: some seconds (Slurm's KillWait)."""

DIAL_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0, 5.0)
MOST_REFUSALS = 3
GONE_TWICE_S = 5.0
"""A job may be unknown to its scheduler just after it was taken: only a second answer counts."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a decision looks at. `ended`: why the last ssh ended, if one did. `job`: None where there is none, or
    none of this host's."""

    last: Turn
    word: str
    job: JobRecord | None
    life: Life
    ended: Ended | None
    was_up: bool
    reach: str
    lines: int = 0  # of the life
    tunnel: bool = False  # the job's own tunnel is here
    moved: bool = False  # another login node sees to the job


def next_job_turn(route: Route, paths: RunDir, word: str) -> Turn:
    """Decide after `word`: submit (a person asks for a job), adopt (there is one), tick, news, or the exit status of
    what the loop ran. The records of the turn and of the job are written. Raises what `submit.submit` raises.
    """
    last = load_turn(paths)
    job = records.read(paths)
    elsewhere = job.host != route.here if job else word != "submit"
    if elsewhere:
        job = records.read_settled(paths)  # before it is believed that another host has it, or that all was stopped
    if word == "submit" and not (job and job.live):
        job = submit.submit(route, paths)
    if word in ("submit", "adopt") and job:
        job = replace(job, host=route.here)
    if job and job.host == route.here:
        job = follow(route, paths, job, word)
        records.write(paths, job)
    turn = plan_job_turn(_look(route, paths, last, word, job))
    save_turn(paths, turn)
    return turn


def _look(route: Route, paths: RunDir, last: Turn, word: str, job: JobRecord | None) -> Seen:
    reach = check_scheduler(route.site).reach
    up = was_up(paths, last)
    if not job or job.host != route.here:
        return Seen(last, word, None, Life(), None, up, reach, moved=job is not None)
    life, ended = records.read_life(paths, job.number), _why(paths, last, word)
    if not job.live:
        ended = why_over(paths, job, life, answered=up or last.ever_up)
    lines, tunnel = count_lines(paths, job.number), connects(paths.socket("job", job.number))
    return Seen(last, word, job, life, ended, up, reach, lines=lines, tunnel=tunnel)


def count_lines(paths: RunDir, number: int) -> int:
    """Count the whole lines of a job's life."""
    return store.read_text(paths.job_life(number)).count("\n")


def _why(paths: RunDir, last: Turn, word: str) -> Ended | None:
    if not word.lstrip("-").isdigit() or last.plan != Plan.DIAL:
        return None
    if given_up := load_given_up(paths):
        return given_up
    node = str(last.node)
    if int(word) == GONE:
        return Ended("network", f"JupyterLab on {node} has ended", None)
    ended = why_ended(int(word), store.read_text(paths.hop_err), site=paths.site, host=node, asked=False)
    return replace(ended, next=_cure(ended.kind, node, paths.site)) if ended.kind != "network" else ended


def _cure(kind: str, node: str, site: str) -> str:
    """Return what a person can do where the login node's ssh does not get into the job's node."""
    if kind.startswith("hostkey"):
        return f"ssh {node}   (ssh asks once; then: gears lab {site})"
    return f"gears stop {site}; gears lab {site} --job --reach reverse"


# --- following the job -----------------------------------------------------------------------


def follow(route: Route, paths: RunDir, job: JobRecord, word: str) -> JobRecord:
    """Return the job as it is now, and see to its successor.

    What it wrote counts and, where need be, the scheduler's word.
    """
    if not job.id:
        job = submit.settle(route, job)
    job = after_life(job, life := records.read_life(paths, job.number))
    if job.id and should_ask(job, life, word, now=time.time()):
        job = _ask(job, life)
    if not job.live and not on_purpose(life) and (job.successor or job.renew > 0):
        job = _take_over(route, paths, job)
    if job.state == JobState.RUNNING and job.renew > 0 and not job.successor:
        job = submit.submit_successor(route, paths, job)
    return job


def _take_over(route: Route, paths: RunDir, job: JobRecord) -> JobRecord:
    """Return the job that follows one that is over.

    Where its submission was too late or failed, a new one is submitted.
    """
    if not job.successor:
        job = submit.submit_successor(route, paths, job)
    if not job.successor:
        return job
    before = f"job {job.id} {job.reason or 'is over'}"
    job = submit.promote(job, job.successor)
    return replace(after_life(job, records.read_life(paths, job.number)), reason=before)


def after_life(job: JobRecord, life: Life) -> JobRecord:
    """Update the job by what it wrote itself: that it runs, where, and until when."""
    if not life.runs or not _counts(job, life) or job.state == JobState.ENDING or not job.live:
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
        ends=job.ends or store.utc_time(life.started + job.walltime_s),
    )


def _counts(job: JobRecord, life: Life) -> bool:
    """Tell whether what it wrote is of the start that counts, and not of one that the scheduler has undone."""
    return life.started > (job.requeued or 0.0)


def should_ask(job: JobRecord, life: Life, word: str, *, now: float) -> bool:
    """Tell whether it is time to ask the scheduler. Never more than once a minute for a job that runs."""
    if not job.live:
        return False
    if life.ended is not None or word == str(GONE):
        return True
    age_s = now - job.asked
    if job.known == JobState.RUNNING:
        return age_s >= RUNNING_PAUSE_S and word != "news"
    return word == "tick" or (word == "adopt" and age_s >= QUEUE_PAUSES_S[1])


def _ask(job: JobRecord, life: Life) -> JobRecord:
    found = scheduler(job.kind).query(job.id)
    asked = records.with_job(job, found)
    if found.state == JobState.GONE:
        return _gone(job, asked, life)
    if found.state in WAITING and job.known == JobState.RUNNING:  # the scheduler put it back: what it wrote is over
        return replace(asked, requeued=life.started, node=None, ends=None, gone=0.0)
    if life.ended is not None and found.state in (JobState.RUNNING, JobState.UNKNOWN) and _counts(job, life):
        return replace(asked, state=JobState.ENDED, known=JobState.ENDED, gone=0.0)
    return replace(asked, gone=0.0)


def _gone(job: JobRecord, asked: JobRecord, life: Life) -> JobRecord:
    first = job.gone or asked.asked
    if life.ended is not None or asked.asked - first >= GONE_TWICE_S or job.known == JobState.RUNNING:
        return asked
    return replace(job, gone=first, asked=asked.asked)


def on_purpose(life: Life) -> bool:
    """Tell whether a person shut JupyterLab down: it ended well, and nobody sent the job a signal."""
    return life.ended == 0 and life.signal == "-"


# --- deciding: pure --------------------------------------------------------------------------


def plan_job_turn(seen: Seen) -> Turn:
    """Plan the next turn. A job that is over is not submitted again but by its successor or by a person."""
    last, job = seen.last, seen.job
    met = last.plan == Plan.MEET and seen.word.isdigit()
    turn = Turn(
        number=last.number + 1,
        what="job",
        ended=seen.ended,
        pause_s=1.0 if met else 0.0,
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
    ready = seen.tunnel if seen.reach == "reverse" else _new_lab(seen.life, turn.lost)
    if seen.reach == "reverse" and job.known == JobState.RUNNING:
        turn = replace(turn, socket=job.number)  # in place of the turn's: it does not change while the job lives
    if job.known != JobState.RUNNING or not ready:
        return _wait(turn, seen, job)
    return _dial(turn, seen, job) if seen.reach == "ssh" else replace(turn, plan=Plan.MEET)


def _new_lab(life: Life, lost: str | None) -> bool:
    """Tell whether JupyterLab was started in the job, and is not the one that was seen to be gone."""
    return life.lab is not None and life.lab[0] != lost


def _wait(turn: Turn, seen: Seen, job: JobRecord) -> Turn:
    """Plan a wait: in the queue, or for JupyterLab's start in the job, its tunnel, or the end of what is left of it."""
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


# --- saying why ------------------------------------------------------------------------------


def why_over(paths: RunDir, job: JobRecord, life: Life, *, answered: bool) -> Ended:
    """Say why a job is over, in the scheduler's words where it has some, and the end of its log where that may help."""
    reason = job.reason or _by_life(job, life)
    said = store.read_text(paths.job_log(job.number)) or store.read_text(paths.job_out(job.number))
    lines = [line for line in said.splitlines() if line.strip()]
    tail = "" if not lines or (answered and life.ended in (0, None)) else ":\n" + "\n".join(lines[-5:])
    trouble = f" ({job.trouble})" if job.trouble else ""
    return Ended("job", f"job {job.id or '-'}: {reason}{trouble}{tail}", f"gears lab {paths.site} --job")


def _by_life(job: JobRecord, life: Life) -> str:
    if life.started and time.time() >= life.started + job.walltime_s:
        return "ended by its walltime"
    if life.signal != "-":
        return f"ended by a signal ({life.signal})"
    if life.ended is not None:
        return f"JupyterLab ended with {life.ended}"
    return "the scheduler does not know it any more"


# --- carrying out ----------------------------------------------------------------------------


def line(turn: Turn) -> str:
    """Format a queue, dial or meet turn as the line that the loop is told."""
    match turn.plan:
        case Plan.QUEUE:
            return f"queue {turn.pause_s}"
        case Plan.DIAL:
            words = (turn.number, turn.pause_s, turn.node, turn.pid, turn.start, turn.job)
            return "dial " + " ".join(map(str, words))
    return f"meet {turn.number} {turn.pause_s}"


def clear_sockets(route: Route, paths: RunDir, turn: Turn) -> None:
    """Remove, before the loop waits or dials, each socket of a connection that ended: none is in the way of the next.

    sshd leaves the socket of a reverse tunnel behind, and would not bind it again; one that lives is kept, since the
    job need not notice that a loop was started anew. The job is told to tunnel to this host, if another stands there.
    """
    store.ensure_fifo(paths.meet_fifo)
    assert turn.job is not None
    lives = paths.socket("job", turn.job) if turn.plan != Plan.DIAL and not turn.ended_meeting else None
    for stale in paths.local.glob(f"{paths.site}.job.*.sck"):
        if stale != lives or not connects(stale):
            stale.unlink(missing_ok=True)
    aim = paths.job_meet(turn.job)
    if store.read_text(aim).strip() != route.here:
        store.write_private(aim, route.here + "\n")
