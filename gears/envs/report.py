"""The findings of `gears env verify`, as text and JSON, and the commands that repair them. Pure."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict, dataclass
from typing import Any

from gears.envs.registry import BASE, Environment

SHOWN = 3
"""Files that are listed of each package; `--json` has all."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is damaged or missing."""

    path: str
    what: str  # missing, size, hash, unreadable; or the missing interpreter of a script


@dataclass(frozen=True, slots=True)
class Broken:
    """A package with damaged or missing files. `origin`: where pip gets it, if not from its index."""

    name: str
    version: str
    tool: str
    origin: str
    files: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """A missing package, and one that requires it. `wanted`: the requirement to install."""

    name: str
    wanted: str
    tool: str
    needed_by: str


@dataclass(frozen=True, slots=True)
class Report:
    """The findings for an environment. `interpreter`: why its Python can't be used; None: it can."""

    prefix: str
    packages: int = 0
    files: int = 0
    interpreter: str | None = None
    broken: tuple[Broken, ...] = ()
    absent: tuple[Absent, ...] = ()
    scripts: tuple[Fault, ...] = ()  # of no package, with a missing interpreter
    leftovers: tuple[str, ...] = ()  # of interrupted installations

    @property
    def whole(self) -> bool:
        """Tell whether there are no findings at all."""
        return not (self.unusable or self.absent or self.scripts or self.leftovers)

    @property
    def unusable(self) -> bool:
        """Tell whether the Python or files of packages are broken; other findings may be intended."""
        return bool(self.interpreter or self.broken)


def as_record(report: Report, name: str, repair: list[list[str]]) -> dict[str, Any]:
    """Return the report for `--json`. `next`: the commands that repair it, quoted for a shell."""
    commands = [shlex.join(command) for command in repair]
    return {"name": name, "whole": report.whole, **asdict(report), "next": commands}


def as_text(report: Report, name: str, repair: list[list[str]]) -> str:
    """Format the report as text: one line for each finding, and the commands that repair it."""
    if report.whole:
        return f"{name}: {report.packages} packages, {report.files} files: all present"
    lines = [f"{name}: {_summary(report)} ({report.prefix})"]
    lines += [f"  {report.interpreter}"] if report.interpreter else []
    lines += [f"  {_describe(broken, report.prefix)}" for broken in report.broken]
    lines += [f"  {absent.name} is missing, and {absent.needed_by} requires it" for absent in report.absent]
    lines += [f"  {_short(script.path, report.prefix)}: {script.what} is gone" for script in report.scripts]
    lines += [f"  {_short(path, report.prefix)}: left by an interrupted installation" for path in report.leftovers]
    return "\n".join([*lines, *(f"  next: {shlex.join(command)}" for command in repair)])


def _summary(report: Report) -> str:
    if report.interpreter:
        return "its Python can't be used"
    if report.broken:
        return f"{len(report.broken)} of {report.packages} packages are broken"
    if report.absent:
        return "required packages are missing"
    return "scripts have no interpreter" if report.scripts else "an installation was interrupted"


def _describe(broken: Broken, prefix: str) -> str:
    shown = ", ".join(f"{_short(fault.path, prefix)} ({_word(fault)})" for fault in broken.faults[:SHOWN])
    rest = ", …" if len(broken.faults) > SHOWN else ""
    return f"{broken.name} {broken.version}: {len(broken.faults)} of {broken.files} files: {shown}{rest}"


def _word(fault: Fault) -> str:
    return f"{fault.what} is gone" if os.path.isabs(fault.what) else fault.what


def _short(path: str, prefix: str) -> str:
    return os.path.relpath(path, prefix) if path.startswith(prefix + os.sep) else path


# --- repair ---------------------------------------------------------------------------------------


def plan_repair(report: Report, environment: Environment) -> list[list[str]]:
    """Return commands that reinstall only what is broken, in the same version, with the tool that installed it.

    If the Python is missing, or not the one that the packages are for, recreate the whole environment.
    """
    conda = [broken for broken in report.broken if broken.tool == "conda"]
    if report.interpreter and not any(broken.name == "python" for broken in conda):
        return _recreate(environment)
    pip = [broken for broken in report.broken if broken.tool != "conda"]
    commands = [["rm", "-r", *report.leftovers]] if report.leftovers else []
    commands += [_conda_command(environment, conda)] if conda else []
    commands += [_pip_command(environment, pip)] if pip else []
    return [*commands, *_absent_commands(environment, report.absent)]


def _absent_commands(environment: Environment, absent: tuple[Absent, ...]) -> list[list[str]]:
    conda = sorted({one.wanted for one in absent if one.tool == "conda"})
    pip = sorted({one.wanted for one in absent if one.tool != "conda"})
    install = [environment.program or environment.tool, "install", "-p", str(environment.prefix)]
    return [*([[*install, *conda]] if conda else []), *([[*_pip(environment), *pip]] if pip else [])]


def _pip(environment: Environment) -> list[str]:
    python = str(environment.python)
    if environment.tool == "uv" and environment.program:
        return [environment.program, "pip", "install", "--python", python]
    return [python, "-m", "pip", "install"]


def _recreate(environment: Environment) -> list[list[str]]:
    if environment.name == BASE:
        return [["make", "fini", "init"]]
    remove = ["gears", "env", "remove", environment.name]
    return [remove] if environment.adopted else [remove, ["gears", "env", "create", environment.name, "--from", "FILE"]]


def _conda_command(environment: Environment, broken: list[Broken]) -> list[str]:
    program, prefix = environment.program or environment.tool, str(environment.prefix)
    if environment.tool == "pixi":
        manifest = str(environment.prefix.parents[2])  # PROJECT/.pixi/envs/default
        return [program, "reinstall", "--manifest-path", manifest, *(package.name for package in broken)]
    return [program, "install", "-p", prefix, "--force-reinstall", *(f"{one.name}={one.version}" for one in broken)]


def _pip_command(environment: Environment, broken: list[Broken]) -> list[str]:
    """Return the command that reinstalls these packages.

    uv runs without its cache, since a damaged file may be a hard link into it. pip removes the old package by its
    RECORD, and fails if that is missing, unless it ignores what is installed.
    """
    wanted = [one.origin or f"{one.name}=={one.version}" for one in broken]
    if environment.tool == "uv" and environment.program:
        return [*_pip(environment), "--no-cache", "--reinstall", "--no-deps", *wanted]
    return [*_pip(environment), "--ignore-installed", "--no-deps", *wanted]
