"""What the lab host reports to the front through the hop."""

from __future__ import annotations

from dataclasses import dataclass

from gears.lab.state import Lab
from gears.lab.status.model import ShownJob, State
from gears.sites.paths import RunDir
from gears.ssh.report import BEGIN, read
from gears.system import files, records


@dataclass(frozen=True, slots=True, kw_only=True)
class HopReport:
    """The lab host's report of itself and of the lab (`gears.lab.serve`).

    `address`, `port`: where ssh has connected to. `serving`: something listens at the lab host's socket. `state`,
    `reason`, `job`: as in its status. `left`: another host, on which a lab may still run. `token`: only where the homes
    are separate.
    """

    host: str | None = None
    address: str | None = None
    port: str | None = None
    serving: bool = False
    state: State | None = None
    reason: str | None = None
    lab: Lab | None = None
    job: ShownJob | None = None
    left: str | None = None
    started: bool = False
    token: str | None = None

    def as_values(self) -> files.Record:
        """Return the report as JSON has it; without `token` where that is None."""
        values = records.as_values(self)
        return values if self.token is not None else {key: values[key] for key in values if key != "token"}


def read_hop(paths: RunDir) -> HopReport | None:
    """Read the lab host's newest report of this turn of the hop; None before the first."""
    return records.parse(HopReport, read(files.read_text(paths.hop_out)))


def count_reports(paths: RunDir) -> int:
    """Count how often the lab host has reported in this turn of the hop."""
    return files.read_text(paths.hop_out).count(BEGIN)
