"""JupyterLab as a batch job: one file per scheduler, each with the same functions (`Scheduler`).

A scheduler that can't be asked is UNKNOWN, a job that it does not know any more is GONE: the two are never mixed up.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, cast


class JobState(StrEnum):
    """SUBMITTING is of our records alone: no scheduler has taken the job yet."""

    SUBMITTING = "SUBMITTING"
    PENDING = "PENDING"
    HELD = "HELD"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    ENDING = "ENDING"
    ENDED = "ENDED"
    GONE = "GONE"  # the scheduler does not know it any more
    UNKNOWN = "UNKNOWN"  # the scheduler can't be asked


WAITING = (JobState.PENDING, JobState.HELD)
OVER = (JobState.ENDED, JobState.GONE)
"""ENDING is not yet one of them: what follows the job still waits, while its processes are cleared up."""

SUBMIT_S = 60.0
QUERY_S = 20.0
"""Time limits. A Slurm client gives a silent controller up after 9 s (seen), PBS and LSF after longer."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job script asks its scheduler for."""

    name: str  # at most 15 letters, digits and dashes, beginning with a letter: the shortest limit is that of PBS
    log: Path
    account: str = ""
    queue: str = ""
    nodes: int | None = None  # None: as the scheduler has it
    walltime_s: int = 3600
    directives: tuple[str, ...] = ()  # verbatim, with or without the scheduler's own prefix
    after: str = ""  # the id of a job that has to end first, however it ends


@dataclass(frozen=True, slots=True)
class Job:
    """What a scheduler says of a job.

    `word`: the scheduler's own for the state. `reason`: why it waits, or how it ended, or why the scheduler can't be
    asked, in the scheduler's words. `node`: the first of the allocation. `starts` (expected) and `ends`: ISO 8601, UTC;
    None where the scheduler does not tell. `position`: in the queue, 1 is next; None where it is not told.
    """

    id: str
    state: JobState
    word: str = ""
    reason: str = ""
    node: str | None = None
    starts: str | None = None
    ends: str | None = None
    position: int | None = None


class Scheduler(Protocol):
    """The functions of `gears.schedulers.slurm` and the others."""

    def header(self, spec: JobSpec) -> list[str]:
        """Return the lines of the job script that the scheduler reads, in its own syntax. Pure.

        Raises UsageError where the scheduler can't be asked for what `spec` has (Grid Engine, for several nodes).
        """

    def submit(self, script: Path) -> str:
        """Submit a job script and return the job's id.

        Raises SubmissionRefused, with the scheduler's own words, where it refused the job for good. Raises
        CommandFailed or CommandTimeout where the scheduler could not be asked: then it may have accepted the job all
        the same, see `find`.
        """

    def query(self, job: str) -> Job:
        """Return the job as it is now. Never raises for what a scheduler does: a failing command is UNKNOWN."""

    def find(self, name: str, clusters: str = "", /) -> list[str] | None:
        """Find the ids of my own jobs of that name that wait or run; None where the scheduler can't be asked.

        `clusters`: where they may have gone, see `environment.clusters`.
        """

    def cancel(self, job: str) -> None:
        """End the job, in the queue or running. One that is over is no error. Raises CommandFailed, CommandTimeout."""


def scheduler(kind: str) -> Scheduler:
    """Return the functions for a profile's `scheduler.kind`: slurm, sge, pbs or lsf."""
    return cast(Scheduler, importlib.import_module(f"gears.schedulers.{kind}"))


def directive_lines(prefix: str, directives: tuple[str, ...]) -> list[str]:
    """Return a person's own directives as script lines: `--gres=gpu:1` and `#SBATCH --gres=gpu:1` say the same."""
    return [line if line.startswith("#") else f"{prefix} {line}" for line in directives]


def clock(seconds: int) -> str:
    """Format seconds as HH:MM:SS, with as many hours as there are."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
