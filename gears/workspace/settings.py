"""gears.toml of a workspace, which all clones share: names of places and of an environment, and no path."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gears.errors import UsageError
from gears.workspace.git import top_of

FILE = "gears.toml"
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"


@dataclass(frozen=True, slots=True)
class Settings:
    """What gears knows of a workspace; each may be empty."""

    name: str = ""
    environment: str = ""
    project: str = ""
    team: str = ""  # the place in which the team shares DVC's cache
    remote: str = ""  # the place to which its objects are pushed


def find(directory: Path) -> tuple[Path, Settings]:
    """Return the top of the workspace around a directory, and its settings. Raises UsageError."""
    top = top_of(directory)
    if not (top / FILE).is_file():
        raise UsageError(
            f"{top} is a git repository, but no workspace: it has no {FILE}", next="gears workspace new DIR"
        )
    return top, load(top)


def load(top: Path) -> Settings:
    """Read gears.toml; without one, Settings() with the directory's name. Raises UsageError if it is invalid."""
    file = top / FILE
    if not file.is_file():
        return Settings(name=as_name(top.name))
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{file}: {exc}", next=f"edit {file}") from exc
    return Settings(
        name=_word(tables, "workspace", "name", file) or as_name(top.name),
        environment=_word(tables, "workspace", "environment", file),
        project=_word(tables, "workspace", "project", file),
        team=_word(tables, "places", "team", file),
        remote=_word(tables, "places", "remote", file),
    )


def _word(tables: dict[str, Any], section: str, key: str, file: Path) -> str:
    table = tables.get(section, {})
    value = table.get(key, "") if isinstance(table, dict) else None
    if not isinstance(value, str) or not re.fullmatch(f"(?:{NAME})?", value):
        raise UsageError(f"{file}: {section}.{key}: must be a word of letters, digits, and _ . -", next=f"edit {file}")
    return value


def as_name(text: str) -> str:
    """Return a name of a Python package, made from the name of a directory. Pure."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if name[:1].isalpha() else f"ws_{name}".rstrip("_")
