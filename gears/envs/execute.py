"""Carrying out what was planned for an environment: one at a time, with progress, and in plain words where it fails."""

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

TELL_EVERY_S = 3.0
PATIENCE_S = 3600.0
"""For another command that works at the same environment; a large one on a slow home takes long."""

FULL = r"no space left|disk quota exceeded|errno 28|errno 122|enospc|edquot"
UNREACHABLE = (
    r"name resolution|could not resolve|not known|failed to lookup|network is unreachable|timed out"
    r"|connection (refused|reset|failed)|failed to fetch|connect error"
)
"""Asked for before what follows: pip without a network says, at last, that there is no such package."""

UNSOLVABLE = r"unsatisfiable|no solution|could not solve|cannot solve|nothing provides|does not exist|no matching distr"


@contextlib.contextmanager
def held(where: Place, name: str, say: Progress) -> Iterator[int]:
    """Hold the lock of an environment: nobody else works at it meanwhile. Waits for an hour, then raises NotReachable.

    The descriptor is for the programs that are run: if we are killed, one that outlives us keeps the others waiting
    until it is done.
    """
    for directory in (where.root.parent, where.root):
        files.ensure_private(directory)
    began, told = time.monotonic(), False
    while (lock := files.try_lock(where.lock(name))) is None:
        if not told:
            say(f"another command is at work on {name}; waiting for it")
            told = True
        if time.monotonic() - began > PATIENCE_S:
            raise NotReachable(f"{name} has been worked at for an hour by another command", next="gears env list")
        time.sleep(0.1)
    try:
        yield lock
    finally:
        os.close(lock)


def note(where: Place, environment: Environment, state: str) -> Environment:
    """Write down what the environment is now."""
    maker = None if state == "ready" else processes.this_process()
    noted = replace(environment, state=state, maker=maker)
    registry.save(where, noted)
    return noted


def carry_out(plan: Plan, where: Place, environment: Environment, say: Progress, *, lock: int) -> None:
    """Write the files of the plan, then run its steps.

    Raises CommandFailed with the cause, and what to type; GearsError if a file can't be written.
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
        status = run_logged(step.argv, output, watch=progress.tell, env=environ, keep=[lock])
    except OSError as exc:
        raise GearsError(f"{log}: {exc.strerror}", next="df -h ~   (make room, and again)") from exc
    finally:
        os.close(output)
    if status != 0:
        raise why(step, files.read_text(log, last_bytes=4000), status, log)


class StepProgress:
    """Tells now and then how long a step has taken, and what its tool printed last."""

    def __init__(self, what: str, log: Path, say: Progress) -> None:
        self.what, self.log, self.say = what, log, say
        self.began = self.told = time.monotonic()

    def tell(self) -> None:
        """Say what is done, and where its log is; later, every 3 s, how long it has taken."""
        now = time.monotonic()
        if self.told == self.began:
            self.say(f"{self.what}   (log: {self.log})")
            self.told = now + 1e-6
        elif now - self.told > TELL_EVERY_S:
            self.told = now
            self.say(f"{self.what}: {now - self.began:.0f} s{_last_line(self.log)}")


def why(step: Step, words: str, status: int, log: Path) -> CommandFailed:
    """Explain what a tool's last words mean. Pure."""
    said = words.rpartition("\n== ")[2].partition("\n")[2].strip()
    tail = "\n".join(f"    {line}" for line in said.splitlines()[-12:])
    what = f"{step.what} failed ({Path(step.argv[0]).name}, exit {status})"
    if re.search(FULL, said, re.IGNORECASE):
        cause, fix = "the disk or your quota is full", "du -sh ~/.cache ~/*   (make room, and again)"
    elif re.search(UNREACHABLE, said, re.IGNORECASE):
        cause, fix = "its packages can't be reached from here", "export https_proxy=http://HOST:PORT   (and again)"
    elif re.search(UNSOLVABLE, said, re.IGNORECASE):
        cause, fix = "what is asked for does not go together, or is not to be had", f"less {log}"
    else:
        cause, fix = "its last words are", f"less {log}"
    return CommandFailed(f"{what}: {cause}\n{tail}", stderr=said, next=fix)


def _environ() -> dict[str, str]:
    """Return the person's own variables, less what speaks of another environment."""
    others = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "VIRTUAL_ENV", "CONDA_PREFIX")
    return {name: value for name, value in os.environ.items() if name not in others} | {
        "PIP_USER": "0",
        "PYTHONNOUSERSITE": "1",
    }


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in re.split(r"[\r\n]+", files.read_text(log, last_bytes=2000)) if line.strip()]
    lines = [line for line in lines if not line.startswith("== ")]
    return f"  {lines[-1][:80]}" if lines and lines[-1].isprintable() else ""
