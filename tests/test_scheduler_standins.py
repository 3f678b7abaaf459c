"""PBS and LSF from submission to end: our functions against stand-ins for their programs, as real processes."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gears.errors import CommandFailed, SubmissionRefused
from gears.schedulers import lsf, parsing
from gears.schedulers.base import Job, JobSpec, Scheduler, scheduler
from tests import standins
from tests.helpers import wait_until

HERE = socket.gethostname()
HOLD = {"lsf": "-H", "pbs": "-h"}
KINDS = tuple(HOLD)
PATIENCE_S = 60


@dataclass
class Cluster:
    """A stand-in first in PATH, and where it keeps its jobs."""

    kind: str
    state: Path
    jobs: Scheduler

    def submit(self, body: str, **asked: Any) -> str:
        spec = JobSpec(name=asked.pop("name", "gears-x"), log=self.state.parent / "job.log", **asked)
        script = self.state.parent / "job.sh"
        script.write_text("\n".join(["#!/bin/sh", *self.jobs.header(spec), body, ""]))
        return self.jobs.submit(script)

    def until(self, job: str, state: str) -> Job:
        def reached() -> Job | None:
            found = self.jobs.query(job)
            return found if found.state == state else None

        found = wait_until(reached, PATIENCE_S, f"job {job} is {state}")
        assert found
        return found

    def log(self) -> str:
        return (self.state.parent / "job.log").read_text()

    def end(self) -> None:
        """Nothing that was started stays."""
        for job in self.state.glob("[0-9]*"):
            (job / "cancel").touch()
            wait_until(lambda now=job / "now.json": json.loads(now.read_text())["state"] == "ended", PATIENCE_S, "end")


Open = Callable[..., Cluster]


@pytest.fixture
def open_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    opened = []

    def open_it(kind: str, **settings: Any) -> Cluster:
        programs, state = tmp_path / "bin", tmp_path / "state"
        programs.mkdir()
        standins.install(kind, programs, **{"state": str(state), "kill_s": 0.1, "minute_s": 1} | settings)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        opened.append(Cluster(kind, state, scheduler(kind)))
        return opened[-1]

    yield open_it
    for cluster in opened:
        cluster.end()


@pytest.fixture(params=KINDS)
def cluster(request: pytest.FixtureRequest, open_cluster: Open) -> Cluster:
    return open_cluster(request.param, queues=["batch", "long"], accounts=["csc123", ""])


def test_job_runs_and_tells_how_it_ended(cluster: Cluster) -> None:
    job = cluster.submit('echo "job $LSB_JOBID$PBS_JOBID on $(uname -n)"; exit 3')
    ended = cluster.until(job, "ENDED")
    assert ended.reason.startswith("failed with exit 3")
    assert ended.node == HERE
    assert cluster.log() == f"job {job} on {HERE}\n"


def test_job_that_runs_has_node_and_end(cluster: Cluster) -> None:
    job = cluster.submit("sleep 600", walltime_s=600)
    running = cluster.until(job, "RUNNING")
    assert (running.node, running.reason) == (HERE, "")
    assert running.ends


def test_busy_node_is_waited_for(cluster: Cluster) -> None:
    first = cluster.submit("sleep 600")
    cluster.until(first, "RUNNING")
    second = cluster.submit("sleep 600")
    assert wait_until(lambda: cluster.jobs.query(second).reason, PATIENCE_S, "a reason").startswith(
        "waits for free nodes"
    )
    cluster.jobs.cancel(first)
    cluster.until(second, "RUNNING")
    assert cluster.until(first, "ENDED").reason.startswith("cancelled")


def test_successor_waits_for_the_end_however_it_comes(cluster: Cluster) -> None:
    first = cluster.submit("sleep 600")
    cluster.until(first, "RUNNING")
    second = cluster.submit("true", after=first)
    waiting = cluster.jobs.query(second)
    assert (waiting.state, waiting.reason[:27]) == ("PENDING", "waits for another job to en")
    cluster.jobs.cancel(first)
    assert cluster.until(second, "ENDED").reason.startswith("finished normally")


def test_held_job_is_told_apart_and_can_be_cancelled(cluster: Cluster) -> None:
    job = cluster.submit("true", directives=(HOLD[cluster.kind],))
    assert cluster.until(job, "HELD").reason.startswith("held by its owner")
    cluster.jobs.cancel(job)
    assert cluster.until(job, "ENDED").reason.startswith("cancelled")
    cluster.jobs.cancel(job)  # once more is no error


@pytest.mark.parametrize("kind", KINDS)
def test_walltime_ends_a_job_with_time_to_clear_up(open_cluster: Open, kind: str) -> None:
    cluster = open_cluster(kind, queues=["batch", "long"], accounts=["csc123", ""], kill_s=10)
    # LSF's walltimes are whole minutes; here one lasts a second.
    job = cluster.submit(
        "trap 'echo cleared; exit' INT TERM; sleep 600 & wait", walltime_s=3 * (60 if cluster.kind == "lsf" else 1)
    )
    assert cluster.until(job, "ENDED").reason.startswith("ended by its walltime")
    assert "cleared" in cluster.log()


def test_job_that_does_not_heed_the_signals_is_killed(cluster: Cluster) -> None:
    job = cluster.submit("trap '' INT TERM; while :; do sleep 1; done")
    cluster.until(job, "RUNNING")
    cluster.jobs.cancel(job)
    assert cluster.until(job, "ENDED").reason.startswith("cancelled")


def test_jobs_are_found_by_name_until_they_are_over(cluster: Cluster) -> None:
    running = cluster.submit("sleep 600")
    waiting = cluster.submit("sleep 600", after=running)
    cluster.submit("true", name="gears-y", after=running)
    assert cluster.jobs.find("gears-x") == [running, waiting]
    cluster.jobs.cancel(waiting)
    cluster.until(waiting, "ENDED")
    assert cluster.jobs.find("gears-x") == [running]
    assert cluster.jobs.find("gears") == []


@pytest.mark.parametrize(("asked", "cure"), [({"queue": "nosuch"}, "-p QUEUE"), ({"account": "nosuch"}, "-A ACCOUNT")])
def test_wrong_queue_or_account_is_refused(cluster: Cluster, asked: dict[str, str], cure: str) -> None:
    with pytest.raises(SubmissionRefused) as refused:
        cluster.submit("true", **asked)
    assert cure in (refused.value.next or "")
    assert cluster.jobs.find("gears-x") == []


def test_scheduler_that_is_down_ends_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    job = cluster.submit("sleep 600")
    cluster.until(job, "RUNNING")
    (cluster.state / "down").touch()
    with monkeypatch.context() as short:  # LSF's commands wait until our own time limit
        short.setattr(lsf, "QUERY_S", 1.0)
        short.setattr(parsing, "SUBMIT_S", 1.0)
        assert cluster.jobs.query(job).state == "UNKNOWN"
        assert cluster.jobs.find("gears-x") is None
        with pytest.raises(CommandFailed) as failed:
            cluster.submit("true")
        with pytest.raises(CommandFailed):
            cluster.jobs.cancel(job)
    assert not isinstance(failed.value, SubmissionRefused)
    (cluster.state / "down").unlink()
    assert cluster.jobs.query(job).state == "RUNNING"
    assert cluster.jobs.find("gears-x") == [job]


@pytest.mark.parametrize(
    ("kind", "settings"), [("lsf", {"keep_s": 0}), ("pbs", {"keep_s": 0}), ("pbs", {"history": False})]
)
def test_ended_job_that_is_forgotten_is_gone(open_cluster: Open, kind: str, settings: dict[str, Any]) -> None:
    cluster = open_cluster(kind, **settings)
    job = cluster.submit("true")
    assert cluster.until(job, "GONE").reason == ""
    cluster.jobs.cancel(job)


@pytest.mark.parametrize("kind", KINDS)
def test_jobs_start_on_the_nodes_they_are_said_to(open_cluster: Open, kind: str, tmp_path: Path) -> None:
    """As in the test centre, where the way to a node is ssh."""
    way = tmp_path / "way"
    way.write_text(f'#!/bin/sh\necho "$1" >>{tmp_path}/went\nexec sh -c "$2"\n')
    way.chmod(0o755)
    cluster = open_cluster(kind, nodes={"c1": [str(way), "c1"], "c2": [str(way), "c2"]})
    jobs = [cluster.submit("sleep 600") for _ in range(2)]
    assert sorted(str(cluster.until(job, "RUNNING").node) for job in jobs) == ["c1", "c2"]
    assert sorted((tmp_path / "went").read_text().split()) == ["c1", "c2"]
