"""Records of `gears run` and `gears shell` in the home, shared by all hosts of the site."""

from __future__ import annotations

from dataclasses import dataclass

from gears.sites.paths import RunDir
from gears.system import records


@dataclass(frozen=True, slots=True)
class RunRecord:
    """How a run was started. `host`: where; `started`: when (ISO 8601, UTC); `argv`: the command."""

    host: str
    started: str
    argv: tuple[str, ...]


def load_run(paths: RunDir, number: int) -> RunRecord | None:
    """Read the record of a run. None if there is no such run, or it has only claimed its number."""
    return records.load(RunRecord, paths.run_file(number, "json"))


def save_run(paths: RunDir, number: int, record: RunRecord) -> None:
    """Replace the record of a run. Raises OSError."""
    records.save(paths.run_file(number, "json"), record)


@dataclass(frozen=True, slots=True)
class ShellRecord:
    """The login node on which `gears shell` has its session."""

    host: str


def load_shell_host(paths: RunDir) -> str | None:
    """Read on which login node the session is. None if there has been none."""
    record = records.load(ShellRecord, paths.shell_record)
    return record.host or None if record else None


def save_shell_host(paths: RunDir, host: str) -> None:
    """Save on which login node the session is. Raises OSError."""
    records.save(paths.shell_record, ShellRecord(host))
