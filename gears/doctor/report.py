"""What the doctor on a remote host reports, as one line of JSON (`gears.ssh.report`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gears.doctor.finding import Finding, read_findings
from gears.system.records import as_values, parse


@dataclass(frozen=True, slots=True)
class HostReport:
    """The findings of a host, and what only both ends together can judge.

    shared: the home is that of the near host; None if no file could be made to look for. forbidden: options of sshd
    that forbid forwarding; None if its configuration is not readable. time: the clock, in seconds since 1970.
    """

    host: str = ""
    version: str = ""
    shared: bool | None = None
    forbidden: tuple[str, ...] | None = None
    findings: tuple[Finding, ...] = ()
    time: float | None = None

    def as_record(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return as_values(self) | {"findings": [finding.as_record() for finding in self.findings]}


def read_report(values: dict[str, Any]) -> HostReport | None:
    """Parse a report (`HostReport.as_record`). None if there is none."""
    found = parse(HostReport, {key: value for key, value in values.items() if key != "findings"})
    return replace(found, findings=read_findings(values.get("findings"))) if found else None
