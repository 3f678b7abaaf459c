"""Whatever was damaged, with its size and time as before: nothing is called verified that does not come back right.

GEARS_CORRUPTIONS (60) damages are done, one after the other, each to a fresh copy. What comes back is compared by
tests/trees.py, which shares no code with gears.
"""

import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from gears.data import bundles, engine, verification
from gears.data.stores import open_store
from gears.errors import GearsError
from tests import trees

CORRUPTIONS = int(os.environ.get("GEARS_CORRUPTIONS", "60"))
PARTS = ("source", "place", "records")
SEED = os.environ.get("GEARS_FAULT_SEED", "200")
chance = random.Random(SEED)


class Kept(Protocol):
    """Something that was put to `root/place`, with records in `root/records`."""

    root: Path

    def put(self) -> None: ...
    def verify(self) -> bool: ...
    def get(self, back: Path) -> bool: ...


class Tree:
    """A tree of files and its manifest."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self) -> None:
        assert engine.copy_tree(self.root / "source", self.root / "place", self.root / "records/manifest").complete

    def verify(self) -> bool:
        return verification.verify(self.root / "records/manifest", self.root / "place").whole

    def get(self, back: Path) -> bool:
        return engine.restore(self.root / "records/manifest", self.root / "place", back).complete


class Bundles:
    """Bundles of some files each."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, open_store("posix", str(root / "place"))

    def put(self) -> None:
        source, state = self.root / "source", self.root / "records"
        assert bundles.put(source, self.store, state, bundle_size=80_000, jobs=1).complete

    def verify(self) -> bool:
        return bundles.verify(self.store, self.root / "records", jobs=1).whole

    def get(self, back: Path) -> bool:
        return bundles.get(self.store, back, self.root / "records", patterns=(), jobs=1).complete


def fill(root: Path) -> None:
    root.mkdir()
    for number in range(14):
        directory = root / f"d{number % 3}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number}").write_bytes(chance.randbytes(chance.choice([1_000, 1_000, 1_000, 70_000])))
    (root / "d1/text").write_text("a line\n" * 100)
    os.link(root / "d1/text", root / "d2/link")
    (root / "d2/symlink").symlink_to("../d1/text")


@pytest.fixture(params=["tree", "bundles"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    chance.seed(SEED)
    fill(tmp_path / "source")
    kept = KINDS[request.param](tmp_path)
    kept.put()
    yield kept
    for name in os.listdir(tmp_path):
        trees.remove(tmp_path / name)


KINDS: dict[str, Callable[[Path], Kept]] = {"tree": Tree, "bundles": Bundles}

# --- damages ---------------------------------------------------------------------------------


def bit(path: Path, data: bytearray) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def truncated(path: Path, data: bytearray) -> None:
    path.write_bytes(data[: chance.randrange(len(data))])


def longer(path: Path, data: bytearray) -> None:
    path.write_bytes(data + chance.choice([b"\0", b"\n", bytes(512), data]))


def zeroed(path: Path, data: bytearray) -> None:
    """A block of zeros, as a file system may leave it after a crash."""
    begin = chance.randrange(len(data))
    data[begin : begin + 4096] = bytes(len(data[begin : begin + 4096]))
    path.write_bytes(data)


def stale(path: Path, data: bytearray) -> None:
    """Other contents of the same size."""
    path.write_bytes(chance.randbytes(len(data)))


def swapped(path: Path, data: bytearray) -> None:
    part = next(one for one in path.parents if one.name in PARTS)
    others = [other for other in part.rglob("*") if other.is_file() and other != path]
    same = [other for other in others if other.stat().st_size == len(data)]
    other = chance.choice(same or others)
    moved = path.with_name("moved")
    path.rename(moved)
    other.rename(path)
    moved.rename(other)


def missing(path: Path, _data: bytearray) -> None:
    path.unlink()


def a_line_less(path: Path, data: bytearray) -> None:
    """Of a text, a line is lost; of anything else, some bytes in the middle."""
    lines = data.split(b"\n")
    del lines[chance.randrange(len(lines))]
    path.write_bytes(b"\n".join(lines))


def two_lines_swapped(path: Path, data: bytearray) -> None:
    lines = data.split(b"\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    path.write_bytes(b"\n".join(lines))


def a_link(path: Path, _data: bytearray) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DAMAGES = [bit, truncated, longer, zeroed, stale, swapped, missing, bit, a_line_less, two_lines_swapped, a_link]


def damage(root: Path, number: int) -> str:
    """Damage one file of the place, the records or the source, and leave its time as it was. Returns what was done."""
    where = ("place", "place", "records", "place", "source")[number % 5]
    files = [path for path in (root / where).rglob("*") if path.is_file() and path.stat().st_size]
    path, change = chance.choice(sorted(files)), DAMAGES[number % len(DAMAGES)]
    before = path.lstat()
    change(path, bytearray(path.read_bytes()))
    if path.exists():
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)
    return f"{change.__name__}: {where}/{path.relative_to(root / where)}"


def test_nothing_is_called_verified_that_does_not_come_back(kept: Kept) -> None:
    wanted = trees.picture(kept.root / "source")
    pristine = kept.root / "pristine"
    pristine.mkdir()
    for part in PARTS:
        subprocess.run(["cp", "-a", kept.root / part, pristine], check=True)
    said: Counter[bool] = Counter()
    for number in range(CORRUPTIONS):
        done = damage(kept.root, number)
        verified = says(kept.verify)
        said[verified] += 1
        if verified:
            assert says(lambda: kept.get(kept.root / "back")), f"{done}: verified, and then not got"
            assert wrong(wanted, kept.root / "back") == [], done
        elif got := says(lambda: kept.get(kept.root / "back")):
            assert wrong(wanted, kept.root / "back") == [], f"{done}: got {got}"
        for part in (*PARTS, "back"):
            shutil.rmtree(kept.root / part, ignore_errors=True)
        for part in PARTS:
            subprocess.run(["cp", "-a", pristine / part, kept.root], check=True)
    assert says(kept.verify)
    assert said[False] > CORRUPTIONS * 0.4, said  # others: the source after it was read, what nothing depends on


def says(function: Callable[[], bool]) -> bool:
    """Return whether gears says that all is well."""
    try:
        return function()
    except GearsError:
        return False


def wrong(wanted: trees.Picture, back: Path) -> list[str]:
    return [str(one) for one in trees.differences(wanted, trees.picture(back))]


def test_an_index_in_place_of_the_manifest_is_not_taken_for_it(tmp_path: Path) -> None:
    """Both are sealed, have the same format, and are of the same put."""
    fill(tmp_path / "source")
    kept = Bundles(tmp_path)
    kept.put()
    shutil.copy(tmp_path / "place/000001.index", tmp_path / "records/manifest")
    assert kept.get(tmp_path / "back")
    assert wrong(trees.picture(tmp_path / "source"), tmp_path / "back") == []
