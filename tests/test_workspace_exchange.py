"""`gears workspace push` and `pull`: two people, two primary groups, umask 077; places that lose data, and come back.

Run by root they are two accounts; by an ordinary user, one.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_workspace_team import SITE, Team, make_team
from tests.workspaces import Person

DATA = ["data/measurements.csv", "results/summary.csv"]


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="gears-exchange-", dir="/var/tmp"))  # where others can enter
    try:
        yield root
    finally:
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def team(root: Path) -> Team:
    """Ada has made a workspace with data, and pushed it; its cache is on another file system than the clones."""
    team = make_team(root)
    memory = Path(tempfile.mkdtemp(prefix="gears-exchange-", dir="/dev/shm"))
    os.chown(memory, -1, team.place.stat().st_gid)
    memory.chmod(0o2770)
    team.place.rmdir()
    team.place.symlink_to(memory)
    ada, top = team.ada, team.ada.home / "climate"
    for place in (archive(team), tape(team)):
        place.mkdir()
        os.chown(place, -1, memory.stat().st_gid)
        place.chmod(0o2770)
    for one in (ada, team.bob):
        one.run("sh", "-c", f"cat >>{SITE} <<'END'\n{places(team)}END\n")
    ada.gears("new", "climate", "--defaults")
    ada.run("sh", "-c", "mkdir data/many && for n in 1 2 3 4 5; do echo $n >data/many/$n; done", cwd=top)
    ada.dvc(top, "repro")
    ada.dvc(top, "add", "-q", "data/many")
    ada.commit(top, "Run")
    ada.git(ada.home, "init", "-q", "--bare", "--shared=group", "--initial-branch=main", origin(team))
    ada.git(top, "remote", "add", "origin", origin(team))
    return team


@pytest.fixture(scope="module", autouse=True)
def memory_is_freed(team: Team) -> Iterator[None]:
    yield
    shutil.rmtree(team.place.resolve())


def places(team: Team) -> str:
    return f"""purge_days = 30
purge_by = "mtime"
[filesystem.archive]
path = "{archive(team)}"
shared = "group"
[filesystem.tape]
path = "{tape(team)}"
shared = "group"
bundle_size = "1GB"
"""


def archive(team: Team) -> Path:
    return team.place.parent / "archive"


def tape(team: Team) -> Path:
    return team.place.parent / "tape"


def origin(team: Team) -> Path:
    return archive(team) / "climate.git"


def remote(team: Team) -> Path:
    return archive(team) / "workspaces/climate/dvc-remote/files/md5"


def cache(team: Team) -> Path:
    return team.place.resolve() / "workspaces/climate/dvc-cache/files/md5"


def names(store: Path) -> list[str]:
    """All that a store has: each object is whole, and nothing else is there."""
    found = [path for path in sorted(store.rglob("*")) if path.is_file()]
    for path in found:
        name = path.parent.name + path.name
        assert hashlib.md5(path.read_bytes()).hexdigest() == name.removesuffix(".dir"), path
    return [path.parent.name + path.name for path in found]


def answer(person: Person, verb: str, top: Path, *words: str, status: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(person.gears(verb, top, "--json", *words, status=status).stdout)
    return found


def purge(team: Team, *keep: str) -> None:
    for path in cache(team).rglob("*"):
        if path.is_file() and path.parent.name + path.name not in keep:
            path.unlink()


@pytest.fixture(scope="module")
def shared(team: Team) -> Team:
    """Ada has pushed, and Bob has joined."""
    hers = team.ada.home / "climate"
    found = answer(team.ada, "push", hers)
    assert (found["data"]["place"], found["data"]["copied"], found["data"]["objects"]) == ("archive", 8, 8)
    assert (found["code"], found["problem"], found["status"]) == (True, "", 0)
    assert team.ada.git(hers, "rev-parse", "@{upstream}") == team.ada.git(hers, "rev-parse", "HEAD")
    team.bob.run("git", "config", "--global", "--add", "safe.directory", origin(team))
    assert "joined" in team.bob.gears("join", origin(team), "--no-env").stdout
    return team


def test_what_was_pushed_is_the_teams(shared: Team) -> None:
    assert names(remote(shared)) == names(cache(shared)) != []
    group = shared.place.stat().st_gid
    for path in (archive(shared) / "workspaces").rglob("*"):
        info = path.stat()
        assert info.st_gid == group, path
        assert stat.S_IMODE(info.st_mode) == (0o2770 if path.is_dir() else 0o444), path
    found = answer(shared.ada, "push", shared.ada.home / "climate")
    assert (found["data"]["copied"], found["data"]["missing"], found["status"]) == (0, [], 0)


def test_dvc_itself_can_use_the_remote(shared: Team) -> None:
    top = shared.bob.home / "climate"
    shared.bob.dvc(top, "remote", "add", "--local", "-d", "archive", remote(shared).parents[1])
    assert "in sync" in shared.bob.dvc(top, "status", "--cloud")


def test_purged_data_is_named_and_brought_back(shared: Team) -> None:
    bob, top = shared.bob, shared.bob.home / "climate"
    purge(shared)
    found = answer(bob, "status", top)
    lost = found["data"]["holding"]["lost"]
    assert [one["path"] for one in lost if one["held"] == ["archive"]] == [
        "data/many",
        *(f"data/many/{n}" for n in "12345"),
        *DATA,
    ]
    assert f"gears workspace pull {top}" in found["next"]
    assert "8 of 8 objects copied to the cache" in bob.gears("pull", top).stdout
    assert names(cache(shared)) == names(remote(shared))
    assert "up to date" in bob.dvc(top, "status")
    assert bob.run("cat", top / "data/many/3").stdout == "3\n"
    assert {path.stat().st_gid for path in cache(shared).rglob("*")} == {shared.place.stat().st_gid}


def test_what_is_lost_and_what_the_purge_takes_soon_are_said(shared: Team) -> None:
    bob, top = shared.bob, shared.bob.home / "climate"
    one, other = sorted(path for path in cache(shared).rglob("*") if path.is_file() and path.suffix != ".dir")[:2]
    content = other.read_bytes()
    os.utime(one, (0, 0))
    other.unlink()
    said = bob.gears("status", top).stdout
    assert "the purge of team takes 1 of its objects" in said
    assert "archive has " in said
    assert f"workspace pull {top}\n" in said
    words = ["due", "team", "--all", "--json"]
    [due] = json.loads(bob.run(bob.python, "-m", "gears", "data", *words).stdout)["places"]
    [(name, found)] = due["by_data"].items()
    assert name.startswith("climate:")
    assert (found["files"], found["alone_files"]) == (1, 0)
    os.utime(one)
    other.write_bytes(content)


def test_what_is_damaged_is_named_and_repaired_from_where_it_is_whole(shared: Team) -> None:
    ada, bob, his = shared.ada, shared.bob, shared.bob.home / "climate"
    [damaged, lost] = sorted(path for path in remote(shared).rglob("*") if path.is_file() and path.suffix != ".dir")[:2]
    whole = damaged.read_bytes()
    for path in (damaged, lost):
        path.chmod(0o644)
    damaged.write_bytes(b"x" * len(whole))
    kept = names(cache(shared))
    purge(shared, *(name for name in kept if name != damaged.parent.name + damaged.name))
    found = answer(bob, "pull", his, status=6)
    assert (found["status"], len(found["data"]["damaged"]), found["data"]["copied"]) == (6, 1, 0)
    assert str(damaged) in found["data"]["damaged"][0]
    assert str(damaged) in bob.gears("pull", his, status=6).stderr
    assert not (cache(shared) / damaged.parent.name / damaged.name).exists()
    (cache(shared) / damaged.parent.name / damaged.name).write_bytes(whole)  # made again
    lost.write_bytes(lost.read_bytes()[:-1])
    assert answer(ada, "push", ada.home / "climate", "--verify")["data"]["copied"] == 2
    assert names(remote(shared)) == kept


def test_without_its_data_a_branch_is_not_pushed(shared: Team) -> None:
    ada, top = shared.ada, shared.ada.home / "climate"
    before = ada.git(origin(shared), "rev-parse", "main")
    ada.run("sed", "-i", "s/days=365/days=31/", top / "src/climate/measure.py")
    ada.dvc(top, "repro")
    ada.commit(top, "One month")
    purge(shared)
    said = ada.gears("push", top, status=7)
    assert "nobody is known to have: data/measurements.csv, results/summary.csv" in said.stderr
    assert ada.git(origin(shared), "rev-parse", "main") == before
    ada.gears("run", cwd=top)
    assert "2 of 8 objects copied to archive" in ada.gears("push", top).stdout
    assert ada.git(origin(shared), "rev-parse", "main") == ada.git(top, "rev-parse", "HEAD")
    assert answer(shared.bob, "pull", shared.bob.home / "climate")["status"] == 0
    assert len(shared.bob.run("cat", shared.bob.home / "climate/data/measurements.csv").stdout.splitlines()) == 32


def test_branches_that_went_apart_are_said_and_nothing_is_forced(shared: Team) -> None:
    ada, bob = shared.ada, shared.bob
    hers, his = ada.home / "climate", bob.home / "climate"
    for one, top in ((ada, hers), (bob, his)):
        one.run("sh", "-c", f"echo {one.name} >>README.md", cwd=top)
        one.commit(top)
    ada.gears("push", hers)
    said = bob.gears("push", his, status=1).stderr
    assert f"workspace pull {his}" in said
    assert "could not be moved forward" in bob.gears("pull", his, status=1).stderr
    bob.git(his, "reset", "-q", "--hard", "HEAD~")
    bob.gears("pull", his)
    assert bob.git(his, "rev-parse", "HEAD") == ada.git(hers, "rev-parse", "HEAD")


def test_a_place_of_bundles_gets_one_shipment_a_push(shared: Team) -> None:
    ada, bob = shared.ada, shared.bob
    hers, his = ada.home / "climate", bob.home / "climate"
    ada.run("sed", "-i", 's/remote = "archive"/remote = "tape"/', hers / "gears.toml")
    ada.commit(hers, "To tape")
    assert answer(ada, "push", hers)["data"]["copied"] == 8
    [shipment] = (tape(shared) / "workspaces").iterdir()
    stored = sorted(path.name for path in shipment.iterdir())
    assert len(stored) == 7
    found = {(path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) for path in shipment.iterdir()}
    assert found == {(shared.place.stat().st_gid, 0o640)}
    assert stat.S_IMODE(shipment.stat().st_mode) == 0o2770
    assert answer(ada, "push", hers)["data"]["copied"] == 0
    assert sorted(path.name for path in shipment.iterdir()) == stored
    assert ada.git(hers, "fsck") == ""
    bob.gears("pull", his)
    purge(shared)
    shutil.rmtree(remote(shared))
    lost = answer(bob, "status", his)["data"]["holding"]["lost"]
    assert {place for one in lost for place in one["held"]} == {"tape"}
    pulled = answer(bob, "pull", his)
    assert (pulled["data"]["copied"], pulled["data"]["place"]) == (8, "tape")
    assert len(names(cache(shared))) == 8
    assert "up to date" in bob.dvc(his, "status")
    assert not any(
        path for one in (".gears-push", ".gears-pull") for path in (cache(shared).parents[1] / one).iterdir()
    )


def test_a_moved_place_and_a_renamed_user(shared: Team) -> None:
    """The directory of the project has another path, and so has the home."""
    bob = shared.bob
    shared.place = shared.place.rename(shared.place.with_name("moved"))
    bob.run("sed", "-i", 's,/place",/moved",', bob.home / SITE)
    bob.home = bob.home.rename(bob.home.with_name("robert"))
    top = bob.home / "climate"
    bob.run("git", "config", "--global", "--add", "safe.directory", origin(shared))
    found = answer(bob, "status", top)["data"]
    assert len(found["gone"]) == 2, found
    assert answer(bob, "pull", top)["status"] == 0
    assert "up to date" in bob.dvc(top, "status")
