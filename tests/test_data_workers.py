"""Processes that do batches: what they return and raise, and what is left when all of them are killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gears.data import workers
from gears.errors import ContentsDiffer, Incomplete
from tests.helpers import wait_until

ENDLESS = """\
import time
from pathlib import Path
from gears.data import workers

def work(path):
    Path(path).touch()
    time.sleep(600)

if __name__ == "__main__":
    import sys
    list(workers.run_ordered(work, sys.argv[1:], jobs=2))
"""


def double(number: int) -> int:
    return 2 * number


def fails(number: int) -> int:
    if number == 3:
        raise ContentsDiffer("three differs", next="gears data verify x")
    if number == 5:
        raise Unsendable(threading.Lock())
    return number


def large(number: int) -> bytes:
    return bytes([number % 256]) * 3_000_000


def own_pid(_: int) -> int:
    return os.getpid()


def end(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Unsendable(Exception):
    """An error that can't be pickled."""


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_the_order_of_the_batches(jobs: int) -> None:
    assert list(workers.run_ordered(double, range(100), jobs=jobs)) == list(range(0, 200, 2))
    given = iter(range(20))
    assert sorted(workers.run_growing(double, lambda: next(given, None), jobs=jobs)) == list(range(0, 40, 2))


def test_no_more_processes_than_batches_and_none_is_left() -> None:
    """Neither a batch nor a result that is larger than a pipe blocks the other."""
    pids = list(workers.run_ordered(own_pid, range(2), jobs=8))
    assert os.getpid() not in pids
    assert [len(data) for data in workers.run_ordered(large, range(6), jobs=2)] == [3_000_000] * 6
    assert list(workers.run_ordered(len, [bytes(3_000_000)] * 6, jobs=2)) == [3_000_000] * 6
    assert multiprocessing.active_children() == []


def test_what_a_worker_raises_is_raised_here() -> None:
    found = workers.run_ordered(fails, range(9), jobs=2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ContentsDiffer, match="three differs") as raised:
        next(found)
    assert (raised.value.exit_code, raised.value.next) == (6, "gears data verify x")
    assert any("in fails" in note for note in raised.value.__notes__)
    with pytest.raises(RuntimeError, match="Unsendable"):
        list(workers.run_ordered(fails, [4, 5], jobs=2))
    with pytest.raises(Incomplete, match="killed"):
        list(workers.run_ordered(end, range(9), jobs=2))
    assert multiprocessing.active_children() == []


def test_kill_9_of_all_processes_leaves_nothing_in_shared_memory(tmp_path: Path) -> None:
    """Not even for the moment: no process has a semaphore or another file there that has a name."""
    (tmp_path / "script.py").write_text(ENDLESS)
    begun = [tmp_path / "a", tmp_path / "b"]
    words = [sys.executable, str(tmp_path / "script.py"), *map(str, begun)]
    with subprocess.Popen(words, start_new_session=True, env={**os.environ, "PYTHONPATH": os.getcwd()}) as leader:
        try:
            wait_until(lambda: all(path.exists() for path in begun), 60, "both workers have a batch")
            members = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_in(pid, leader.pid)]
            named = [line for pid in members for line in shared(pid)]
        finally:
            os.killpg(leader.pid, signal.SIGKILL)
    assert len(members) >= 3
    assert named == []
    wait_until(lambda: not any(is_in(pid, leader.pid) for pid in members), 30, "all have ended")


def is_in(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False


def shared(pid: int) -> list[str]:
    """What of /dev/shm a process has mapped that has a name."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if "/dev/shm/" in line and not line.endswith("(deleted)")]
