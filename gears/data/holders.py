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
from gears.system.processes import LocatedProcess

ASK_S = 20.0

QUESTION = (
    "exec sh -c 'LC_ALL=C; export LC_ALL; uname -n; cat /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/pid; "
    "cat /proc/{pid}/stat 2>/dev/null || kill -0 {pid} 2>&1; :'"
)
"""For any login shell: name and boot of the host, namespace of its processes, and the process or why it can't be seen.

kill(1) tells one that has ended from one of another user, which /proc can hide (proc(5), hidepid).
"""


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


def ask_host(process: LocatedProcess) -> str:
    """Ask the host of a process over ssh, without prompts, for ASK_S at most. Returns as `why_not_over`.

    What answers can be a host of another name, or sees other processes than those of the holder's container: then it
    can't tell.
    """
    from gears.ssh.target import Target

    ssh = Target(process.host).command("-T", "-n", "-oBatchMode=yes", "-oConnectTimeout=10")
    try:
        answer = commands.run([*ssh, QUESTION.format(pid=process.pid)], timeout_s=ASK_S)
    except CommandFailed as exc:
        return f"{process.host} can't be asked: {exc.stderr.strip() or exc.message}"
    except GearsError as exc:
        return f"{process.host} can't be asked: {exc.message}"
    return _judge(process, [line for line in answer.splitlines() if line.strip()][-4:])


def _judge(process: LocatedProcess, answer: list[str]) -> str:
    """Return as `why_not_over`, by the lines that QUESTION prints."""
    match answer:
        case [host, boot, namespace, stat] if host == process.host:
            if namespace != process.namespace:
                return f"{host} can't tell: it ran in a container there"
            if boot != process.boot or "No such process" in stat:
                return ""
            fields = stat[stat.rfind(")") + 2 :].split()
            if len(fields) < 20:
                return "it may be running"
            return "it is running" if fields[19] == process.start and fields[0] not in "ZX" else ""
    return f"{process.host} can't be asked: {' '.join(answer) or 'it says nothing'}"
