"""kill -9 of a push and of a pull at GEARS_FAULT_POINTS (20) points each: no object has its name that is not whole.

The same again ends.

Also the stores of objects themselves: what is damaged, missing, or in nobody's way.
"""

import hashlib
import os
import stat
import subprocess
from pathlib import Path

import pytest

from gears.data.object_copies import Copied, copy_objects
from gears.data.objects import ObjectStore
from gears.errors import NotReachable
from tests.workspaces import ROOT, Person, person

POINTS = int(os.environ.get("GEARS_FAULT_POINTS", "20"))


def make(person: Person, places: Path) -> Path:
    """A workspace with a team's cache, data in stages and in a directory, and a remote place."""
    top = person.home / "climate"
    text = "".join(f'[filesystem.{name}]\npath = "{places / name}"\nshared = "group"\n' for name in ("team", "archive"))
    for name in ("team", "archive"):
        (places / name).mkdir(parents=True)
        (places / name).chmod(0o2770)
    sites = person.home / ".config/gears/sites"
    sites.mkdir(parents=True)
    (sites / "local.toml").write_text(text)
    person.gears("new", "climate", "--defaults")
    (top / "data/many").mkdir()
    for number in range(40):
        (top / f"data/many/{number}").write_text(f"{number}\n" * 1000)
    person.dvc(top, "add", "-q", "data/many")
    person.dvc(top, "repro", "-q")
    person.commit(top)
    person.git(person.home, "clone", "-q", "--bare", top, "origin.git")
    person.git(top, "remote", "add", "origin", person.home / "origin.git")
    return top


def test_a_push_or_a_pull_that_is_killed(tmp_path: Path) -> None:
    ada = person(tmp_path)
    top = make(ada, tmp_path / "places")
    remote = tmp_path / "places/archive/workspaces/climate/dvc-remote"
    words: list[str | Path] = [ada.python, "-m", "tests.workspace_killer", top, remote, str(POINTS)]
    killer = subprocess.run(words, env=ada.environ, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert killer.returncode == 0, killer.stderr
    said = killer.stdout
    assert f"push: killed {POINTS} times of {POINTS}" in said
    assert f"pull: killed {POINTS} times of {POINTS}" in said
    assert ada.git(ada.home / "origin.git", "fsck") == ""
    assert "43 objects" in ada.gears("pull", top).stdout
    assert "up to date" in ada.dvc(top, "status")
    assert ada.git(top, "rev-parse", "origin/main") == ada.git(top, "rev-parse", "HEAD")


# --- stores ----------------------------------------------------------------------------------


def store(path: Path, *contents: bytes) -> ObjectStore:
    path.mkdir(mode=0o700)
    made = ObjectStore(path)
    for content in contents:
        put(made, name_of(content), content)
    return made


def put(made: ObjectStore, name: str, content: bytes) -> None:
    made.path(name).parent.mkdir(parents=True, exist_ok=True)
    made.path(name).write_bytes(content)


def name_of(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def test_the_next_source_gives_what_the_first_has_not_whole(tmp_path: Path) -> None:
    one, two = store(tmp_path / "one"), store(tmp_path / "two", b"a", b"b")
    put(one, name_of(b"a"), b"x")
    target = store(tmp_path / "target")
    copied = copy_objects([name_of(b"a"), name_of(b"b"), name_of(b"c")], [one, two], target)
    damaged = [(name_of(b"a"), str(one.path(name_of(b"a"))))]
    assert copied == Copied(files=2, size=2, damaged=damaged, missing=[name_of(b"c")])
    assert target.is_whole(name_of(b"a"))
    assert sorted(path.name for path in tmp_path.glob("target/*")) == ["files"]


def test_modes_are_those_of_the_store(tmp_path: Path) -> None:
    source, target = store(tmp_path / "source", b"a"), store(tmp_path / "target")
    target.root.chmod(0o2770)
    before = os.umask(0o077)
    try:
        copy_objects([name_of(b"a")], [source], target)
    finally:
        os.umask(before)
    path = target.path(name_of(b"a"))
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent, path.parents[2])] == [0o444, 0o2770, 0o2770]


def test_a_target_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    source, target = store(tmp_path / "source", b"a"), store(tmp_path / "target")
    target.root.joinpath("files").write_text("")
    with pytest.raises(NotReachable, match="files"):
        copy_objects([name_of(b"a")], [source], target)
