"""Copies by several nodes of a job of a real Slurm: both work, and one of them is killed, or loses its power."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests import trees
from tests.centre import Centre
from tests.helpers import gears, home, wait_until
from tests.jobs import add_partition
from tests.test_data_jobs import CENTRE as JOBS
from tests.test_data_jobs import WIDE, told

CENTRE: dict[str, Any] = {**JOBS, "profiles": {"wide": WIDE}}
FILES = 3584
MAKE = f"mkdir -p scratch/run7; python3 -c \"for i in range({FILES}): open(f'scratch/run7/f{{i}}', 'w').write(str(i))\""
RECORDS = f"{home()}/run/wide/data/run7"
MEMBER, WORKER = "_data _membe[r]", "spawn_mai[n]"
"""Of helpers, and of the processes of a pool; they don't match the command that looks for them."""


@pytest.fixture(scope="module", autouse=True)
def partition(centre: Centre) -> None:
    add_partition(centre)


@pytest.fixture
def desk(centre: Centre) -> Iterator[Centre]:
    """A directory for seven batches."""
    told(centre, seconds=300, pause=0)
    centre.login1.run(MAKE, check=True)
    yield centre
    centre.login2.run("scancel -u alice", "root")


def begin(desk: Centre) -> None:
    done = gears(desk.login1, "data copy scratch:run7 scratch:copy7 --site wide --jobs 1 --name run7")
    assert done.returncode == 0, done.stderr


def status(desk: Centre) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gears(desk.login1, "data status run7 --site wide --json").stdout)["transfers"][0]
    return found


def log(desk: Centre) -> str:
    return desk.login1.run(f"cat {RECORDS}/log").stdout


def copied(desk: Centre) -> int:
    return int(desk.login1.run("ls scratch/copy7 2>/dev/null | wc -l").stdout)


def check_done(desk: Centre) -> dict[str, Any]:
    wait_until(lambda: not status(desk)["under_way"], 180, "it has ended")
    found: dict[str, Any] = status(desk)["task"]
    assert (found["state"], found["verified"], found["files"]) == ("done", True, FILES), json.dumps(found) + log(desk)
    top = desk.login1.path("/home/alice/scratch")
    assert trees.compare(top / "run7", top / "copy7") == []
    assert not desk.login1.run("find scratch -name '.gears-part*'").stdout
    return found


def test_two_nodes_copy_and_the_helper_is_killed(desk: Centre) -> None:
    """The first node is held as soon as it has begun, so what else is there was copied by the other one."""
    told(desk, seconds=300, pause=0.5)  # else it is done before it is held
    hold = f"until pkill -STOP -u alice -f '{WORKER}'; do sleep 0.02; done"
    with desk.c1.popen(hold) as holding:
        begin(desk)
        assert holding.wait(60) == 0
    wait_until(lambda: status(desk)["task"]["helpers"] == ["c2"] and copied(desk) > 1024, 90, "the other node copies")
    desk.c2.run(f"pkill -KILL -f '{MEMBER}'", check=True)
    wait_until(lambda: log(desk).count("c2 helps with") == 2, 60, "it is there again")
    desk.c1.run(f"pkill -CONT -u alice -f '{WORKER}'", check=True)
    found = check_done(desk)
    assert (found["host"], found["helpers"]) == ("c1", ["c2"])
    said = log(desk)
    assert "the helper on c2 has ended with 137; starting it again" in said
    assert said.count("batches that were done on other nodes: c2 ") == 2, said  # of the copy, and of the verification


def test_a_node_loses_its_power_and_the_next_job_goes_on(desk: Centre) -> None:
    told(desk, seconds=300, pause=0.5)
    desk.login1.run(f"rm -rf scratch/copy7 {RECORDS}", check=True)
    begin(desk)
    wait_until(lambda: status(desk)["task"]["helpers"] and copied(desk) > 600, 90, "both nodes copy")
    desk.c2.power_off()
    first = status(desk)["task"]["job"]
    wait_until(lambda: desk.login2.run(f"squeue -h -j {first} -t RUNNING").stdout == "", 60, "its job has ended")
    told(desk, seconds=300, pause=0)
    desk.c2.boot()
    found = check_done(desk)
    assert found["job"] != first
