"""The checker of copies finds each difference, and no other: it is what proofs stand on (tests/trees.py)."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import trees

Plant = Callable[[Path], object]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("original") / "tree"
    trees.make(root, large=True)
    yield root
    trees.remove(root)


@pytest.fixture(scope="module")
def picture(original: Path) -> trees.Picture:
    return trees.picture(original)


@pytest.fixture
def twin(original: Path) -> Iterator[Path]:
    """The same, made once more: no program that copies is relied on."""
    root = original.parent / "twin"
    trees.make(root, large=True)
    yield root
    trees.remove(root)


def test_a_tree_is_the_same_as_itself_and_as_a_perfect_copy(original: Path, twin: Path) -> None:
    assert trees.compare(original, original) == []
    assert trees.compare(original, twin) == []
    kinds = [facts["kind"] for facts in trees.picture(original).values()]
    assert set(kinds) >= {"file", "directory", "symlink", "fifo", "socket"}
    assert len(kinds) > 120


def flip(path: Path, place: int) -> None:
    info = path.stat()
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, place)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1]), place)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def keep_time(change: Plant, *names: str) -> Plant:
    """Make a change that leaves the times of the directories `names` as they were."""

    def plant(root: Path) -> None:
        before = {name: (root / name).stat() for name in names}
        change(root)
        for name, info in before.items():
            os.utime(root / name, ns=(info.st_atime_ns, info.st_mtime_ns))

    return plant


def unlink_and_write(path: Path, data: bytes) -> None:
    info = path.stat()
    path.unlink()
    path.write_bytes(data)
    path.chmod(info.st_mode & 0o7777)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def fill_hole(path: Path) -> None:
    info = path.stat()
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(4096), 1 << 20)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def run(*argv: object) -> None:
    subprocess.run([str(word) for word in argv], check=True)


NAMED_TWICE = b"names/" + "é".encode()
LINKED = [b"hard-links/a/b/three", b"hard-links/a/two", b"hard-links/one", b"hard-links/two", b"hard-links/z/four"]
PLANTS: dict[str, tuple[Plant, set[tuple[bytes, str]]]] = {
    "a bit": (lambda root: flip(root / "names/d0", 0), {(b"names/d0", "contents")}),
    "a bit at the end of 4 GB": (lambda root: flip(root / "large", trees.LARGE - 1), {(b"large", "contents")}),
    "a byte less": (
        lambda root: keep_time(lambda r: os.truncate(r / "names/d0", 1), "names/d0")(root),
        {(b"names/d0", "contents"), (b"names/d0", "size")},
    ),
    "a zero more": (
        lambda root: keep_time(lambda r: os.truncate(r / "names/d0", 3), "names/d0")(root),
        {(b"names/d0", "size")},
    ),
    "a hole filled": (lambda root: fill_hole(root / "sparse/start"), {(b"sparse/start", "holes")}),
    "a file lost": (
        keep_time(lambda root: (root / "empty/file").unlink(), "empty"),
        {(b"empty/file", "missing")},
    ),
    "an empty directory lost": (
        keep_time(lambda root: (root / "empty/directory/below").rmdir(), "empty/directory"),
        {(b"empty/directory/below", "missing")},
    ),
    "one of two equal names lost": (
        keep_time(lambda root: (root / os.fsdecode(NAMED_TWICE)).unlink(), "names"),
        {(NAMED_TWICE, "missing")},
    ),
    "a file too many": (keep_time(lambda root: (root / "names/new").touch(), "names"), {(b"names/new", "extra")}),
    "a hard link lost": (
        keep_time(lambda root: unlink_and_write(root / "hard-links/a/two", b"one"), "hard-links/a"),
        {(path, "links") for path in LINKED},
    ),
    "a mode": (lambda root: (root / "modes/odd").chmod(0o615), {(b"modes/odd", "mode")}),
    "the setgid bit": (lambda root: (root / "modes/team").chmod(0o0770), {(b"modes/team", "mode")}),
    "a nanosecond": (
        lambda root: os.utime(root / "times/nanoseconds", ns=(5, 10**18)),
        {(b"times/nanoseconds", "mtime")},
    ),
    "the time of a link": (
        lambda root: os.utime(root / "links/loop", ns=(5, 5), follow_symlinks=False),
        {(b"links/loop", "mtime")},
    ),
    "the time of the tree": (lambda root: os.utime(root, ns=(5, 5)), {(b".", "mtime")}),
    "an attribute": (
        lambda root: os.setxattr(root / "attributes/file", "user.empty", b"x"),
        {(b"attributes/file", "xattrs")},
    ),
    "an attribute of a directory": (
        lambda root: os.removexattr(root / "attributes/below", "user.of-directory"),
        {(b"attributes/below", "xattrs")},
    ),
    "an entry of an ACL": (
        lambda root: run("setfacl", "-m", "u:12345:rw,m::rw", root / "acls/file"),
        {(b"acls/file", "acl")},
    ),
    "a default ACL": (lambda root: run("setfacl", "-k", root / "acls/shared"), {(b"acls/shared", "acl")}),
    "a link's target": (
        keep_time(lambda root: run("ln", "-sfT", "nowhere-else", root / "links/dangling"), "links"),
        {(b"links/dangling", "target"), (b"links/dangling", "mtime")},
    ),
    "a FIFO lost": (
        keep_time(lambda root: (root / "special/fifo").unlink(), "special"),
        {(b"special/fifo", "missing")},
    ),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_each_difference_is_found(picture: trees.Picture, twin: Path, plant: str) -> None:
    change, expected = PLANTS[plant]
    change(twin)
    found = trees.differences(picture, trees.picture(twin))
    assert {(one.path, one.what) for one in found} == expected
    assert all(str(one) for one in found)
