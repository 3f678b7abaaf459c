"""Reports of a gears command on a remote host: lines of JSON on its standard output, of which the newest counts.

The user's start-up files can print other lines before them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

BEGIN = '{"gears":'
"""How a report line begins."""


def send(report: dict[str, Any]) -> None:
    """Print a report, and flush it. It begins a line, though start-up files may have printed an unfinished one."""
    sys.stdout.write("\n" + json.dumps({"gears": report}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def read(text: str) -> dict[str, Any]:
    """Return the newest report in `text`; empty if there is none."""
    for line in reversed(text.splitlines()):
        if line.startswith(BEGIN):
            try:
                report = json.loads(line)["gears"]
            except (ValueError, KeyError):
                return {}
            return report if isinstance(report, dict) else {}
    return {}
