"""Before the walltime ends a job: warnings in JupyterLab's log and terminals, and a signal to kernels that want it.

A kernel is told by SIGUSR1, as batch schedulers tell jobs, if it has a handler for it: others would die of it. Open
notebooks are saved by JupyterLab itself every two minutes (its autosave); variables are for the handler to save.
"""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

WARN_BEFORE_S = (600.0, 120.0)
"""Before the end. Of a short job no more than a quarter and a twentieth of its time."""

SHARES = (0.25, 0.05)


def plan_warnings(now: float, ends: float) -> list[float]:
    """Return the times at which to warn, of those that lie ahead. All are seconds since 1970."""
    befores = [min(most, share * (ends - now)) for most, share in zip(WARN_BEFORE_S, SHARES, strict=True)]
    return [ends - before for before in befores if now < ends - before]


def warn_before_end(serverapp: Any, ends: float) -> None:
    """Let JupyterLab's own loop give the warnings."""
    now = time.time()
    for when in plan_warnings(now, ends):
        serverapp.io_loop.call_later(when - now, warn, serverapp, ends)


def warn(serverapp: Any, ends: float) -> None:
    """Warn in JupyterLab's log, terminals and kernels that its job is about to end. `ends`: seconds since 1970."""
    left_s = max(0, round(ends - time.time()))
    left = f"{left_s // 60} min" if left_s >= 120 else f"{left_s} s"
    words = f"gears: this job ends in {left}. Save your work: variables are lost, notebooks are saved automatically."
    serverapp.log.warning(words)
    tell_terminals(serverapp.web_app.settings.get("terminal_manager"), words)
    tell_kernels(serverapp.kernel_manager)


def tell_terminals(manager: Any, words: str) -> None:
    """Show a line in each open terminal, as wall(1) does; what runs there is not given anything to read."""
    for terminal in getattr(manager, "terminals", {}).values():
        line = f"\r\n\x1b[7m{words}\x1b[0m\r\n"
        terminal.read_buffer.append(line)
        for client in terminal.clients:
            client.on_pty_read(line)


def tell_kernels(manager: Any) -> None:
    """Send SIGUSR1 to each kernel that has a handler for it."""
    for kernel in manager.list_kernel_ids():
        pid = getattr(manager.get_kernel(kernel).provisioner, "pid", None)
        if pid and catches(pid, signal.SIGUSR1):
            os.kill(pid, signal.SIGUSR1)


def catches(pid: int, number: int) -> bool:
    """Tell whether the process has a handler for that signal (proc(5): SigCgt of /proc/PID/status)."""
    try:
        found = re.search(r"^SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return False
    return bool(found and int(found[1], 16) >> (number - 1) & 1)
