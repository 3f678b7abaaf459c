"""Ports of this machine's loopback: which are free, and which program uses one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from pathlib import Path

from gears.errors import GearsError
from gears.system.commands import run


def port_is_free(number: int) -> bool:
    """Tell whether the port is free on 127.0.0.1 and on ::1."""
    return _can_listen(socket.AF_INET, "127.0.0.1", number) and ipv6_port_is_free(number)


def ipv6_port_is_free(number: int) -> bool:
    """Tell whether the port is free on ::1, or the machine has no IPv6.

    A browser can resolve localhost to ::1 and would send the token to a listener there.
    """
    return _can_listen(socket.AF_INET6, "::1", number)


def _can_listen(family: socket.AddressFamily, address: str, number: int) -> bool:
    try:
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((address, number))
    except OSError as exc:
        return family == socket.AF_INET6 and exc.errno != errno.EADDRINUSE
    return True


def free_port(first: int) -> int:
    """Find a free port of this machine: one of the 20 from `first` on, else any."""
    if found := next(filter(port_is_free, range(first, min(first + 20, 65536))), None):
        return found
    with socket.create_server(("127.0.0.1", 0)) as trial:
        return int(trial.getsockname()[1])


def taken_by(number: int) -> str:
    """Return name and pid of the program that listens there, if it is the user's own; else "another program"."""
    return _by_proc(number) or _by_lsof(number) or "another program"


def _by_proc(number: int) -> str:
    """Find the process in proc(5).

    /proc/net/tcp has the inodes of listening sockets, /proc/PID/fd the sockets of a process.
    """
    with contextlib.suppress(OSError):
        lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
        found = [words for line in lines if (words := line.split())[3] == "0A"]
        inodes = {words[9] for words in found if int(words[1].rpartition(":")[2], 16) == number}
        for process in filter(str.isdigit, os.listdir("/proc")):
            if inodes & _sockets(process):
                return f"{Path(f'/proc/{process}/comm').read_text().strip()} (pid {process})"
    return ""


def _sockets(process: str) -> set[str]:
    """Return the inodes of a process's sockets; empty for another user's process."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                found |= set(re.findall(r"^socket:\[(\d+)\]$", os.readlink(entry.path)))
    return found


def _by_lsof(number: int) -> str:
    """Run lsof(8), for macOS: a line `pPID`, then `cCOMMAND`."""
    with contextlib.suppress(GearsError):
        output = run(["lsof", "-nP", f"-iTCP:{number}", "-sTCP:LISTEN", "-Fpc"], timeout_s=5)
        if found := re.search(r"^p(\d+)\nc(.+)$", output, re.MULTILINE):
            return f"{found[2]} (pid {found[1]})"
    return ""
