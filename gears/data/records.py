"""Records of transfers, in the home: run/<site>/data/<name>/.

`transfer.json` says what is to be where; it does not change. `task.json` is what is being done about it now, or was
done last, as the process that does it reports it. The manifest and its SHA256SUMS are beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gears.sites.paths import RunDir
from gears.system import records


class Method(StrEnum):
    """How the data is held at the target: as bundles with indexes, or as a tree of files."""

    BUNDLES = "bundles"
    TREE = "tree"


class Verb(StrEnum):
    """What is done."""

    PUT = "put"
    GET = "get"
    COPY = "copy"
    VERIFY = "verify"
    RESTORE = "restore"


class Step(StrEnum):
    """What a task does now."""

    MOVE = "move"
    VERIFY = "verify"


class TaskState(StrEnum):
    """The state of a task. PAUSED: it was asked to stop. LOGIN, INCOMPLETE, DIFFERENT, FAILED: see `reason`, `next`.

    LOST and UNKNOWN are never recorded: `following` concludes them.
    """

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    LOGIN = "login needed"
    INCOMPLETE = "incomplete"
    DIFFERENT = "contents differ"
    FAILED = "failed"
    DONE = "done"
    LOST = "lost"
    UNKNOWN = "unknown"


UNDER_WAY = (TaskState.QUEUED, TaskState.RUNNING, TaskState.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What is to be where. `source` and `target`: addresses (`addresses.Address`); those of paths are on `host`.

    `source_path`, `target_path`: as on the hosts that mount them; of a place that is no directory, as its program
    names it. `method`: of the place that holds bundles, the target of a put and the source of a get. `patterns`: what
    of a get is wanted; (): all. `created`: ISO 8601, UTC.
    """

    name: str
    verb: Verb
    method: Method
    source: str
    target: str
    source_path: str
    target_path: str
    host: str
    user: str
    created: str
    patterns: tuple[str, ...] = ()
    bundle_size: int = 0
    jobs: int = 0  # processes; 0: as many as there are processors


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is done about a transfer. Numbers are of all runs of this task. Times: ISO 8601, UTC.

    `host`, `pid`, `started_ticks`: the process that does it (`processes`). `helpers`: other hosts that have helped it
    since it began. `job_name`: of the batch job, or of the tmux
    session, "" in the foreground; `job`: the scheduler's id; `successor`, `successor_name`: of the job that goes on.
    `total_size`, `total_files`: None until the source has been listed. `mark`: grows with all that is done;
    `begun_mark`: its value at the last begin; `fruitless`: how many begins in a row it did not change. `verified`:
    whether everything was read again since it was written, at the earliest at `verified_at`; `proven`: whether so was
    all that the place had when the task began. `status`: the exit status, None before the end. `note`:
    what a user should know meanwhile.
    """

    verb: Verb
    state: TaskState
    host: str = ""
    pid: int = 0
    started_ticks: str = ""
    helpers: tuple[str, ...] = ()
    job: str = ""
    job_name: str = ""
    job_ends: str | None = None
    successor: str = ""
    successor_name: str = ""
    batch: bool = False
    step: Step = Step.MOVE
    mark: int = 0
    begun_mark: int = -1
    fruitless: int = 0
    status: int | None = None
    note: str = ""
    queued: str = ""
    started: str = ""
    updated: str = ""
    ended: str = ""
    files: int = 0
    size: int = 0
    total_files: int | None = None
    total_size: int | None = None
    bundles: int = 0
    total_bundles: int | None = None
    problems: int = 0
    verified: bool = False
    verified_at: str = ""
    proven: bool = False
    reason: str = ""
    next: str = ""


def load_transfer(paths: RunDir, name: str) -> Transfer | None:
    """Read the record of a transfer. None if there is none of this name."""
    return records.load(Transfer, paths.transfer(name) / "transfer.json")


def save_transfer(paths: RunDir, transfer: Transfer) -> None:
    """Write the record of a new transfer. Raises OSError."""
    records.save(paths.transfer(transfer.name) / "transfer.json", transfer)


def load_task(paths: RunDir, name: str) -> Task | None:
    """Read what is done about a transfer. None if nothing has begun."""
    return records.load(Task, paths.transfer(name) / "task.json")


def save_task(paths: RunDir, name: str, task: Task) -> None:
    """Replace the record of what is done. Raises OSError."""
    records.save(paths.transfer(name) / "task.json", task)


def all_transfers(paths: RunDir) -> list[Transfer]:
    """Read the records of all transfers of the site, by name."""
    names = sorted(path.name for path in paths.transfers.glob("*/") if not path.name.startswith("."))
    return [found for name in names if (found := load_transfer(paths, name))]


def forget(paths: RunDir, name: str) -> None:
    """Remove all records of a transfer, its manifest too. No error if there are none."""
    import shutil

    shutil.rmtree(paths.transfer(name), ignore_errors=True)


def manifest_path(paths: RunDir, name: str) -> Path:
    """Return the path of a transfer's manifest. It exists once the transfer was complete for the first time."""
    return paths.transfer(name) / "manifest"
