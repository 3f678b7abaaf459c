"""What the laptop keeps on disk, and what other hosts report to it, whatever version of gears wrote it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gears.doctor.finding import failed, ok
from gears.doctor.report import HostReport
from gears.doctor.report import read_report as read_host_report
from gears.laptop.forward import records
from gears.laptop.open.report import (
    FrontFailed,
    LabUp,
    Listening,
    LoginRequired,
    Progress,
    Prompt,
    Report,
    read_report,
)
from gears.system.records import as_values

GOLDEN = Path(__file__).parent / "golden/forward.json"
"""As it was written before records were dataclasses."""


def test_a_record_of_forwards_is_read_and_written_the_same(tmp_path: Path) -> None:
    record = records.load(GOLDEN)
    assert record
    assert (record.name, [forward.port for forward in record.forwards]) == ("matagorda", [24711, 27340])
    assert record.forwards[0].spec == "127.0.0.1:24711:127.0.0.1:8888"
    assert records.targets(GOLDEN) == {forward.target for forward in record.forwards}
    records.save(tmp_path / "forward.json", record)
    assert (tmp_path / "forward.json").read_text() == GOLDEN.read_text()
    assert records.load(tmp_path / "none.json") is None
    assert records.targets(tmp_path / "none.json") == set()


REPORTS: list[tuple[Report, dict[str, Any]]] = [
    (Progress("a"), {"said": "a"}),
    (Listening("/h/run/andes.sck"), {"socket": "/h/run/andes.sck"}),
    (Prompt(False), {"login": False}),
    (LoginRequired("andes requires a passcode"), {"needs": "andes requires a passcode"}),
    (LabUp(True, "", None), {"up": True, "token": "", "host": None}),
    (FrontFailed("no", None, 2), {"failed": "no", "next": None, "exit": 2}),
]


@pytest.mark.parametrize(("report", "values"), REPORTS)
def test_reports_of_the_front_are_the_same_on_the_wire(report: Report, values: dict[str, Any]) -> None:
    assert as_values(report) == values
    assert list(as_values(report)) == list(values)
    assert read_report(values | {"new in a later version": 1}) == report


def test_other_reports_of_the_front_are_ignored() -> None:
    assert read_report({"new in a later version": 1}) is None
    assert read_report({}) is None
    assert read_report({"up": True}) == LabUp(True)


HOST_REPORT = {
    "host": "login1",
    "version": "0.1.0",
    "shared": None,
    "forbidden": ["PermitOpen none"],
    "findings": [
        {"level": "ok", "what": "tmux", "cause": "3.4", "host": "login1", "cure": None},
        {"level": "failed", "what": "room", "cause": "full", "host": "login1", "cure": "df"},
    ],
    "time": 1795749227.5,
}


def test_a_report_of_the_doctor_is_the_same_on_the_wire() -> None:
    report = HostReport(
        "login1",
        "0.1.0",
        None,
        ("PermitOpen none",),
        (replace(ok("tmux", "3.4"), host="login1"), replace(failed("room", "full", "df"), host="login1")),
        1795749227.5,
    )
    assert json.loads(json.dumps(report.as_record())) == HOST_REPORT
    assert list(report.as_record()) == list(HOST_REPORT)
    assert read_host_report(HOST_REPORT) == report
    assert read_host_report(HOST_REPORT | {"findings": [{}, 5]}) == replace(report, findings=())
    assert read_host_report({}) is None
