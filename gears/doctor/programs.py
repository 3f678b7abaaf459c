"""The programs gears stands on, and the terminal they are shown in."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator

from gears.doctor.finding import Finding, failed, ok, warning
from gears.errors import CommandFailed
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.system.commands import find_program, run

OLDEST_SSH = (6, 8)
"""6.7 forwards to sockets; 6.8 has the `ssh -G` that a hop is planned with."""


def check_ssh(route: Route, _paths: RunDir) -> Iterator[Finding]:
    """Check the version of ssh where this host dials another. Raises MissingProgram."""
    if route.role == "lab":
        return
    find_program("ssh")
    said = run(["sh", "-c", "ssh -V 2>&1"], timeout_s=2).strip().partition(",")[0]
    numbers = re.search(r"OpenSSH_(\d+)\.(\d+)", said)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_SSH:
        yield failed("ssh", f"{said} is too old: gears needs 6.8 or later", "module avail openssh")
    else:
        yield ok("ssh", said)


def check_tmux(route: Route, _paths: RunDir) -> Iterator[Finding]:
    """Check tmux. Raises MissingProgram where it is absent or too old."""
    from gears.system import tmux

    if route.role != "elsewhere":
        yield ok("tmux", tmux.check_tmux())


def check_terminal(route: Route, _paths: RunDir) -> Iterator[Finding]:
    """Check the terminal's type: tmux shows itself only in one this host has a description of (terminfo(5))."""
    term = os.environ.get("TERM", "")
    if not sys.stdin.isatty() or not shutil.which("infocmp") or route.role == "elsewhere":
        return
    try:
        run(["infocmp", term or "unknown"], timeout_s=2)
    except CommandFailed:
        fix = "export TERM=xterm-256color   (before gears lab, attach or shell)"
        yield warning("terminal", f"this host knows no terminal of the type {term or 'of an empty TERM'}", fix)
    else:
        yield ok("terminal", term)
