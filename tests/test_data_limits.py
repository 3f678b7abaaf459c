"""Transfers as jobs where a real Slurm, with its slurmdbd, limits how many jobs a user has: sacctmgr(1), QOS."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.centre import Centre
from tests.helpers import gears, wait_until
from tests.test_data_jobs import PROFILE, await_end, check_arrived, jobs_until_done, put, queue, status, told

CENTRE: dict[str, Any] = {"slurm_clusters": True, "profiles": {"lake": PROFILE}}
LIMITS = """\
AccountingStorageEnforce=limits
PartitionName=transfer Nodes=c1 OverSubscribe=EXCLUSIVE MaxTime=00:10:00 QOS=one
"""
ADD = """\
set -e
sacctmgr -i add qos one
sacctmgr -i add account users cluster=centre
sacctmgr -i add user alice account=users cluster=centre
"""


@pytest.fixture(scope="module", autouse=True)
def limits(centre: Centre) -> None:
    """The partition `transfer`, whose quality of service is `one`."""
    centre.login2.run(["sh", "-c", ADD], "root", check=True)
    for host in (centre.login1, centre.login2, centre.c1):
        host.run("cat >> /etc/slurm/slurm.conf", "root", input=LIMITS, check=True)
    centre.fail_scheduler()
    centre.mend_scheduler()
    wait_until(lambda: "idle" in centre.login2.run("sinfo -h -p transfer").stdout, 60, "the partition is there")


def limit(centre: Centre, **limits: int) -> None:
    """Set limits of `one`: MaxJobsPerUser, MaxSubmitJobsPerUser; -1: none."""
    words = " ".join(f"{name}={value}" for name, value in limits.items())
    centre.login2.run(f"sacctmgr -i modify qos one set {words}", "root", check=True)


@pytest.fixture
def desk(centre: Centre) -> Iterator[Centre]:
    """A directory of 1000 files in scratch."""
    make = "mkdir -p scratch/run7 archive; cd scratch/run7; for i in $(seq 1000); do echo $i > f$i; done"
    centre.login1.run(make, check=True)
    yield centre
    gears(centre.login1, "data stop run7 --site lake")
    centre.login2.run("scancel -u alice", "root")
    wait_until(lambda: not queue(centre), 60, "the queue is empty")
    centre.login1.run("rm -rf scratch archive gears/run/lake/data")
    limit(centre, MaxJobsPerUser=-1, MaxSubmitJobsPerUser=-1)


def test_one_running_job_per_user_and_a_walltime_shorter_than_the_put(desk: Centre) -> None:
    limit(desk, MaxJobsPerUser=1)
    told(desk, seconds=14, pause=3)
    put(desk)
    assert len(jobs_until_done(desk)) > 2


def test_no_second_job_is_accepted(desk: Centre) -> None:
    """It says so while the job runs; after its walltime the same command goes on, until all is there."""
    limit(desk, MaxSubmitJobsPerUser=1)
    told(desk, seconds=14, pause=2)
    put(desk)
    note = str(wait_until(lambda: (status(desk)["task"] or {}).get("note"), 60, "no further job was accepted"))
    assert "no further job was accepted: " in note
    assert "QOSMaxSubmitJobPerUserLimit" in note
    found = await_end(desk)
    assert (found["state"], found["exit_status"]) == ("paused", 7), json.dumps(found)
    assert "gears data put " in found["next"]
    told(desk, seconds=50, pause=0)
    put(desk)
    found = await_end(desk)
    assert (found["state"], found["task"]["verified"]) == ("done", True), json.dumps(found)
    check_arrived(desk)
