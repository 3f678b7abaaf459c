"""A real Grid Engine, through our functions: from submission to each end."""

import re
from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.scheduler_in_centre import Asked

CENTRE = {"sge": True}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture
def sge(centre: Centre) -> Iterator[Asked]:
    """On login2, where the accounting is, as it is everywhere at sites that share its directory."""
    asked = Asked(centre.login2, "sge")
    yield asked
    asked.clear()


def test_queue_and_order(sge: Asked) -> None:
    running = [sge.submit("sleep 600", account="csc123"), sge.submit("sleep 600", queue="batch")]
    nodes = {sge.until(job, "RUNNING")["node"] for job in running}
    assert nodes == {"c1", "c2"}
    assert re.fullmatch(TIME, sge.query(running[0])["ends"])
    waiting = sge.submit("true", nodes=2, directives=["-pe mpi 2"])
    sge.until(waiting, "PENDING", "waits for free slots")
    full = sge.submit("true")
    sge.until(full, "PENDING", "waits for free slots")
    after = sge.submit("true", after=running[0])
    sge.until(after, "PENDING", f"waits for job {running[0]} to end (hqw)")
    held = sge.submit("true", directives=["-h"])
    sge.until(held, "HELD", "held; release it with qrls (hqw)")
    assert sorted(sge.find(), key=int) == [*running, waiting, full, after, held]
    sge.cancel(waiting, full, held, running[0], "999999")
    sge.until(after, "ENDED", "finished normally (exit_status 0)")
    sge.until(running[0], "ENDED", "killed, for example by qdel (100 : assumedly after job)")
    sge.cancel(*running)


def test_how_it_ended(sge: Asked) -> None:
    failed = sge.submit("echo out; echo error >&2; exit 3")
    late = sge.submit("sleep 600", walltime_s=2)
    assert sge.until(failed, "ENDED")["reason"] == "failed with exit 3 (exit_status 3)"
    assert sge.log().endswith("out\nerror\n")
    sge.until(late, "ENDED", "ended by its walltime")
    assert sge.query("999999")["state"] == "GONE"


def test_job_that_can_not_be_started(sge: Asked) -> None:
    job = sge.submit("true", directives=["-o /nosuch/job.log"])
    sge.until(job, "HELD", "could not be started: error: can't open output file")


def test_job_that_no_node_can_run(sge: Asked) -> None:
    job = sge.submit("true", directives=["-l mem_free=9000G"])
    sge.until(job, "PENDING", "requested resources are not free on any node")


@pytest.mark.parametrize(("asked", "cure"), [({"queue": "nosuch"}, "-p QUEUE"), ({"account": "nosuch"}, "-A ACCOUNT")])
def test_refusals(sge: Asked, asked: dict[str, str], cure: str) -> None:
    refused = sge.call("submit", "true", name="gears-x", **asked)
    assert (refused["error"], cure in refused["next"]) == ("SubmissionRefused", True)
    assert sge.find() == []


def test_controller_is_down(sge: Asked, centre: Centre) -> None:
    job = sge.submit("true", directives=["-h"])
    sge.until(job, "HELD")
    centre.fail_scheduler()
    unknown = sge.query(job)
    assert (unknown["state"], "unable to send message to qmaster" in unknown["reason"]) == ("UNKNOWN", True)
    assert sge.find() is None
    assert sge.call("submit", "true", name="gears-x")["error"] == "CommandFailed"
    centre.mend_scheduler()
    assert sge.query(job)["state"] == "HELD"
