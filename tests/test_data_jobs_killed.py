"""A put as jobs of a real Slurm, of which one is killed, or its node loses its power, at random moments; and goes on.

At GEARS_FAULT_POINTS // 3 moments each (1), trees and bundles in turn. What goes on by itself, in the next job, is left
alone; else the same command is given again.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.centre import Centre
from tests.helpers import gears, wait_until
from tests.jobs import add_partition
from tests.test_data_crew_jobs import MAKE
from tests.test_data_faults import POINTS
from tests.test_data_jobs import CENTRE as JOBS
from tests.test_data_jobs import await_end, put, queue, told

CENTRE: dict[str, Any] = JOBS
RESTORE = "mkdir scratch/all && for tar in tape/run7/*.tar; do tar -xf $tar -C scratch/all; done"
CHECKS = {
    "archive": "diff -r scratch/run7 archive/run7 && ! find archive | grep gears-part",
    "tape": f"{RESTORE} && diff -r scratch/run7 scratch/all",
}
MOMENTS = max(1, POINTS // 3)


@pytest.fixture(scope="module", autouse=True)
def partition(centre: Centre) -> None:
    add_partition(centre)


@pytest.fixture
def desk(centre: Centre) -> Iterator[Centre]:
    told(centre, seconds=50, pause=0.3)
    centre.login1.run(MAKE, check=True)
    yield centre
    for node in (centre.c1, centre.c2):
        node.boot()
    centre.login2.run("scancel -u alice", "root")
    clear(centre)
    centre.login1.run("rm -rf scratch", check=True)


def clear(desk: Centre) -> None:
    wait_until(lambda: not queue(desk), 90, "the queue is empty")
    desk.login1.run("rm -rf archive tape scratch/all gears/run/lake/data; mkdir archive tape", check=True)


def await_running(desk: Centre) -> str:
    """The id of the job once it runs."""

    def running() -> str | None:
        return next((job for job, _, state in queue(desk) if state == "RUNNING"), None)

    return wait_until(running, 60, "it runs") or ""


def sealed(desk: Centre, place: str) -> dict[str, str]:
    """The inode of each file that the manifest has as copied; of each bundle that has an index."""
    # The manifest first: a name that it has is there already.
    recorded = desk.login1.run("cat gears/run/lake/data/run7/manifest*").stdout.splitlines()
    listed = desk.login1.run(f"find {place} -type f -printf '%P %i\n'").stdout
    inodes = dict(line.split() for line in listed.splitlines() if ".gears-" not in line)
    if place == "tape":
        return {
            name: inode for name, inode in inodes.items() if name.endswith(".tar") and f"{name[:-4]}.index" in inodes
        }
    finished = set[str]()
    for line in recorded:
        with suppress(ValueError):  # the last line can be a part
            values = json.loads(line)
            if "sha256" in values and "path" in values:
                finished.add(f"run7/{values['path']}")
    return {name: inodes[name] for name in finished}


def kill_job(desk: Centre, job: str) -> None:
    """All of its processes, the script's too."""
    desk.login2.run(["scancel", "--full", "--signal=KILL", job], "root")


def power_node_off(desk: Centre, job: str) -> None:
    name = desk.login2.run(["squeue", "-h", "-j", job, "-o", "%N"]).stdout.strip()
    if name:
        desk.hosts[name].power_off()


@pytest.mark.timeout(600 + 120 * MOMENTS)
@pytest.mark.parametrize("end", [kill_job, power_node_off])
def test_it_goes_on_and_nothing_sealed_is_written_again(desk: Centre, end: Callable[[Centre, str], None]) -> None:
    span_s, struck, first = 8.0, 0, random.randrange(2)
    for number in range(3 * MOMENTS):
        place = list(CHECKS)[(first + number) % 2]
        clear(desk)
        put(desk, place)
        job, began = await_running(desk), time.monotonic()
        time.sleep(random.uniform(0, span_s))
        struck += job in {running for running, _, state in queue(desk) if state == "RUNNING"}
        end(desk, job)
        before, after_s = sealed(desk, place), time.monotonic() - began
        again = finish(desk, place)
        kept = sealed(desk, place)
        changed = [name for name in before if kept.get(name) != before[name]]
        assert not changed, f"written again after {after_s:.1f} s: {changed[:5]} of {len(before)}"
        print(f"{end.__name__}, {place}: after {after_s:.1f} s, {len(before)} sealed, given {again} times more")
        desk.login1.run(CHECKS[place], check=True)
        for node in (desk.c1, desk.c2):
            node.boot()
        if struck >= MOMENTS:
            return
    pytest.fail(f"{struck} of {MOMENTS} were killed before they had ended")


def finish(desk: Centre, place: str) -> int:
    """Wait until it is done and proven, by the same command where it stopped. Return how often that was given."""
    for number in range(3):
        found = await_end(desk, 120)
        if found["state"] == "done":
            assert found["task"]["verified"], json.dumps(found)
            return number
        said = gears(desk.login1, f"data put scratch:run7 {place} --site lake")
        assert said.returncode == 0, said.stderr
    pytest.fail(f"it did not end: {json.dumps(found)}")
