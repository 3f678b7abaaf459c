"""A real Slurm, through our functions: from submission to each end."""

import re
from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.helpers import wait_until
from tests.scheduler_in_centre import PATIENCE_S, Asked

CENTRE = {"slurm": True}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture
def slurm(centre: Centre) -> Iterator[Asked]:
    asked = Asked(centre.login1, "slurm")
    yield asked
    asked.clear()


def test_queue_and_order(slurm: Asked) -> None:
    running = [slurm.submit("sleep 600", walltime_s=120), slurm.submit("sleep 600", walltime_s=120)]
    nodes = {slurm.until(job, "RUNNING")["node"] for job in running}
    assert nodes == {"c1", "c2"}
    assert re.fullmatch(TIME, slurm.query(running[0])["ends"])
    waiting = slurm.submit("true", nodes=2)
    slurm.until(waiting, "PENDING", "waits for free nodes (Resources)")
    starts = wait_until(lambda: slurm.query(waiting)["starts"], PATIENCE_S, "an expected start")
    assert re.fullmatch(TIME, starts)
    after = slurm.submit("true", after=running[0])
    slurm.until(after, "PENDING", "waits for another job to end (Dependency)")
    held = slurm.submit("true", directives=["--hold"])
    slurm.until(held, "HELD", "held by its owner")
    assert sorted(slurm.find(), key=int) == [*running, waiting, after, held]
    slurm.cancel(waiting, held, *running, "999999")
    assert slurm.until(running[0], "ENDED")["reason"] == "cancelled (CANCELLED)"
    assert slurm.until(after, "ENDED")["reason"] == "finished normally (COMPLETED)"
    slurm.cancel(*running)
    assert slurm.find() == []


def test_how_it_ended(slurm: Asked) -> None:
    failed = slurm.submit("echo out; echo error >&2; exit 3")
    assert slurm.until(failed, "ENDED")["reason"] == "failed with exit 3 (FAILED)"
    assert slurm.log().endswith("out\nerror\n")
    assert slurm.query("999999")["state"] == "GONE"


def test_refusals(slurm: Asked) -> None:
    refused = slurm.call("submit", "true", name="gears-x", queue="nosuch")
    assert (refused["error"], "-p QUEUE" in refused["next"]) == ("SubmissionRefused", True)
    assert "Invalid partition name specified" in refused["message"]
    assert slurm.find() == []


def test_controller_is_down(slurm: Asked, centre: Centre) -> None:
    job = slurm.submit("sleep 600")
    slurm.until(job, "RUNNING")
    centre.fail_scheduler()
    unknown = slurm.query(job)
    assert (unknown["state"], "Unable to contact slurm controller" in unknown["reason"]) == ("UNKNOWN", True)
    assert slurm.find() is None
    assert slurm.call("submit", "true", name="gears-x")["error"] == "CommandFailed"
    centre.mend_scheduler()
    assert slurm.query(job)["state"] == "RUNNING"
    slurm.cancel(job)
    slurm.until(job, "ENDED")
