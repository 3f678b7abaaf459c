"""Copies are what the source was, whatever happens meanwhile; a verification says so only if it is so.

The checker here, `picture`, shares no code with the engine.
"""

import contextlib
import errno
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gears.data import contents, copier, durable, engine, manifest, pulse, run, workers, writers
from gears.data.entries import Type
from gears.data.verification import DIFFERENT, EXTRA, METADATA, MISSING, Verified, verify
from gears.errors import BrokenSeal, ContentsDiffer, Incomplete, NotReachable, Paused, UsageError
from tests.conftest import skip_or_fail

NOBODY = 65534
Picture = dict[bytes, dict[str, Any]]


class Place:
    """A source, its copy, and the manifest."""

    def __init__(self, root: Path) -> None:
        self.source, self.copy, self.record = root / "source", root / "copy", root / "records/run7.jsonl"
        self.source.mkdir()

    def put(self, jobs: int = 1) -> engine.Tally:
        return engine.copy_tree(self.source, self.copy, self.record, jobs=jobs)

    def verify(self, jobs: int = 1) -> Verified:
        return verify(self.record, self.copy, jobs=jobs)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- a checker of its own --------------------------------------------------------------------


def picture(root: Path) -> Picture:
    """What is in a tree, by find's own words (and Python's, for attributes and contents)."""
    printed = subprocess.run(
        ["find", ".", "-printf", r"%P\0%y\0%m\0%G\0%T@\0%l\0%i\0"], cwd=root, capture_output=True, check=True
    ).stdout.split(b"\0")[:-1]
    found: Picture = {}
    inodes: dict[bytes, set[bytes]] = {}
    for path, kind, mode, group, mtime, target, inode in rows_of(printed, 7):
        full = os.path.join(os.fsencode(root), path)
        inodes.setdefault(inode, set()).add(path)
        found[path] = {"kind": kind, "mode": mode, "group": group, "mtime": mtime, "target": target}
        found[path]["linked"] = inodes[inode]
        if kind == b"f":
            with open(full, "rb") as file:
                found[path]["sha"] = hashlib.file_digest(file, "sha256").hexdigest()
            found[path]["sparse"] = os.stat(full).st_blocks * 512 < os.stat(full).st_size
        if kind in b"fd":
            found[path]["xattrs"] = {name: os.getxattr(full, name) for name in os.listxattr(full)}
    return found


def rows_of(values: list[bytes], length: int) -> Iterator[list[bytes]]:
    return (values[start : start + length] for start in range(0, len(values), length))


def assert_same(source: Path, copy: Path, *, without: tuple[bytes, ...] = ()) -> None:
    """Everything of the source is in its copy, and nothing else."""
    wanted, found = picture(source), picture(copy)
    wanted = {path: what for path, what in wanted.items() if what["kind"] in (b"f", b"d", b"l")}
    for path in without:
        found.pop(path, None)
    assert found.keys() == wanted.keys()
    assert {path: (wanted[path], found[path]) for path in wanted if wanted[path] != found[path]} == {}


def temporaries(root: Path) -> list[Path]:
    return list(root.rglob(".gears-part-*"))


# --- every kind of file ----------------------------------------------------------------------


def acl(*entries: tuple[int, int, int]) -> bytes:
    """An ACL as it is in the attribute: tag, permissions, id of each entry (linux/posix_acl_xattr.h)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NO_ID = 2**32 - 1
ACL = acl((1, 7, NO_ID), (2, 5, 12345), (4, 5, NO_ID), (16, 7, NO_ID), (32, 0, NO_ID))


def fill(root: Path) -> None:
    """All that FACTS of copying lists: what some program loses."""
    (root / "empty/below").mkdir(parents=True)
    (root / "d").mkdir()
    for name in (b"new\nline", b"\xff\xfe", b"n" * 255, "é".encode(), "e\u0301".encode(), b" ", b"-rf", b"a\\b", b"\r"):
        with open(os.path.join(os.fsencode(root), b"d", name), "wb") as file:
            file.write(name * 100)
    os.mkdir(os.path.join(os.fsencode(root), b"\xe9t\xe9"))
    for name in ("d-1", "d.txt", "d0"):  # before and after `d/`, by their bytes
        (root / name).touch()
    (root / "zero").touch()
    (root / "big").write_bytes(random.Random(1).randbytes(5_000_000))
    (root / "linked/deep").mkdir(parents=True)
    (root / "linked/one").write_text("one")
    os.link(root / "linked/one", root / "linked/deep/two")
    os.link(root / "linked/one", root / "zz-three")
    os.symlink("nowhere", root / "dangling")
    os.symlink("/etc/passwd", root / "absolute")
    os.symlink(b"\xff\n", os.path.join(os.fsencode(root), b"odd-target"))
    os.symlink("d", root / "to-directory")
    os.link(root / "dangling", root / "dangling-too", follow_symlinks=False)
    fill_sparse(root)
    fill_odd(root)


def fill_odd(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(root):
        server.bind("socket")
    unreadable = 0o000 if os.getuid() == 0 else 0o400  # else not even its owner can read it
    for name, mode in (("read-only", 0o444), ("none", unreadable), ("all", 0o777), ("setgid-file", 0o2755)):
        (root / name).write_text(name)
        (root / name).chmod(mode)
    for name, mode in (("team", 0o2770), ("sticky", 0o1777), ("closed", 0o500)):
        (root / name).mkdir()
        (root / name / "inside").write_text(name)
        (root / name).chmod(mode)
    for name, ns in (("old", 1), ("before-1970", -5 * 10**9 - 5), ("future", 4_102_444_800_123_456_789)):
        (root / name).write_text(name)
        os.utime(root / name, ns=(ns, ns))
    os.utime(root / "dangling", ns=(5, 7), follow_symlinks=False)
    os.utime(root / "empty/below", ns=(5, 7))


def fill_sparse(root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        for place in (1 << 20, 7 << 20):
            file.seek(place)
            file.write(b"data")
        file.truncate(20 << 20)
    with (root / "only-a-hole").open("wb") as file:
        file.truncate(3 << 20)


def fill_attributes(root: Path) -> None:
    """Extended attributes and ACLs; OSError where the file system has none."""
    os.setxattr(root / "big", "user.comment", b"\0binary\xff")
    os.setxattr(root / "empty", "user.empty", b"")
    os.setxattr(root / "read-only", "system.posix_acl_access", ACL)
    os.setxattr(root / "team", "system.posix_acl_default", ACL)


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_kind_of_file_is_copied_whole(place: Place, jobs: int) -> None:
    fill(place.source)
    try:
        fill_attributes(place.source)
    except OSError as exc:
        skip_or_fail(f"no extended attributes or ACLs in {place.source}: {exc}")
    if os.getuid() == 0:
        os.chown(place.source / "all", -1, 4242)
        os.chown(place.source / "team/inside", -1, 4242)
        os.mknod(place.source / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    for _ in range(3):
        tally = place.put(jobs)
        assert_same(place.source, place.copy)
        assert tally.complete
        assert (tally.problems, tally.lost.total()) == (0, 0)
    devices = {"character device": 1} if os.getuid() == 0 else {}
    assert tally.listed == {"fifo": 1, "socket": 1, **devices}
    assert tally.copied == 0
    checked = place.verify(jobs)
    assert (checked.whole, checked.differences.total(), checked.not_held) == (True, 0, tally.listed.total())
    assert place.copy.joinpath("big").stat().st_atime > time.time() - 300
    sums = ["sha256sum", "--check", "--strict", "--quiet", place.record.with_name("run7.SHA256SUMS")]
    assert subprocess.run(sums, cwd=place.copy, capture_output=True, text=True).stderr == ""


def test_the_manifest_says_what_is_sparse_linked_and_listed(place: Place) -> None:
    fill(place.source)
    place.put()
    found = {entry.path: entry for entry in manifest.read(place.record)}
    assert found[b"sparse"].extents == ((1 << 20, 4096), (7 << 20, 4096))
    assert found[b"only-a-hole"].extents == ()
    assert found[b"linked/one"].same_as == found[b"zz-three"].same_as == b"linked/deep/two"
    assert found[b"linked/one"].sha256 == hashlib.sha256(b"one").hexdigest()
    assert (found[b"fifo"].type, found[b"fifo"].held) == (Type.FIFO, False)
    assert found[b"odd-target"].target == b"\xff\n"


def test_the_atime_of_the_source_is_not_changed(place: Place) -> None:
    (place.source / "file").write_text("file")
    os.utime(place.source / "file", ns=(10**9, 2 * 10**9))
    place.put()
    assert (place.source / "file").stat().st_atime_ns == 10**9


def test_what_a_user_may_not_read_is_named(tmp_path: Path) -> None:
    if os.getuid() != 0:
        skip_or_fail("only root can become somebody who may not read a file")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        place = Place(Path(name))
        (place.source / "closed").mkdir(mode=0o700)
        (place.source / "closed/inside").write_text("unseen")
        for file, mode in (("secret", 0o600), ("open", 0o644)):
            (place.source / file).write_text(file)
            (place.source / file).chmod(mode)
        for directory in (Path(name), place.source):
            directory.chmod(0o777)
        script = "import os, sys; from pathlib import Path; from gears.data.engine import copy_tree\n"
        script += f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"  # who may not even see this checkout
        script += "t = copy_tree(*map(Path, sys.argv[1:])); print(t.problems, sorted(t.named), dict(t.lost))"
        argv = [sys.executable, "-c", script, place.source, place.copy, place.record]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.stdout == (
            "2 [(b'closed', 'Permission denied'), (b'secret', 'Permission denied')] {'group': 2}\n"
        ), done.stderr
        assert sorted(path.name for path in place.copy.iterdir()) == ["open"]
        checked = place.verify()
        assert (checked.whole, checked.not_held) == (True, 2)
        assert place.put().complete  # as root
        assert_same(place.source, place.copy)


def test_an_acl_of_the_target_does_not_spread(place: Place) -> None:
    (place.source / "d").mkdir()
    (place.source / "d/file").write_text("file")
    place.copy.mkdir()
    try:
        os.setxattr(place.copy, "system.posix_acl_default", ACL)
    except OSError as exc:
        skip_or_fail(f"no ACLs in {place.copy}: {exc}")
    place.put()
    assert_same(place.source, place.copy)


# --- again -----------------------------------------------------------------------------------


def test_a_second_run_copies_only_what_is_new_or_lost(place: Place) -> None:
    for number in range(40):
        (place.source / str(number)).write_text(f"file {number}")
    place.put()
    (place.source / "1").write_text("other")
    (place.source / "new").write_text("new")
    (place.source / "2").chmod(0o600)
    (place.source / "3").unlink()
    (place.copy / "4").unlink()
    (place.copy / "5").write_text("changed in the copy")
    os.utime(place.copy / "6", ns=(5, 5))
    tally = place.put()
    assert (tally.copied, tally.reused) == (5, 35)
    assert_same(place.source, place.copy, without=(b"3",))
    assert [one.path for one in place.verify().named] == [b"3"]
    assert place.verify().differences == {EXTRA: 1}


def test_nothing_is_lost_of_what_two_interrupted_runs_had_finished(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BATCH_FILES", 10)
    for number in range(100):
        (place.source / f"{number:02d}").write_text(f"file {number}")

    def stop_after(files: int) -> None:
        def stop(tally: engine.Tally) -> None:
            if tally.files >= files:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            engine.copy_tree(place.source, place.copy, place.record, on_progress=stop)

    stop_after(60)
    stop_after(20)
    tally = place.put()
    assert tally.reused >= 49  # the last batches may not have been written to the manifest
    assert_same(place.source, place.copy)


def test_two_runs_with_one_manifest_do_not_mix(place: Place) -> None:
    def second(_tally: engine.Tally) -> None:
        with pytest.raises(NotReachable):
            place.put()

    engine.copy_tree(place.source, place.copy, place.record, on_progress=second)


def test_two_runs_into_one_directory_do_not_mix(place: Place, tmp_path: Path) -> None:
    def second(_tally: engine.Tally) -> None:
        with writers.only_writer(place.copy, timeout_s=0.2):
            pytest.fail("both write")

    with pytest.raises(NotReachable, match="another process writes"):
        engine.copy_tree(place.source, place.copy, place.record, jobs=2, on_progress=second)
    assert place.put().complete


def test_source_copy_and_manifest_have_to_be_apart(place: Place) -> None:
    (place.source / "d").mkdir()
    for source, copy, record in (
        (place.source, place.source / "d", place.record),
        (place.source / "d", place.source, place.record),
        (place.source, place.copy, place.source / "m.jsonl"),
        (place.source, place.copy, place.copy / "m.jsonl"),
        (place.source / "no", place.copy, place.record),
    ):
        with pytest.raises(UsageError):
            engine.copy_tree(source, copy, record)
    assert list(place.source.iterdir()) == [place.source / "d"]


def test_a_damaged_manifest_is_not_relied_on(place: Place) -> None:
    (place.source / "file").write_text("file")
    place.put()
    place.record.write_bytes(place.record.read_bytes().replace(b'"size":4', b'"size":5'))
    for action in (place.put, place.verify):
        with pytest.raises(BrokenSeal):
            action()


def test_a_link_in_the_target_leads_nowhere(place: Place, tmp_path: Path) -> None:
    (place.source / "d/e").mkdir(parents=True)
    (place.source / "d/e/file").write_text("new")
    (place.source / "link").write_text("new")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "e").mkdir(parents=True)
    (elsewhere / "e/file").write_text("old")
    place.copy.mkdir()
    (place.copy / "d").symlink_to(elsewhere)
    (place.copy / "link").symlink_to(elsewhere / "e/file")
    tally = place.put()
    assert [path for path, _ in tally.named] == [b"d"]
    assert (elsewhere / "e/file").read_text() == "old"
    assert not (place.copy / "link").is_symlink()


# --- asked to stop ---------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_stops_within_a_large_file_and_keeps_what_is_finished(
    place: Place, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    monkeypatch.setattr(pulse, "EVERY_S", 0.0)
    monkeypatch.setattr(workers, "WAIT_S", 0.01)
    monkeypatch.setattr(run, "BATCH_FILES", 10)
    for number in range(30):
        (place.source / f"a{number:02d}").write_text(f"file {number}")
    with (place.source / "large").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 256 << 20)
    seen: list[int] = []

    def must_stop() -> str:
        return "the job ends at 18:40" if max(seen, default=0) > 1 << 20 else ""

    arguments = place.source, place.copy, place.record
    with pytest.raises(Paused, match="the job ends at 18:40") as raised:
        engine.copy_tree(*arguments, jobs=jobs, must_stop=must_stop, on_progress=lambda tally: seen.append(tally.moved))
    assert raised.value.exit_code == 7
    assert 0 < max(seen) < 256 << 20
    assert not (place.copy / "large").exists()
    assert temporaries(place.copy) == []
    finished = len(there := list(place.copy.glob("a*")))
    assert all(path.read_text() == f"file {int(path.name[1:])}" for path in there)
    assert finished == 30 if jobs == 1 else finished >= 20  # the other process may have been within a batch
    tally = place.put(jobs)
    assert (tally.complete, tally.reused) == (True, finished)
    assert_same(place.source, place.copy)


def test_files_are_synced_one_by_one_where_one_sync_for_all_promises_less(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(place.source)
    synced: list[int] = []
    monkeypatch.setattr(durable, "LOCAL", {})
    monkeypatch.setattr(durable, "sync_all", lambda _fd: pytest.fail("not on this file system"))
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), real(fd))[1])
    place.put()
    there = {path.lstat().st_ino for path in [place.copy, *place.copy.rglob("*")] if not path.is_symlink()}
    assert there <= set(synced)
    assert_same(place.source, place.copy)


def test_a_file_system_that_has_failed_to_write_is_an_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.source / "file").write_text("file")

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(durable, "syncs_all_at_once", lambda _fd: True)
    monkeypatch.setattr(durable, "sync_all", fail)
    with pytest.raises(Incomplete, match=os.strerror(errno.EIO)):
        place.put()
    assert list(place.copy.iterdir()) == []


# --- kill -9 ---------------------------------------------------------------------------------

COPY = """
import sys
from pathlib import Path
from gears.data.engine import copy_tree
if __name__ == "__main__":
    copy_tree(*map(Path, sys.argv[1:4]), jobs=int(sys.argv[4]))
"""


def kill_a_copy(place: Place, after_s: float, jobs: int, whole_group: bool) -> bool:
    """Start a copy, and kill it after a while; False if it was faster."""
    argv = [sys.executable, "-c", COPY, place.source, place.copy, place.record, str(jobs)]
    with subprocess.Popen(argv, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        try:
            return process.wait(after_s) is None
        except subprocess.TimeoutExpired:
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
            return True


def assert_whole(source: Path, copy: Path) -> None:
    """What has a final name is what it has to be."""
    for file in copy.rglob("*"):
        if file.is_file() and not file.name.startswith(".gears-part-"):
            assert file.read_bytes() == (source / file.relative_to(copy)).read_bytes()


def start_again(place: Place) -> None:
    shutil.rmtree(place.copy)
    shutil.rmtree(place.record.parent)


def fill_at_random(source: Path, chance: random.Random) -> None:
    for number in range(300):
        directory = source / f"d{number % 23}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number}").write_bytes(chance.randbytes(chance.choice([10, 3_000, 100_000])))
    (source / "d5/big").write_bytes(chance.randbytes(10_000_000))
    os.link(source / "d5/big", source / "zz")


def test_kill_9_at_any_point_leaves_nothing_that_is_not_whole(place: Place) -> None:
    chance = random.Random(9)
    fill_at_random(place.source, chance)
    longest = {}
    for jobs in (1, 2):
        began = time.monotonic()
        assert not kill_a_copy(place, 60, jobs, False)
        longest[jobs] = time.monotonic() - began
        start_again(place)
    killed = 0
    for number in range(60):
        jobs = 1 + number // 2 % 2
        began = time.monotonic()
        was_killed = kill_a_copy(place, chance.uniform(0.25, 0.9) * longest[jobs], jobs, chance.random() < 0.5)
        if not was_killed and not number % 2:  # a whole copy
            longest[jobs] = time.monotonic() - began
        killed += was_killed
        assert_whole(place.source, place.copy)
        if number % 2:  # a second kill, of the run that goes on
            assert place.put(jobs).complete
            assert temporaries(place.copy) == []
            assert_same(place.source, place.copy)
            assert place.verify().whole
            start_again(place)
            if killed >= 20:
                break
    assert killed >= 20, longest


def test_a_worker_that_is_killed_is_an_error_and_the_same_call_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BATCH_FILES", 50)
    for number in range(600):
        (place.source / f"{number:03d}").write_bytes(os.urandom(50_000))
    (place.source / "last").write_bytes(os.urandom(100_000_000))  # a worker has it when the first results come

    def kill(tally: engine.Tally) -> None:
        for worker in multiprocessing.active_children()[:1] if tally.copied else ():  # the pool may have ended them
            worker.kill()

    def interrupted() -> bool:
        try:
            engine.copy_tree(place.source, place.copy, place.record, jobs=2, on_progress=kill)
        except Incomplete as exc:
            return "worker" in str(exc)
        start_again(place)  # all was copied before the first file was told of
        return False

    assert any(interrupted() for _ in range(5))
    assert_whole(place.source, place.copy)
    assert place.put(2).reused > 0
    assert temporaries(place.copy) == []
    assert_same(place.source, place.copy)


# --- a source that changes -------------------------------------------------------------------


def test_a_source_that_changes_once_is_read_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed in the middle of the read, which no other program can time."""
    (place.source / "file").write_bytes(b"a" * 3_000_000)
    plain_copy, reads = contents.copy, []

    def copy(source: int, target: int, size: int, extents: Any, on_bytes: Any) -> str | None:
        found = plain_copy(source, target, size, extents, on_bytes)
        if not reads:
            (place.source / "file").write_bytes(b"bb")
        reads.append(size)
        return found

    monkeypatch.setattr(contents, "copy", copy)
    assert place.put().complete
    assert reads == [3_000_000, 2]
    assert_same(place.source, place.copy)
    assert place.verify().whole


def test_a_source_that_always_changes_is_named(place: Place) -> None:
    (place.source / "log").write_bytes(b"a" * 20_000_000)
    (place.source / "steady").write_text("steady")
    stop = threading.Event()

    def append() -> None:
        with (place.source / "log").open("ab", buffering=0) as file:
            while not stop.wait(0.0005):
                file.write(b"x")

    thread = threading.Thread(target=append)
    thread.start()
    try:
        tally = place.put()
    finally:
        stop.set()
        thread.join()
    assert tally.named == [(b"log", f"it changed in each of {copier.READS} reads")]
    assert sorted(path.name for path in place.copy.iterdir()) == ["steady"]
    assert [entry.problem is None for entry in manifest.read(place.record)] == [True, False, True]
    assert place.put().complete
    assert_same(place.source, place.copy)


def test_files_that_come_and_go_meanwhile_make_it_incomplete(place: Place) -> None:
    (place.source / "d").mkdir()
    (place.source / "d/file").write_text("file")

    def change(_tally: engine.Tally) -> None:
        (place.source / "d/late").write_text("late")

    tally = engine.copy_tree(place.source, place.copy, place.record, on_progress=change)
    assert [path for path, _ in tally.named] == [b"d"]
    assert place.put().complete
    assert_same(place.source, place.copy)


# --- no room ---------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", path]
    if os.getuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode != 0:
        skip_or_fail("only root can mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("full", ["copy", "records"])
def test_a_full_disk_is_a_clean_error_and_the_same_call_goes_on(place: Place, jobs: int, full: str) -> None:
    for number in range(400):
        (place.source / f"{number:03d}").write_bytes(os.urandom(10_000 if full == "copy" else 10))
    directory = place.copy if full == "copy" else place.record.parent
    with small_disk(directory, "2m" if full == "copy" else "32k"):
        with pytest.raises(Incomplete, match=os.strerror(errno.ENOSPC)) as raised:
            place.put(jobs)
        assert raised.value.exit_code == 7
        assert_whole(place.source, place.copy)
        assert temporaries(place.copy) == []
        subprocess.run(["mount", "-o", "remount,size=20m", directory], check=True)
        tally = place.put(jobs)
        assert tally.complete
        assert tally.reused > 20
        assert_same(place.source, place.copy)
        assert place.verify().whole


# --- verification ----------------------------------------------------------------------------


def damage(kind: str, file: Path, other: Path, chance: random.Random) -> set[bytes]:
    """Damage a copy, which keeps its time, and its size where the kind allows it. Returns which names are wrong."""
    info, data = file.stat(), bytearray(file.read_bytes())
    if kind == "swapped":
        data, swapped = bytearray(other.read_bytes()), data
        times = other.stat()
        other.write_bytes(swapped)
        os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif kind == "bit":
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == "truncated":
        del data[chance.randrange(len(data)) :]
    elif kind == "stale":
        data[:] = chance.randbytes(len(data))
    elif kind == "zeros":
        data[-512:] = bytes(len(data[-512:]))
    file.write_bytes(data)
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    return {os.fsencode(one.name) for one in ((file, other) if kind == "swapped" else (file,))}


def test_no_damaged_copy_is_called_whole(place: Place) -> None:
    chance, kinds = random.Random(100), ("bit", "truncated", "swapped", "stale", "zeros")
    for number in range(12):
        (place.source / f"{number}").write_bytes(chance.randbytes(chance.choice([1_000, 70_000])))
    place.put()
    for number in range(100):
        one, other = chance.sample(range(12), 2)
        wrong = damage(kinds[number % 5], place.copy / str(one), place.copy / str(other), chance)
        checked = place.verify()
        assert not checked.whole
        assert {found.path for found in checked.named if found.kind == DIFFERENT} == wrong
        with pytest.raises(ContentsDiffer) as raised:
            checked.require_whole(place.copy)
        assert raised.value.exit_code == 6
        for name in wrong:
            shutil.copy2(place.source / os.fsdecode(name), place.copy / os.fsdecode(name))
    assert place.verify().differences.total() == 0


def test_what_is_missing_extra_or_otherwise_is_told_apart(place: Place) -> None:
    fill(place.source)
    place.put()
    shutil.rmtree(place.copy / "empty")
    (place.copy / "d/extra").touch()
    (place.copy / "zero").unlink()
    (place.copy / "zero").mkdir()
    (place.copy / "absolute").unlink()
    (place.copy / "absolute").symlink_to("/etc/group")
    (place.copy / "all").chmod(0o700)
    (place.copy / "zz-three").unlink()
    (place.copy / "zz-three").write_text("one")
    os.utime(place.copy / "zz-three", ns=(1, (place.source / "zz-three").stat().st_mtime_ns))
    found = {(one.path, one.kind, one.what) for one in place.verify(2).named if one.what != "mtime"}
    assert found == {
        (b"empty", MISSING, "not there"),
        (b"empty/below", MISSING, "not there"),
        (b"d/extra", EXTRA, "not in the manifest"),
        (b"zero", DIFFERENT, "a directory instead of a file"),
        (b"absolute", DIFFERENT, "another target"),
        (b"all", METADATA, "mode"),
        (b"zz-three", METADATA, "hard link"),
    }


def test_a_copy_that_is_not_there_is_missing_or_an_error(place: Place) -> None:
    (place.source / "file").touch()
    place.put()
    shutil.rmtree(place.copy)
    with pytest.raises(UsageError):
        place.verify()
    place.copy.mkdir()
    assert place.verify().differences[MISSING] == 1


# --- restoring -------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_directory_has_lost_is_brought_back(place: Place, jobs: int) -> None:
    fill(place.source)
    place.put()
    before = picture(place.source)
    (place.source / "closed").chmod(0o700)  # else only root can empty it
    for name in ("d", "linked", "team", "empty", "closed"):
        shutil.rmtree(place.source / name)
    for name in ("zz-three", "sparse", "dangling", "dangling-too", "none", "old"):
        (place.source / name).unlink()
    (place.source / "big").write_text("a new version")
    tally = engine.restore(place.record, place.copy, place.source, jobs=jobs)
    assert (tally.complete, tally.lost.total()) == (True, 0)
    after = picture(place.source)
    assert {path for path in before if after.get(path) != before[path]} == {b"", b"big"}
    assert (place.source / "big").read_text() == "a new version"
    assert engine.restore(place.record, place.copy, place.source).entries == 0


def test_all_is_brought_back_to_a_new_directory(place: Place, tmp_path: Path) -> None:
    fill(place.source)
    place.source.chmod(0o750)
    place.put()
    assert engine.restore(place.record, place.copy, tmp_path / "again/here", jobs=2).complete
    assert_same(place.source, tmp_path / "again/here")


@pytest.mark.parametrize("lost", ["1", "2"])
def test_a_hard_link_that_is_not_brought_back_is_counted(place: Place, lost: str) -> None:
    (place.source / "1").write_text("both")
    os.link(place.source / "1", place.source / "2")
    place.put()
    (place.source / lost).unlink()
    tally = engine.restore(place.record, place.copy, place.source)
    assert (tally.complete, tally.lost) == (True, {"hard link": 1})
    assert (place.source / lost).read_text() == "both"


def test_a_damaged_copy_is_not_brought_back(place: Place) -> None:
    for name in ("one", "two"):
        (place.source / name).write_text(name)
    place.put()
    (place.copy / "two").write_text("owt")
    for name in ("one", "two"):
        (place.source / name).unlink()
    tally = engine.restore(place.record, place.copy, place.source)
    assert tally.named == [(b"two", "the copy has other contents than the manifest says")]
    assert [path.name for path in place.source.iterdir()] == ["one"]


def test_a_directory_that_is_now_a_link_is_left_alone(place: Place, tmp_path: Path) -> None:
    (place.source / "d").mkdir()
    (place.source / "d/file").write_text("file")
    place.put()
    shutil.rmtree(place.source / "d")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (place.source / "d").symlink_to(elsewhere)
    tally = engine.restore(place.record, place.copy, place.source)
    assert [path for path, _ in tally.named] == [b"d/file"]
    assert list(elsewhere.iterdir()) == []


def test_other_contents_with_the_same_size_and_time_are_copied_again(place: Place) -> None:
    file = place.source / "file"
    file.write_text("old")
    place.put()
    info = file.stat()
    file.write_text("new")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert place.put().copied == 1
    assert (place.copy / "file").read_text() == "new"


def test_a_file_with_other_attributes_only_is_read_and_not_copied_again(place: Place) -> None:
    file = place.source / "file"
    file.write_text("old")
    place.put()
    file.chmod(0o640)
    tally = place.put()
    assert (tally.copied, tally.reused) == (0, 1)
    assert_same(place.source, place.copy)
