"""Bursts of work with pauses between, two workers in a job, none to two jobs: our scaling beside Dask's own, at once.

Five minutes in small: what lasts a minute is ten seconds here, and a burst every half minute comes every six seconds.
Dask's own scaling is as it comes: it closes what has been idle for three seconds, or has been on its way so long.
"""

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.clusters import CONFIG, PYTHON, QUICK, SITES, clear, cluster, up

BURSTS = 5
CHURN = QUICK.replace("cores = 1", "cores = 2").replace("00:00:03", "00:00:10")
CENTRE = SITES | {"profiles": SITES["profiles"] | {"churn": CHURN}}

WORK = f"""\
import json, time
from dask.distributed import Client, KilledWorker
def compute(client):
    killed = 0
    for _ in range({BURSTS}):
        began = time.monotonic()
        work = client.map(lambda i: (time.sleep(1), i)[1], range(12), pure=False)
        try:
            assert sum(client.gather(work)) == 66
        except KilledWorker:
            killed += 1
        del work
        time.sleep(4)
    print(json.dumps({{"killed": killed}}))
"""
OURS = f"{WORK}\ncompute(Client())\n"
PLAIN = f"""{WORK}
from dask_jobqueue import SLURMCluster
if __name__ == "__main__":
    cluster = SLURMCluster(
        queue="debug", cores=2, processes=2, memory="400MB", walltime="00:05:00", job_name="plain",
        scheduler_options={{"host": "10.77.2.11", "dashboard_address": "127.0.0.1:0"}}, log_directory="/tmp",
    )
    cluster.adapt(minimum_jobs=0, maximum_jobs=2)
    compute(Client(cluster))
"""


@pytest.fixture
def fresh(centre: Centre) -> Iterator[Centre]:
    yield centre
    clear(centre, "churn")


def begin(centre: Centre, code: str, **environ: str) -> "subprocess.Popen[str]":
    return centre.login1.popen([PYTHON, "-c", code], env=environ)


def killed(running: "subprocess.Popen[str]", timeout_s: float) -> int | None:
    """How many computations were lost; None: they did not end in that time."""
    try:
        said, wrong = running.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None
    assert running.returncode == 0, wrong[-3000:]
    return int(json.loads(said.splitlines()[-1])["killed"])


def submissions(centre: Centre, name: str) -> int:
    """As Slurm remembers them, whatever has become of them."""
    listed = centre.login2.run(["squeue", "-h", "-t", "all", "-u", "alice", "-n", name, "-o", "%A"], check=True)
    return len(set(listed.stdout.split()))


def test_no_worker_is_lost_and_no_job_is_submitted_again_and_again(fresh: Centre) -> None:
    name = up(fresh.login1, "churn", "--max=4")["id"]
    fresh.login1.run("mkdir -p ~/empty", check=True)
    began = time.monotonic()
    ours = begin(fresh, OURS, DASK_CONFIG=CONFIG.format(site="churn"))
    plain = begin(fresh, PLAIN, DASK_CONFIG="/home/alice/empty")
    lost = {"ours": killed(ours, 150)}
    took_s = time.monotonic() - began
    lost["plain"] = killed(plain, took_s / 2)
    asked = {"ours": submissions(fresh, name), "plain": submissions(fresh, "plain")}
    fresh.login1.end_popen(plain)
    told = f"jobs submitted {asked}; computations lost {lost} (None: not at its end)"
    print(f"\n{BURSTS} bursts in {took_s:.0f} s: {told}")
    assert lost["ours"] == 0
    assert 1 <= asked["ours"] <= 2
    assert cluster(fresh.login1, "churn")["counts"]["submitted"] == asked["ours"]
    assert asked["plain"] > asked["ours"]
