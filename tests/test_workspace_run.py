"""`gears workspace run --job` on one machine, by a stand-in for PBS: what is refused, what fails, what is kept."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gears.workspace.submission import branch_word
from tests import standins
from tests.helpers import wait_until
from tests.workspaces import Person, person

STAGES = """\
stages:
  a:
    cmd: echo made >a.txt && echo more >>notes.md && sh -c "exit $(cat code)"
    deps: [code]
    outs: [a.txt]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Person, Path]]:
    """A workspace whose stage ends with the status in the file `code`, and a queue."""
    root = tmp_path_factory.mktemp("run")
    programs = root / "bin"
    programs.mkdir()
    standins.install("pbs", programs, state=str(root / "queue"), kill_s=0.1, minute_s=1)
    ada = person(root)
    profile = ada.home / ".config/gears/sites/local.toml"
    profile.parent.mkdir(parents=True)
    scheduler = '[scheduler]\nkind = "pbs"\nprologue = ["echo in the prologue"]\n'
    profile.write_text(f'{scheduler}[filesystem.scratch]\npath = "{root}/scratch"\n')
    (root / "scratch").mkdir()
    top = ada.home / "climate"
    ada.gears("new", "climate", "--defaults")
    (top / "dvc.yaml").write_text(STAGES)
    (top / "code").write_text("3\n")
    (top / "notes.md").write_text("")
    ada.commit(top)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{programs}:{before}"
    yield ada, top
    os.environ["PATH"] = before
    for job in (root / "queue").glob("[0-9]*"):
        (job / "cancel").touch()


def jobs(ada: Person, top: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ada.gears("status", top, "--json").stdout)["jobs"]
    return found


def ended(ada: Person, top: Path, number: int) -> dict[str, Any]:
    """The last job, once so many have ended: their records are looked at, since each command of DVC takes a second."""
    runs = top / ".git/gears-runs"
    wait_until(lambda: len([*runs.glob("*/ended.json")]) == number, 120, "the job has ended")
    return jobs(ada, top)[-1]


def test_what_can_not_be_submitted_is_refused(made: tuple[Person, Path]) -> None:
    ada, top = made
    asked = (
        ("run -t 1:00:00", 2, "-t requires --job"),
        ("run --job -t soon", 2, "next: gears workspace run --help"),
        ("run --job --site summit nowhere", 1, "nowhere"),
    )
    for words, status, reason in asked:
        assert reason in ada.gears(*words.split(), cwd=top, status=status).stderr
    (top / "code").write_text("4\n")
    said = ada.gears("run", "--job", cwd=top, status=2).stderr
    ada.git(top, "checkout", "-q", "code")
    assert "a job runs what is committed, and 1 changes are not, such as code" in said
    ada.git(top, "branch", "run")
    assert f"git -C {top} branch -m run OTHER" in ada.gears("run", "--job", cwd=top, status=2).stderr
    ada.git(top, "branch", "-D", "run")
    assert not jobs(ada, top)


def test_a_failure_keeps_its_clone_and_the_next_commit_has_another(made: tuple[Person, Path]) -> None:
    ada, top = made
    (top / "aside").touch()  # not in the job
    assert "not committed, and so not in the job: aside" in ada.gears("run", "a", "--job", cwd=top).stderr
    failed = ended(ada, top, 1)
    assert (failed["state"], failed["branch"]) == ("failed", "")
    log = Path(failed["log"]).read_text()
    assert log.startswith("in the prologue\ngears: job ")
    assert (Path(failed["clone"]) / "a.txt").read_text() == "made\n"
    said = ada.gears("status", top).stdout
    assert f"of a: failed, dvc ended with status {failed['reason'].split()[-1]}, clone {failed['clone']}" in said
    assert f"cd {top} && gears workspace run a --job" in said
    (top / "code").write_text("0\n")
    ada.commit(top, "Repair")
    ada.gears("run", "a", "--job", cwd=top)
    done = ended(ada, top, 2)
    assert (done["state"], done["clone"]) == ("done", "")
    assert ada.git(top, "diff", "--stat", "main", done["branch"]).splitlines()[-1].startswith(" 3 files changed")
    assert ada.git(top, "show", f"{done['branch']}:notes.md") == "more"
    shutil.rmtree(failed["clone"])
    ada.git(top, "branch", "-D", done["branch"])
    assert not jobs(ada, top)


def test_branches_have_names_that_git_takes() -> None:
    names = {(): "all", ("a", "b@2"): "a-b-2", ("x/dvc.yaml:s", "..lock"): "x-dvc-yaml-s-lock", ("ä" * 50,): "all"}
    assert {stages: branch_word(stages) for stages in names} == names
