"""`gears workspace run --job` at the centre: two people of two groups, umask 077, Slurm; one runs, one is told."""

import json
from collections.abc import Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from tests import jobs
from tests.centre import Centre, Host
from tests.centre.accounts import ACCOUNTS
from tests.dvc_in_centre import install_dvc
from tests.helpers import Kernel, gears, home, lab_at, wait_until

PROFILE = f"""{jobs.PROFILE}
[filesystem.team]
path = "/home/team"
shared = "group"
[filesystem.scratch]
path = "/home/{{user}}/scratch"
[filesystem.archive]
path = "/var/spool/archive"
shared = "group"
hosts = ["login2"]
bundle_size = "1GB"
[transfer]
host = "login2"
"""
CENTRE: dict[str, Any] = {"slurm": True, "profiles": {"andes": PROFILE}}
ORIGIN = "/home/team/climate.git"
MEASURE = "python3 src/climate/measure.py data/measurements.csv"
WAITS = f"sh -c 'until [ -e /home/team/go ]; do sleep 0.1; done'; {MEASURE}"
ENVIRONMENT = """
python3 -m venv --without-pip climate-env
echo ~/gears/.venv/lib/python3*/site-packages >$(echo climate-env/lib/python3*/site-packages)/all.pth
"""
END_S = 90

pytestmark = pytest.mark.timeout(600)  # each command of DVC takes a second, and many on a busy machine


class Desk:
    """A person in her clone, on a host."""

    def __init__(self, host: Host, user: str) -> None:
        self.host, self.user = host, user
        self.top = f"{ACCOUNTS[user].home}/climate"

    def run(self, command: str, *, at: str = "", status: int | None = 0) -> CompletedProcess[str]:
        done = self.host.run(
            f"umask 077; {command}", self.user, cwd=at or self.top, env={"GEARS_SITE": "andes"}, timeout_s=120
        )
        assert status is None or done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def gears(self, words: str, *, at: str = "", status: int | None = 0) -> str:
        done = self.run(f"exec {home(self.user)}/.venv/bin/gears workspace {words} 2>&1", at=at, status=status)
        return done.stdout

    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.gears("status --json"))
        return found

    def job(self, state: str) -> dict[str, Any]:
        """Her only job, which has to be in that state."""
        found: dict[str, Any] = self.seen()["jobs"][0]
        assert found["state"] == state, f"{found}\n{self.run('tail -n 30 .git/gears-runs/*/log; squeue').stdout}"
        return found

    def await_end(self) -> None:
        """Until her job has recorded it. Looks at files: each command of DVC takes a second."""
        runs = self.host.path(f"{self.top}/.git/gears-runs")
        wait_until(lambda: [*runs.glob("*/ended.json")], END_S, "the job has ended")

    def commit(self, message: str) -> None:
        self.run(f"git add -A && git commit -qm '{message}' && git push -q -u origin HEAD")


@pytest.fixture(scope="module")
def people(centre: Centre) -> Iterator[tuple[Desk, Desk]]:
    """Alice on login1 and bob on login2, each with a clone. The first stage waits for /home/team/go."""
    install_dvc(centre)
    for name in ("login1", "login2", "c1", "c2"):
        centre.hosts[name].run("echo team:x:20100:alice,bob >>/etc/group", "root", check=True)
    centre.login1.run("mkdir /home/team && chgrp 20100 /home/team && chmod 2770 /home/team", "root", check=True)
    alice, bob = Desk(centre.login1, "alice"), Desk(centre.login2, "bob")
    for one in (alice, bob):
        name = f"git config --global user.name {one.user}; git config --global user.email {one.user}@example.org"
        one.run(f"{name}; mkdir scratch", at=ACCOUNTS[one.user].home)
    alice.gears("new climate --defaults", at="/home/alice")
    alice.run(f'sed -i "s|cmd: {MEASURE}|cmd: {WAITS}|" dvc.yaml && grep -q team/go dvc.yaml')
    alice.run(f"git init -q --bare --shared=group --initial-branch=main {ORIGIN} && git remote add origin {ORIGIN}")
    alice.commit("Wait")
    bob.run(f"git config --global --add safe.directory {ORIGIN}", at="/home/bob")
    bob.gears(f"join {ORIGIN} --no-env", at="/home/bob")
    yield alice, bob
    centre.login1.run("touch /home/team/go; scancel -u alice; scancel -u bob", "root")


def await_lock(desk: Desk) -> None:
    lock = desk.host.path("/home/team/workspaces/climate/locks/measure")
    wait_until(lock.exists, END_S, "the job has the lock")


def test_one_runs_and_the_other_is_told(people: tuple[Desk, Desk]) -> None:
    alice, bob = people
    assert "once it is done: git -C " in alice.gears("run summarize --job -t 00:10:00")
    await_lock(alice)
    job = alice.job("running")
    assert job["clone"].startswith("/home/alice/scratch/gears-runs/climate-")
    assert "(already)" in alice.gears("run summarize --job")
    for words in ("run summarize", "run summarize --job"):
        said = bob.gears(words, status=5)
        assert "alice on c" in said
        assert f", job {job['job']}, since 20" in said
        assert "works on the stage measure: its job has not ended" in said
    bob.run("touch /home/team/go")
    alice.await_end()
    branch = alice.job("done")["branch"]
    assert alice.run("git status --porcelain; ls ~/scratch/gears-runs").stdout == ""
    assert alice.run(f"git log --format=%an%n%s {branch} -1").stdout.splitlines() == ["alice", "Run summarize"]
    share(alice, bob, branch)


def share(alice: Desk, bob: Desk, branch: str) -> None:
    """The results reach bob."""
    alice.run(f"git merge -q {branch} && git push -q")
    bob.run("git pull -q")
    bob.gears(f"join {bob.top} --no-env")
    assert len(bob.run("cat results/summary.csv").stdout.splitlines()) == 14
    bob.run("git fsck --strict --no-dangling")


def test_a_job_that_was_killed_goes_on(centre: Centre, people: tuple[Desk, Desk]) -> None:
    """Its lock counts until the scheduler says that the job has ended: a scheduler that is silent proves nothing."""
    alice, bob = people
    alice.run("rm -f /home/team/go; sed -i s/days=365/days=30/ src/climate/measure.py")
    alice.commit("One month")
    bob.run("git pull -q")
    alice.gears("run --job")
    await_lock(alice)
    job = jobs.queue(centre)[0]["id"]
    alice.run(f"scancel {job}")
    wait_until(lambda: not jobs.queue(centre), END_S, "the job is gone")
    alice.job("interrupted")
    check_silent(centre, alice, bob)
    alice.run("touch /home/team/go")
    bob.gears("run measure")
    alice.gears("run --job")
    alice.await_end()
    found = alice.run("git diff --name-only main $(git branch --list 'run/all-*') && git fsck --strict --no-dangling")
    assert found.stdout.split() == ["dvc.lock"]


def check_silent(centre: Centre, alice: Desk, bob: Desk) -> None:
    await_lock(alice)  # it was left
    centre.fail_scheduler()
    assert "alice on c" in bob.gears("run measure", status=5)
    alice.job("unknown")
    centre.mend_scheduler()


def test_a_notebook_has_the_kernel_of_its_workspace(people: tuple[Desk, Desk]) -> None:
    """What jupytext makes of the script's header is in the notebook, and JupyterLab asks for that kernel."""
    alice = people[0]
    alice.run(ENVIRONMENT, at="/home/alice")
    gears(alice.host, "env add climate-env --name climate", check=True)
    header = alice.run("sed -n '2,/^# ---$/ s/^# //p' notebooks/first_look.py | grep -v -e '---'").stdout
    notebook = {"cells": [], "metadata": yaml.safe_load(header)["jupyter"], "nbformat": 4, "nbformat_minor": 5}
    alice.host.run(f"cat >{alice.top}/notebooks/first_look.ipynb", input=json.dumps(notebook), check=True)
    gears(alice.host, "lab local", check=True, timeout_s=120)
    try:
        lab = lab_at(alice.host, "local")
        path = "climate/notebooks/first_look.ipynb"
        opened = lab.request("GET", f"/api/contents/{path}").json()
        kernel = {"name": opened["content"]["metadata"]["kernelspec"]["name"]}
        asked = {"kernel": kernel, "name": "", "path": path, "type": "notebook"}
        session = lab.request("POST", "/api/sessions", asked).json()
        assert Kernel(lab, session["kernel"]["id"]).run("import sys; print(sys.prefix)") == "/home/alice/climate-env\n"
        assert alice.run("git status --porcelain notebooks").stdout == ""
    finally:
        gears(alice.host, "stop local", check=True)


def test_the_archive_is_on_the_transfer_host_alone(centre: Centre, people: tuple[Desk, Desk]) -> None:
    """What alice pushes on one login node is brought back by bob on it, after the team's cache was purged."""
    archive, cache = "/var/spool/archive", "/home/team/workspaces/climate/dvc-cache"
    alice, bob = people[0], Desk(centre.login1, "bob")
    centre.login2.run(f"mkdir {archive} && chgrp 20100 {archive} && chmod 2770 {archive}", "root", check=True)
    alice.run("touch /home/team/go")
    alice.gears("run")
    alice.commit("Results")
    wanted = alice.run("sha256sum data/* results/*").stdout
    pushed = json.loads(alice.run(f"exec {home()}/.venv/bin/gears workspace push --json").stdout)
    assert (pushed["data"]["place"], pushed["problem"]) == ("archive", "")
    assert pushed["data"]["copied"] == pushed["data"]["objects"] > 0
    assert not centre.login1.path(archive).exists()
    assert centre.login2.run(f"find {archive} -name '*.tar'", "root").stdout

    bob.run("git checkout -q .")  # of the tests before
    bob.gears("pull")
    centre.login1.run(f"find {cache}/files -type f -delete", "root", check=True)
    assert {place for one in bob.seen()["data"]["holding"]["lost"] for place in one["held"]} == {"archive"}
    assert f"{pushed['data']['objects']} objects" in bob.gears("pull")
    assert bob.run("sha256sum data/* results/*").stdout == wanted
    alice.gears("pull")
    assert alice.run("sha256sum data/* results/*").stdout == wanted
