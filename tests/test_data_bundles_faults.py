"""Bundles in spite of all: whoever is killed, whatever is corrupted, whoever else writes there; in little memory."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gears.data import manifest
from gears.data.bundles import put
from gears.data.bundles.ownership import this_holder, write_record
from gears.data.bundles.watch import Watch
from gears.data.stores.posix import PosixStore
from gears.data.tally import Tally
from gears.data.verification import DIFFERENT, EXTRA, MISSING
from gears.errors import BrokenSeal, ContentsDiffer, Incomplete, NotReachable, Paused, UsageError
from tests.test_data_bundles import SMALL, Place
from tests.test_data_engine import assert_same, fill, picture, temporaries


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- kill -9 ---------------------------------------------------------------------------------

SCRIPT = """
import sys, time
from pathlib import Path
from gears.data.bundles import get, put
from gears.data.entries import Entry, Type
from gears.data.stores.posix import PosixStore
if __name__ == "__main__":
    verb, jobs, root = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    print("begun", flush=True)
    start = time.monotonic()
    if verb == "put":
        put(root / "source", PosixStore(root / "store"), root / "state", bundle_size=200_000, jobs=jobs)
    else:
        get(PosixStore(root / "store"), root / "target", root / "got", jobs=jobs)
    print(time.monotonic() - start, flush=True)
"""


def run_killed(script: Path, verb: str, jobs: int, root: Path, after_s: float | None) -> float:
    """Run a put or a get, and kill it with its workers, or alone; return how long it ran if it was not killed."""
    argv = [sys.executable, script, verb, str(jobs), root]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "begun\n"
        try:
            child.wait(timeout=after_s)
        except subprocess.TimeoutExpired:
            (os.killpg if jobs == 1 else os.kill)(child.pid, signal.SIGKILL)
        return float(child.stdout.read() or 0)


def sealed(place: Place) -> dict[str, tuple[int, int]]:
    """Return inode and mtime of each bundle that has an index."""
    names = place.names()
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in place.bundles()
        if f"{path.stem}.index" in names
    }


@pytest.fixture
def killable(place: Place, tmp_path: Path) -> Iterator[Path]:
    """A script that puts and gets what is in the place."""
    chance = random.Random(7)
    for number in range(120):
        path = place.source / f"d{number % 7}/{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(20_000)))
    (tmp_path / "script.py").write_text(SCRIPT)
    yield tmp_path / "script.py"
    assert (temporaries(tmp_path), "lock" in place.names()) == ([], False)


def test_what_another_node_has_under_way_need_not_be_readable(tmp_path: Path) -> None:
    """It is only shown; on a shared file system a file that was just made or removed gives any error."""
    told: list[Tally] = []
    watch = Watch(tmp_path / "watch", lambda: "", told.append)
    (tmp_path / "watch/12@c1").write_text("7")
    (tmp_path / "watch/13@c2").mkdir()  # stands for it: root can read all files
    watch.report()
    assert told[-1].copied_size == 7


def kill_often(script: Path, verb: str, place: Place, check: Callable[[bool], None]) -> None:
    """Kill a put or a get until that was done 10 times; `check` is told each time whether it had finished."""
    root, chance, killed = script.parent, random.Random(7), 0
    duration = run_killed(script, verb, 1, root, None)
    check(True)
    whole = True
    for number in range(50):
        took = run_killed(script, verb, 1 + number % 2, root, chance.uniform(0, duration))
        duration, whole = took if took and whole else duration, bool(took)
        killed += not took
        check(bool(took))
        if killed == 10:
            break
    assert killed == 10
    assert run_killed(script, verb, 1, root, None)


def test_kill_9_at_any_point_of_a_put_and_the_same_call_goes_on(place: Place, killable: Path) -> None:
    before = dict[str, tuple[int, int]]()

    def check(finished: bool) -> None:
        nonlocal before
        now = sealed(place)
        assert {name: now[name] for name in before} == before  # nothing sealed was written again
        before = now
        if finished:
            assert place.verify().differences == {}
            shutil.rmtree(place.store.directory), shutil.rmtree(place.state)
            before = {}

    kill_often(killable, "put", place, check)
    assert {name: sealed(place)[name] for name in before} == before
    assert len(sealed(place)) == len(place.bundles())
    assert place.verify().differences == {}
    assert place.get().complete
    assert_same(place.source, place.target)


def test_kill_9_at_any_point_of_a_get_and_the_same_call_goes_on(place: Place, killable: Path) -> None:
    place.put()

    def check(finished: bool) -> None:
        for path in place.target.rglob("[0-9]*"):
            assert path.read_bytes() == (place.source / path.relative_to(place.target)).read_bytes()
        if finished:
            shutil.rmtree(place.target)

    kill_often(killable, "get", place, check)
    assert_same(place.source, place.target)


def test_a_put_pauses_when_it_must_and_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gears.data.bundles.watch.PARENT_S", 0)  # asked each time
    monkeypatch.setattr("gears.data.bundles.watch.WORKER_S", 0)
    fill(place.source)
    seen: list[int] = []
    with pytest.raises(Paused, match="the job ends at 18:40; what is finished stays"):
        place.put(must_stop=lambda: "the job ends at 18:40" if len(place.bundles()) > 2 else "")
    assert len(sealed(place)) >= 2
    before = sealed(place)
    assert place.put(on_progress=lambda tally: seen.append(tally.copied_size)).complete
    assert {name: sealed(place)[name] for name in before} == before
    assert seen == sorted(seen)
    with pytest.raises(Paused):
        place.get(must_stop=lambda: "enough")
    assert place.get().complete
    assert_same(place.source, place.target)


# --- whose it is -----------------------------------------------------------------------------


def test_the_bundles_of_another_source_are_refused(place: Place, tmp_path: Path) -> None:
    place.put()
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UsageError, match=f"put of {place.source} on"):
        put(other, place.store, tmp_path / "other-state", bundle_size=SMALL, jobs=1)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="no put of gears made them"):
        put(other, PosixStore(foreign), tmp_path / "state-3", bundle_size=SMALL, jobs=1)
    with pytest.raises(UsageError, match="have to be apart"):
        put(other, PosixStore(other / "bundles"), tmp_path / "state-4", bundle_size=SMALL, jobs=1)


def test_a_lock_is_respected_until_its_holder_is_proven_dead(place: Place) -> None:
    place.put()
    (place.source / "new").write_text("new")
    here = this_holder()
    elsewhere = replace(here, process=replace(here.process, host="dtn07"), user="bob", job="4711")
    write_record(place.store, "lock", elsewhere)
    with pytest.raises(NotReachable, match=r"bob on dtn07, process .*, job 4711"):
        place.put()
    asked: list[str] = []
    assert place.put(is_gone=lambda holder: bool(asked.append(holder.job)) or holder.job == "4711").complete
    assert asked == ["4711"]
    write_record(place.store, "lock", here)  # this process is alive
    with pytest.raises(NotReachable, match=socket.gethostname()):
        place.put()
    for dead in (replace(here.process, start="1"), replace(here.process, boot="another")):
        write_record(place.store, "lock", replace(here, process=dead))
        assert place.put().complete
    assert "lock" not in place.names()


# --- corruption ------------------------------------------------------------------------------


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def swap(path: Path, chance: random.Random) -> None:
    others = [other for other in path.parent.glob(f"*{path.suffix}") if other.read_bytes() != path.read_bytes()]
    other = chance.choice([other for other in others if other.name[:3] == path.name[:3]] or others)
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


@pytest.mark.parametrize("damage", [flip, cut, swap])
def test_damage_is_noticed_wherever_it_is(place: Place, tmp_path: Path, damage: Any) -> None:
    chance = random.Random(11)
    for number in range(6):
        (place.source / f"{number}").write_bytes(chance.randbytes(40_000))
    place.put()
    (place.source / "1").write_bytes(chance.randbytes(40_000))
    place.put()
    assert place.verify().differences == {}
    shutil.copytree(place.store.directory, tmp_path / "good")
    names = sorted(place.names() - {"owner", "README"})
    for name in names:
        if damage is swap and not name.endswith((".tar", ".index")) and not name.startswith("manifest"):
            continue
        damage(place.store.directory / name, chance)
        if not name.endswith("-0001") or name.startswith("manifest"):  # older lists are not read
            checked = place.verify()
            assert checked.differences[DIFFERENT] + checked.differences[MISSING] > 0, (damage, name)
        get_damaged(place, name)
        shutil.rmtree(place.store.directory)
        shutil.copytree(tmp_path / "good", place.store.directory)


def get_damaged(place: Place, name: str) -> None:
    """A get says that something is wrong, or brings what is right."""
    try:
        complete = place.get().complete
    except ContentsDiffer:
        complete = False
    except (Incomplete, UsageError):
        assert name.startswith("manifest")
        complete = False
    for path in place.target.glob("[0-9]*"):
        assert path.read_bytes() == (place.source / path.name).read_bytes(), name
    if complete:
        assert_same(place.source, place.target)
    for directory in (place.target, place.got):
        shutil.rmtree(directory, ignore_errors=True)


def test_a_damaged_member_is_named_and_the_others_come(place: Place) -> None:
    fill(place.source)
    place.put()
    (entry,) = [one for one in manifest.read(place.state / "manifest") if one.path == b"linked/deep/two"]
    with (place.store.directory / str(entry.bundle)).open("r+b") as bundle:
        bundle.seek(entry.offset or 0)
        bundle.write(b"XXX")
    with pytest.raises(ContentsDiffer, match="3 files could not be brought back, such as 'linked/deep/two'"):
        place.get()
    assert_same_but(place, [b"linked/deep/two", b"linked/one", b"zz-three"])
    checked = place.verify()
    assert [one.path for one in checked.named] == [b"linked/deep/two", entry.bundle.encode()] if entry.bundle else []
    with pytest.raises(ContentsDiffer):
        place.get()


def assert_same_but(place: Place, missing: list[bytes]) -> None:
    wanted, found = picture(place.source), picture(place.target)
    wanted = {path: one for path, one in wanted.items() if one["kind"] in (b"f", b"d", b"l")}
    assert wanted.keys() - found.keys() == set(missing)
    assert {path: one for path, one in wanted.items() if path not in missing} == found


def test_a_stale_manifest_and_a_stale_file_are_noticed(place: Place) -> None:
    (place.source / "file").write_text("one")
    place.put()
    old = (place.store.directory / "manifest-0001").read_bytes()
    (place.source / "file").write_text("two")
    place.put()
    (place.store.directory / "manifest-0002").write_bytes(old)
    assert [one.path for one in place.verify().named] == [b"manifest-0002"]
    with pytest.raises(BrokenSeal, match="manifest-0002 is the manifest of put 1"):
        place.get()


def test_a_file_that_does_not_belong_there_is_named(place: Place) -> None:
    (place.source / "file").write_text("one")
    place.put()
    (place.store.directory / "000009.tar").write_text("no")
    checked = place.verify()
    assert (checked.whole, checked.differences) == (True, {EXTRA: 1})


def test_a_store_that_returns_other_contents_seals_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.source / "file").write_text("one")
    original = PosixStore.read

    def read(self: PosixStore, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        for chunk in original(self, name, offset, length):
            yield chunk if not name.endswith(".tar") else chunk[:-1] + b"!"

    monkeypatch.setattr(PosixStore, "read", read)  # a medium that loses bits
    with pytest.raises(ContentsDiffer, match=r"000001.tar was read back .* with other contents"):
        place.put()
    assert place.names() == {"owner"}
    monkeypatch.undo()
    assert place.put().complete


# --- memory ----------------------------------------------------------------------------------

PEAK = """
import resource, sys
from pathlib import Path
from gears.data.bundles import get, put, verify
from gears.data.entries import Entry, Type
from gears.data.stores.posix import PosixStore
root = Path(sys.argv[1])
store = PosixStore(root / "store")
put(root / "source", store, root / "state", bundle_size=1 << 20, jobs=1)
verify(store, root / "state")
get(store, root / "target", root / "got", patterns=["1/*"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    peaks = []
    for count in (400, 4000):
        root = tmp_path / str(count)
        for number in range(count):
            path = root / f"source/{number % 100}/{number}-{'n' * 100}"
            path.parent.mkdir(exist_ok=True, parents=True)
            path.touch()
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        argv = [sys.executable, "-c", PEAK, root]
        peaks.append(int(subprocess.run(argv, capture_output=True, check=True, env=environment).stdout))
    assert peaks[1] < 1.15 * peaks[0], peaks
