"""Which environment a name means, as its record in the home says. Only reads."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from gears import store
from gears.errors import UsageError

BASE = "base"
"""Gears' own."""

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


@dataclass(frozen=True, slots=True)
class Environment:
    """`program`: the path of `tool`, which made it."""

    name: str
    prefix: Path
    tool: str
    program: str


def find(run: Path, name: str) -> Environment:
    """Raises UsageError where none is called so."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{name} is no name of an environment: letters, digits, ., _ and -", next="gears env list")
    if name == BASE:
        return Environment(BASE, Path(sys.prefix), *_installer())
    record = store.read_record(run / "envs" / f"{name}.json")
    if not record:
        raise UsageError(f"no environment is called {name}", next="gears env list")
    return Environment(name, Path(record["prefix"]), str(record["tool"]), str(record.get("program", "")))


def _installer() -> tuple[str, str]:
    """What `make init` used, which takes uv where there is one."""
    uv = shutil.which("uv")
    return ("uv", uv) if uv else ("venv", "")
