"""Whose directory it is, and who is writing into it now.

A directory belongs to one source: its `owner` names user, host and path, and has an identity that the transfer's
records have too, so that each host that sees these records may go on. The `lock` names the process and its batch job.
A lock is stale only if it is proven: its process is gone on this host, this host was started again since, or the
scheduler says so (`is_gone`).
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from gears.data.bundles.layout import LOCK, OWNER
from gears.data.stores.base import Store
from gears.errors import NotReachable, UsageError
from gears.schedulers.environment import current_job
from gears.system import files, records, timestamps
from gears.system.processes import LocatedProcess, this_located_process

IDENTITY = "identity"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Owner:
    """The source that a directory with bundles belongs to."""

    user: str
    host: str
    path: str
    identity: str
    created: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who writes. `job`: of its batch job, "" without one; `since`: ISO 8601, UTC."""

    user: str
    process: LocatedProcess
    token: str
    job: str = ""
    since: str = ""

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"{self.user} on {self.process.host}, process {self.process.pid}{job}, since {self.since}"


IsGone = Callable[[Holder], bool]


def never(_holder: Holder) -> bool:
    """Say of no process of another host that it is gone."""
    return False


# --- the owner -------------------------------------------------------------------------------


def ensure_owner(store: Store, source: Path, state: Path, names: int) -> None:
    """Make the directory that of `source`, or check that it is. `names`: how many files there are.

    Raises UsageError if it belongs to another source, or has files and no owner.
    """
    identity = files.ensure_secret(state / IDENTITY)
    path = os.fsencode(source).decode("utf-8", "backslashreplace")
    mine = Owner(getpass.getuser(), socket.gethostname(), path, identity, timestamps.utc_now())
    text = read_small(store, OWNER)
    if text is None:
        if names:
            raise UsageError("the target has files, and no put of gears made them", next="gears data put --help")
        write_record(store, OWNER, mine)
        text = read_small(store, OWNER) or ""
    found = parse(Owner, text)
    if found is None:
        raise UsageError(f"the file `{OWNER}` of the target can't be read", next="gears data list")
    if found.path != path or not _same(found, mine):
        whose = f"{found.user}'s put of {found.path} on {found.host}"
        raise UsageError(f"the target belongs to {whose}; take another --name", next="gears data put --help")


def _same(found: Owner, mine: Owner) -> bool:
    return found.identity == mine.identity or (found.user, found.host) == (mine.user, mine.host)


# --- the lock --------------------------------------------------------------------------------


@dataclass(slots=True)
class Lock:
    """The lock of a store, held by this run and its workers."""

    store: Store
    holder: Holder
    is_gone: IsGone = field(default=never)

    def take(self) -> None:
        """Take the lock. Raises NotReachable if another run has it that may be alive."""
        holder = parse(Holder, read_small(self.store, LOCK) or "")
        if holder and holder.token != self.holder.token and not _is_stale(holder, self.is_gone):
            raise _taken(holder)
        write_record(self.store, LOCK, self.holder)
        self.check()

    def check(self) -> None:
        """Raise NotReachable if another run has taken the lock."""
        holder = parse(Holder, read_small(self.store, LOCK) or "")
        if holder is None or holder.token != self.holder.token:
            raise _taken(holder)

    def release(self) -> None:
        """Remove the lock, if it still is this run's."""
        holder = parse(Holder, read_small(self.store, LOCK) or "")
        if holder and holder.token == self.holder.token:
            self.store.remove(LOCK)

    def for_workers(self) -> Lock:
        """Return it without what can't be sent to another process."""
        return replace(self, is_gone=never)


def this_holder() -> Holder:
    """Return this process as the holder of a new lock."""
    token = secrets.token_hex(16)
    return Holder(getpass.getuser(), this_located_process(), token, current_job(), timestamps.utc_now())


def _is_stale(holder: Holder, is_gone: IsGone) -> bool:
    """Return whether it is proven that the holder has ended."""
    over = holder.process.is_over()
    return is_gone(holder) if over is None else over


def _taken(holder: Holder | None) -> NotReachable:
    if holder is None:
        return NotReachable("the lock of the target was removed meanwhile", next="gears data status")
    to_look = (
        f"ps -p {holder.process.pid}   (on {holder.process.host}; from there the same command goes on if it is gone)"
    )
    return NotReachable(f"the target is being written by {holder}", next=to_look)


# --- small files -----------------------------------------------------------------------------


def read_small(store: Store, name: str) -> str | None:
    """Read a record of a store. None if there is none."""
    try:
        return b"".join(store.read(name)).decode(errors="replace")
    except FileNotFoundError:
        return None


def write_record(store: Store, name: str, record: Owner | Holder) -> None:
    """Store a record, as JSON."""
    store.write(name, [json.dumps(records.as_values(record), indent=1).encode() + b"\n"])


def parse(kind: type[T], text: str) -> T | None:
    """Convert the text of a record. None if it is none."""
    try:
        return records.parse(kind, json.loads(text))
    except ValueError:
        return None
