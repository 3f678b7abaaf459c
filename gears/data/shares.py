"""Shares of a run: what several processes, on several nodes, do of it. Each share is done by one of them at a time.

A run has a directory. NAME.planned: the share NAME can be claimed. NAME.claim-1: who does it; made by link(2), which is
atomic on NFS too. NAME.given-up-1: that one has stopped. NAME.done: the result, written under another name and renamed.
Who takes a share over makes NAME.claim-2, and so on: no claim is ever removed, so none can be removed wrongly.

A claim is void if it was given up, or its process is gone: by pid, start time and boot on its own host, and for other
hosts once the scheduler has ended the job's tasks there (`ended`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gears.system import lock_files, records
from gears.system.processes import LocatedProcess, this_located_process

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of a run. `ended`: exists once the scheduler has ended the job's tasks on the other nodes."""

    directory: Path
    ended: Path | None = None

    def publish(self, name: str) -> None:
        """Let a share be claimed. Raises OSError."""
        (self.directory / f"{name}.planned").touch()

    def free(self) -> list[str]:
        """Return the published shares that are neither done, nor claimed by a process that may be alive, in order."""
        found = self._names()
        published = sorted(name.removesuffix(".planned") for name in found if name.endswith(".planned"))
        return [name for name in published if self._free(name, found)]

    def claim(self, name: str) -> int:
        """Claim a share; return the number of the claim, 0 if it is another's or done."""
        number = self._free(name, self._names())
        if not number or not self._link(f"{name}.claim-{number}"):
            return 0
        if f"{name}.done" in self._names():  # the first list was an old one of the NFS client
            self.give_up(name, number)
            return 0
        return number

    def give_up(self, name: str, number: int) -> None:
        """Leave a claimed share to others. No error if the run is over."""
        try:
            (self.directory / f"{name}.given-up-{number}").touch()
        except FileNotFoundError:
            return

    def finish(self, name: str, result: Any) -> None:
        """Write the result of a claimed share, a record. Raises OSError."""
        records.save(self.directory / f"{name}.done", result)

    def done(self) -> set[str]:
        """Return the names of shares with a result."""
        return {name.removesuffix(".done") for name in self._names() if name.endswith(".done")}

    def result(self, name: str, kind: type[T]) -> T | None:
        """Read the result of a share. None if it has none, or a damaged one."""
        return records.load(kind, self.directory / f"{name}.done")

    def _names(self) -> set[str]:
        """List the directory; to open it makes an NFS client ask whether it has changed. Empty if the run is over."""
        try:
            return set(os.listdir(self.directory))
        except FileNotFoundError:
            return set()

    def _free(self, name: str, names: set[str]) -> int:
        """Return the number that the next claim has; 0 if there can't be one."""
        if f"{name}.done" in names:
            return 0
        last = 0
        while f"{name}.claim-{last + 1}" in names:
            last += 1
        if last and f"{name}.given-up-{last}" not in names and not self._is_gone(f"{name}.claim-{last}"):
            return 0
        return last + 1

    def _is_gone(self, claim: str) -> bool:
        claimer = records.load(LocatedProcess, self.directory / claim)
        if claimer is None:
            return False
        over = claimer.is_over()
        return self.ended is not None and self.ended.exists() if over is None else over

    def _link(self, claim: str) -> bool:
        """Make a claim; False if there is one, or the run is over."""
        try:
            return lock_files.create(self.directory / claim, this_located_process())
        except FileNotFoundError:
            return False
