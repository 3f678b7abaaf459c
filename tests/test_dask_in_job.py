"""A cluster whose owner is a batch job itself, for sites that limit what runs on login nodes; with a real Slurm."""

import json
from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.clusters import SITES, clear, cluster, dask, python, up
from tests.helpers import home, wait_until
from tests.jobs import drained, queue

CENTRE = SITES
CLIENT = """\
from dask.distributed import Client
client = Client()
print(sum(client.gather(client.map(lambda i: i, range(20)))))
"""


@pytest.fixture
def fresh(centre: Centre) -> Iterator[Centre]:
    yield centre
    clear(centre)


def test_the_owner_is_a_job_and_nothing_stays_on_the_login_node(fresh: Centre) -> None:
    found = up(fresh.login1, "quick", "--in-job")
    assert found["host"] in ("c1", "c2")
    assert found["job"] in [job["id"] for job in queue(fresh)]
    assert found["address"].startswith("tls://10.77.2.2")  # a node's own, towards the others
    assert [process.argv for process in fresh.login1.processes("alice")] == []
    done = python(fresh.login1, CLIENT, "quick", timeout_s=120)
    assert done.stdout == "190\n", done.stderr
    assert dask(fresh.login2, "scale 2 quick").returncode == 0
    wait_until(lambda: cluster(fresh.login1, "quick")["workers"] == 2, 60, "two workers")
    assert dask(fresh.login1, "down quick").returncode == 0
    assert queue(fresh) == []
    assert not fresh.login1.path(f"{home()}/run/quick/dask/config/10-cluster.yaml").exists()


def test_it_waits_in_the_queue_and_can_be_taken_out_of_it(fresh: Centre) -> None:
    with drained(fresh, "c1"), drained(fresh, "c2"):
        waiting = fresh.login1.popen(f"exec {home()}/.venv/bin/gears dask up quick --in-job")
        wait_until(lambda: [job["state"] for job in queue(fresh)] == ["PENDING"], 30, "the owner's job waits")
        found = wait_until(lambda: (now := cluster(fresh.login1, "quick"))["state"] == "queued" and now, 30, "queued")
        assert found["reason"]
        assert dask(fresh.login1, "down quick").returncode == 0
        assert queue(fresh) == []
        _, errors = waiting.communicate(timeout=240)
        assert waiting.returncode == 1
        assert "it was stopped before its job started" in errors


def test_a_job_that_is_cancelled_is_told_of_and_leaves_no_job(fresh: Centre) -> None:
    found = up(fresh.login1, "quick", "--in-job --min=1")
    wait_until(lambda: len(queue(fresh)) == 2, 60, "the owner's job and one of workers")
    fresh.login1.run(["scancel", found["job"]], check=True)
    wait_until(lambda: cluster(fresh.login1, "quick")["state"] == "ended", 90, "its end is seen")
    wait_until(lambda: queue(fresh) == [], 60, "no job is left")


def test_a_site_without_a_batch_system_has_none(centre: Centre) -> None:
    done = dask(centre.login1, "up local --in-job")
    assert done.returncode == 2
    assert "no batch system" in done.stderr
    assert json.loads(dask(centre.login1, "status local --json").stdout)["state"] == "stopped"
