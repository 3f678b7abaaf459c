"""The status of a site as JSON: other versions of gears read it, on other hosts of the route."""

import json
import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gears.lab.state import Plan, Turn, note_up, save_turn
from gears.lab.status.model import Hop, Page, State, Status, Step, StepState, parse_status
from gears.lab.status.report import HopReport, read_hop
from gears.lab.status.status import observe
from gears.lab.supervisor.waiting_page import as_html, as_json
from gears.schedulers.base import JobState
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.sites.route import Route
from gears.system import processes

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden/status.json").read_text())
"""As it was written before a status was a dataclass: a job that runs, seen from the front."""


def golden() -> Status:
    found = parse_status(GOLDEN)
    assert found is not None
    return found


def test_what_was_written_is_read_and_written_the_same() -> None:
    again = json.loads(json.dumps(golden().as_values()))
    assert again == GOLDEN | {"job": GOLDEN["job"] | {"asked": 0.0}}, "a key that came later"
    del again["job"]["asked"]
    assert list(again) == list(GOLDEN), "in the order of before"
    assert list(again["hops"][0]) == list(GOLDEN["hops"][0])
    assert list(again["job"]) == list(GOLDEN["job"])
    assert json.loads(as_json(golden())) == {"gears": json.loads(json.dumps(golden().as_values()))}
    printed = json.loads(json.dumps(golden().as_json()))
    assert printed == {key: GOLDEN[key] for key in GOLDEN if key not in ("steps", "title", "turn")}
    assert list(golden().as_json()) == [key for key in GOLDEN if key not in ("steps", "title", "turn")]


def test_a_query_to_the_scheduler_is_no_change_for_who_watches() -> None:
    job = golden().job
    assert job
    assert replace(golden(), job=replace(job, asked=job.asked + 60)).as_json() == golden().as_json()


def test_every_key_is_read() -> None:
    status = golden()
    assert status.hops == (
        Hop(source="hub", target="login1", state=State.UP, since="2026-11-27T03:13:52Z", reconnects=2),
    )
    assert (status.state, status.turn, status.steps[0]) == (State.UP, 3, Step("hub: reached", StepState.UP))
    assert status.lab
    assert status.job
    assert (status.lab.pid, status.lab.has_password, len(status.lab.overridden)) == (4107, False, 1)
    assert (status.job.state, status.job.live, status.job.successor) == (JobState.RUNNING, True, "4712")


@pytest.mark.parametrize("key", sorted(GOLDEN))
def test_a_missing_key_has_its_default(key: str) -> None:
    found = parse_status({name: value for name, value in GOLDEN.items() if name != key})
    assert found == replace(golden(), **{key: getattr(Status(), key)})


def test_what_a_later_version_added_is_left_out() -> None:
    later = GOLDEN | {"weather": "fine", "hops": [GOLDEN["hops"][0] | {"via": "cable"}]}
    assert parse_status(later) == golden()
    assert parse_status(GOLDEN | {"state": "asleep"}) == replace(golden(), state=State.UNKNOWN)


@pytest.mark.parametrize("values", [None, {}, [], "up"])
def test_what_is_no_status_is_none(values: object) -> None:
    assert parse_status(values) is None


def test_a_page_of_the_laptop_has_its_keys_and_its_command() -> None:
    page = Page(site="andes", state=State.CONNECTING, host="laptop", again="gears open andes")
    keys = {"site", "title", "route", "host", "state", "reason", "next", "job", "steps", "again"}
    assert json.loads(as_json(page))["gears"].keys() == keys
    assert "gears open andes" in as_html(page).decode()
    assert "ssh andes-jupyter" in as_html(golden()).decode()


def test_a_report_is_read_as_it_was_sent(tmp_path: Path) -> None:
    paths = RunDir(tmp_path, "andes", tmp_path / "local")
    paths.hop_out.parent.mkdir(parents=True)
    sent = HopReport(host="login1", serving=True, state=State.QUEUED, job=golden().job)
    assert "token" not in sent.as_values()
    assert replace(sent, token="").as_values()["token"] == ""
    paths.hop_out.write_text(json.dumps({"gears": sent.as_values()}, separators=(",", ":")) + "\n")
    assert read_hop(paths) == sent


@pytest.mark.parametrize(("listens", "state"), [(True, State.UP), (False, State.CONNECTING)])
def test_a_hop_that_leads_nowhere_is_up_as_long_as_its_ssh_listens(listens: bool, state: State) -> None:
    """In both cases the waiting page is at the fixed path: the lab has ended; or ssh has, and is to be dialled."""
    with tempfile.TemporaryDirectory(prefix="g-") as directory:  # short: a socket is in it
        hop = hop_with_a_waiting_page(Path(directory), listens=listens)
    assert (hop.state, hop.since is not None) == (state, listens)


def hop_with_a_waiting_page(directory: Path, *, listens: bool) -> Hop:
    paths = RunDir(directory, "andes", directory)
    for directory in (paths.hop_out.parent, paths.turn.parent, paths.up.parent, paths.loop.parent):
        directory.mkdir(parents=True, exist_ok=True)
    paths.loop.write_text(processes.line(processes.this_process()))
    save_turn(paths, Turn(number=3, what="hop", plan=Plan.DIAL, ever_up=True))
    note_up(paths, 3)
    paths.hop_out.write_text(json.dumps({"gears": HopReport(host="login1").as_values()}, separators=(",", ":")) + "\n")
    paths.link.symlink_to(paths.socket("wait", 1))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(paths.socket("hop", 3)))
        if listens:
            server.listen()
        route = Route(Site("andes"), "relay", "front", "hub", front="hub", lab="login1")
        return observe(Context(route, paths)).hops[0]
