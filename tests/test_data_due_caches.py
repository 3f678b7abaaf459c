"""What a purge takes of DVC's caches: which data of a workspace that is, and whether another place has it."""

import hashlib
import os
from pathlib import Path

import pytest

from gears.cli.data.due import data_lines
from gears.data import caches
from gears.data.copies import ends
from gears.data.object_copies import copy_objects
from gears.data.objects import ObjectStore
from tests.test_data_due import Centre, pair

FILES = {"data/a.nc": b"aaaa", "data/many": b"bb", "results/c.csv": b"c"}


def named(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    """With a cache of the workspace climate on the scratch."""
    centre = Centre(tmp_path)
    for content in FILES.values():
        path = ObjectStore(cache(centre)).path(named(content))
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        centre.age(path, read=85, changed=85)
    caches.add_tracked(tracked(centre), {named(content): path for path, content in FILES.items()})
    return centre


def cache(centre: Centre) -> Path:
    return centre.scratch / "workspaces/climate/dvc-cache"


def tracked(centre: Centre) -> Path:
    path = cache(centre).with_name(caches.TRACKED)
    if path.exists():
        centre.age(path, read=1, changed=1)
    return path


def push(centre: Centre, *names: str) -> None:
    remote = centre.archive / "workspaces/climate/dvc-remote"
    remote.mkdir(parents=True, exist_ok=True)
    copy_objects([named(FILES[name]) for name in names], [ObjectStore(cache(centre))], ObjectStore(remote))
    for content in FILES.values():
        centre.age(ObjectStore(cache(centre)).path(named(content)), read=85, changed=85)


def test_objects_are_named_and_what_no_place_has_comes_first(centre: Centre) -> None:
    push(centre, "data/a.nc")
    found = centre.due()
    assert [(name, pair(one), one.alone_files) for name, one in found.by_data.items()] == [
        ("climate:data/many", (1, 2), 1),
        ("climate:results/c.csv", (1, 1), 1),
        ("climate:data/a.nc", (1, 4), 0),
    ]
    assert (pair(found.total), found.total.alone_files) == ((3, 7), 2)
    lines = data_lines(found)
    assert lines[1] == "    climate:data/many: 1 file, 2 B, all of it nowhere else"
    assert lines[-1] == "    next: gears workspace push   (in a clone)"
    push(centre, *FILES)
    assert "next" not in "".join(data_lines(centre.due()))


def test_an_object_of_another_size_does_not_count(centre: Centre) -> None:
    push(centre, *FILES)
    path = ObjectStore(centre.archive / "workspaces/climate/dvc-remote").path(named(b"aaaa"))
    path.chmod(0o644)
    path.write_bytes(b"aaa")
    assert centre.due().by_data["climate:data/a.nc"].alone_files == 1


def test_what_was_shipped_counts_for_the_cache(centre: Centre) -> None:
    """A push has staged a link, put that on the archive, and removed it."""
    staged = cache(centre) / caches.OUT / "climate-1"
    part = ObjectStore(staged).path(named(b"bb"))
    part.parent.mkdir(parents=True)
    os.link(ObjectStore(cache(centre)).path(named(b"bb")), part)
    transfer = centre.put(str(staged.relative_to(centre.scratch)), centre.archive / "climate-1")
    part.unlink()
    for directory in [part.parent, *part.parent.parents][:5]:
        directory.rmdir()
    assert ends(transfer)[0].path == str(cache(centre))
    assert [name for name, one in centre.due().by_data.items() if not one.alone_files] == ["climate:data/many"]


def test_without_a_push_nothing_is_known_of_the_objects(centre: Centre) -> None:
    tracked(centre).unlink()
    found = centre.due()
    assert (found.by_data, pair(found.total), found.total.alone_files) == ({}, (3, 7), 3)
    assert data_lines(found) == []
