"""Puts on which several tasks work: as processes of this host, and as the tasks of a job of a real Slurm."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gears.data.bundles import Others
from gears.data.bundles.tasks import NUMBER, RUNS, Result
from gears.data.manifest import Bundle
from gears.data.shares import Shares
from gears.data.tally import Tally
from gears.errors import Paused
from gears.system import files, records
from gears.system.processes import this_located_process
from tests.helpers import wait_until
from tests.test_data_bundles import Place
from tests.test_data_bundles_faults import sealed
from tests.test_data_engine import assert_same, temporaries

HELPER = """\
import os, sys, time
from pathlib import Path
from gears.data.bundles import Others, help_put, put
from gears.data.shares import Shares
from gears.data.stores.posix import PosixStore

root, verb, jobs, pause = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])

class Slow(PosixStore):
    def write(self, name, chunks):
        time.sleep(pause if name.endswith(".tar") else 0)
        while name.endswith(".tar") and (root / "hold").exists():
            time.sleep(0.01)
        super().write(name, chunks)

if __name__ == "__main__":
    store, state = Slow(root / "store"), root / "state"
    if verb == "die":  # after a bundle is sealed, and before that is said
        Shares.finish = lambda *_: os._exit(9)
    if verb != "put":
        help_put(store, state, jobs=jobs, must_stop=str, is_needed=(root / "wanted").exists)
    else:
        put(root / "source", store, state, bundle_size=100_000, jobs=jobs, others=Others(root / "ended"))
"""
BUNDLES = 12


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A source for 12 bundles."""
    place = Place(tmp_path)
    (tmp_path / "script.py").write_text(HELPER)
    (tmp_path / "wanted").touch()
    for number in range(BUNDLES):
        (place.source / f"f{number:02d}").write_bytes(os.urandom(80_000))
    yield place
    assert (temporaries(tmp_path), "lock" in place.names()) == ([], False)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Start tasks; what is left of them at the end is killed."""
    started = []

    def start(verb: str, *, jobs: int = 1, pause: float = 0.0) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), verb, str(jobs), str(pause)]
        started.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.getcwd()}))
        return started[-1]

    yield start
    (tmp_path / "wanted").unlink(missing_ok=True)
    for one in started:
        one.kill()
        one.wait()


def claims(place: Place) -> dict[str, int]:
    """The process of each claim."""
    found = [path for path in place.state.glob(f"{RUNS}/*/claims/*") if re.search(r"\.claim-\d+$", path.name)]
    texts = {path.name: files.read_text(path) for path in found}  # "": given up since
    return {name: json.loads(text)["pid"] for name, text in texts.items() if text}


def claimed_by(place: Place, task: subprocess.Popen[bytes]) -> bool:
    return task.pid in claims(place).values()


def check(place: Place) -> None:
    assert place.verify().whole
    assert len(place.bundles()) == BUNDLES
    assert place.get().complete
    assert_same(place.source, place.target)
    assert not list(place.state.glob(f"{RUNS}/*"))


# --- claims ----------------------------------------------------------------------------------


def test_a_share_is_one_processs_until_that_is_proven_to_be_gone(tmp_path: Path) -> None:
    ended, me = tmp_path / "ended", this_located_process()
    shares = Shares(tmp_path / "shares", ended)
    shares.directory.mkdir()
    for name in "ade":
        shares.publish(name)
    assert (shares.claim("a"), shares.claim("a")) == (1, 0)
    shares.give_up("a", 1)
    assert shares.claim("a") == 2
    shares.finish("a", me)
    assert (shares.claim("a"), shares.done()) == (0, {"a"})
    gone = {"b": replace(me, start="1"), "c": replace(me, boot="another")}
    for name, claimer in gone.items():
        records.save(shares.directory / f"{name}.claim-1", claimer)
        assert shares.claim(name) == 2
    for claimer in (replace(me, host="elsewhere", start="1"), replace(me, namespace="pid:[1]", start="1")):
        records.save(shares.directory / "d.claim-1", claimer)
        assert shares.free() == ["e"]
        ended.touch()
        assert shares.free() == ["d", "e"]
        ended.unlink()
    assert not [name for name in os.listdir(shares.directory) if name.startswith(".")]
    assert Shares(tmp_path / "over").claim("a") == 0


# --- several processes -----------------------------------------------------------------------


def test_tasks_share_a_put(place: Place, start: Any) -> None:
    helper, pids = start("help"), set[int]()

    def note(now: Tally) -> None:
        if now.copied:
            wait_until(lambda: claimed_by(place, helper), 20, "the helper has a share")
        pids.update(claims(place).values())

    tally = place.put(others=Others(), on_progress=note)
    assert (tally.complete, tally.copied, tally.files) == (True, BUNDLES, BUNDLES)
    assert {helper.pid, os.getpid()} <= pids
    check(place)
    assert place.put(others=Others()).reused == BUNDLES
    assert len(place.bundles()) == BUNDLES


def test_kill_9_of_a_helper_and_the_first_task_does_its_share(place: Place, start: Any) -> None:
    helper = start("help", jobs=2, pause=60)

    def note(now: Tally) -> None:
        if now.copied and helper.poll() is None:
            wait_until(lambda: set(claims(place).values()) - {os.getpid()}, 20, "a worker of the helper has a share")
            helper.kill()
            helper.wait()

    assert place.put(others=Others(), on_progress=note).complete
    assert helper.returncode == -signal.SIGKILL
    check(place)


def test_kill_9_of_the_first_task_and_the_same_call_goes_on_with_the_helper(
    place: Place, start: Any, tmp_path: Path
) -> None:
    helper = start("help", pause=0.2)
    leader = start("put", pause=2)
    wait_until(lambda: claimed_by(place, helper) and len(claims(place)) > 3, 20, "both work")
    (tmp_path / "hold").touch()  # else the helper may do all that is left before the second run begins
    leader.send_signal(signal.SIGKILL)
    leader.wait()
    planned = int((place.state / NUMBER).read_text())
    again = start("put", pause=0.2)
    wait_until(lambda: claimed_by(place, again), 20, "the second run has begun")
    (tmp_path / "hold").unlink()
    wait_until(lambda: claimed_by(place, helper) and claimed_by(place, again), 20, "both work on the second run")
    assert min(claims(place)) >= f"{planned:06d}"
    assert again.wait(60) == 0
    (tmp_path / "wanted").unlink()
    assert helper.wait(60) == 0
    check(place)


def test_what_was_sealed_before_its_task_was_killed_is_not_written_again(place: Place, start: Any) -> None:
    helper = start("die")
    before: dict[str, tuple[int, int]] = {}

    def note(now: Tally) -> None:
        if now.copied and not before:
            assert helper.wait(60) == 9
            before.update(sealed(place))

    assert place.put(others=Others(), on_progress=note).complete
    assert len(before) > 1, "the first task's, and the helper's"
    assert {name: sealed(place)[name] for name in before} == before
    check(place)


def test_what_stops_the_first_task_stops_the_helper(place: Place, start: Any) -> None:
    helper, stop = start("help", pause=0.1), False

    def note(now: Tally) -> None:
        nonlocal stop
        if now.copied:
            stop = wait_until(lambda: claimed_by(place, helper), 20, "the helper has a share") or True

    with pytest.raises(Paused):
        place.put(others=Others(), must_stop=lambda: "the job ends" if stop else "", on_progress=note)
    assert place.put().complete
    check(place)


def test_a_result_as_it_is_recorded(tmp_path: Path) -> None:
    result = Result(Bundle("000001.tar", 10240, "00" * 32), 3, 4096, "c1")
    records.save(tmp_path / "result", result)
    assert records.load(Result, tmp_path / "result") == result
