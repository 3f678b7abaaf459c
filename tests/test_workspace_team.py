"""`gears workspace join`: two people, two primary groups, umask 077, one repository and one cache of DVC.

Run by root they are two accounts; by an ordinary user, one.
"""

import contextlib
import getpass
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import wait_until
from tests.pages import ROOT, blocks
from tests.workspaces import Person, can_be_others, person

TEAM, ADA, BOB = 4301, 4302, 4303
SITE = ".config/gears/sites/local.toml"


@dataclass
class Team:
    ada: Person
    bob: Person
    place: Path

    @property
    def shared(self) -> Path:
        return self.place / "workspaces"

    @property
    def origin(self) -> Path:
        return self.shared / "climate.git"

    def trust(self) -> None:
        self.bob.run("git", "config", "--global", "--add", "safe.directory", self.origin)

    def join(self, status: int = 0) -> str:
        done = self.bob.gears("join", self.origin, "--no-env", status=status)
        return done.stdout + done.stderr


@contextlib.contextmanager
def root_of_a_team() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="gears-team-", dir="/var/tmp"))  # where others can enter
    try:
        yield root
    finally:
        shutil.rmtree(root)


@pytest.fixture
def team() -> Iterator[Team]:
    with root_of_a_team() as root:
        yield make_team(root)


def make_team(root: Path) -> Team:
    root.chmod(0o755)
    others = can_be_others()
    place = root / "place"
    place.mkdir()
    os.chown(place, -1, TEAM if others else os.getgid())
    place.chmod(0o2770)
    people = [person(root, name, uid if others else 0, TEAM) for name, uid in (("ada", ADA), ("bob", BOB))]
    for one in people:
        one.run("mkdir", "-p", Path(SITE).parent)
        one.run("sh", "-c", f'printf \'[filesystem.team]\\npath = "{place}"\\nshared = "group"\\n\' >{SITE}')
    return Team(*people, place)


@pytest.fixture(scope="module")
def begun() -> Iterator[tuple[Team, Path]]:
    """Ada has made a workspace with data, and pushed it to where her team finds it; and a copy of all that."""
    with root_of_a_team() as root, root_of_a_team() as copy:
        team = make_team(root)
        ada, top = team.ada, team.ada.home / "climate"
        ada.gears("new", "climate", "--defaults")
        ada.dvc(top, "repro")
        ada.commit(top, "Run")
        ada.git(ada.home, "init", "-q", "--bare", "--shared=group", "--initial-branch=main", team.origin)
        ada.git(top, "remote", "add", "origin", team.origin)
        ada.git(top, "push", "-q", "-u", "origin", "main")
        subprocess.run(["cp", "-a", f"{root}/.", copy], check=True)
        yield team, copy


@pytest.fixture
def shared(begun: tuple[Team, Path]) -> Team:
    """What was begun, at the same path, and as it was."""
    team, copy = begun
    root = team.place.parent
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    subprocess.run(["cp", "-a", f"{copy}/.", root], check=True)
    return team


def cached(team: Team) -> list[Path]:
    return [path for path in (team.shared / "climate/dvc-cache").rglob("*") if path.is_file()]


def test_two_people_share_code_and_data(shared: Team) -> None:
    team, top = shared, shared.bob.home / "climate"
    if team.bob.uid:
        said = team.join(status=2)
        assert f"git config --global --add safe.directory {team.origin}" in said
        assert not top.exists()
    team.trust()
    assert "joined" in team.join()
    assert len(team.bob.run("cat", top / "results/summary.csv").stdout.splitlines()) == 14
    assert team.bob.git(top, "config", "core.hooksPath") == "hooks"
    assert team.bob.git(top, "status", "--porcelain") == ""
    both_change_data(team)
    check_modes(team)


def both_change_data(team: Team) -> None:
    ada, bob, hers, his = team.ada, team.bob, team.ada.home / "climate", team.bob.home / "climate"
    bob.run("sed", "-i", "s/days=365/days=30/", his / "src/climate/measure.py")
    bob.dvc(his, "repro")
    bob.commit(his, "One month")
    bob.git(his, "push", "-q")
    ada.git(hers, "pull", "-q")
    assert "joined" in ada.gears("join", hers, "--no-env").stdout
    assert ada.run("cat", hers / "results/summary.csv").stdout.splitlines()[0] == "month,temperature"
    assert len(ada.run("cat", hers / "data/measurements.csv").stdout.splitlines()) == 31


def check_modes(team: Team) -> None:
    """All of the cache is the team's, and open to it, under umask 077."""
    cache = team.shared / "climate/dvc-cache"
    owners = set()
    for path in [team.shared, cache.parent, cache, *cache.rglob("*")]:
        info = path.stat()
        assert info.st_gid == team.place.stat().st_gid, path
        if path.is_dir():
            assert stat.S_IMODE(info.st_mode) & 0o2770 == 0o2770, path
        else:
            assert info.st_mode & 0o440 == 0o440, path
            owners.add(info.st_uid)
    assert len(owners) == (2 if team.bob.uid else 1)


def test_what_can_not_be_done_is_said_and_the_rest_is_done(shared: Team) -> None:
    shared.trust()
    done = shared.bob.gears("join", shared.origin, status=1)
    assert "there is no environment climate" in done.stderr  # there is no network
    assert "without its environment" in done.stdout
    assert (shared.bob.home / "climate/results/summary.csv").exists()
    for path in cached(shared):
        path.unlink()
    said = shared.join(status=1)
    assert "not in the cache: data/measurements.csv, results/summary.csv" in said
    assert "without its data" in said
    shared.bob.dvc(shared.bob.home / "climate", "repro")
    assert "joined" in shared.join()


def test_a_workspace_to_which_dvc_comes_later_shares_what_it_has(team: Team) -> None:
    """As where the environment with DVC is made after `gears workspace new`."""
    ada, top = team.ada, team.ada.home / "climate"
    ada.gears("new", "climate", "--defaults")
    ada.run("rm", top / ".dvc/config.local")  # as DVC's absence leaves it
    ada.dvc(top, "repro", "measure")
    assert not cached(team)
    assert "copied to the team's cache: 1 object\n" in ada.gears("run", cwd=top).stderr
    assert len([path for path in cached(team) if "files" in path.parts]) == 2
    [own] = [path for path in (top / ".dvc/cache/files").rglob("*") if path.is_file()]
    assert own.name in {path.name for path in cached(team)}
    assert "up to date" in ada.dvc(top, "status")
    assert "copied" not in ada.gears("run", cwd=top).stderr


def test_a_site_without_the_place_is_said_and_the_clone_works(shared: Team) -> None:
    bob, top = shared.bob, shared.bob.home / "climate"
    shared.trust()
    bob.run("sh", "-c", f"echo 'title = \"bare\"' >{SITE}")
    said = shared.join(status=1)
    assert "local has no directory as place 'team'" in said
    assert "OK" in bob.run("make", "test", cwd=top).stderr
    bob.dvc(top, "repro")
    assert "joined" in shared.join()


def test_the_page_can_be_typed(team: Team) -> None:
    ada, shared = team.ada, str(team.place)
    ada.run("mkdir", "-p", "bin")
    run_gears = f'#!/bin/sh\nexec {ada.python} -m gears "$@"\n'
    ada.run("sh", "-c", 'printf %s "$0" >bin/gears && chmod +x bin/gears', run_gears)
    typed = "".join(block.text for block in blocks(ROOT / "docs/how-to/workspace.md") if block.kind == "sh")
    typed = typed.replace("/projects/abc123/shared", shared).replace(
        "new ~/proj/climate", "new ~/proj/climate --defaults"
    )
    typed = typed.replace(f"join {shared}/climate.git", f"join {shared}/climate.git ../joined --no-env && cd ../joined")
    done = ada.run("sh", "-exc", f"export PATH=$HOME/bin:$PATH\n{typed}")
    assert "OK" in done.stderr
    assert "joined" in done.stdout
    assert "its template is the newest" in done.stdout


def test_data_of_others_is_left_alone(team: Team) -> None:
    ada, top = team.ada, team.ada.home / "lfs"
    ada.git(ada.home, "init", "-q", "lfs")
    ada.run("sh", "-c", "echo '*.nc filter=lfs diff=lfs merge=lfs -text' >.gitattributes; echo >gears.toml", cwd=top)
    assert "kept by git-lfs, which is left as it is" in ada.gears("join", top, "--no-env").stderr
    assert not (top / ".dvc").exists()


def test_no_clone_is_left_half(team: Team) -> None:
    team.ada.git(team.ada.home, "init", "-q", "--bare", "empty.git")
    wrong = (("nowhere", 1, "could not clone"), ("/etc", 2, "is no git repository"), ("empty.git", 2, "has nothing on"))
    for url, status, reason in wrong:
        said = team.ada.gears("join", url, "here", status=status).stderr
        assert reason in said
        assert "next: " in said
    assert [path.name for path in team.ada.home.iterdir() if "here" in path.name] == []


def test_a_stage_runs_once_at_a_time_in_the_team(shared: Team) -> None:
    """Bob is told that Ada runs it, also after her gears was killed; once DVC has ended he can."""
    team, ada, bob = shared, shared.ada, shared.bob
    team.trust()
    team.join()
    hers, his, go = ada.home / "climate", bob.home / "climate", team.place / "go"
    wait = f"sh -c 'until [ -e {go} ]; do sleep 0.1; done'; python3 src/climate/measure.py data/measurements.csv"
    stages = (hers / "dvc.yaml").read_text().replace("python3 src/climate/measure.py data/measurements.csv", wait, 1)
    for one, top in ((ada, hers), (bob, his)):
        one.run("sh", "-c", 'printf %s "$1" >"$2"', "sh", stages, top / "dvc.yaml")
    run = ada.start("run", cwd=hers)
    try:
        wait_until(lambda: "measure: " in bob.gears("status", his).stdout, 30, "Bob sees that it runs")
        check_refused(team, his)
        run.kill()
        check_refused(team, his)
    finally:
        go.touch()
        run.communicate()
    wait_until(lambda: "measure: " not in bob.gears("status", his).stdout, 30, "DVC has ended")
    bob.gears("run", "summarize", cwd=his)
    assert not list((team.shared / "climate/locks").iterdir())


def check_refused(team: Team, his: Path) -> None:
    said = team.bob.gears("run", "summarize", cwd=his, status=5).stderr
    who = team.ada.name if team.ada.uid else getpass.getuser()
    assert f"{who} on " in said
    assert "works on the stage measure: it is running" in said
