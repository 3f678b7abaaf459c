"""What is put into bundles comes back as it was, by gears, by GNU tar and by Python, whatever happens meanwhile.

The checker, `picture`, shares no code with what it checks.
"""

import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gears.data import manifest
from gears.data.bundles import bundler, get, put, restore, tar, verify
from gears.data.bundles.ownership import this_holder, write_record
from gears.data.entries import Entry, Type
from gears.data.stores.posix import PosixStore
from gears.data.tally import Tally
from gears.data.verification import DIFFERENT, EXTRA, MISSING, Verified
from gears.errors import BrokenSeal, ContentsDiffer, Incomplete, NotReachable, Paused, UsageError
from tests.conftest import skip_or_fail
from tests.test_data_engine import assert_same, fill, fill_attributes, picture, temporaries

SMALL = 100_000


class Streamed(PosixStore):
    """A directory as a store from which a part takes as long as the whole, as on tape."""

    ranged = False


class Place:
    """A source, a store, and the records of a put and of a get."""

    def __init__(self, root: Path, kind: type[PosixStore] = PosixStore) -> None:
        self.source, self.target = root / "source", root / "target"
        self.store, self.state, self.got = kind(root / "store"), root / "state", root / "got"
        self.source.mkdir()

    def put(self, jobs: int = 1, bundle_size: int = SMALL, **options: Any) -> Tally:
        return put(self.source, self.store, self.state, bundle_size=bundle_size, jobs=jobs, **options)

    def get(self, *patterns: str, jobs: int = 1, **options: Any) -> Tally:
        return get(self.store, self.target, self.got, patterns=patterns, jobs=jobs, **options)

    def verify(self, jobs: int = 1) -> Verified:
        return verify(self.store, self.state, jobs=jobs)

    def names(self) -> set[str]:
        return set(self.store.sizes())

    def bundles(self) -> list[Path]:
        return sorted(self.store.directory.glob("*.tar"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def fill_all(place: Place) -> None:
    fill(place.source)
    try:
        fill_attributes(place.source)
    except OSError as exc:
        skip_or_fail(f"no extended attributes or ACLs in {place.source}: {exc}")


# --- every kind of file ----------------------------------------------------------------------


@pytest.mark.parametrize(("jobs", "kind"), [(1, PosixStore), (2, Streamed)])
def test_every_kind_of_file_comes_back(tmp_path: Path, jobs: int, kind: type[PosixStore]) -> None:
    place = Place(tmp_path, kind)
    fill_all(place)
    tally = place.put(jobs)
    assert (tally.complete, tally.listed) == (True, {"fifo": 1, "socket": 1})
    assert tally.copied == 27
    checked = place.verify(jobs)
    assert (checked.whole, checked.differences, checked.not_held, checked.entries) == (True, {}, 2, tally.entries - 2)
    for copied, reused in ((27, 0), (0, 29)):
        tally = place.get(jobs=jobs)
        assert (tally.complete, tally.copied, tally.reused, tally.lost.total()) == (True, copied, reused, 0)
        assert_same(place.source, place.target)
    assert temporaries(tmp_path) == []


def restored_by_tar(place: Place, directory: Path, *, one_by_one: bool) -> None:
    directory.mkdir()
    options = ["--xattrs", "--xattrs-include=*", "--acls"]
    if one_by_one:
        for bundle in place.bundles():
            subprocess.run(["tar", "-C", directory, *options, "-xpf", bundle], check=True)
        return
    options += ["--ignore-zeros", "--delay-directory-restore"]
    with subprocess.Popen(["cat", *place.bundles()], stdout=subprocess.PIPE) as cat:
        subprocess.run(["tar", "-C", directory, *options, "-xpf", "-"], stdin=cat.stdout, check=True)


@pytest.mark.parametrize("one_by_one", [True, False])
def test_gnu_tar_alone_restores(place: Place, tmp_path: Path, one_by_one: bool) -> None:
    fill_all(place)
    place.put(bundle_size=20_000 if not one_by_one or os.getuid() == 0 else 1 << 30)
    assert len(place.bundles()) > 4 or one_by_one
    restored_by_tar(place, tmp_path / "restored", one_by_one=one_by_one)
    assert (tmp_path / "restored/fifo").is_fifo()
    assert_same(place.source, tmp_path / "restored", without=(b"fifo",))
    sums = ["sha256sum", "--check", "--strict", "--quiet"]
    store = place.store.directory
    subprocess.run([*sums, store / "SHA256SUMS-0001"], cwd=tmp_path / "restored", check=True)
    subprocess.run([*sums, "BUNDLES-0001"], cwd=store, check=True)


def test_pythons_tarfile_alone_restores(place: Place, tmp_path: Path) -> None:
    fill(place.source)
    place.put(bundle_size=1 << 30)
    with tarfile.open(place.bundles()[0]) as archive:
        archive.extraction_filter = lambda member, _path: member
        archive.extractall(tmp_path / "restored")
    wanted, found = picture(place.source), picture(tmp_path / "restored")
    wanted.pop(b"socket")
    for one in (*wanted.values(), *found.values()):
        one.pop("mtime")  # as a float
        one.pop("xattrs", None)
    for name in (b"dangling", b"dangling-too"):  # of a dangling link tarfile makes two, not a hard link
        wanted[name].pop("linked"), found[name].pop("linked")
    assert found == wanted


def test_what_no_ustar_header_can_hold_is_read_by_gnu_tar(tmp_path: Path) -> None:
    huge = Entry(b"huge", Type.FILE, size=9 << 30, mode=0o640, mtime_ns=1_000_000_000_123_456_789)
    sparse = replace(huge, path=b"sparse", extents=((1 << 33, 512),))
    link = Entry(b"link", Type.SYMLINK, target=b"x" * 3000)
    owner = tar.Owner(3_000_000_000, 5, "u" * 40)
    parts = [tar.header(link, owner), tar.header(sparse, owner), bytes(512), tar.header(huge, owner)]
    (archive := tmp_path / "archive.tar").write_bytes(b"".join(parts))
    listing = ["tar", "--numeric-owner", "--full-time", "--utc", "-tvf", archive]
    lines = subprocess.run(listing, capture_output=True, text=True).stdout.splitlines()  # its end is missing
    assert lines[0].endswith("link -> " + "x" * 3000)
    wanted = f"-rw-r----- 3000000000/5 {9 << 30} 2001-09-09 01:46:40.123456789"
    assert lines[1:] == [f"{wanted} sparse", f"{wanted} huge"]


def test_a_member_can_be_read_where_the_manifest_says(place: Place) -> None:
    fill(place.source)
    place.put()
    lines = [json.loads(line) for line in (place.store.directory / "manifest-0001").read_text().splitlines()]
    (entry,) = [line for line in lines if line.get("path") == "linked/one"]
    with (place.store.directory / entry["bundle"]).open("rb") as bundle:
        bundle.seek(entry["offset"])
        assert bundle.read(entry["size"]) == b"one"


def test_bundles_are_no_larger_than_asked_and_links_come_after_their_files(place: Place) -> None:
    for number in range(400):
        (place.source / f"{number:03d}").write_bytes(bytes(number * 20))
    (place.source / "200-large").write_bytes(bytes(3 * SMALL))
    os.link(place.source / "200-large", place.source / "201-link")
    place.put()
    sizes = {path.name: path.stat().st_size for path in place.bundles()}
    large = [name for name, size in sizes.items() if size > SMALL]
    assert len(large) == 1
    found = {entry.path: entry for entry in manifest.read(place.state / "manifest")}
    assert found[b"200-large"].bundle == large[0]
    for path in place.bundles():
        with tarfile.open(path) as archive:
            if "201-link" in archive.getnames():
                assert path.name > large[0]


# --- what is wanted --------------------------------------------------------------------------


def test_a_get_brings_what_matches_with_its_directories(place: Place) -> None:
    fill(place.source)
    place.put()
    tally = place.get("linked", "zz*", "te?m/inside")
    assert sorted(os.listdir(place.target)) == ["linked", "team", "zz-three"]
    assert os.path.samefile(place.target / "linked/one", place.target / "zz-three")
    assert (place.target / "team").stat().st_mode & 0o7777 == 0o2770
    assert tally.copied == 2
    with pytest.raises(UsageError, match="nothing matches 'nowhere'"):
        place.get("nowhere")


def test_only_what_is_needed_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcdefgh":
        (place.source / name).write_bytes(random.Random(name).randbytes(1_000_000))
    place.put(bundle_size=1 << 30)
    read, original = [], PosixStore.read

    def counted(self: PosixStore, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        for chunk in original(self, name, offset, length):
            read.append(len(chunk) if name.endswith(".tar") else 0)
            yield chunk

    monkeypatch.setattr(PosixStore, "read", counted)  # counts, and reads as before
    place.get("c")
    assert sum(read) == 1_000_000
    assert (place.target / "c").read_bytes() == (place.source / "c").read_bytes()


def test_what_is_there_and_is_another_file_stays(place: Place) -> None:
    fill(place.source)
    place.put()
    place.target.mkdir()
    (place.target / "big").write_text("mine")
    os.utime(place.target / "big", ns=(1, 1))
    shutil.copy2(place.source / "all", place.target / "all")
    tally = place.get()
    assert [name for name, _ in tally.named] == [b"big"]
    assert (place.target / "big").read_text() == "mine"
    assert tally.reused == 1


def test_a_file_that_this_get_wrote_is_replaced_by_its_new_version(place: Place) -> None:
    (place.source / "file").write_text("old")
    place.put()
    place.get()
    (place.source / "file").write_text("newer")
    place.put()
    assert place.get().complete
    assert (place.target / "file").read_text() == "newer"


def test_what_a_directory_has_lost_is_brought_back(place: Place) -> None:
    fill(place.source)
    place.put()
    before = picture(place.source)
    for name in ("linked", "d", "empty"):
        shutil.rmtree(place.source / name)
    for name in ("big", "dangling", "sparse"):
        (place.source / name).unlink()
    (place.source / "all").write_text("changed")
    tally = restore(place.store, place.state, place.source)
    assert tally.complete
    after = picture(place.source)
    assert after[b"all"]["sha"] == hashlib.sha256(b"changed").hexdigest()
    for name in (b"", b"all", b"zz-three", b"linked/one", b"linked/deep/two", b"dangling", b"dangling-too"):
        before.pop(name), after.pop(name)
    assert after == before


# --- incremental -----------------------------------------------------------------------------


def age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ctimes count as old enough, which no program can set."""
    monkeypatch.setattr("gears.data.attributes.SETTLED_NS", -1)


def test_a_put_with_nothing_new_writes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    age(monkeypatch)
    fill_all(place)
    place.put()
    before = picture(place.store.directory)
    tally = place.put()
    assert (tally.copied, tally.reused, tally.complete) == (0, 29, True)
    before.pop(b""), (after := picture(place.store.directory)).pop(b"")
    assert after == before


def test_only_what_has_changed_is_put_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    age(monkeypatch)
    fill(place.source)
    place.put()
    before = {path.name: path.stat().st_mtime_ns for path in place.bundles()}
    old = {entry.path: entry for entry in manifest.read(place.state / "manifest")}
    (place.source / "all").write_text("changed")
    stamp = (place.source / "big").stat()
    with (place.source / "big").open("r+b") as file:
        file.write(b"changed in place")
    os.utime(place.source / "big", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (place.source / "read-only").chmod(0o400)
    (place.source / "zero").unlink()
    (place.source / "new").write_text("new")
    os.link(place.source / "new", place.source / "new-too")
    tally = place.put()
    assert (tally.copied, tally.complete) == (3, True)
    assert {path.name: path.stat().st_mtime_ns for path in place.bundles() if path.name in before} == before
    found = {entry.path: entry for entry in manifest.read(place.state / "manifest")}
    changed = {path for path, entry in found.items() if entry.bundle not in before and entry.bundle}
    assert changed == {b".", b"all", b"big", b"new", b"new-too"}
    assert found[b"read-only"].offset == old[b"read-only"].offset
    assert place.get().complete
    assert_same(place.source, place.target)
    assert place.verify().differences == {}
    assert "manifest-0002" in place.names()


def test_a_lost_bundle_is_put_again_from_the_source(place: Place) -> None:
    fill(place.source)
    place.put()
    place.bundles()[0].unlink()
    assert place.verify().differences[MISSING] > 1
    place.put()
    assert place.verify().whole
    assert place.get().complete
    assert_same(place.source, place.target)


def test_a_lost_state_directory_is_no_loss(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    age(monkeypatch)
    fill(place.source)
    place.put()
    shutil.rmtree(place.state)
    names = place.names()
    assert place.put().copied == 0
    assert place.names() == names


# --- what can't be read, what changes --------------------------------------------------------


def change_when_read(path: Path, texts: Iterator[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Change a file whenever it is read, just after it."""
    original = os.pread

    def changed(fd: int, length: int, offset: int) -> bytes:
        data = original(fd, length, offset)
        if os.readlink(f"/proc/self/fd/{fd}") == str(path) and (text := next(texts, "")):
            path.write_text(text)
        return data

    monkeypatch.setattr(os, "pread", changed)


IN_ONE_READ_AND_IN_CHUNKS = pytest.mark.parametrize("small", [bundler.SMALL_BYTES, -1])


@IN_ONE_READ_AND_IN_CHUNKS
def test_a_file_that_changes_once_is_read_again(place: Place, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.source / "file").write_text("first")
    (place.source / "other").write_text("other")
    monkeypatch.setattr(bundler, "SMALL_BYTES", small)
    change_when_read(place.source / "file", iter(["second!"]), monkeypatch)
    assert place.put().complete
    with tarfile.open(place.bundles()[0]) as archive:
        members = [one.name for one in archive if one.name == "file"]
        assert members == (["file"] if small > 0 else ["file", "file"])
    assert place.get().complete
    assert (place.target / "file").read_text() == "second!"
    assert place.verify().differences == {}


@IN_ONE_READ_AND_IN_CHUNKS
def test_a_file_that_always_changes_is_named(place: Place, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.source / "file").write_text("first")
    os.link(place.source / "file", place.source / "link")
    (place.source / "other").write_text("other")
    monkeypatch.setattr(bundler, "SMALL_BYTES", small)
    change_when_read(place.source / "file", (f"{number}" for number in itertools.count()), monkeypatch)
    tally = place.put()
    assert not tally.complete
    assert sorted(tally.named)[0] == (b"file", "it changed in each of 4 reads")
    assert sorted(tally.named)[1][0] == b"link"
    assert not place.get().complete
    assert sorted(os.listdir(place.target)) == ["other"]
    monkeypatch.undo()
    assert place.put().complete


def test_what_a_user_may_not_read_is_named_each_time_and_costs_no_bundle(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(monkeypatch)
    if os.getuid() == 0:
        original = bundler.Tree.open

        def refused(self: Any, path: bytes, *, keep_atime: bool = False) -> int:
            if path == b"secret":
                raise PermissionError(13, "Permission denied")
            return original(self, path, keep_atime=keep_atime)

        monkeypatch.setattr(bundler.Tree, "open", refused)  # root may read everything
    for name in ("secret", "open"):
        (place.source / name).write_text(name)
    (place.source / "secret").chmod(0)
    for _ in range(3):
        tally = place.put()
        assert tally.named == [(b"secret", "Permission denied")]
    assert len(place.bundles()) == 1
    assert place.get().named == [(b"secret", "Permission denied")]


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


def kill_often(script: Path, verb: str, place: Place, check: Callable[[bool], None]) -> None:
    """Kill a put or a get until that was done 10 times; `check` is told each time whether it had finished."""
    root, chance, killed = script.parent, random.Random(7), 0
    duration = run_killed(script, verb, 1, root, None)
    check(True)
    for number in range(50):
        finished = bool(run_killed(script, verb, 1 + number % 2, root, chance.uniform(0, duration)))
        killed += not finished
        check(finished)
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
