"""Conclude the status of a site whose lab is a job; see `gears.lab.status.status`."""

from __future__ import annotations

import calendar
import time
from dataclasses import fields

from gears.errors import ProfileError
from gears.lab.job.records import JobRecord
from gears.lab.state import Plan
from gears.lab.status.facts import Facts
from gears.lab.status.model import Hop, ShownJob, State, Step, StepState
from gears.schedulers.base import JobState
from gears.sites.load import from_json
from gears.sites.route import Route
from gears.ssh.failures import FORBIDDING

Verdict = tuple[State, str | None, str | None]


def job_state(route: Route, facts: Facts, job: JobRecord) -> Verdict:
    """Conclude a lab's state, reason and next command, on the login node.

    The scheduler is not queried: its last answer is in the job's record.
    """
    site = route.site.name
    ended = facts.turn.ended
    if facts.answer.kind == "jupyter":
        return State.UP, warning(job), None
    if not (facts.loop_alive or facts.loop_begins):
        return _not_followed(route, job)
    if facts.turn.plan == Plan.ASK:
        return State.FAILED, facts.turn.reason, facts.turn.next or f"gears lab {site} --job"
    if job.known != JobState.RUNNING:
        return (State.UNKNOWN if job.state == JobState.UNKNOWN else State.QUEUED), in_queue(job), None
    if facts.turn.plan == Plan.QUEUE:
        return State.STARTING, f"job {job.id} runs on {job.node}: JupyterLab is being started there", None
    if facts.answer.kind == "silent" or (ended and facts.turn.ever_up):
        return State.UNKNOWN, facts.turn.reason or f"{job.node} does not answer", None
    if _closed_for_good(facts, job):
        reason = (
            f"sshd on {job.node} forbids forwarding to sockets ({FORBIDDING}), or its {route.site.local} is private"
        )
        return State.FAILED, reason, f"gears stop {site}; gears lab {site} --job --reach reverse"
    return State.STARTING, facts.turn.reason, None


def _not_followed(route: Route, job: JobRecord) -> Verdict:
    site, host = route.site.name, job.host
    if not job.live:
        return over(site, job)
    if host == route.here:
        return State.UNKNOWN, f"job {job.id} is not monitored from {host}", f"gears lab {site}"
    return State.UNKNOWN, f"job {job.id} is monitored from {host}", f"ssh {host}   (there: gears status {site})"


def over(site: str, job: JobRecord) -> Verdict:
    """Return the verdict on a job that has ended, where no loop has said more about it."""
    return State.FAILED, f"job {job.id}: {job.reason or 'has ended'}", f"gears lab {site} --job"


def in_queue(job: JobRecord) -> str:
    """Describe a waiting job in a sentence."""
    if job.state == JobState.SUBMITTING:
        return "the job is being submitted"
    reason = job.reason or "waiting in the queue"
    place = f", place {job.position}" if job.position else ""
    starts = f", expected to start {job.starts}" if job.starts else ""
    return f"job {job.id}: {reason}{place}{starts}; submitted {job.submitted}"


def suspended(job: JobRecord) -> str:
    """Describe a suspended job, while JupyterLab is stopped and does not answer."""
    return f"job {job.id} is suspended on {job.node}: JupyterLab continues when the scheduler resumes it"


def _carries(job: JobRecord) -> bool:
    try:
        return bool(job.profile) and from_json(job.profile).carry.on
    except ProfileError:  # of another version of gears
        return False


SOON_S = 600
"""A job is warned of when it ends within this time, or is in its last quarter if it is shorter."""


def warning(job: JobRecord) -> str | None:
    """Warn, while JupyterLab is up, that its job ends soon or that no job will take over; None where neither holds."""
    left_s = seconds_left(job.ends)
    trouble = job.trouble or None
    if left_s is None or left_s > min(SOON_S, (job.walltime_s or SOON_S) / 4):
        return trouble
    variables = "and gets your variables" if _carries(job) else "without your variables"
    what = f"the next job takes over, {variables}" if job.successor else "save your work"
    return f"job {job.id} ends in {max(0, left_s) // 60} min: {what}" + (f"; {trouble}" if trouble else "")


def seconds_left(ends: str | None) -> int | None:
    """Return the seconds until a job is ended by its walltime; None where `ends` is no time in ISO 8601, UTC."""
    try:
        end = calendar.timegm(time.strptime(str(ends), "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return None
    return int(end - time.time())


def _closed_for_good(facts: Facts, job: JobRecord) -> bool:
    """Return whether JupyterLab listens by its record, the connection to its node is up, and it leads nowhere."""
    serves = facts.lab is not None and facts.lab.job == job.number and not facts.was_up
    return facts.turn.plan == Plan.DIAL and facts.answer.kind == "closed" and serves


def shown(job: JobRecord) -> ShownJob:
    """Return what is shown of a job's record."""
    values = {field.name: getattr(job, field.name) for field in fields(ShownJob)}
    return ShownJob(**values | {"variables": job.variables or (), "successor": job.successor and job.successor.id})


def job_hop(route: Route, facts: Facts, node: str) -> Hop:
    """Describe the connection from the login node to the job's node: up, connecting or stopped."""
    up = facts.was_up and facts.loop_alive
    connecting = facts.turn.plan in (Plan.DIAL, Plan.MEET)
    return Hop(
        source=route.here,
        target=node,
        state=State.UP if up else State.CONNECTING if connecting else State.STOPPED,
        since=facts.up.since if up else None,
        reconnects=facts.up.reconnects,
    )


def step(job: JobRecord) -> Step:
    """Describe the job in a line of the waiting page."""
    what = f"job {job.id}".rstrip() + (f" in queue {job.queue}" if job.queue else "")
    if job.state == JobState.RUNNING:
        return Step(f"{what}: runs on {job.node} until {job.ends}", StepState.UP)
    return Step(f"{what}: {job.state}", StepState.TRYING if job.live else StepState.FAILED)


def as_line(job: ShownJob) -> str:
    """Format a job for a terminal."""
    words = [f"{job.id} {job.state}" + (f" on {job.node}" if job.node else "")]
    if (left_s := seconds_left(job.ends)) is not None and job.state == JobState.RUNNING:
        words.append(f"ends {job.ends} ({max(0, left_s) // 3600} h {max(0, left_s) // 60 % 60:02d} min left)")
    if job.starts:
        words.append(f"expected to start {job.starts}")
    if job.renew:
        words.append(
            f"renewed up to {job.renew} more times" + (f", next by job {job.successor}" if job.successor else "")
        )
    return ", ".join(words + [f"with your {variable}" for variable in job.variables])
