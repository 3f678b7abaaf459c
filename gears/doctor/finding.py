"""A finding of the doctor, and how it is shown. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gears.system.records import as_values, parse

MARKS = {"ok": "✓", "warning": "!", "failed": "✗"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    level: ok, warning (works for now, or could not be checked), failed. `cause`: what was found. `fix`: what to do
    about it, on one line; None if the level is ok. `host`: where it was found.
    """

    level: str
    what: str
    cause: str
    fix: str | None = None
    host: str = ""

    def as_record(self) -> dict[str, Any]:
        """Return the finding as JSON values, with the fix under the key `cure`."""
        values = as_values(self)
        return values | {"cure": values.pop("fix")}


def read_findings(records: object) -> tuple[Finding, ...]:
    """Parse the findings of another host's doctor (`Finding.as_record`). Skip those that are not complete."""
    items = [item for item in records if isinstance(item, dict)] if isinstance(records, list) else []
    found = (parse(Finding, item | {"fix": item.get("cure")}) for item in items)
    return tuple(finding for finding in found if finding and finding.level in MARKS)


def ok(what: str, seen: str) -> Finding:
    """Return a finding of level ok, without a fix."""
    return Finding("ok", what, seen)


def warning(what: str, cause: str, fix: str) -> Finding:
    """Return a finding for something that works for now, or could not be checked."""
    return Finding("warning", what, cause, fix)


def failed(what: str, cause: str, fix: str) -> Finding:
    """Return a finding for something that does not work."""
    return Finding("failed", what, cause, fix)


def as_text(findings: Sequence[Finding]) -> str:
    """Format findings for a terminal: one line each, its fix below it, and the counts at the end."""
    lines = []
    for found in findings:
        lines.append(f"{MARKS[found.level]} {found.host}: {found.what}: {found.cause}")
        if found.fix:
            lines.append(f"    fix: {found.fix}")
    counts = [f"{number} {level}" for level in MARKS if (number := sum(found.level == level for found in findings))]
    return "\n".join([*lines, ", ".join(counts)])
