"""Records of a site's job on disk: the record of the login node, and the life, which the job itself writes.

The record (run/<site>/job.json) exists while JupyterLab is, or should be, a job. The life (run/<site>/job.N.life) is
created by the host that submits number N, and only appended to by the job. It is opened again for each read, so that on
NFS the writes of another host are seen (nfs(5), close-to-open).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass, replace
from typing import Any

from gears.schedulers.base import OVER, SUBMIT_S, Job, JobState
from gears.sites import validators
from gears.sites.paths import RunDir
from gears.system import files
from gears.system.records import as_values, parse

SUBMISSION_TIMEOUT_S = SUBMIT_S + 30
"""After this time a submission has ended, or its process has."""

SETTLE_S = 1.2
"""After this time the writes of another host to a shared home are seen; slower mounts check a file as it is opened
(nfs(5), close-to-open)."""

MOST_SAVED = 3
"""Number of jobs whose logs and lives are kept."""

OPTIONAL_KEYS = ("variables", "requeued")
"""Keys that a record omits while they are None, as before a job is submitted."""


@dataclass(frozen=True, slots=True)
class Successor:
    """The job that waits for the end of another. `id` is empty until it is submitted; a shown copy has only that."""

    number: int = 0
    name: str = ""
    id: str = ""
    variables: tuple[str, ...] | None = None
    clusters: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job: the request, the scheduler's last answer, and the host that monitors it. Changed by `replace`.

    Shown copies (`job_status.shown`) are read as well: what they lack has its default, and `number` is 0. Times are
    ISO 8601, UTC, or seconds since 1970.
    """

    number: int = 0
    name: str = ""
    id: str  # the scheduler's; empty until submission
    kind: str = ""  # of scheduler
    host: str = ""  # the login node that monitors it
    state: JobState = JobState.UNKNOWN
    known: JobState = JobState.UNKNOWN  # the state in the scheduler's last answer
    word: str = ""
    reason: str = ""
    position: int | None = None
    node: str | None = None
    starts: str | None = None
    ends: str | None = None
    submitted: str = ""
    begun: float = 0.0  # start of its submission
    asked: float = 0.0  # last query to the scheduler
    walltime_s: int = 0
    renew: int = 0  # how many more jobs take over
    successor: Successor | None = None
    profile: str = ""  # for `load.from_json`
    account: str = ""
    queue: str = ""
    gone: float = 0.0  # when the scheduler first no longer knew it
    trouble: str = ""  # why no job will take over
    variables: tuple[str, ...] | None = None  # of the user, in effect at submission; None: not submitted
    clusters: str = ""  # Slurm's clusters for it; empty: the default
    requeued: float | None = None  # the start after which the scheduler requeued it

    @property
    def live(self) -> bool:
        """Return whether it waits or runs, as far as is known."""
        return self.state not in OVER

    @property
    def on_node(self) -> bool:
        """Return whether it has a node: it runs, or is suspended there."""
        return self.state in (JobState.RUNNING, JobState.SUSPENDED)


@dataclass(frozen=True, slots=True)
class Life:
    """What a job has written. Times are seconds since 1970.

    started HOST TIME       the job script began there
    lab PID START           JupyterLab was started: its pid and start time (field 22 of /proc/PID/stat, proc(5))
    stopped, runs           JupyterLab was stopped, as when its job is suspended; it continues
    claimed HOST            the host that submits it
    closed                  it was stopped on purpose
    ended STATUS SIGNAL     JupyterLab's exit status; the signal that the script got, or "-"
    """

    host: str = ""
    started: float = 0.0
    lab: tuple[str, str] | None = None  # pid, start time
    ended: int | None = None
    signal: str = "-"
    stopped: bool = False

    @property
    def runs(self) -> bool:
        """Return whether the job script has begun, and has not written its end."""
        return bool(self.host) and self.ended is None


def read_life(paths: RunDir, number: int) -> Life:
    """Read the life of a job's newest start. Incomplete lines are ignored."""
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
    """Read the record. None where the site has no job, or only a copy of its record is here."""
    record = load(paths)
    return record if record and record.number else None


def load(paths: RunDir) -> JobRecord | None:
    """Read the record, or the shown copy that replaces it in a home other than the lab host's."""
    return from_values(files.read_record(paths.job_record))


def write(paths: RunDir, record: JobRecord) -> None:
    """Write the record, if it has changed."""
    if load(paths) != record:
        files.write_record(paths.job_record, to_values(record))


def from_values(values: object) -> JobRecord | None:
    """Parse a record, or a shown copy, which has only the id of the successor."""
    if isinstance(values, dict) and isinstance(id := values.get("successor"), str):
        values = values | {"successor": {"id": id}}
    return parse(JobRecord, values)


def to_values(record: JobRecord) -> files.Record:
    """Return the record as JSON has it."""
    values = _without_unset(record)
    return values | {"successor": _without_unset(record.successor)} if record.successor else values


def _without_unset(record: JobRecord | Successor) -> files.Record:
    return {key: value for key, value in as_values(record).items() if key not in OPTIONAL_KEYS or value is not None}


def with_job(record: JobRecord, job: Job) -> JobRecord:
    """Update the record with the scheduler's answer. Where it did not answer, the last answer is kept."""
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
    """Read the record until two reads, SETTLE_S apart, agree.

    The writes of another host may be seen late or in part. Waits for a submission there, SUBMISSION_TIMEOUT_S at most.
    """
    record = read(paths)
    deadline = time.monotonic() + SUBMISSION_TIMEOUT_S
    while time.monotonic() < deadline:
        time.sleep(SETTLE_S)
        before, record = record, read(paths)
        if before == record and not (record and record.state == JobState.SUBMITTING):
            break
    return record


def claim(paths: RunDir, host: str) -> tuple[int, str] | None:
    """Claim a unique number for a new job, and choose its name; None where another host is submitting one.

    The file is made by link(2), which is atomic on NFS too.
    """
    number = 1 + newest(paths)
    if in_flight(paths, number - 1, host):
        return None
    name = f"gears-{files.random_hex(3)}"
    mine = paths.records / f".life.{os.getpid()}.{files.random_hex(3)}"
    files.write_private(mine, f"claimed {host}\n")
    try:
        os.link(mine, paths.job_life(number))
    except FileExistsError:
        return None
    finally:
        mine.unlink(missing_ok=True)
    return number, name


def newest(paths: RunDir) -> int:
    """Return the highest claimed number; 0 where there is none."""
    return max((_number(path.name) for path in paths.records.glob("job.*.life")), default=0)


def in_flight(paths: RunDir, number: int, host: str) -> bool:
    """Return whether another host is submitting that number: claimed within SUBMISSION_TIMEOUT_S, with no outcome yet.

    A process of this host that claimed it has ended: the caller holds its lock.
    """
    try:
        age_s = time.time() - paths.job_life(number).stat().st_mtime
    except FileNotFoundError:
        return False
    record = read(paths)
    settled = record.number if record and record.id else 0
    recorded = max(settled, record.successor.number if record and record.successor else 0)
    over = re.search(rf"^(closed|ended .*|claimed {re.escape(host)})$", files.read_text(paths.job_life(number)), re.M)
    return recorded < number and age_s < SUBMISSION_TIMEOUT_S and not over


def _number(name: str) -> int:
    digits = name.split(".")[1]
    return int(digits) if digits.isdigit() else 0


def forget(paths: RunDir) -> None:
    """Remove the record, and close the newest life: the site has no job any longer.

    That also holds for other hosts that still have a record of the newest job.
    """
    if number := newest(paths):  # else opening it would create a file
        with contextlib.suppress(FileNotFoundError), paths.job_life(number).open("a") as life:
            life.write("closed\n")
    paths.job_record.unlink(missing_ok=True)


def remove_old(paths: RunDir, newest: int) -> None:
    """Remove the files of all but the MOST_SAVED newest jobs. The newest life is kept, so that numbers grow."""
    for path in paths.records.glob("job.*.*"):
        if 0 < _number(path.name) <= newest - MOST_SAVED:
            path.unlink(missing_ok=True)
