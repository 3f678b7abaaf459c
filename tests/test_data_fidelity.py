"""What comes back is what was given away, for every kind of file, by a checker that shares no code with gears."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from gears.data import bundles, engine
from gears.data.stores import open_store
from gears.data.verification import verify
from tests import trees
from tests.conftest import skip_or_fail

NOBODY = 65534
CHECKOUT = Path(__file__).parents[1]
NOT_MADE = {"fifo", "socket", "device"}
"""What gears lists and does not make, as docs/data-comparison.md says."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    yield from emptied(tmp_path / "disk")


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory of a tmpfs."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield from emptied(Path(name) / "memory")


def emptied(directory: Path) -> Iterator[Path]:
    directory.mkdir()
    yield directory
    trees.remove(directory)


class Way(Protocol):
    """A way to the place and back. `copy`: where the tree is there, if it is one.

    Each method raises AssertionError if gears does not say that it is all right.
    """

    def put(self, source: Path, place: Path, records: Path) -> None: ...
    def get(self, place: Path, records: Path, back: Path) -> None: ...
    def copy(self, place: Path) -> Path | None: ...


class Tree:
    """A tree of files: `copy_tree` there, `restore` back."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def put(self, source: Path, place: Path, records: Path) -> None:
        tally = engine.copy_tree(source, place, records / "manifest", jobs=self.jobs)
        assert (tally.complete, dict(tally.lost)) == (True, {})
        devices = {"character device": 1} if os.getuid() == 0 else {}
        assert dict(tally.listed) == {"fifo": 1, "socket": 1, **devices}
        verified = verify(records / "manifest", place, jobs=self.jobs)
        assert (verified.whole, verified.differences.total()) == (True, 0)

    def get(self, place: Path, records: Path, back: Path) -> None:
        tally = engine.restore(records / "manifest", place, back, jobs=self.jobs)
        assert (tally.complete, dict(tally.lost)) == (True, {})

    def copy(self, place: Path) -> Path | None:
        return place


class Bundles:
    """Tar bundles in a directory."""

    def __init__(self, jobs: int, size: int) -> None:
        self.jobs, self.size = jobs, size

    def put(self, source: Path, place: Path, records: Path) -> None:
        store = open_store("posix", str(place))
        tally = bundles.put(source, store, records, bundle_size=self.size, jobs=self.jobs)
        assert (tally.complete, dict(tally.lost)) == (True, {})
        verified = bundles.verify(store, records, jobs=self.jobs)
        assert (verified.whole, verified.differences.total()) == (True, 0)

    def get(self, place: Path, records: Path, back: Path) -> None:
        store = open_store("posix", str(place))
        tally = bundles.get(store, back, records, patterns=(), jobs=self.jobs)
        assert (tally.complete, dict(tally.lost)) == (True, {})

    def copy(self, place: Path) -> Path | None:
        return None


class Commands:
    """What a person types. `size`: of bundles; "": a tree."""

    def __init__(self, size: str) -> None:
        self.size = size

    def put(self, source: Path, place: Path, records: Path) -> None:
        place.mkdir()
        (records / ".config/gears/sites").mkdir(parents=True)
        profile = f'[filesystem]\nhere = "{source.parent}"\n[filesystem.there]\npath = "{place}"\n'
        profile += f'bundle_size = "{self.size}"\n' if self.size else ""
        (records / ".config/gears/sites/local.toml").write_text(profile)
        self.run(records, "put", str(source), "there", "--name", "run7", "--foreground")
        self.check_verified(records, "run7")

    def get(self, place: Path, records: Path, back: Path) -> None:
        self.run(records, "get", "there:run7", "--to", "here", "--name", back.name, "--foreground")
        self.check_verified(records, back.name)
        os.rename(back.with_name("run7"), back)

    def copy(self, place: Path) -> Path | None:
        return None if self.size else place / "run7"

    def check_verified(self, home: Path, name: str) -> None:
        found = json.loads(self.run(home, "status", name, "--json"))["transfers"][0]["task"]
        assert (found["state"], found["verified"], found["problems"]) == ("done", True, 0)

    def run(self, home: Path, *words: str) -> str:
        argv = [sys.executable, "-c", "import sys; from gears.cli import main; sys.exit(main())", "data", *words]
        variables = {"HOME": str(home), "GEARS_HOME": str(home / "gears"), "GEARS_SITE": "local"}
        done = subprocess.run(argv, cwd=CHECKOUT, env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


WAYS: dict[str, Callable[[], Way]] = {"tree": lambda: Tree(1), "tree by two": lambda: Tree(2)}
WAYS |= {"one bundle": lambda: Bundles(1, 10**9), "bundles by two": lambda: Bundles(2, 10**6)}
WAYS |= {"typed": lambda: Commands(""), "typed, bundles": lambda: Commands("2MB")}


def there_and_back(way: Way, source: Path, other: Path, records: Path, *, large: bool = False) -> None:
    """Put a tree from a file system to another one and back, and compare both ends."""
    trees.make(source / "source", large=large, without=() if trees.has_attributes(source) else ("attributes",))
    before = trees.picture(source / "source")
    records.mkdir(exist_ok=True)
    way.put(source / "source", other / "place", records)
    way.get(other / "place", records, source / "back")
    for copy in filter(None, [source / "back", way.copy(other / "place")]):
        lost = trees.differences(before, trees.picture(copy))
        assert [str(one) for one in lost if not (one.what == "missing" and one.kind in NOT_MADE)] == []
        assert sorted(one.kind for one in lost) == sorted(NOT_MADE if os.getuid() == 0 else NOT_MADE - {"device"})
    assert trees.differences(before, trees.picture(source / "source")) == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("to_memory", [True, False], ids=["disk to tmpfs", "tmpfs to disk"])
def test_every_kind_of_file_comes_back(way: str, to_memory: bool, disk: Path, memory: Path, tmp_path: Path) -> None:
    source, other = (disk, memory) if to_memory else (memory, disk)
    there_and_back(WAYS[way](), source, other, tmp_path / "records")


def test_a_file_of_4_gb_comes_back(disk: Path, memory: Path, tmp_path: Path) -> None:
    there_and_back(Tree(1), disk, memory, tmp_path / "records", large=True)


def test_every_kind_of_file_of_an_ordinary_user_comes_back() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as one, tempfile.TemporaryDirectory(dir="/dev/shm") as two:
        work, memory = Path(one), Path(two)

        def carry_out() -> None:
            there_and_back(Tree(1), work, memory, work / "records")

        as_ordinary_user(carry_out, work, memory)
        for directory in (work, memory):
            for name in os.listdir(directory):
                trees.remove(directory / name)


def as_ordinary_user(function: Callable[[], None], *directories: Path) -> None:
    """Call a function in a process of a user who is not root, with directories of its own."""
    if os.getuid() != 0:
        function()
        return
    for directory in directories:
        os.chown(directory, NOBODY, NOBODY)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.chdir(directories[0])  # the checkout may be closed to this user
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            function()
            status = 0
        except BaseException:  # noqa: BLE001  it has to end here, whatever happened
            traceback.print_exc()
        finally:
            os._exit(status)
    deadline = time.monotonic() + 180
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    assert ended[1] == 0


def test_what_its_owner_may_not_read_is_named_and_all_the_rest_comes_back() -> None:
    """Unreadable are a file and a directory; what can't be read is not silently left out."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        work = Path(name)

        def carry_out() -> None:
            trees.make(work / "source")
            before = trees.picture(work / "source")
            for path in ("names/d0", "modes/all", "acls/shared", "deep"):
                (work / "source" / path).chmod(0)
            tally = engine.copy_tree(work / "source", work / "copy", work / "records/manifest")
            unread = {b"names/d0", b"modes/all", b"acls/shared", b"deep"}
            assert {path for path, _ in tally.named} == unread
            assert (tally.complete, tally.problems) == (False, 4)
            lost = trees.differences(before, trees.picture(work / "copy"))
            others = [one for one in lost if not inside(one.path, unread) and one.kind not in NOT_MADE]
            assert [str(one) for one in others] == []
            assert verify(work / "records/manifest", work / "copy").not_held == 4 + 2

        as_ordinary_user(carry_out, work)
        for name in os.listdir(work):
            trees.remove(work / name)


def inside(path: bytes, directories: set[bytes]) -> bool:
    return any(path == one or path.startswith(one + b"/") for one in directories)


def test_an_attribute_that_is_too_large_for_the_place_is_counted_and_the_copy_goes_on(disk: Path, memory: Path) -> None:
    """Such as ext4, which has no room for 20 kB, and says that the disk is full."""
    if not trees.has_attributes(memory):
        skip_or_fail("a tmpfs without attributes of users")
    (memory / "source").mkdir()
    for name in ("large", "small"):
        (memory / "source" / name).write_text(name)
        os.setxattr(memory / "source" / name, "user.x", b"x" * (20_000 if name == "large" else 20))
    tally = engine.copy_tree(memory / "source", disk / "place", disk / "records/manifest")
    lost = trees.differences(trees.picture(memory / "source"), trees.picture(disk / "place"))
    assert {(one.path, one.what) for one in lost} in (set(), {(b"large", "xattrs")})
    assert tally.complete
    assert tally.lost == ({"user.x": 1} if lost else {})
