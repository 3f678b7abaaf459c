"""What the front's gears reports to `gears open` on the laptop, a line of JSON each (`gears.ssh.report`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from gears.errors import GearsError
from gears.system.records import parse


@dataclass(frozen=True, slots=True)
class Progress:
    """A line of progress for the user."""

    said: str


@dataclass(frozen=True, slots=True)
class Listening:
    """The fixed path is served: `socket` is its path."""

    socket: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Whether ssh's prompt is on the screen from now on."""

    login: bool


@dataclass(frozen=True, slots=True)
class LoginRequired:
    """The user has to log in and is not at the terminal; `needs` says why."""

    needs: str


@dataclass(frozen=True, slots=True)
class LabUp:
    """The lab answers. `token`: empty if a password is set. `host`: the lab host, None if unknown."""

    up: bool
    token: str = ""
    host: str | None = None


@dataclass(frozen=True, slots=True)
class FrontFailed:
    """The front's gears ended with an error: its message, its next command, its exit status."""

    failed: str
    next: str | None = None
    exit: int = GearsError.exit_code


Report: TypeAlias = Progress | Listening | Prompt | LoginRequired | LabUp | FrontFailed


def read_report(values: dict[str, Any]) -> Report | None:
    """Parse a report. None for one that this version does not know."""
    kinds: tuple[type[Report], ...] = (Progress, Listening, Prompt, LoginRequired, LabUp, FrontFailed)
    return next((report for kind in kinds if (report := parse(kind, values))), None)
