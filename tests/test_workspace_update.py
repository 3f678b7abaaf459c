"""`gears workspace update`: three versions of a template, two people: no edit is lost, no marker is committed."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workspaces import Person, person

LINES = "".join(f"line {number}\n" for number in range(20))

FIRST = {
    "copier.yml": "_subdirectory: t\nname: {type: str}\n",
    "t/{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers | to_nice_yaml -}}\n",
    "t/text": LINES,
    "t/other": LINES,
    "t/dropped": LINES,
    "t/removed": LINES,
    "t/moved": LINES,
    "t/.gitignore": "*.log\n",
}
SECOND = {
    "t/text": LINES.replace("line 2\n", "line 2, second\n"),
    "t/removed": LINES.replace("line 2\n", "line 2, second\n"),
    "t/moved": LINES.replace("line 2\n", "line 2, second\n"),
    "t/dropped": None,
    "t/added": "of the template\n",
    "copier.yml": "_subdirectory: t\nname: {type: str}\nmore: {type: str, default: asked later}\n",
}
THIRD = {
    "t/text": LINES.replace("line 2\n", "line 2, third\n").replace("line 17\n", "line 17, third\n"),
    "t/other": LINES.replace("line 9\n", "line 9, third\n"),
}


@dataclass
class Team:
    """Ada has made a workspace from the first version, and Bob has a clone of what she pushed."""

    ada: Person
    bob: Person
    template: Path
    origin: Path

    def release(self, version: str, files: dict[str, str | None]) -> None:
        for name, text in files.items():
            file = self.template / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True) if text is None else file.write_text(text)
        self.ada.git(self.template, "add", "--all", "--force")
        self.ada.git(self.template, "commit", "-qm", version)
        self.ada.git(self.template, "tag", version)

    def mine(self, who: Person) -> Path:
        return who.home / "work"

    def edit(self, who: Person, name: str, change: Callable[[str], str]) -> None:
        file = self.mine(who) / name
        file.write_text(change(file.read_text() if file.exists() else ""))
        who.commit(self.mine(who), f"{who.name} edits {name}")

    def merge(self, who: Person) -> None:
        """Commit an update on its branch, and merge that."""
        top = self.mine(who)
        who.commit(top, "update")
        name = who.git(top, "symbolic-ref", "--short", "HEAD")
        who.git(top, "switch", "-q", "main")
        who.git(top, "merge", "-q", name)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Team, Path]:
    """A team, and a copy of all that it has: an answer of the workspace is where its template is."""
    root = tmp_path_factory.mktemp("team")
    ada, bob = person(root, "ada"), person(root, "bob")
    team = Team(ada, bob, ada.home / "template", root / "origin.git")
    team.template.mkdir()
    ada.git(team.template, "init", "-q", "-b", "main")
    team.release("v1.0.0", {**FIRST})
    ada.gears("new", "work", "--defaults", "--template", team.template)
    ada.git(root, "clone", "-q", "--bare", ada.home / "work", team.origin)
    ada.git(team.mine(ada), "remote", "add", "origin", team.origin)
    ada.git(team.mine(ada), "fetch", "-q")
    ada.git(team.mine(ada), "branch", "-q", "--set-upstream-to", "origin/main")
    bob.git(root, "clone", "-q", team.origin, team.mine(bob))
    copy = root.with_name(f"{root.name}-copy")
    shutil.copytree(root, copy, symlinks=True)
    return team, copy


@pytest.fixture
def team(begun: tuple[Team, Path]) -> Team:
    team, copy = begun
    root = team.origin.parent
    shutil.rmtree(root)
    shutil.copytree(copy, root, symlinks=True)
    return team


def test_three_versions_and_two_people(team: Team) -> None:
    edit(team)
    team.release("v1.1.0", SECOND)
    ada_updates(team)
    team.release("v2.0.0", THIRD)
    bob_updates(team)
    ada = team.ada
    ada.git(team.mine(ada), "pull", "-q", "--no-rebase", "--no-edit")
    assert "is the newest" in ada.gears("update", team.mine(ada)).stdout
    assert "more: asked later" in (team.mine(ada) / ".copier-answers.yml").read_text()
    for commit in ada.git(team.mine(ada), "rev-list", "--all").split():
        assert ada.git(team.mine(ada), "grep", "-l", "^<<<<<<<", commit, status=1) == ""


def edit(team: Team) -> None:
    ada, bob = team.ada, team.bob
    team.edit(ada, "text", lambda text: text.replace("line 10\n", "line 10, ada\n"))
    team.edit(ada, "dropped", lambda text: text + "ada's\n")
    ada.git(team.mine(ada), "push", "-q")
    ada.git(team.mine(ada), "rm", "-q", "removed")
    ada.git(team.mine(ada), "mv", "moved", "elsewhere")
    ada.commit(team.mine(ada))
    team.edit(bob, "text", lambda text: text.replace("line 17\n", "line 17, bob\n"))


def ada_updates(team: Team) -> None:
    ada = team.ada
    said = ada.gears("update", team.mine(ada), status=1).stderr  # her edit of a file that the template has dropped
    assert "conflicts: dropped" in said
    assert "stay deleted here, although the template has changed them: removed" in said
    assert ada.git(team.mine(ada), "symbolic-ref", "--short", "HEAD") == "gears/update-1.1.0"
    assert "ada's" in (team.mine(ada) / "dropped").read_text()
    assert not (team.mine(ada) / "removed").exists()
    assert "line 2, second" in (team.mine(ada) / "elsewhere").read_text()
    assert "conflicts are not resolved" in ada.gears("update", team.mine(ada), status=2).stderr
    ada.git(team.mine(ada), "add", "dropped")
    team.merge(ada)
    ada.git(team.mine(ada), "push", "-q")


def bob_updates(team: Team) -> None:
    bob = team.bob
    bob.git(team.mine(bob), "pull", "-q", "--no-rebase", "--no-edit")
    said = bob.gears("update", team.mine(bob), status=1).stderr
    assert "conflicts: text" in said
    text = (team.mine(bob) / "text").read_text()
    assert all(part in text for part in ("line 2, third", "line 10, ada", "line 17, bob", "line 17, third", "<<<<<<<"))
    assert "third" in (team.mine(bob) / "other").read_text()
    assert bob.run("git", "-C", team.mine(bob), "commit", "-qm", "too early", status=128).stderr
    (team.mine(bob) / "text").write_text(
        LINES.replace("line 17\n", "line 17, both\n").replace("line 10\n", "line 10, ada\n")
    )
    team.merge(bob)
    bob.git(team.mine(bob), "push", "-q")


def test_both_update_on_their_own(team: Team) -> None:
    team.release("v1.1.0", SECOND)
    for who in (team.ada, team.bob):
        team.edit(who, f"by-{who.name}", lambda _text: "mine\n")
        assert "not committed" in who.gears("update", team.mine(who)).stdout
        assert who.git(team.mine(who), "log", "--format=%s", "-1") == f"{who.name} edits by-{who.name}"
        team.merge(who)
    team.ada.git(team.mine(team.ada), "push", "-q")
    team.bob.git(team.mine(team.bob), "pull", "-q", "--no-rebase", "--no-edit")
    assert {"by-ada", "by-bob", "added"} <= {path.name for path in team.mine(team.bob).iterdir()}


def state(who: Person, top: Path) -> tuple[str, ...]:
    files = {path: path.read_bytes() for path in top.iterdir() if path.is_file()}
    return who.git(top, "symbolic-ref", "HEAD"), who.git(top, "branch"), who.git(top, "status", "--short"), repr(files)


def test_what_is_not_committed_is_not_touched(team: Team) -> None:
    ada, top = team.ada, team.mine(team.ada)
    team.release("v1.1.0", SECOND | {"t/.gitignore": "*.log\nadded\n", "t/run.log": "of the template\n"})
    for name, reason in (("text", "not committed"), ("new", "not committed"), ("run.log", "is ignored by git")):
        (top / name).write_text("mine\n")
        before = state(ada, top)
        assert reason in ada.gears("update", top, status=2).stderr
        assert state(ada, top) == before
        ada.git(top, "reset", "-q", "--hard")
        ada.git(top, "clean", "-qfdx")


def test_a_file_added_by_both_and_one_that_is_binary_are_conflicts(team: Team) -> None:
    ada, top = team.ada, team.mine(team.ada)
    (top / "other").write_bytes(b"\0\1ada")
    ada.commit(top)
    team.edit(ada, "added", lambda _text: "ada's\n")
    team.edit(ada, "text", lambda text: text.replace("line 10\n", "line 10, ada\n"))
    team.release("v2.0.0", SECOND | THIRD)
    assert "conflicts: added, other" in ada.gears("update", top, status=1).stderr
    assert "ada's" in (top / "added").read_text()
    assert (top / "other").read_bytes() == b"\0\1ada"
    assert "line 10, ada" in (top / "text").read_text()


def test_a_template_that_can_not_be_used_changes_nothing(team: Team) -> None:
    ada, top = team.ada, team.mine(team.ada)
    before = state(ada, top)
    team.release("v1.1.0", {"t/broken.jinja": "{% if %}"})
    assert "nothing was changed" in ada.gears("update", top, status=1).stderr
    assert state(ada, top) == before
    team.template.rename(team.template.with_name("gone"))
    assert "nothing was changed" in ada.gears("update", top, status=1).stderr
    assert state(ada, top) == before


def test_without_a_template_there_is_no_update(team: Team) -> None:
    assert "no template" in team.ada.gears("update", team.template, status=2).stderr
    assert "not in a git repository" in team.ada.gears("update", team.ada.home, status=2).stderr
