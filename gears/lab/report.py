"""What the lab host tells the front through the hop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gears.lab.state import Lab
from gears.sites.paths import RunDir
from gears.ssh.report import read
from gears.system import files, records


@dataclass(frozen=True, slots=True)
class HopReport:
    """What the lab host tells the front of itself and of the lab (`gears.lab.serve`).

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


def read_hop(paths: RunDir) -> HopReport | None:
    """Read what the lab host has told in this turn of the hop; None while it has told nothing."""
    return records.parse(HopReport, read(files.read_text(paths.hop_out)))
