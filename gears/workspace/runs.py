"""Runs of stages as batch jobs: their records, and what is known of each.

They are in the clone from which they were submitted, in `.git/gears-runs/NAME/`: what was asked for, by the submission;
how it ended, by the job itself; the job's id in a file of its own, since both may write it at the same time. Without a
record of its end, the scheduler is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gears.schedulers.base import OVER, WAITING, JobState, scheduler
from gears.system import files, records
from gears.workspace.git import common_directory, try_git

DIRECTORY = "gears-runs"


class RunState(StrEnum):
    """Where a run is. INTERRUPTED: its job has ended without a word; UNKNOWN: the scheduler does not answer."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"


LIVE = (RunState.QUEUED, RunState.RUNNING, RunState.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was asked for. `job_name`: of its last job; `clone`: where it runs; `branch`: that of its results."""

    name: str
    stages: tuple[str, ...]
    commit: str
    branch: str
    top: Path
    clone: Path
    site: str
    scheduler: str
    user: str
    job_name: str
    submitted: str

    @property
    def words(self) -> str:
        """Return its stages, as a person names them."""
        return " ".join(self.stages) or "all stages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the job of that name ended. `head`: the commit with the results; "": nothing had to be run."""

    job_name: str
    state: RunState
    at: str
    head: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRun:
    """A run as seen from this host. `branch`: "" where there is none; `clone`: where it is kept, else ""."""

    name: str
    stages: tuple[str, ...]
    state: RunState
    commit: str
    submitted: str
    job: str = ""
    reason: str = ""
    branch: str = ""
    clone: str = ""
    log: str = ""

    @property
    def is_live(self) -> bool:
        """Tell whether its job is, or may be, under way."""
        return self.state in LIVE


def directory_of(top: Path) -> Path:
    """Return the directory of the runs of a clone."""
    return common_directory(top) / DIRECTORY


def record_path(directory: Path) -> Path:
    """Return the record of what was asked for."""
    return directory / "run.json"


def ended_path(directory: Path) -> Path:
    """Return the record of how it ended."""
    return directory / "ended.json"


def log_path(directory: Path) -> Path:
    """Return the output of its jobs."""
    return directory / "log"


def id_path(directory: Path, job_name: str) -> Path:
    """Return the file with the scheduler's id of a job."""
    return directory / f"{job_name}.id"


def load(directory: Path) -> Run | None:
    """Read the record of a run; None if there is none."""
    return records.load(Run, record_path(directory))


def load_end(directory: Path, run: Run) -> Ended | None:
    """Read how its last job ended; None if that has not said so."""
    found = records.load(Ended, ended_path(directory))
    return found if found and found.job_name == run.job_name else None


def job_id(directory: Path, run: Run) -> str | None:
    """Return the id of its last job: as recorded, else by its name. "": there is none; None: that is not known."""
    if found := files.read_text(id_path(directory, run.job_name)).strip():
        return found
    ids = scheduler(run.scheduler).find(run.job_name)
    return None if ids is None else next(iter(ids), "")


def each(top: Path) -> Iterator[tuple[Path, Run]]:
    """Yield the runs of a clone, the oldest first, with their directories."""
    found = directory_of(top)
    loaded = [(path, load(path)) for path in found.iterdir()] if found.is_dir() else []
    yield from sorted(((path, run) for path, run in loaded if run), key=lambda one: (one[1].submitted, one[1].name))


def look(directory: Path, run: Run) -> FoundRun:
    """Find out where a run is: from its own record, else from the scheduler."""
    if ended := load_end(directory, run):
        return _found(directory, run, ended.state, ended.reason, branch=run.branch if ended.head else "")
    id = job_id(directory, run)
    if not id:
        reason = "the scheduler does not answer" if id is None else "no job was submitted"
        return _found(directory, run, RunState.UNKNOWN if id is None else RunState.INTERRUPTED, reason)
    job = scheduler(run.scheduler).query(id)
    if job.state in OVER:
        if ended := load_end(directory, run):  # meanwhile
            return _found(directory, run, ended.state, ended.reason, job=id, branch=run.branch if ended.head else "")
        return _found(directory, run, RunState.INTERRUPTED, job.reason or "its job has ended", job=id)
    state = RunState.QUEUED if job.state in WAITING else RunState.RUNNING
    state = RunState.UNKNOWN if job.state == JobState.UNKNOWN else state
    return _found(directory, run, state, job.reason, job=id)


def _found(directory: Path, run: Run, state: RunState, reason: str, *, job: str = "", branch: str = "") -> FoundRun:
    return FoundRun(
        name=run.name,
        stages=run.stages,
        state=state,
        commit=run.commit,
        submitted=run.submitted,
        job=job or files.read_text(id_path(directory, run.job_name)).strip(),
        reason=reason,
        branch=branch,
        clone=str(run.clone) if run.clone.is_dir() and state != RunState.DONE else "",
        log=str(log_path(directory)),
    )


def is_settled(top: Path, found: FoundRun) -> bool:
    """Tell whether a run needs nobody any more: its branch is merged or gone, or its clone was removed."""
    if found.state == RunState.DONE:
        branch = f"refs/heads/{found.branch}"
        tip = try_git(top, "rev-parse", "--verify", "--quiet", branch) if found.branch else ""
        return bool(found.branch) and (not tip or try_git(top, "merge-base", "HEAD", tip) == tip)
    return not found.is_live and not found.clone


def find_runs(top: Path) -> tuple[FoundRun, ...]:
    """Look at the runs of a clone that still need somebody, the oldest first. Asks the scheduler about each job."""
    found = (look(directory, run) for directory, run in each(top))
    return tuple(run for run in found if not is_settled(top, run))
