"""The programs that gears requires, and the type of the terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator

from gears.doctor.finding import Finding, failed, ok, warning
from gears.errors import CommandFailed
from gears.sites.context import Context
from gears.system.commands import find_program, run

OLDEST_SSH = (6, 8)
"""6.7 can forward to sockets; 6.8 has `ssh -G`, with which a hop is planned."""


def check_ssh(context: Context) -> Iterator[Finding]:
    """Check the version of ssh, unless this is the lab host, which dials no other. Raises MissingProgram."""
    if context.route.role == "lab":
        return
    find_program("ssh")
    version = run(["sh", "-c", "ssh -V 2>&1"], timeout_s=2).strip().partition(",")[0]
    numbers = re.search(r"OpenSSH_(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_SSH:
        yield failed("ssh", f"{version} is too old: gears needs 6.8 or later", "module avail openssh")
    else:
        yield ok("ssh", version)


def check_tmux(context: Context) -> Iterator[Finding]:
    """Check tmux. Raises MissingProgram if it is missing or too old."""
    from gears.system import tmux

    if context.route.role != "elsewhere":
        yield ok("tmux", tmux.check_tmux())


def check_terminal(context: Context) -> Iterator[Finding]:
    """Check the terminal's type: tmux needs its description on this host (terminfo(5))."""
    term = os.environ.get("TERM", "")
    if not sys.stdin.isatty() or not shutil.which("infocmp") or context.route.role == "elsewhere":
        return
    try:
        run(["infocmp", term or "unknown"], timeout_s=2)
    except CommandFailed:
        fix = "export TERM=xterm-256color   (before gears lab, attach or shell)"
        yield warning("terminal", f"this host has no terminfo entry for {term or 'an empty TERM'}", fix)
    else:
        yield ok("terminal", term)
