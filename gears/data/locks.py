"""One transfer at a time writes a target, whoever starts it, on whatever host: a file beside it names who does.

flock(2) (`writers`) keeps two runs apart on one host, and where the file system passes locks on. This file tells
everyone else who is at work. It is taken over if its process is proven to be gone: on its own host by pid and start
time, or because it is the same user's same transfer, of which the lock in its record lets only one run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gears.errors import NotReachable
from gears.schedulers.environment import current_job
from gears.system import lock_files, records
from gears.system.host import this_host
from gears.system.processes import LocatedProcess, this_located_process

MODE = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who writes a target. `transfer`: its name; `job`: the scheduler's id, "" outside of jobs."""

    user: str
    process: LocatedProcess
    job: str
    transfer: str

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"{self.user} on {self.process.host} (process {self.process.pid}{job})"


def lock_path(target: Path) -> Path:
    """Return the path of the file that says who writes a target."""
    return target.with_name(f".{target.name}.gears-lock")


@contextlib.contextmanager
def held(target: Path, transfer: str) -> Iterator[None]:
    """Hold the lock of a target. Without effect where the user can't create files beside it.

    Raises NotReachable, with the name of the holder, if another transfer writes there, or did so on a host from which
    its end can't be proven.
    """
    path = lock_path(target)
    ours = Holder(user=this_host().user, process=this_located_process(), job=current_job(), transfer=transfer)
    with contextlib.suppress(PermissionError):
        _take(path, ours)
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            lock_files.remove(path, ours, Holder)


def _take(path: Path, ours: Holder) -> None:
    while not lock_files.create(path, ours, MODE):
        other = records.load(Holder, path)
        if other and not _is_over(other, ours):
            hint = f"cat {path}   (if it has ended for certain: rm {path})"
            raise NotReachable(f"{path.parent}: {other} writes there: transfer {other.transfer}", next=hint)
        lock_files.remove(path, other, Holder)


def _is_over(other: Holder, ours: Holder) -> bool:
    return (other.user, other.transfer) == (ours.user, ours.transfer) or other.process.is_over() is True
