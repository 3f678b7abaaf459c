"""The record of a job, whatever version of gears wrote it; and the copies of it that travel."""

import json
import time
from dataclasses import replace
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest

from gears.errors import GearsError
from gears.lab import wait
from gears.lab.job import records, submit
from gears.lab.job.records import JobRecord, Successor, from_values, to_values, with_job
from gears.lab.start import check_kind
from gears.lab.status.job_status import as_line, shown, warning
from gears.lab.status.model import State, Status
from gears.lab.wait import ANY_REQUESTER, JobWasOver, Waiting
from gears.schedulers.base import Job, JobState
from gears.sites.load import from_json, to_json
from gears.sites.paths import RunDir
from gears.sites.profile import Carry, Site
from gears.system.records import as_values
from gears.system.timestamps import utc_time

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden/job.json").read_text())
"""As it was written before records were dataclasses: a job that runs, with its successor."""

SINCE = {"clusters": ""}
"""Keys that came later, of a job and of its successor."""

SUBMITTING = {key: value for key, value in GOLDEN.items() if key != "variables"} | {
    "id": "",
    "state": "SUBMITTING",
    "known": "SUBMITTING",
    "successor": None,
}
PUT_BACK = GOLDEN | {"state": "PENDING", "known": "PENDING", "node": None, "ends": None, "requeued": 1795749227.0}
SUBMITTING_NEXT = GOLDEN | {"successor": {"number": 2, "name": "gears-a9fe3f", "id": ""}}


@pytest.fixture
def paths(tmp_path: Path) -> RunDir:
    found = RunDir(tmp_path, "andes", tmp_path / "local")
    found.records.mkdir(parents=True)
    return found


def with_later_keys(written: dict[str, Any]) -> dict[str, Any]:
    successor = written["successor"]
    return SINCE | written | {"successor": successor and SINCE | successor}


def golden() -> JobRecord:
    found = from_values(GOLDEN)
    assert found is not None
    return found


@pytest.mark.parametrize("written", [GOLDEN, SUBMITTING, PUT_BACK, SUBMITTING_NEXT])
def test_what_was_written_is_read_and_written_the_same(written: dict[str, Any], paths: RunDir) -> None:
    paths.job_record.write_text(json.dumps(written))
    record = records.read(paths)
    assert record is not None
    paths.job_record.unlink()
    records.write(paths, record)
    again = json.loads(paths.job_record.read_text())
    assert again == with_later_keys(written)
    assert [key for key in again if key in written] == list(written), "in the order of before"
    assert paths.job_record.stat().st_mode & 0o777 == 0o600


def test_every_key_is_read() -> None:
    record = golden()
    successor = Successor(2, GOLDEN["successor"]["name"], "4712", ("SBATCH_ACCOUNT=csc123",))
    assert (record.number, record.id, record.state, record.successor) == (1, "4711", JobState.RUNNING, successor)
    default = JobRecord(id="")
    same = {key for key in GOLDEN if getattr(record, key) == getattr(default, key)}
    assert same == {"reason", "position", "starts", "account", "gone", "trouble"}
    assert from_json(record.profile).name == "andes"


def test_a_record_that_says_the_same_is_left_alone(paths: RunDir) -> None:
    paths.job_record.write_text(json.dumps(GOLDEN))
    records.write(paths, golden())
    assert paths.job_record.read_text() == json.dumps(GOLDEN)
    records.write(paths, replace(golden(), node="c2"))
    assert json.loads(paths.job_record.read_text()) == with_later_keys(GOLDEN) | {"node": "c2"}


def test_keys_of_a_later_version_are_left_out() -> None:
    later = GOLDEN | {"priority": 7, "successor": GOLDEN["successor"] | {"priority": 7}}
    assert from_values(later) == golden()


def test_a_state_of_a_later_version_is_asked_for_again() -> None:
    found = from_values(GOLDEN | {"state": "EVICTED"})
    assert found == replace(golden(), state=JobState.UNKNOWN)
    assert found.live


@pytest.mark.parametrize("key", sorted(GOLDEN.keys() - {"id"}))
def test_a_missing_key_has_its_default(key: str) -> None:
    found = from_values({name: value for name, value in GOLDEN.items() if name != key})
    assert found == replace(golden(), **{key: getattr(JobRecord(id=""), key)})


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"number": 1}', '{"number": 1, "id": 7}', '{"id": "7"}'])
def test_what_is_no_record_is_no_job(text: str, paths: RunDir) -> None:
    assert records.read(paths) is None
    paths.job_record.write_text(text)
    assert records.read(paths) is None


def test_what_is_shown_has_the_keys_of_before_and_stays_the_same() -> None:
    now = json.loads(json.dumps(as_values(shown(golden()))))
    assert now == {key: GOLDEN[key] for key in now} | {"successor": "4712"}
    copy = from_values(now)
    assert copy is not None
    assert (copy.number, copy.successor) == (0, Successor(id="4712"))
    assert shown(copy) == shown(golden())
    assert as_line(shown(copy)).endswith(
        "renewed up to 2 more times, next by job 4712, with your SBATCH_ACCOUNT=csc123"
    )


def test_a_copy_in_the_home_of_a_front_is_no_job_of_that_host(paths: RunDir) -> None:
    paths.job_record.write_text(json.dumps(as_values(shown(golden()))))
    assert records.read(paths) is None
    found = records.load(paths)
    assert found is not None
    assert (found.id, found.state, found.node) == ("4711", "RUNNING", "c1")
    warned = {left_s: warning(replace(found, ends=utc_time(time.time() + left_s))) for left_s in (100, 200)}
    assert warned == {100: "job 4711 ends in 1 min: the next job takes over, without your variables", 200: None}
    carries = to_json(Site("andes", carry=Carry(on=True)))
    assert "and gets your variables" in str(warning(replace(found, profile=carries, ends=utc_time(time.time() + 100))))


def test_the_next_job_takes_over_with_what_is_its_own() -> None:
    job = golden()
    assert job.successor is not None
    now = submit.promote(job, job.successor)
    assert (now.number, now.id, now.name, now.renew, now.successor) == (2, "4712", job.successor.name, 1, None)
    assert (now.state, now.node, now.ends, now.asked) == (JobState.PENDING, None, None, 0.0)
    assert (now.profile, now.walltime_s, now.host) == (job.profile, job.walltime_s, job.host)


def test_what_was_told_before_stays_where_the_scheduler_is_silent() -> None:
    silent = with_job(golden(), Job("4711", JobState.UNKNOWN, reason="squeue: no answer"))
    assert (silent.state, silent.known, silent.node, silent.ends) == ("UNKNOWN", "RUNNING", "c1", golden().ends)
    ended = with_job(golden(), Job("4711", JobState.ENDED, word="TIMEOUT"))
    assert (ended.state, ended.known, ended.node, ended.ends) == ("ENDED", "ENDED", None, golden().ends)
    assert to_values(ended)["state"] == "ENDED"


def test_a_job_that_is_seen_in_part_is_one_all_the_same(paths: RunDir) -> None:
    """As where another login node has just written it: a moment later it is seen whole."""
    site = SimpleNamespace(name="andes")
    context: Any = SimpleNamespace(route=SimpleNamespace(job=True, lab="login1", site=site), paths=paths)
    with pytest.raises(GearsError, match="runs on login1, not as a job"):
        check_kind(context, Status())
    text = json.dumps(GOLDEN)
    paths.job_record.write_text(text[:100])
    later = Timer(0.3, lambda: paths.job_record.write_text(text))
    later.start()
    check_kind(context, Status())
    later.join()


@pytest.mark.parametrize(("asked_again", "over_before"), [(False, True), (True, False)])
def test_a_job_was_over_before_unless_the_scheduler_has_said_since_that_it_runs(
    asked_again: bool, over_before: bool, paths: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is still shown of it is no news; a job that is cancelled while one waits for it is not replaced."""
    before = shown(golden())
    runs = replace(before, asked=before.asked + 60) if asked_again else before
    ended = replace(before, state=JobState.ENDED, asked=before.asked + 90)
    statuses = iter([Status(state=State.STARTING, job=runs)] * 2)
    failed = Status(state=State.FAILED, reason="job 4711: cancelled", job=ended)
    monkeypatch.setattr(wait, "observe", lambda _: next(statuses, failed))
    monkeypatch.setattr(Waiting, "_at_prompt", lambda _: False)
    route = SimpleNamespace(job=True, role="lab", here="login1")
    context: Any = SimpleNamespace(route=route, paths=paths, site=SimpleNamespace(name="andes"), say=lambda _: None)
    with pytest.raises(GearsError, match="job 4711: cancelled") as raised:
        Waiting(context, ANY_REQUESTER, ask=False, job=before).until_up()
    assert isinstance(raised.value, JobWasOver) == over_before
