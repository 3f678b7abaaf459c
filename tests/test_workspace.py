"""`gears workspace new`, `status`: a workspace that works at once, is committed, and has no path of this machine."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workspaces import Person, person

MODULES = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from gears.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def ada(tmp_path: Path) -> Person:
    return person(tmp_path)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ada = person(tmp_path_factory.mktemp("first"))
    ada.gears("new", "proj/Climate-2", "--defaults")
    return ada.home / "proj"


@pytest.fixture
def made(ada: Person, first: Path) -> Path:
    """A copy: a workspace has no path of its own."""
    shutil.copytree(first, ada.home / "proj", symlinks=True)
    return ada.home / "proj/Climate-2"


def test_a_workspace_works_at_once_and_is_committed(ada: Person, made: Path) -> None:
    assert ada.git(made, "status", "--porcelain") == ""
    assert ada.git(made, "rev-list", "--count", "HEAD") == "1"
    assert "OK" in ada.run("make", "test", cwd=made).stderr
    ada.run("make", "repro", cwd=made)
    assert len((made / "results/summary.csv").read_text().splitlines()) == 14
    assert [line[3:] for line in ada.git(made, "status", "--porcelain").splitlines()] == ["dvc.lock"]
    assert [path.name for path in made.parent.iterdir()] == ["Climate-2"]


def test_no_committed_file_has_a_path_of_this_machine(ada: Person, made: Path) -> None:
    texts = {name: (made / name).read_text() for name in ada.git(made, "ls-files").splitlines()}
    assert "gears.toml" in texts
    for name, text in texts.items():
        assert str(ada.home) not in text, name
        assert sys.prefix not in text, name
        assert "/tmp" not in text.replace("\n/tmp\n", ""), name  # .dvc/.gitignore
    assert 'name = "climate_2"' in texts["gears.toml"]
    assert sum(len(text.splitlines()) for text in texts.values()) < 300


def test_the_template_is_the_same_everywhere(ada: Person, tmp_path: Path) -> None:
    from gears.workspace.template import VERSIONS, make_repository

    heads = []
    for number in range(2):
        repository = tmp_path / f"{number}.git"
        make_repository(VERSIONS, repository)
        heads.append(ada.git(repository, "for-each-ref"))
    assert heads[0] == heads[1] != ""


def test_what_is_there_stays(ada: Person, made: Path) -> None:
    before = sorted(made.rglob("*"))
    assert "not empty" in ada.gears("new", made, "--defaults", status=2).stderr
    assert sorted(made.rglob("*")) == before
    (ada.home / "empty").mkdir()
    ada.gears("new", "empty", "--defaults")
    assert "questions need a terminal" in ada.gears("new", "asked", status=2).stderr


def test_a_failure_leaves_nothing(ada: Person) -> None:
    template = ada.home / "template"
    template.mkdir()
    (template / "copier.yml").write_text('_tasks: ["touch /tmp/never"]\n')
    ada.git(template, "init", "-q")
    ada.commit(template)
    said = ada.gears("new", "proj", "--defaults", "--template", template, status=1).stderr
    assert "tasks" in said
    assert "next: " in said
    assert [path.name for path in ada.home.iterdir() if "proj" in path.name] == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", "one\n<<<<<<< HEAD\ntwo\n=======\nthree\n>>>>>>> theirs\n", "markers of a conflict"),
        ("big file", "x" * 1_000_001, "dvc add"),
        ("n.ipynb", json.dumps({"cells": [{"outputs": [{"data": 1}]}]}), "outputs"),
    ],
)
def test_the_hook_refuses(ada: Person, made: Path, name: str, content: str, reason: str) -> None:
    (made / name).write_text(content)
    ada.git(made, "add", "--force", name)
    assert reason in ada.run("git", "-C", made, "commit", "-qm", "x", status=1).stderr
    assert ada.git(made, "rev-list", "--count", "HEAD") == "1"


def test_the_hook_checks_what_is_staged(ada: Person, made: Path) -> None:
    (made / "a.txt").write_text("<<<<<<< HEAD\none\n")
    ada.git(made, "add", "a.txt")
    (made / "a.txt").write_text("one\n")
    assert "markers of a conflict" in ada.run("git", "-C", made, "commit", "-qm", "x", status=1).stderr
    ada.git(made, "add", "a.txt")
    (made / "a.txt").write_text("<<<<<<< HEAD\none\n")
    ada.run("git", "-C", made, "commit", "-qm", "x")


def seen(ada: Person, top: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ada.gears("status", top, "--json").stdout)
    return found


def test_the_status_names_what_is_only_here(ada: Person, made: Path) -> None:
    found = seen(ada, made)
    assert (found["code"]["unpushed"], found["code"]["remote"], found["code"]["uncommitted"]) == (1, "", [])
    assert found["data"]["missing"] == []
    assert found["environment_state"] == "missing"
    ada.dvc(made, "repro")
    assert seen(ada, made)["data"]["changed"] == ["data/measurements.csv", "results/summary.csv"]
    ada.commit(made)
    ada.git(made.parent, "clone", "-q", "--bare", made, "origin.git")
    ada.git(made, "remote", "add", "origin", "../origin.git")
    ada.git(made, "fetch", "-q")
    shutil.rmtree(made / ".dvc/cache")
    found = seen(ada, made)
    assert (found["code"]["unpushed"], found["code"]["remote"]) == (0, "origin")
    assert found["data"]["missing"] == ["data/measurements.csv", "results/summary.csv"]
    said = ada.gears("status", cwd=made / "src").stdout
    assert "not in the cache: data/measurements.csv, results/summary.csv" in said
    assert f"next: cd {made} && dvc pull" in said


def test_what_is_no_workspace_is_refused(ada: Person, made: Path) -> None:
    assert "not in a git repository" in ada.gears("status", ada.home, status=2).stderr
    (made / "gears.toml").write_text("[workspace]\nname = 3\n")
    assert "workspace.name: must be a word" in ada.gears("status", made, status=2).stderr
    (made / "gears.toml").unlink()
    assert "no workspace" in ada.gears("status", made, status=2).stderr


@pytest.mark.parametrize(("words", "most"), [("new w --defaults", 200), ("status {}", 215), ("update {}", 200)])
def test_gears_itself_loads_no_copier(ada: Person, made: Path, words: str, most: int) -> None:
    """The status knows the site besides, whose places may have what the cache has lost."""
    argv = [sys.executable, "-c", MODULES, "workspace", *words.format(made).split()]
    modules = ada.run(*argv).stderr.splitlines()[-1].split()
    assert not {"copier", "plumbum", "pydantic", "dvc"} & {*modules}
    assert len(modules) < most, len(modules)
