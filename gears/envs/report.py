"""What `gears env verify` found, how it is told, and the command that mends it. Pure."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict, dataclass
from typing import Any

from gears.envs.registry import BASE, Environment

SHOWN = 3
"""Files that are named of each package; `--json` has all."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not as it should be."""

    path: str
    what: str  # missing, size, hash, unreadable; or the path of the interpreter that a script names and that is gone


@dataclass(frozen=True, slots=True)
class Broken:
    """A package of which not all is as it was installed. `origin`: where pip is to take it from, if not its index."""

    name: str
    version: str
    tool: str
    origin: str
    files: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """A package of which there is no trace, and one that needs it. `wanted`: what the tool is told to get it."""

    name: str
    wanted: str
    tool: str
    needed_by: str


@dataclass(frozen=True, slots=True)
class Report:
    """`interpreter`: why the environment's Python can't be used; None: it can."""

    prefix: str
    packages: int = 0
    files: int = 0
    interpreter: str | None = None
    broken: tuple[Broken, ...] = ()
    absent: tuple[Absent, ...] = ()
    scripts: tuple[Fault, ...] = ()  # of no package, and their interpreter is gone
    leftovers: tuple[str, ...] = ()  # of installations that broke off

    @property
    def whole(self) -> bool:
        """Tell whether nothing at all was found."""
        return not (self.unusable or self.absent or self.scripts or self.leftovers)

    @property
    def unusable(self) -> bool:
        """Tell whether the Python or files of packages are broken; what else may be amiss was perhaps meant so."""
        return bool(self.interpreter or self.broken)


def as_record(report: Report, name: str, mending: list[list[str]]) -> dict[str, Any]:
    """Return the report for `--json`. `next`: the commands that mend it, quoted for a shell."""
    commands = [shlex.join(command) for command in mending]
    return {"name": name, "whole": report.whole, **asdict(report), "next": commands}


def as_text(report: Report, name: str, mending: list[list[str]]) -> str:
    """Format the report for a person: one line for each finding, and the commands that mend it."""
    if report.whole:
        return f"{name}: {report.packages} packages, {report.files} files: all there"
    lines = [f"{name}: {_summary(report)} ({report.prefix})"]
    lines += [f"  {report.interpreter}"] if report.interpreter else []
    lines += [f"  {_describe(broken, report.prefix)}" for broken in report.broken]
    lines += [f"  {absent.name} is not there, and {absent.needed_by} needs it" for absent in report.absent]
    lines += [f"  {_short(script.path, report.prefix)}: {script.what} is gone" for script in report.scripts]
    lines += [f"  {_short(path, report.prefix)}: left by an installation that broke off" for path in report.leftovers]
    return "\n".join([*lines, *(f"  next: {shlex.join(command)}" for command in mending)])


def _summary(report: Report) -> str:
    if report.interpreter:
        return "its Python can't be used"
    if report.broken:
        return f"{len(report.broken)} of {report.packages} packages are broken"
    if report.absent:
        return "packages are not there that others need"
    return "scripts lead nowhere" if report.scripts else "an installation broke off"


def _describe(broken: Broken, prefix: str) -> str:
    shown = ", ".join(f"{_short(fault.path, prefix)} ({_word(fault)})" for fault in broken.faults[:SHOWN])
    rest = ", …" if len(broken.faults) > SHOWN else ""
    return f"{broken.name} {broken.version}: {len(broken.faults)} of {broken.files} files: {shown}{rest}"


def _word(fault: Fault) -> str:
    return f"{fault.what} is gone" if os.path.isabs(fault.what) else fault.what


def _short(path: str, prefix: str) -> str:
    return os.path.relpath(path, prefix) if path.startswith(prefix + os.sep) else path


# --- what mends it -----------------------------------------------------------------------------------


def plan_mending(report: Report, environment: Environment) -> list[list[str]]:
    """Return commands that install what is broken anew, in its version, and nothing else; each by the tool that has it.

    With no Python left, or another one than the packages are for, all is to be made anew.
    """
    conda = [broken for broken in report.broken if broken.tool == "conda"]
    if report.interpreter and not any(broken.name == "python" for broken in conda):
        return _make_anew(environment)
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


def _make_anew(environment: Environment) -> list[list[str]]:
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
    """Return the command that installs these packages anew.

    uv runs without its cache, since a file that was changed may be a hard link to it. pip takes an old package away by
    its RECORD, and fails where that is gone, unless it is told that there is no old one.
    """
    wanted = [one.origin or f"{one.name}=={one.version}" for one in broken]
    if environment.tool == "uv" and environment.program:
        return [*_pip(environment), "--no-cache", "--reinstall", "--no-deps", *wanted]
    return [*_pip(environment), "--ignore-installed", "--no-deps", *wanted]
