"""What a command of gears at the far end of an ssh answers: lines of JSON on its standard output, the newest of which
counts. A person's start-up files may print before them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

BEGIN = '{"gears":'
"""Begins such a line."""


def send(found: dict[str, Any]) -> None:
    """Answer with `found`, at once."""
    sys.stdout.write(json.dumps({"gears": found}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def read(text: str) -> dict[str, Any]:
    """Find the newest answer in what was printed; empty while there is none."""
    for line in reversed(text.splitlines()):
        if line.startswith(BEGIN):
            try:
                found = json.loads(line)["gears"]
            except (ValueError, KeyError):
                return {}
            return found if isinstance(found, dict) else {}
    return {}
