"""What goes wrong with a cluster: the computation ends all the same, or it is said what happened; nothing is left."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.clusters import CONFIG, PYTHON, QUICK, SITES, await_workers, clear, cluster, dask, python, up
from tests.conftest import Took
from tests.helpers import wait_until
from tests.jobs import occupy, queue

SHORT = QUICK.replace("00:05:00", "00:01:00")
WRONG = QUICK.replace("[dask]", '[dask]\njob_extra_directives = ["--constraint=absent"]')
CENTRE = SITES | {"profiles": SITES["profiles"] | {"wrong": WRONG, "short": SHORT}}

COMPUTE = """\
import sys, time, warnings
from dask.distributed import Client
warnings.simplefilter("always")
client = Client()
work = client.map(lambda i: (time.sleep({each_s}), i)[1], range({tasks}), pure=False)
print("handed in", flush=True)
print(sum(client.gather(work)))
"""


@pytest.fixture
def fresh(centre: Centre) -> Iterator[Centre]:
    yield centre
    clear(centre, "andes", "quick", "wrong", "short")


def compute(centre: Centre, **work: float) -> "subprocess.Popen[str]":
    """Begin a computation on the cluster of andes; its last line is the result."""
    code = COMPUTE.format(**work)
    return centre.login1.popen([PYTHON, "-c", code], env={"DASK_CONFIG": CONFIG.format(site="andes")})


def test_a_refused_job_is_told_of_in_up_in_status_and_in_the_notebook(fresh: Centre) -> None:
    done = dask(fresh.login1, "up wrong --min=2")
    assert done.returncode == 0
    assert "trouble   no workers for 0 min: sbatch: error:" in done.stdout
    assert "Invalid feature specification" in done.stdout
    assert "Invalid feature specification" in cluster(fresh.login1, "wrong")["trouble"]["message"]
    code = COMPUTE.format(each_s=0.1, tasks=2).replace("print(sum", "time.sleep(15); sys.exit(0); print(sum")
    said = python(fresh.login1, code, "wrong").stderr
    assert "your Dask cluster gets no workers: sbatch: error:" in said
    assert cluster(fresh.login1, "wrong")["counts"]["refused"] <= 3
    assert queue(fresh) == []


def test_in_a_full_queue_jobs_wait_and_status_says_why(fresh: Centre, took: Took) -> None:
    theirs = [occupy(fresh, node) for node in ("c1", "c2")]
    up(fresh.login1)
    running = fresh.login1.popen(
        [
            f"{fresh.login1.run('echo ~/gears/.venv/bin/python').stdout.strip()}",
            "-c",
            COMPUTE.format(each_s=0.1, tasks=20),
        ],
        env={"DASK_CONFIG": "/home/alice/gears/run/andes/dask/config"},
    )
    wait_until(lambda: cluster(fresh.login1)["waiting"], 40, "a reason is told")
    text = dask(fresh.login1, "status andes").stdout
    assert "waits for free nodes (Resources)" in text
    fresh.login1.run(["scancel", *theirs], "root", check=True)
    began = time.monotonic()
    assert running.communicate(timeout=180)[0].splitlines()[-1] == "190"
    took("from a free node to the result", began)


def test_at_the_walltime_of_its_jobs_a_computation_goes_on_in_others(fresh: Centre, took: Took) -> None:
    """Jobs of one minute, whose workers leave after half of it, for a minute's work of two workers."""
    up(fresh.login1, "short", "--max=2")
    began = time.monotonic()
    done = python(fresh.login1, COMPUTE.format(each_s=2, tasks=60), "short", timeout_s=200)
    assert done.stdout.splitlines()[-1] == str(sum(range(60))), done.stderr[-2000:]
    took("60 tasks of 2 s on two workers", began)
    counts = cluster(fresh.login1, "short")["counts"]
    assert counts["submitted"] >= 4
    assert counts["refused"] == 0


def test_a_node_that_loses_its_power_takes_no_computation_along(fresh: Centre, took: Took) -> None:
    up(fresh.login1, "andes", "--min=4 --max=4")
    await_workers(fresh.login1, 4)
    running = compute(fresh, each_s=1, tasks=60)
    assert running.stdout
    assert running.stdout.readline() == "handed in\n"
    fresh.c2.power_off()
    try:
        began = time.monotonic()
        said, wrong = running.communicate(timeout=150)
        assert said.splitlines()[-1] == str(sum(range(60))), wrong[-2000:]
        took("the result, after one of two nodes lost its power", began)
    finally:
        fresh.c2.boot()
    dask(fresh.login1, "down andes", timeout_s=150)
    wait_until(lambda: queue(fresh) == [], 60, "nothing is left in the queue")
