"""The laptop's port, at which somebody always listens: the waiting page while the way is down, ssh while it is up.

Never both, and no byte of what ssh forwards passes through here. They take turns: the page stops listening, ssh is
told to, and only then are those still answered who came before: a kernel's websocket, which the page holds, then
connects anew and finds ssh. Between the two the port is closed for as long as an `ssh -O forward` takes (some 10 ms).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gears.command import run
from gears.errors import GearsError
from gears.here import is_free_beside, port_is_free
from gears.keeper.serve import WaitingServer

QUEUE = 128

RETURN_S = 2.0
"""For a port to be free again once ssh has ended."""


class LaptopPort:
    """127.0.0.1:`number`, and nothing else: no other machine gets there."""

    def __init__(self, number: int, status: dict[str, Any], again: str, *, patient_s: float = 0.0) -> None:
        """Take the port, and show `status` on the page. `again`: the command that was typed.

        Raises GearsError where it is taken, and is so for `patient_s`.
        """
        self.number = number
        self.again = again
        self._status = status
        self._server: WaitingServer | None = self._serve(patient_s)

    def show(self, status: dict[str, Any]) -> None:
        """Set what the page says from now on."""
        self._status = status
        if self._server:
            self._server.status = status

    def take_back(self) -> None:
        """Let the page answer again: ssh has ended. Raises GearsError where something else has taken the port."""
        if self._server is None:
            self._server = self._serve(RETURN_S)

    def hand_over(self, forward: Callable[[], bool]) -> bool:
        """Let ssh have it; `forward` tells ssh, and whether it listens now. If it does not, the page is back."""
        if self._server is None:
            return True
        server, self._server = self._server, None
        server.close_door()
        try:
            done = forward()
        finally:
            threading.Thread(target=server.leave, daemon=True).start()
        if not done:
            self.take_back()
        return done

    def close(self) -> None:
        """Stop the page, if it has the port; what ssh has is left alone. May be repeated."""
        if self._server:
            self._server.close_door()
            self._server = None

    def _serve(self, patient_s: float) -> WaitingServer:
        with self._listen(patient_s) as listener:
            return WaitingServer(None, self._status, listener)

    def _listen(self, patient_s: float) -> socket.socket:
        deadline = time.monotonic() + patient_s
        while True:
            try:
                return _listen_at(self.number)
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                    raise self._refusal(exc) from exc
                time.sleep(0.002)

    def _refusal(self, error: OSError) -> GearsError:
        cure = f"{self.again} --port {free_port(self.number + 1)}"
        if error.errno != errno.EADDRINUSE:
            return GearsError(f"port {self.number} of this machine: {error.strerror}", next=cure)
        return GearsError(f"port {self.number} of this machine is taken by {taken_by(self.number)}", next=cure)


def _listen_at(number: int) -> socket.socket:
    """Listen at the port.

    Raises OSError; EADDRINUSE also where somebody is at ::1 only, who would be asked in our place.
    """
    listener = socket.create_server(("127.0.0.1", number), backlog=QUEUE)
    if not is_free_beside(number):
        listener.close()
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    return listener


def free_port(first: int) -> int:
    """Find a port of this machine that is free now: the first from `first` on, else any."""
    if found := next(filter(port_is_free, range(first, min(first + 20, 65536))), None):
        return found
    with socket.create_server(("127.0.0.1", 0)) as trial:
        return int(trial.getsockname()[1])


def taken_by(number: int) -> str:
    """Say who listens there, as far as can be told: only of a person's own processes."""
    return _by_proc(number) or _by_lsof(number) or "another program"


def _by_proc(number: int) -> str:
    """Look in proc(5) for the process.

    /proc/net/tcp has the inode of each listening socket, /proc/PID/fd the sockets of a process.
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
    """Return the inodes of a process's sockets; of another user's process none."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                found |= set(re.findall(r"^socket:\[(\d+)\]$", os.readlink(entry.path)))
    return found


def _by_lsof(number: int) -> str:
    """Ask lsof(8), which macOS has: a line `pPID`, then `cCOMMAND`."""
    with contextlib.suppress(GearsError):
        said = run(["lsof", "-nP", f"-iTCP:{number}", "-sTCP:LISTEN", "-Fpc"], timeout_s=5)
        if found := re.search(r"^p(\d+)\nc(.+)$", said, re.MULTILINE):
            return f"{found[2]} (pid {found[1]})"
    return ""
