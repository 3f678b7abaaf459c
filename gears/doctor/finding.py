"""What the doctor found: a value, and how a person reads it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

MARKS = {"ok": "✓", "warning": "!", "failed": "✗"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was probed.

    level: ok, warning (it works, but not for ever, or could not be probed), failed. `cause`: what was seen. `cure`:
    what to do about it, on one line; None where all is well. `host`: where it was seen.
    """

    level: str
    what: str
    cause: str
    cure: str | None = None
    host: str = ""

    def as_record(self) -> dict[str, Any]:
        """Return what JSON has of the finding."""
        return asdict(self)


def ok(what: str, seen: str) -> Finding:
    """Make a finding that has no cure, for all is well."""
    return Finding("ok", what, seen)


def warning(what: str, cause: str, cure: str) -> Finding:
    """Make a finding of what works, but not for ever, or could not be probed."""
    return Finding("warning", what, cause, cure)


def failed(what: str, cause: str, cure: str) -> Finding:
    """Make a finding of what does not work."""
    return Finding("failed", what, cause, cure)


def as_text(findings: Sequence[Finding]) -> str:
    """Format findings for a person in a terminal.

    There is a line for each, and its cure below it; what is wrong is counted at the end.
    """
    lines = []
    for found in findings:
        lines.append(f"{MARKS[found.level]} {found.host}: {found.what}: {found.cause}")
        if found.cure:
            lines.append(f"    cure: {found.cure}")
    counts = [f"{number} {level}" for level in MARKS if (number := sum(found.level == level for found in findings))]
    return "\n".join([*lines, ", ".join(counts)])
