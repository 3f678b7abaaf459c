"""Warn before the walltime ends a job: in JupyterLab's log and terminals, and by a signal to kernels that handle it.

Where variables are carried, the first warning saves them, so that JupyterLab's page can say what of them is.

A kernel gets SIGUSR1, with which batch schedulers warn jobs, only if it has a handler: the signal would end others.
JupyterLab saves open notebooks every two minutes (autosave); the handler can save variables.
"""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from gears.lab.jupyter.carry_limits import CARRIER

WARN_BEFORE_S = (600.0, 120.0)
"""Times of the warnings before the end; in a short job at most a quarter and a twentieth of its time."""

SHARES = (0.25, 0.05)


def plan_warnings(now: float, ends: float) -> list[float]:
    """Return the times of the warnings that are still ahead. All are seconds since 1970."""
    befores = [min(most, share * (ends - now)) for most, share in zip(WARN_BEFORE_S, SHARES, strict=True)]
    return [ends - before for before in befores if now < ends - before]


def warn_before_end(serverapp: Any, ends: float) -> None:
    """Schedule the warnings in JupyterLab's event loop."""
    now = time.time()
    warnings = plan_warnings(now, ends)
    for when in warnings:
        serverapp.io_loop.call_later(when - now, warn, serverapp, ends)
    if warnings:
        serverapp.io_loop.call_later(warnings[0] - now, rehearse, serverapp, ends)


async def rehearse(serverapp: Any, ends: float) -> None:
    """Save the variables of all notebooks, where they are carried."""
    if carrier := serverapp.web_app.settings.get(CARRIER):
        await carrier.rehearse(ends - time.time())


def warn(serverapp: Any, ends: float) -> None:
    """Warn in JupyterLab's log, terminals and kernels that its job is about to end. `ends`: seconds since 1970."""
    left_s = max(0, round(ends - time.time()))
    left = f"{left_s // 60} min" if left_s >= 120 else f"{left_s} s"
    lost = "variables are saved between two cells" if CARRIER in serverapp.web_app.settings else "variables are lost"
    words = f"gears: this job ends in {left}. Save your work: {lost}, notebooks are saved automatically."
    serverapp.log.warning(words)
    warn_terminals(serverapp.web_app.settings.get("terminal_manager"), words)
    signal_kernels(serverapp.kernel_manager)


def warn_terminals(manager: Any, words: str) -> None:
    """Show a line in each open terminal, as wall(1) does, without sending any input."""
    for terminal in getattr(manager, "terminals", {}).values():
        line = f"\r\n\x1b[7m{words}\x1b[0m\r\n"
        terminal.read_buffer.append(line)
        for client in terminal.clients:
            client.on_pty_read(line)


def signal_kernels(manager: Any) -> None:
    """Send SIGUSR1 to each kernel that has a handler for it."""
    for kernel in manager.list_kernel_ids():
        pid = getattr(manager.get_kernel(kernel).provisioner, "pid", None)
        if pid and catches(pid, signal.SIGUSR1):
            os.kill(pid, signal.SIGUSR1)


def catches(pid: int, number: int) -> bool:
    """Return whether the process has a handler for that signal (proc(5): SigCgt of /proc/PID/status)."""
    try:
        found = re.search(r"^SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return False
    return bool(found and int(found[1], 16) >> (number - 1) & 1)
