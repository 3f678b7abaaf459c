"""What is known of a site's job, on disk: the record of the login node, and the life that the job itself writes down.

The record (run/<site>/job.json) is there while JupyterLab is, or should be, a job. The life (run/<site>/job.N.life) is
made by whoever submits number N, empty, and only added to by the job: reading it means opening it anew, so that on NFS
what another host wrote is seen (nfs(5), close-to-open).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

from gears.schedulers.base import OVER, SUBMIT_S, Job, JobState
from gears.sites import validators
from gears.sites.paths import RunDir
from gears.system import files
from gears.system.records import as_values, parse

TOLD_S = SUBMIT_S + 30
"""After so long a submission that was begun has ended, or its submitter has."""

SETTLE_S = 1.2
"""What another host wrote to a shared home is seen after this time; mounts that take longer check a file as it is
opened (nfs(5), close-to-open)."""

KEPT = 3
"""Logs and lives of so many jobs stay."""

UNSAID = ("variables", "requeued")
"""What has no key in a record while it is None, as before a job is submitted."""


@dataclass(frozen=True, slots=True)
class Successor:
    """The job that waits for the end of another. `id` is empty until it is submitted; of a copy that was shown, only
    that is known."""

    number: int = 0
    name: str = ""
    id: str = ""
    variables: tuple[str, ...] | None = None
    clusters: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job of ours: what was asked for, what its scheduler said last, who sees to it. Changed by `replace`.

    Copies that were shown (`conclude.shown`) are read as one too: what they lack has its default, `number` is 0.
    Times are ISO 8601, UTC, or seconds since 1970.
    """

    number: int = 0
    name: str = ""
    id: str  # the scheduler's; empty until it is submitted
    kind: str = ""  # of scheduler
    host: str = ""  # the login node that sees to it
    state: JobState = JobState.UNKNOWN
    known: JobState = JobState.UNKNOWN  # the state when the scheduler could last be asked
    word: str = ""
    reason: str = ""
    position: int | None = None
    node: str | None = None
    starts: str | None = None
    ends: str | None = None
    submitted: str = ""
    begun: float = 0.0  # its submission
    asked: float = 0.0  # the scheduler, last
    walltime_s: int = 0
    renew: int = 0  # so many jobs more take over
    successor: Successor | None = None
    profile: str = ""  # as `load.from_json` reads it
    account: str = ""
    queue: str = ""
    gone: float = 0.0  # when the scheduler first did not know it
    trouble: str = ""  # why no job will take over
    variables: tuple[str, ...] | None = None  # of the person's, that counted when it was submitted; None: not yet
    clusters: str = ""  # of Slurm, among which it goes; empty: that which is asked by itself
    requeued: float | None = None  # the start that was undone, where the scheduler put it back into its queue

    @property
    def live(self) -> bool:
        """Tell whether it waits or runs, as far as is known."""
        return self.state not in OVER

    @property
    def on_node(self) -> bool:
        """Tell whether it has a node: it runs, or is suspended there."""
        return self.state in (JobState.RUNNING, JobState.SUSPENDED)


@dataclass(frozen=True, slots=True)
class Life:
    """What a job wrote. Times are seconds since 1970.

    started HOST TIME       the job script began there
    lab PID START           JupyterLab was started: its pid and start time (field 22 of /proc/PID/stat, proc(5))
    stopped, runs           it was stopped, as where its job is suspended; it goes on
    claimed HOST            by whom it is submitted
    closed                  all is over, and was stopped on purpose
    ended STATUS SIGNAL     it is over: JupyterLab's exit status; the signal the script got, or "-"
    """

    host: str = ""
    started: float = 0.0
    lab: tuple[str, str] | None = None  # pid, start time
    ended: int | None = None
    signal: str = "-"
    stopped: bool = False

    @property
    def runs(self) -> bool:
        """Tell whether the job script began, and has not written down its end."""
        return bool(self.host) and self.ended is None


def read_life(paths: RunDir, number: int) -> Life:
    """Read the newest life of a job that may have been started more than once.

    What is half-written is not there yet.
    """
    values: dict[str, Any] = {}
    for line in files.read_text(paths.job_life(number)).splitlines(keepends=True):
        with contextlib.suppress(ValueError):
            match line.split() if line.endswith("\n") else []:
                case ["started", host, when]:
                    values = {"host": validators.host(host), "started": float(when)}
                case ["lab", pid, start]:
                    values |= {"lab": (str(int(pid)), str(int(start))), "stopped": False}
                case [("stopped" | "runs") as word]:
                    values["stopped"] = word == "stopped"
                case ["ended", status, signal]:
                    values |= {"ended": int(status), "signal": signal, "lab": None}
    return Life(**values)


def read(paths: RunDir) -> JobRecord | None:
    """Read the record. None where JupyterLab of this site is no job, and where only a copy is here."""
    record = load(paths)
    return record if record and record.number else None


def load(paths: RunDir) -> JobRecord | None:
    """Read the record, or what stands in its place in a home that is not the lab host's: a copy that was shown."""
    return from_values(files.read_record(paths.job_record))


def write(paths: RunDir, record: JobRecord) -> None:
    """Write the record, unless the same stands there."""
    if load(paths) != record:
        files.write_record(paths.job_record, to_values(record))


def from_values(values: object) -> JobRecord | None:
    """Make a record of what JSON has of it: all, or what is shown, which has only the id of the successor."""
    if isinstance(values, dict) and isinstance(id := values.get("successor"), str):
        values = values | {"successor": {"id": id}}
    return parse(JobRecord, values)


def to_values(record: JobRecord) -> files.Record:
    """Return what JSON has of a record."""
    values = _said(record)
    return values | {"successor": _said(record.successor)} if record.successor else values


def _said(record: JobRecord | Successor) -> files.Record:
    return {key: value for key, value in as_values(record).items() if key not in UNSAID or value is not None}


def with_job(record: JobRecord, job: Job) -> JobRecord:
    """Return the record after the scheduler was asked. What it told before is kept where it can't be asked now."""
    asked = time.time()
    if job.state == JobState.UNKNOWN:
        return replace(record, state=job.state, reason=job.reason, asked=asked)
    return replace(
        record,
        id=job.id,
        state=job.state,
        known=job.state,
        word=job.word,
        reason=job.reason,
        position=job.position,
        node=job.node,
        starts=job.starts,
        ends=job.ends or record.ends,
        asked=asked,
    )


def read_settled(paths: RunDir) -> JobRecord | None:
    """Read the record as two looks, SETTLE_S apart, agree on it.

    What another host has just written may be seen late, or torn. A submission that goes on there is waited for, until
    TOLD_S have passed.
    """
    record = read(paths)
    deadline = time.monotonic() + TOLD_S
    while time.monotonic() < deadline:
        time.sleep(SETTLE_S)
        before, record = record, read(paths)
        if before == record and not (record and record.state == JobState.SUBMITTING):
            break
    return record


def claim(paths: RunDir, host: str) -> tuple[int, str] | None:
    """Claim a number for a new job that nobody else has, and a name for it; None where another host is submitting one.

    The file is made by link(2), which on NFS too only one of several succeeds in.
    """
    number = 1 + newest(paths)
    if in_flight(paths, number - 1, host):
        return None
    name = f"gears-{secrets.token_hex(3)}"
    mine = paths.records / f".life.{os.getpid()}.{secrets.token_hex(3)}"
    files.write_private(mine, f"claimed {host}\n")
    try:
        os.link(mine, paths.job_life(number))
    except FileExistsError:
        return None
    finally:
        mine.unlink(missing_ok=True)
    return number, name


def newest(paths: RunDir) -> int:
    """Return the number of the job that was claimed last; 0 where there is none."""
    return max((_number(path.name) for path in paths.records.glob("job.*.life")), default=0)


def in_flight(paths: RunDir, number: int, host: str) -> bool:
    """Tell whether another host claimed that number less than TOLD_S ago, and no record tells yet what became of it.

    One of this host that did so is dead: the caller holds its lock.
    """
    try:
        age_s = time.time() - paths.job_life(number).stat().st_mtime
    except FileNotFoundError:
        return False
    record = read(paths)
    settled = record.number if record and record.id else 0
    recorded = max(settled, record.successor.number if record and record.successor else 0)
    over = re.search(rf"^(closed|ended .*|claimed {re.escape(host)})$", files.read_text(paths.job_life(number)), re.M)
    return recorded < number and age_s < TOLD_S and not over


def _number(name: str) -> int:
    digits = name.split(".")[1]
    return int(digits) if digits.isdigit() else 0


def forget(paths: RunDir) -> None:
    """Remove the record, and close the newest life: JupyterLab of this site is no job any more.

    Nor is what was submitted last, whoever still has a record of it.
    """
    if number := newest(paths):  # else opening it would make a file
        with contextlib.suppress(FileNotFoundError), paths.job_life(number).open("a") as life:
            life.write("closed\n")
    paths.job_record.unlink(missing_ok=True)


def remove_old(paths: RunDir, newest: int) -> None:
    """Remove the files of all but the KEPT newest jobs. The newest life keeps the numbers growing."""
    for path in paths.records.glob("job.*.*"):
        if 0 < _number(path.name) <= newest - KEPT:
            path.unlink(missing_ok=True)
