"""Who works on a transfer, or on a stage of a workspace: one process at a time, on whatever host.

The file `lock` in the transfer's directory names user, host, process and job. It is made by link(2), which is atomic on
NFS too. One of a process that has ended is replaced, once that is proven: on its host by the process table, elsewhere
by its scheduler, or by that host over ssh.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gears.data.records import Task
from gears.errors import CommandFailed, GearsError, NotReachable
from gears.schedulers.base import OVER, JobState, scheduler
from gears.system import commands, lock_files, records
from gears.system.processes import LocatedProcess, Process

ASK_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that works on something. `job`: the scheduler's id; `since`: a time, or "" where nobody asks."""

    user: str
    process: LocatedProcess
    job: str = ""
    job_name: str = ""
    scheduler: str = ""
    since: str = ""

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        since = f", since {self.since}" if self.since else ""
        return f"{self.user} on {self.process.host}, pid {self.process.pid}{job}{since}"


@contextlib.contextmanager
def held(path: Path, me: Holder, *, before: Task | None = None) -> Iterator[None]:
    """Hold the lock at `path`. `before`: the record of the task that this one goes on with.

    Raises NotReachable if another process holds it, or may do so.
    """
    take(path, me, before=before)
    try:
        yield
    finally:
        release(path, me)


def take(path: Path, me: Holder, *, before: Task | None = None, what: str = "this transfer", mode: int = 0o600) -> None:
    """Take the lock at `path`, also from a process that is proven to be over. Raises NotReachable, as `held`."""
    while not lock_files.create(path, me, mode):
        lock_files.remove(path, check(path, me, before=before, what=what), Holder)


def check(path: Path, me: Holder, *, before: Task | None = None, what: str = "this transfer") -> Holder | None:
    """Return the record of a lock that may be taken, None without one. Raises NotReachable, as `held`."""
    found = records.load(Holder, path)
    if found and (doubt := why_not_over(found, me, before)):
        to_remove = f"rm {path}   (only if nothing runs there any more)"
        raise NotReachable(f"{found} works on {what}: {doubt}", next=to_remove)
    return found


def release(path: Path, holder: Holder) -> None:
    """Remove the lock if it is still this holder's."""
    lock_files.remove(path, holder, Holder)


def why_not_over(holder: Holder, me: Holder, before: Task | None = None) -> str:
    """Return why a holder may still be at work; "" if it is proven not to be."""
    if (over := holder.process.is_over()) is not None:
        return "" if over else "it is running"
    if holder.job_name and me.job_name == holder.job_name:
        return ""  # the scheduler has started the same job again elsewhere
    if holder.job_name and before and me.job_name == before.successor_name and before.job_name == holder.job_name:
        return ""  # it was to start after the end of that job
    if holder.job:
        found = scheduler(holder.scheduler).query(holder.job)
        reason = found.reason or "the scheduler does not answer"
        return "" if found.state in OVER else reason if found.state == JobState.UNKNOWN else "its job has not ended"
    return ask_host(holder.process)


def ask_host(process: Process) -> str:
    """Ask the host of a process over ssh, without prompts, for ASK_S at most. Returns as `why_not_over`."""
    from gears.ssh.target import Target

    ssh = Target(process.host).command("-T", "-n", "-oBatchMode=yes", "-oConnectTimeout=10")
    try:
        stat = commands.run([*ssh, f"cat /proc/{process.pid}/stat"], timeout_s=ASK_S)
    except CommandFailed as exc:
        if exc.status in (None, 255):
            return f"{process.host} can't be asked: {exc.stderr.strip() or exc.message}"
        return ""  # cat(1) has failed: no such process
    except GearsError as exc:
        return f"{process.host} can't be asked: {exc.message}"
    fields = stat[stat.rindex(")") + 2 :].split()
    return "it is running" if fields[19] == process.start and fields[0] not in "ZX" else ""
