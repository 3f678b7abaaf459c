"""The environments that are registered, as their records in the home say, and whether they can be used.

A record is written before anything is made and says `making` until the environment is complete. An environment that is
not `ready` is never offered.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gears.envs.paths import Place, place
from gears.errors import UsageError
from gears.system import files, processes, records

BASE = "base"
"""Gears' own environment."""

RESERVED = (BASE, "python3", "python")
"""Names that mean gears' own environment, to gears or to Jupyter."""

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment, as its record `NAME.json` has it.

    `tool`: conda, mamba, micromamba, pixi, uv or venv; `program`: its path. `source`: what it was made from, as text.
    `adopted`: not made by gears, and not changed by it. `state`: ready, making, updating or removing; `maker`: the
    process that does so, a line as `processes.parse` reads it, or "".
    """

    name: str
    tool: str
    program: str = ""
    source: str = ""
    created: str = ""
    adopted: bool = False
    state: str = "ready"
    prefix: Path
    maker: str = ""

    @property
    def family(self) -> str:
        """Return how its files are laid out: "venv" or "conda"."""
        return "venv" if self.tool in ("uv", "venv") else "conda"

    @property
    def python(self) -> Path:
        """Return the path of its Python, which need not exist."""
        return self.prefix / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether an environment can be used. `state`: ready, making, or broken; `next`: the command to run."""

    state: str
    reason: str = ""
    next: str = ""


def check_name(name: str) -> str:
    """Return the name. Raises UsageError if it is not a valid name of an environment."""
    if not re.fullmatch(NAME, name):
        shown = ascii(name) if len(name) <= 40 else f"{name[:40]!a}…"
        raise UsageError(
            f"invalid environment name: {shown} (up to 64 letters, digits, ., _ and -; first a letter or digit)",
            next="gears env list",
        )
    return name


def find(run: Path, name: str) -> Environment:
    """Find an environment by its name. Raises UsageError if there is none."""
    if check_name(name) == BASE:
        tool, program = _installer()
        return Environment(name=BASE, tool=tool, program=program, prefix=Path(sys.prefix))
    found = load(place(run), name)
    if found is None:
        raise UsageError(f"no such environment: {name}", next="gears env list")
    return found


def load(where: Place, name: str) -> Environment | None:
    """Load an environment by its record; None if there is none, or an incomplete one."""
    return records.load(Environment, where.record(name))


def save(where: Place, environment: Environment) -> None:
    """Replace the record of an environment. Raises OSError."""
    records.save(where.record(environment.name), environment)


def every(where: Place) -> Iterator[Environment]:
    """Yield every environment, in alphabetical order."""
    for file in sorted(where.root.glob("[!.]*.json")):
        if found := load(where, file.stem):
            yield found


def condition(environment: Environment) -> Condition:
    """Tell whether an environment can be used. Checks a few files, and runs nothing."""
    name, maker = environment.name, processes.parse(environment.maker)
    if environment.state != "ready" and maker and maker.alive() is not False:
        return Condition("making", f"is being changed on {maker.host} ({environment.state})")
    if environment.state == "making":
        return Condition(
            "broken", "was not created completely", f"gears env create {name} …   (or: gears env remove {name})"
        )
    if environment.state == "removing":
        return Condition("broken", "was not removed completely", f"gears env remove {name}")
    if environment.state == "updating":
        return Condition("broken", "its last update failed", f"gears env update {name}")
    if not environment.python.exists():
        fix = f"gears env remove {name}" if environment.adopted else f"gears env verify {name}"
        return Condition("broken", f"{environment.python} is gone", fix)
    if not has_ipykernel(environment.prefix):
        return Condition("broken", "has no ipykernel", f"gears env update {name} --ipykernel")
    return Condition("ready")


def has_ipykernel(prefix: Path) -> bool:
    """Tell whether Jupyter can start a kernel in it.

    Looks where pip and conda install, without starting Python. A venv can see the packages of its base Python
    (pyvenv.cfg: include-system-site-packages).
    """
    if any(prefix.glob("lib/python3*/site-packages/ipykernel/__init__.py")):
        return True
    for file in prefix.glob("lib/python3*/site-packages/*.pth"):
        lines = files.read_text(file).splitlines()
        if any(line.startswith("/") and Path(line, "ipykernel/__init__.py").exists() for line in lines):
            return True
    return "include-system-site-packages = true" in files.read_text(prefix / "pyvenv.cfg")


def _installer() -> tuple[str, str]:
    """Return the tool of `make init`, which uses uv if it is installed, and its path."""
    uv = shutil.which("uv")
    return ("uv", uv) if uv else ("venv", "")
