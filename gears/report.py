"""What a command of gears at the far end of an ssh answers: lines of JSON on its standard output, the newest of which
counts. A person's start-up files may print before them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from gears import records, store
from gears.rundir import RunDir
from gears.state import Lab

BEGIN = '{"gears":'
"""Begins such a line."""


@dataclass(frozen=True, slots=True)
class HopReport:
    """What the lab host tells the front of itself and of the lab (`gears.remote`).

    `address`, `port`: where ssh has led to. `serving`: somebody listens at the lab host's socket. `state`, `reason`,
    `job`: as in its status. `left`: another host, on which a lab may still run. `token`: where the homes are separate.
    """

    host: str | None = None
    address: str | None = None
    port: str | None = None
    serving: bool = False
    state: str | None = None
    reason: str | None = None
    lab: Lab | None = None
    job: dict[str, Any] | None = None
    left: str | None = None
    started: bool = False
    token: str | None = None


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


def read_hop(paths: RunDir) -> HopReport | None:
    """Read what the lab host has told in this turn of the hop; None while it has told nothing."""
    return records.parse(HopReport, read(store.read_text(paths.hop_out)))
