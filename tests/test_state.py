"""`gears state` without a lab: what is saved is listed, shown and removed; what is not the person's own is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from gears.carry import kernel_state, saved
from gears.lab.jupyter.carry_limits import KILL_S, notice_s, plan_job_limits, plan_limits
from gears.lab.saved_states import States, save_states_record
from gears.sites.load import from_json
from gears.sites.paths import RunDir

CHECKOUT = Path(__file__).parents[1]
NOTEBOOKS = ("a.ipynb", "b.ipynb")


class Account:
    """A home in which two notebooks are saved, for the site `local`."""

    def __init__(self, home: Path) -> None:
        self.home, self.root = home, home / "gears/run/local/states"
        self.key = str(home / ".config/gears/carry.key")
        (home / "gears/run").mkdir(parents=True, mode=0o700)
        (home / "gears/run/id").write_text("0123abcd\n")
        for name in NOTEBOOKS:
            self.save(name)

    def save(self, name: str) -> None:
        notebook = f"/notebooks/{name}"
        about = {"notebook": notebook, "job": "4711", "host": "c1", "lab": "lab-1"}
        variables: dict[str, Any] = {"x": 1, "numbers": (n for n in ()), "__name__": "__main__"}
        report = kernel_state.save(variables, self.directory(name), key=self.key, about=about)
        assert (report.problem, report.names) == ("", ["x"])

    def directory(self, name: str) -> str:
        return saved.directory_of(str(self.root), f"/notebooks/{name}")

    def gears(self, *words: str) -> CompletedProcess[str]:
        argv = [sys.executable, "-m", "gears", "state", *words]
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.home), "GEARS_HOME": str(self.home / "gears")}
        return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, cwd=CHECKOUT)

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.gears("list", "--json").stdout)
        return found


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


def test_list_show_and_forget(account: Account) -> None:
    assert [state["notebook"] for state in account.listed()] == ["/notebooks/b.ipynb", "/notebooks/a.ipynb"]
    line = account.gears().stdout.splitlines()[0]
    assert "/notebooks/b.ipynb: 1 of 2 variables, " in line
    assert line.endswith("from job 4711")
    shown = account.gears("show", "--notebook", "a.ipynb").stdout
    assert "  saved: x\n" in shown
    assert "  not saved: numbers: numbers: a generator" in shown
    assert account.gears("forget").returncode == 2
    assert account.gears("forget", "c.ipynb").returncode == 2
    assert account.gears("forget", "a.ipynb").returncode == 0
    assert [state["notebook"] for state in account.listed()] == ["/notebooks/b.ipynb"]
    assert account.gears("forget", "--all").returncode == 0
    done = account.gears("list")
    assert (done.returncode, "gears lab local --carry" in done.stdout) == (0, True)


def test_status_tells_what_is_saved(account: Account) -> None:
    argv = [sys.executable, "-m", "gears", "status", "local"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(account.home), "GEARS_HOME": str(account.home / "gears")}
    states = States(root=str(account.root), notebooks=2, saved="2026-11-28T07:21:28Z", trouble="c.ipynb: no room")
    save_states_record(RunDir(account.home / "gears", "local", Path("/tmp/none")), states)
    said = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, cwd=CHECKOUT).stdout
    assert "carried  2 notebooks, 2026-11-28T07:21:28Z; not saved: c.ipynb: no room" in said


def test_nothing_ever_started_and_no_lab_up(account: Account) -> None:
    assert account.gears("save").returncode == 4
    (account.home / "gears/run/id").unlink()
    done = account.gears("list")
    assert (done.returncode, "next: " in done.stderr) == (4, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_what_another_user_planted_is_not_loaded(account: Account) -> None:
    """Nor is what is open to others, or was changed."""
    bob = 4302
    ours, planted = Path(account.directory("a.ipynb")), Path(account.directory("b.ipynb"))
    os.chown(planted, bob, bob)
    os.chmod(ours / "manifest", 0o644)
    for directory, why in ((planted, "belongs to another user"), (ours, "is open to others (mode 0644)")):
        space: dict[str, Any] = {}
        report = kernel_state.load(str(directory), space, key=account.key)
        assert (space, why in report.problem) == ({}, True)
    assert all(state["unsafe"] for state in account.listed())
    os.chmod(ours / "manifest", 0o600)
    os.chown(ours / "manifest", bob, bob)
    assert "belongs to another user" in kernel_state.load(str(ours), {}, key=account.key).problem


def test_old_states_are_removed(account: Account) -> None:
    old = Path(account.directory("a.ipynb"))
    (account.root / "no-state").mkdir()
    os.utime(old / "manifest", (0, 0))
    assert saved.remove_old(str(account.root), 30) == 1
    assert [state["notebook"] for state in account.listed()] == ["/notebooks/b.ipynb"]
    assert (account.root / "no-state").is_dir()


def test_limits_fit_into_what_schedulers_leave() -> None:
    site = from_json('{"name": "a", "carry": {"on": true, "every": "00:30:00", "days": 7}}')
    limits = plan_limits(site)
    assert (limits.every_s, limits.days, limits.timer) == (1800, 7, 0)
    assert [notice_s(seconds) for seconds in (60, 600, 7200)] == [6, 60, 120]
    for kind in KILL_S:
        assert plan_job_limits(site, kind, 7200).timer == (kind != "slurm"), "others end by the lab's own clock"
