"""Processes, identified by host, pid and start time. The only module that signals a process by pid.

Pids are reused and names are not unique: a signal is sent only to a process of the user that matches in all three.
Start times are field 22 of /proc/<pid>/stat (proc(5)), in clock ticks since boot.
"""

from __future__ import annotations

import calendar
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the user on `host`. `start`: clock ticks since boot, as text."""

    host: str
    pid: int
    start: str

    def alive(self) -> bool | None:
        """Tell whether it is alive; None for a process of another host. Without a start time the pid alone counts."""
        if self.host != socket.gethostname():
            return None
        return start_time(self.pid) == self.start if self.start else _exists(self.pid)

    def signal(self, number: int) -> bool:
        """Send signal `number` if the process still is the same and the user's. False if it is gone. Idempotent."""
        if not self.alive() or not _is_ours(self.pid):
            return False
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if start_time(self.pid) != self.start:
                return False
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True

    def end(self, timeout_s: float = 10.0) -> bool:
        """Send SIGTERM, then SIGKILL after `timeout_s`, and wait 2 s more. True if it is gone."""
        for number, wait_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 2.0)):
            if not self.signal(number):
                return True
            deadline = time.monotonic() + wait_s
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.02)
        return not self.alive()


@dataclass(frozen=True, slots=True)
class LocatedProcess(Process):
    """A process that other hosts know of by a record.

    `boot`: the id of its kernel's boot; `namespace`: of its process ids, since hosts of one name can be containers on
    several. Both are empty where there is no /proc.
    """

    boot: str = ""
    namespace: str = ""

    def is_over(self) -> bool | None:
        """Tell whether it is proven to have ended; None if this host, or this container of it, can't tell."""
        here = this_located_process()
        if (self.host, self.namespace) != (here.host, here.namespace):
            return None
        if self.boot != here.boot:
            return True
        if not self.alive() and _is_hidden(self.pid):
            return None
        return self.alive() is False


def this_located_process() -> LocatedProcess:
    """Return the current process, for a record that other hosts read."""
    me = this_process()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = namespace = ""
    return LocatedProcess(me.host, me.pid, me.start, boot, namespace)


def _is_hidden(pid: int) -> bool:
    """Return whether there is a process of another user that /proc hides, or only names (proc(5), hidepid)."""
    try:
        Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _exists(pid)
    return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def this_process() -> Process:
    """Return the current process."""
    return Process(socket.gethostname(), os.getpid(), start_time(os.getpid()) or "")


def start_time(pid: int) -> str | None:
    """Return the start time of `pid` in clock ticks since boot; None for a zombie or no process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    state, start = fields[0], fields[19]
    return None if state in "ZX" else start


def parse(text: str) -> Process | None:
    """Parse the line `host pid start` that loops and keepers write; None for anything else."""
    words = text.split()
    if len(words) != 3 or not words[1].isdigit():
        return None
    return Process(words[0], int(words[1]), words[2])


def read(path: Path) -> Process | None:
    """Read the process that a file names; None if there is no such file, or no valid line in it."""
    try:
        return parse(path.read_text())
    except (OSError, UnicodeDecodeError):
        return None


def line(process: Process) -> str:
    """Return the line that `parse` reads, with a newline."""
    return f"{process.host} {process.pid} {process.start}\n"


def _is_ours(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.getuid()
    except OSError:
        return False


def children(parent: Process) -> list[Process]:
    """Return the live children of a process of this host."""
    if not parent.alive():
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _parent(int(entry.name)) == parent.pid and (start := start_time(int(entry.name))):
            found.append(Process(parent.host, int(entry.name), start))
    return found


def name(pid: int) -> str:
    """Return the kernel's name of a process (at most 15 characters); empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat[stat.rindex(")") + 2 :].split()[1])


def before_boot(when: str) -> bool:
    """Tell whether a time in UTC, as in records, is before this host's last boot, which resets pids and start times.

    False if either is unreadable (proc(5), /proc/stat: btime). Allows a minute for adjusted clocks.
    """
    try:
        lines = dict(line.split(" ", 1) for line in Path("/proc/stat").read_text().splitlines() if " " in line)
        return calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ")) < int(lines["btime"]) - 60
    except (OSError, ValueError, KeyError):
        return False
