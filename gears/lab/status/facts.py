"""Gather the facts about a site from this host: processes and sockets themselves, and not only their records.

A process is checked by its pid and start time, a socket by a request. `lab.status.status` draws the conclusions.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gears.lab.state import Lab, Plan, Turn, Up, load_lab, load_turn, load_up, loop_alive
from gears.lab.status.model import Status, parse_status
from gears.lab.status.report import HopReport, read_hop
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.system import files
from gears.system.records import as_values
from gears.system.unix_http import TIMEOUT_S, connects, get_json

if TYPE_CHECKING:  # read only where there is a job
    from gears.lab.job.records import JobRecord

BEGINNING_S = 5.0
"""A loop that has written no record after this time was never started."""

STARTING_UP_S = 5.0
"""After this time the status reports that the user's start-up files are still running, or blocking."""


Kind = Literal["jupyter", "waiting", "refused", "closed", "silent", "other"]
"""What was found behind a socket: a lab; a waiting page; no such socket, or nothing listens; accepted, then closed
without an answer, as ssh does where the far end can't be reached; no answer in time; any other answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found behind a socket. `page`: what a waiting page shows; None where that can't be read."""

    kind: Kind
    page: Status | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found, before any conclusion."""

    loop_alive: bool
    loop_begins: bool  # its first turn is decided, and it is being started
    turn: Turn
    up: Up
    leads_to: str | None  # wait, hop, job, lab; None: nowhere
    answer: Answer
    report: HopReport | None  # of the remote command
    report_age_s: float
    starting_up: bool  # ssh is connected, and gears there has not answered for some seconds
    ssh_ended: bool  # that of this turn, which was up; the next one is not planned yet
    lab: Lab | None  # the newest record of a lab, from this host or from the home
    lab_alive: bool | None  # None: it is on another host
    job: JobRecord | None  # as last seen; None where there is no job

    @property
    def was_up(self) -> bool:
        """Return whether the current turn has reached JupyterLab."""
        return self.up.is_of(self.turn)


def gather(context: Context, answer: Answer | None = None) -> Facts:
    """Gather everything that this host shows of the site. Changes nothing.

    `answer`: what was found behind the fixed path's socket; None: probe it.
    """
    paths = context.paths
    turn = load_turn(paths)
    dialled = context.route.role == "front" and turn.plan == Plan.DIAL
    report = read_hop(paths) if dialled else None
    silent = dialled and not report and files.age_s(paths.hop_out) > STARTING_UP_S
    lab = _newest_lab(context, report)
    answer = answer or probe(paths.link)
    shared = context.site.lab.home == "shared" or context.route.role == "lab"
    up, leads, job = load_up(paths), leads_to(paths), _job(paths, report, answer, shared=shared)
    left = dialled and leads == "wait" and up.number == turn.number
    return Facts(
        loop_alive=loop_alive(paths),
        loop_begins=not paths.loop.exists() and 0 < files.age_s(paths.turn) < BEGINNING_S,
        turn=turn,
        up=up,
        answer=answer,
        report=report,
        report_age_s=files.age_s(paths.hop_out),
        starting_up=silent and connects(paths.socket("hop", turn.number)),
        ssh_ended=left and not connects(paths.socket("hop", turn.number)),
        lab=lab,
        lab_alive=lab.process.alive() if lab else False,
        leads_to=leads,
        job=job,
    )


def probe(where: Path | int, *, timeout_s: float = TIMEOUT_S) -> Answer:
    """Ask what is behind a socket, or a port of 127.0.0.1. Never raises, whatever the other end does."""
    try:
        status, content = get_json(where, "/api", timeout_s=timeout_s)
    except TimeoutError:
        return Answer("silent")
    except (ConnectionRefusedError, FileNotFoundError):
        return Answer("refused")
    except OSError:
        return Answer("closed")
    if status == 200 and "version" in content:
        return Answer("jupyter")
    if status == 503 and "gears" in content:
        return Answer("waiting", parse_status(content["gears"]))
    return Answer("other")


def _job(paths: RunDir, report: HopReport | None, answer: Answer, *, shared: bool) -> JobRecord | None:
    """Find the job's record: in the home if that is shared; else on the waiting page, in the keeper's copy, or in the
    lab host's report, in this order.
    """
    on_page = None if shared or not answer.page else answer.page.job
    reported = None if shared or not report else report.job
    if not (on_page or reported or paths.job_record.exists()):
        return None
    from gears.lab.job.records import from_values, load

    if shared:
        return _with_life(paths, load(paths))
    if on_page is None and (saved := load(paths)):
        return saved
    shown = on_page or reported
    return from_values(as_values(shown)) if shown else None


def _with_life(paths: RunDir, job: JobRecord | None) -> JobRecord | None:
    """Update the job by its life: a running job may have been suspended since the scheduler was queried."""
    from gears.lab.job.records import read_life
    from gears.schedulers.base import JobState

    if not job or not job.number or job.state != JobState.RUNNING:
        return job
    return replace(job, state=JobState.SUSPENDED) if read_life(paths, job.number).stopped else job


def _newest_lab(context: Context, report: HopReport | None) -> Lab | None:
    """Find the record of a lab: this host's, else the home's, else the one that the lab host has reported.

    Of a local site the home's record may be another machine's: then it is ignored.
    """
    for path in (context.paths.lab_here, context.paths.lab_record):
        lab = load_lab(path)
        if lab and (context.route.kind != "local" or lab.host == context.route.here):
            return lab
    return report.lab if report else None


def leads_to(paths: RunDir) -> str | None:
    """Return where the fixed path leads on this host: wait (the waiting page), hop, job or lab.

    None where the link is absent or leads to none of these.
    """
    try:
        name = os.path.basename(os.readlink(paths.link))
    except OSError:
        return None
    found = re.fullmatch(re.escape(paths.site) + r"\.(wait|hop|job|lab)\.\d+\.sck", name)
    return found[1] if found else None


def count_kernels(paths: RunDir) -> int | None:
    """Count the lab's kernels; None where it does not answer, as with a password, when there is no token."""
    token = files.read_text(paths.token).strip()
    try:
        status, content = get_json(paths.link, "/api/status", token=token)
    except OSError:
        return None
    kernels = content.get("kernels")
    return kernels if status == 200 and isinstance(kernels, int) else None
