"""Transfers by several nodes of a job of a real Slurm: both work, and one of them is killed, or loses its power."""

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
DONE_THERE = "batches that were done on other nodes"
MEMBER, WORKER = "_data _membe[r]", "spawn_mai[n]"
"""Of helpers, and of the processes of a pool; they don't match the command that looks for them."""
HOLD = f"for i in $(seq 3000); do pkill -STOP -u alice -f '{WORKER}' && exit; sleep 0.02; done; false"


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


def begin(desk: Centre, words: str = "copy scratch:run7 scratch:copy7 --jobs 1 --name run7") -> None:
    done = gears(desk.login1, f"data {words} --site wide")
    assert done.returncode == 0, done.stderr


def status(desk: Centre, name: str = "run7") -> dict[str, Any]:
    listed = gears(desk.login1, f"data status {name} --site wide --json").stdout
    found: dict[str, Any] = json.loads(listed)["transfers"][0]
    return found


def log(desk: Centre, name: str = "run7") -> str:
    return desk.login1.run(f"cat {home()}/run/wide/data/{name}/log").stdout


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
    with desk.c1.popen(HOLD) as holding:
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
    assert f"{DONE_THERE}: c2 " in said


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


@pytest.mark.parametrize(
    "words", ["verify run7", "verify put7", "get archive:put7 --to scratch:back --jobs 1 --name back7"]
)
def test_two_nodes_verify_a_copy_and_bundles_and_get_them(desk: Centre, words: str) -> None:
    """The first node is held until the other one has a part to do; nobody else does that."""
    make_copy_and_bundles(desk)
    name = words.split()[-1]
    before = log(desk, name).count(DONE_THERE)
    with desk.c1.popen(HOLD) as holding:
        begin(desk, words)
        assert holding.wait(60) == 0
    desk.c2.run(f"for i in $(seq 600); do pgrep -u alice -f '{WORKER}' && exit; sleep 0.1; done; false", check=True)
    desk.c1.run(f"pkill -CONT -u alice -f '{WORKER}'", check=True)
    wait_until(lambda: not status(desk, name)["under_way"], 180, "it has ended")
    found, said = status(desk, name)["task"], log(desk, name)
    assert (found["state"], found["verified"]) == ("done", True), json.dumps(found) + said
    assert said.count(f"{DONE_THERE}: c2 ") > before, said
    if name == "back7":
        top = desk.login1.path("/home/alice/scratch")
        assert trees.compare(top / "run7", top / "back/put7") == []


def make_copy_and_bundles(desk: Centre) -> None:
    """What the other tests have left, or the same once more."""
    desk.login1.run("mkdir -p archive scratch/back", check=True)
    for words in ("copy scratch:run7 scratch:copy7 --name run7", "put scratch:run7 archive --name put7"):
        begin(desk, f"{words} --jobs 1 --wait")
