"""What is put into bundles comes back as it was, by gears, by GNU tar and by Python, whatever happens meanwhile.

The checker, `picture`, shares no code with what it checks.
"""

import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gears.data import manifest
from gears.data.bundles import bundler, get, put, restore, tar, verify
from gears.data.entries import Entry, Type
from gears.data.stores.posix import PosixStore
from gears.data.tally import Tally
from gears.data.verification import MISSING, Verified
from gears.errors import UsageError
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
