"""Decide what the loop of a job does next, once between two waits (see `gears.lab.supervisor.step`). Its lines:

    queue SECONDS                               wait so long, or for a word: the job has started, its tunnel is up
    dial NUMBER PAUSE NODE PID START JOB        ssh to the node, where JupyterLab has that pid and start time
    meet NUMBER PAUSE JOB                       wait for the end of the job's own tunnel
    ask, stop                                   as for the others

The scheduler is queried rarely: a job records what it does itself (`records.Life`), and the keeper reads that.
"""

from __future__ import annotations

import time
from dataclasses import replace

from gears.lab.job import records, submit
from gears.lab.job.options import check_scheduler
from gears.lab.job.records import JobRecord, Life
from gears.lab.job.wait_for_exit import GONE
from gears.lab.state import Plan, Turn, load_given_up, load_turn, load_up, save_turn
from gears.lab.supervisor.job_policy import Seen, after_life, counts, on_purpose, plan_job_turn, should_ask
from gears.schedulers.base import WAITING, JobState, scheduler
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.ssh.failures import Failure, explain_failure
from gears.system import files
from gears.system.unix_http import connects

GONE_TWICE_S = 5.0
"""A scheduler may not know a job just after accepting it: only a second answer counts."""


def next_job_turn(context: Context, word: str) -> Turn:
    """Decide after `word`: submit (a job is requested), adopt (there is one), tick, news, or the exit status of what
    the loop ran. Writes the records of the turn and of the job. Raises what `submit.submit` raises.
    """
    route, paths = context.route, context.paths
    last = load_turn(paths)
    job = records.read(paths)
    elsewhere = job.host != route.here if job else word != "submit"
    if elsewhere:
        job = records.read_settled(paths)  # before concluding that another host has it, or that it was stopped
    if word == "submit" and not (job and job.live):
        job = submit.submit(context)
    if word in ("submit", "adopt") and job:
        job = replace(job, host=route.here)
    number = job.number if job else 0
    lines = count_lines(paths, number)  # first: what is written from now on is news to the keeper
    if job and job.host == route.here:
        job = follow(context, job, word)
        records.write(paths, job)
    turn = plan_job_turn(_look(context, last, word, job, lines=lines if job and job.number == number else 0))
    save_turn(paths, turn)
    return turn


def _look(context: Context, last: Turn, word: str, job: JobRecord | None, *, lines: int) -> Seen:
    paths = context.paths
    reach = check_scheduler(context.site).reach
    up = load_up(paths).is_of(last)
    if not job or job.host != context.route.here:
        return Seen(last, word, None, Life(), None, up, reach, moved=job is not None)
    life, ended = records.read_life(paths, job.number), _explain_end(paths, last, word)
    if not job.live:
        ended = why_over(paths, job, life, answered=up or last.ever_up)
    tunnel = connects(paths.socket("job", job.number))
    return Seen(last, word, job, life, ended, up, reach, lines=lines, tunnel=tunnel)


def count_lines(paths: RunDir, number: int) -> int:
    """Count the complete lines of a job's life."""
    return files.read_text(paths.job_life(number)).count("\n")


def _explain_end(paths: RunDir, last: Turn, word: str) -> Failure | None:
    if not word.lstrip("-").isdigit() or last.plan != Plan.DIAL:
        return None
    if given_up := load_given_up(paths):
        return given_up
    node = str(last.node)
    if int(word) == GONE:
        return Failure("network", f"JupyterLab on {node} has ended", None)
    ended = explain_failure(int(word), files.read_text(paths.hop_err), site=paths.site, host=node, interactive=False)
    return replace(ended, next=_fix(ended.kind, node, paths.site)) if ended.kind != "network" else ended


def _fix(kind: str, node: str, site: str) -> str:
    """Return the command to run where ssh from the login node to the job's node fails."""
    if kind.startswith("hostkey"):
        return f"ssh {node}   (ssh asks once; then: gears lab {site})"
    return f"gears stop {site}; gears lab {site} --job --reach reverse"


# --- following the job -----------------------------------------------------------------------


def follow(context: Context, job: JobRecord, word: str) -> JobRecord:
    """Return the job as it is now, by its life and if needed by the scheduler; submit a successor if due."""
    if not job.id:
        job = submit.settle(context.route, job)
    job = after_life(job, life := records.read_life(context.paths, job.number))
    if job.id and should_ask(job, life, word, now=time.time()):
        job = _ask(job, life)
    if not job.live and not on_purpose(life) and (job.successor or job.renew > 0):
        job = _take_over(context, job)
    if job.state == JobState.RUNNING and job.renew > 0 and not job.successor:
        job = submit.submit_successor(context, job)
    return job


def _take_over(context: Context, job: JobRecord) -> JobRecord:
    """Return the job that follows one that has ended.

    Where it was not submitted in time, a new one is submitted.
    """
    if not job.successor:
        job = submit.submit_successor(context, job)
    if not job.successor:
        return job
    before = f"job {job.id} {job.reason or 'has ended'}"
    job = submit.promote(job, job.successor)
    return replace(after_life(job, records.read_life(context.paths, job.number)), reason=before)


def _ask(job: JobRecord, life: Life) -> JobRecord:
    found = scheduler(job.kind).query(job.id)
    asked = records.with_job(job, found)
    if found.state == JobState.GONE:
        return _when_gone(job, asked, life)
    if found.state in WAITING and job.known == JobState.RUNNING:  # requeued: its life so far does not count
        return replace(asked, requeued=life.started, node=None, ends=None, gone=0.0)
    if life.ended is not None and found.state in (JobState.RUNNING, JobState.UNKNOWN) and counts(job, life):
        return replace(asked, state=JobState.ENDED, known=JobState.ENDED, gone=0.0)
    return replace(asked, gone=0.0)


def _when_gone(job: JobRecord, asked: JobRecord, life: Life) -> JobRecord:
    first = job.gone or asked.asked
    if life.ended is not None or asked.asked - first >= GONE_TWICE_S or job.known == JobState.RUNNING:
        return asked
    return replace(job, gone=first, asked=asked.asked)


# --- saying why ------------------------------------------------------------------------------


def why_over(paths: RunDir, job: JobRecord, life: Life, *, answered: bool) -> Failure:
    """Explain why a job has ended: the scheduler's reason, if any, and the end of its log where that helps."""
    reason = job.reason or _reason_from_life(job, life)
    output = files.read_text(paths.job_log(job.number)) or files.read_text(paths.job_out(job.number))
    lines = [line for line in output.splitlines() if line.strip()]
    tail = "" if not lines or (answered and life.ended in (0, None)) else ":\n" + "\n".join(lines[-5:])
    trouble = f" ({job.trouble})" if job.trouble else ""
    return Failure("job", f"job {job.id or '-'}: {reason}{trouble}{tail}", f"gears lab {paths.site} --job")


def _reason_from_life(job: JobRecord, life: Life) -> str:
    if life.started and time.time() >= life.started + job.walltime_s:
        return "ended by its walltime"
    if life.signal != "-":
        return f"ended by a signal ({life.signal})"
    if life.ended is not None:
        return f"JupyterLab ended with {life.ended}"
    return "the scheduler no longer knows it"


# --- carrying out ----------------------------------------------------------------------------


def line(turn: Turn) -> str:
    """Format a queue, dial or meet turn as the line for the loop."""
    match turn.plan:
        case Plan.QUEUE:
            return f"queue {turn.pause_s}"
        case Plan.DIAL:
            words = (turn.number, turn.pause_s, turn.node, turn.pid, turn.start, turn.job)
            return "dial " + " ".join(map(str, words))
    return f"meet {turn.number} {turn.pause_s} {turn.job}"


def clear_sockets(context: Context, turn: Turn) -> None:
    """Remove the sockets and fifos of connections that have ended, before the loop waits or dials.

    sshd leaves the socket of a reverse tunnel behind, and can't bind it again. A socket in use is kept, so that a new
    loop does not disturb the job, but not that of a tunnel that has ended: its sshd may live on for a while. The job is
    directed to tunnel to this host, if it tunnels to another.
    """
    paths = context.paths
    assert turn.job is not None
    for number in range(max(1, turn.job - records.MOST_SAVED), turn.job):
        paths.meet_fifo(number).unlink(missing_ok=True)
    files.ensure_fifo(paths.meet_fifo(turn.job))
    ended = paths.socket("job", turn.ended_meeting)
    for socket in paths.local.glob(f"{paths.site}.job.*.sck"):
        if turn.plan == Plan.DIAL or socket == ended or not connects(socket):
            socket.unlink(missing_ok=True)
    target = paths.job_meet(turn.job)
    if files.read_text(target).strip() != context.route.here:
        files.write_private(target, context.route.here + "\n")
