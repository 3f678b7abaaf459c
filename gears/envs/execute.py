"""Run the plan for an environment: one at a time, with progress, and with the cause of a failure."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gears.envs import registry
from gears.envs.paths import Place
from gears.envs.registry import Environment
from gears.envs.tools import Plan, Step, own_caches
from gears.errors import CommandFailed, GearsError, NotReachable
from gears.system import files, processes
from gears.system.commands import run_logged
from gears.system.progress import Progress

REPORT_EVERY_S = 3.0
PATIENCE_S = 3600.0
"""For another command that changes the same environment: a large one on a slow home takes long."""

FULL = r"no space left|disk quota exceeded|errno 28|errno 122|enospc|edquot"
UNREACHABLE = (
    r"name resolution|could not resolve|not known|failed to lookup|network is unreachable|timed out"
    r"|connection (refused|reset|failed)|failed to fetch|connect error"
)
"""Checked before `UNSOLVABLE`: pip without a network finally reports that no such package exists."""

UNSOLVABLE = r"unsatisfiable|no solution|could not solve|cannot solve|nothing provides|does not exist|no matching distr"


@contextlib.contextmanager
def locked(where: Place, name: str, say: Progress) -> Iterator[int]:
    """Hold the lock of an environment, so that no other command changes it. Raises NotReachable after an hour.

    Pass the descriptor to the programs that are run: if this process is killed, a program that outlives it holds the
    lock until it ends.
    """
    for directory in (where.root.parent, where.root):
        files.ensure_private(directory)
    began, reported = time.monotonic(), False
    while (lock := files.try_lock(where.lock(name))) is None:
        if not reported:
            say(f"another command is changing {name}; waiting for it")
            reported = True
        if time.monotonic() - began > PATIENCE_S:
            raise NotReachable(f"another command has been changing {name} for an hour", next="gears env list")
        time.sleep(0.1)
    try:
        yield lock
    finally:
        os.close(lock)


def save_state(where: Place, environment: Environment, state: str) -> Environment:
    """Save the environment's record with a new state, and return the environment with it."""
    maker = "" if state == "ready" else processes.line(processes.this_process()).strip()
    changed = replace(environment, state=state, maker=maker)
    registry.save(where, changed)
    return changed


def carry_out(plan: Plan, where: Place, environment: Environment, say: Progress, *, lock: int) -> None:
    """Write the files of the plan, then run its steps.

    Raises CommandFailed with the cause and the next command; GearsError if a file can't be written.
    """
    try:
        for file, text in plan.files.items():
            files.ensure_private(file.parent)
            files.write_private(file, text)
        environment.prefix.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise GearsError(f"{exc.filename}: {exc.strerror}", next=f"ls -ld {environment.prefix.parent}; df -h") from exc
    for step in plan.steps:
        _run(step, where, environment, say, lock)


def _run(step: Step, where: Place, environment: Environment, say: Progress, lock: int) -> None:
    log = where.log(environment.name)
    progress = StepProgress(f"{environment.name}: {step.what}", log, say)
    environ = _environ() | own_caches(environment.prefix) | dict(step.environ)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(output, f"\n== {' '.join(step.argv)}\n".encode())
        status = run_logged(step.argv, output, watch=progress.report, env=environ, keep=[lock])
    except OSError as exc:
        raise GearsError(f"{log}: {exc.strerror}", next="df -h ~   (free space, then try again)") from exc
    finally:
        os.close(output)
    if status != 0:
        raise explain_failure(step, files.read_text(log, last_bytes=4000), status, log)


class StepProgress:
    """Reports at intervals how long a step has taken, and the last line that its tool printed."""

    def __init__(self, what: str, log: Path, say: Progress) -> None:
        self.what, self.log, self.say = what, log, say
        self.began = self.reported = time.monotonic()

    def report(self) -> None:
        """Report the step and its log; later, every 3 s, how long it has taken."""
        now = time.monotonic()
        if self.reported == self.began:
            self.say(f"{self.what}   (log: {self.log})")
            self.reported = now + 1e-6
        elif now - self.reported > REPORT_EVERY_S:
            self.reported = now
            self.say(f"{self.what}: {now - self.began:.0f} s{_last_line(self.log)}")


def explain_failure(step: Step, text: str, status: int, log: Path) -> CommandFailed:
    """Explain a failure by the end of the tool's log. Pure."""
    output = text.rpartition("\n== ")[2].partition("\n")[2].strip()
    tail = "\n".join(f"    {line}" for line in output.splitlines()[-12:])
    what = f"{step.what} failed ({Path(step.argv[0]).name}, exit {status})"
    if re.search(FULL, output, re.IGNORECASE):
        cause, fix = "the disk or your quota is full", "du -sh ~/.cache ~/*   (free space, then try again)"
    elif re.search(UNREACHABLE, output, re.IGNORECASE):
        cause, fix = (
            "the package index can't be reached from here",
            "export https_proxy=http://HOST:PORT   (then try again)",
        )
    elif re.search(UNSOLVABLE, output, re.IGNORECASE):
        cause, fix = "the requested packages conflict or are not available", f"less {log}"
    else:
        cause, fix = "the end of its output is", f"less {log}"
    return CommandFailed(f"{what}: {cause}\n{tail}", stderr=output, next=fix)


def _environ() -> dict[str, str]:
    """Return the user's variables without those that refer to another environment."""
    others = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "VIRTUAL_ENV", "CONDA_PREFIX")
    return {name: value for name, value in os.environ.items() if name not in others} | {
        "PIP_USER": "0",
        "PYTHONNOUSERSITE": "1",
    }


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in re.split(r"[\r\n]+", files.read_text(log, last_bytes=2000)) if line.strip()]
    lines = [line for line in lines if not line.startswith("== ")]
    return f"  {lines[-1][:80]}" if lines and lines[-1].isprintable() else ""
