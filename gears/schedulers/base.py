"""The interface of batch schedulers: one module for each, with the functions of `Scheduler`.

A failed query is UNKNOWN; a job that the scheduler does not know any more is GONE. The two are never mixed up.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, cast

from gears.errors import UsageError
from gears.sites import validators


class JobState(StrEnum):
    """SUBMITTING exists in gears' records only: no scheduler has accepted the job yet."""

    SUBMITTING = "SUBMITTING"
    PENDING = "PENDING"
    HELD = "HELD"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    ENDING = "ENDING"
    ENDED = "ENDED"
    GONE = "GONE"  # the scheduler does not know it any more
    UNKNOWN = "UNKNOWN"  # the query failed


WAITING = (JobState.PENDING, JobState.HELD)
OVER = (JobState.ENDED, JobState.GONE)
"""Without ENDING: the job's processes are still being cleaned up, and a successor waits for that."""

SUBMIT_S = 60.0
QUERY_S = 20.0
"""Time limits. A Slurm client gives up on a silent controller after 9 s (measured), PBS and LSF later."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job script requests from its scheduler."""

    name: str  # at most 15 letters, digits and dashes, beginning with a letter: the limit of PBS, the shortest
    log: Path
    account: str = ""
    queue: str = ""
    nodes: int | None = None  # None: the scheduler's default
    walltime_s: int = 3600
    directives: tuple[str, ...] = ()  # verbatim, with or without the scheduler's prefix
    notice_s: int = 0  # seconds before the walltime at which its script is to get SIGUSR1; 0: none is needed
    after: str = ""  # the id of a job that must end first, in any way


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the scheduler reports it.

    `word`: the scheduler's name of the state. `reason`: why it waits, how it ended, or why the query failed, with the
    scheduler's message. `node`: the first of the allocation. `starts` (expected) and `ends`: ISO 8601, UTC; None if
    not reported. `position`: in the queue, 1 is next; None if not reported.
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
    """The functions of `gears.schedulers.slurm` and the other modules."""

    def header(self, spec: JobSpec) -> list[str]:
        """Return the directives of a job script, in the scheduler's syntax. Pure.

        Raises UsageError if the scheduler can't express `spec` (Grid Engine: several nodes).
        """

    def submit(self, script: Path) -> str:
        """Submit a job script and return the job's id.

        Raises SubmissionRefused, with the scheduler's message, if it rejected the job. Raises CommandFailed or
        CommandTimeout if the request failed: the scheduler may have accepted the job nevertheless, see `find`.
        """

    def query(self, job: str) -> Job:
        """Return the current state of the job; UNKNOWN if the command fails, without an exception."""

    def find(self, name: str, clusters: str = "", /) -> list[str] | None:
        """Return the ids of the user's pending and running jobs of that name; None if the query fails.

        `clusters`: where the jobs can be, see `environment.clusters`.
        """

    def other_nodes(self) -> str:
        """Return the shell command that starts a program once on each node of its job but the first; "": unknown."""

    def on_other_nodes(self) -> list[list[str]]:
        """Return, for each node of this job but the first, the command that starts a program there; []: unknown.

        The program's standard input and output are those of the command.
        """

    def cancel(self, job: str) -> None:
        """Cancel a job, pending or running. No error if it has ended. Raises CommandFailed, CommandTimeout."""


def scheduler(kind: str) -> Scheduler:
    """Return the module for a profile's `scheduler.kind`: slurm, sge, pbs or lsf."""
    return cast(Scheduler, importlib.import_module(f"gears.schedulers.{kind}"))


FIND_PAUSES_S = (0.2, 1.0, 2.0, 4.0)
"""Pauses before looking for a job whose submission failed: a slow scheduler lists it late."""


def find_taken(kind: str, name: str, clusters: str = "", pauses_s: Sequence[float] = FIND_PAUSES_S) -> str:
    """Find the id of a job that the scheduler accepted although its submission failed.

    For example, sbatch can time out after the controller has accepted the job. "" where there is none, or the scheduler
    does not answer; such a job ends when it starts.
    """
    for pause_s in pauses_s:
        time.sleep(pause_s)
        if found := scheduler(kind).find(name, clusters):
            return found[0]
    return ""


def check_output(path: Path) -> Path:
    """Return the path of a job's output, for a directive. Raises UsageError for one that would need quoting."""
    try:
        validators.path(str(path))
    except ValueError as exc:
        fix = "move gears to a path of letters, digits, ., _ and -, or set GEARS_HOME to one"
        raise UsageError(f"{path}: {exc}", next=fix) from exc
    return path


def directive_lines(prefix: str, directives: tuple[str, ...]) -> list[str]:
    """Return the user's directives as script lines: `--gres=gpu:1` is the same as `#SBATCH --gres=gpu:1`."""
    return [line if line.startswith("#") else f"{prefix} {line}" for line in directives]


def clock(seconds: int) -> str:
    """Format seconds as HH:MM:SS; hours can exceed 24."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
