"""What goes wrong with a job is said plainly, with the scheduler's own words, and what to type next."""

import re
from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.helpers import Kernel, gears, home, lab_at, make, status, wait_until
from tests.jobs import PROFILE, SLURM, cancel, clear, queue, submit

CENTRE = SLURM


@pytest.fixture
def site(centre: Centre) -> Iterator[Centre]:
    clear(centre)
    yield centre
    clear(centre)


@pytest.mark.parametrize(
    ("options", "words", "cure"),
    [
        ("-p nosuch", "invalid partition", "-p"),
        ("--directive=--nosuch=1", "nosuch", ""),
    ],
)
@pytest.mark.parametrize("where", ["login1", "hub"])
def test_refused_submission(site: Centre, where: str, options: str, words: str, cure: str) -> None:
    done = gears(site.hosts[where], f"lab andes --job -v {options}", timeout_s=60)
    assert done.returncode == 1, done.stderr
    assert re.search(r"^#SBATCH --(partition=|)nosuch", done.stderr, re.MULTILINE), "-v: the script that was refused"
    assert words in done.stderr.lower(), done.stderr
    assert cure in done.stderr
    assert queue(site) == []
    assert status(site.hosts[where])["state"] in ("stopped", "failed")
    wait_until(lambda: not site.login1.run("ls -d /tmp/gears-*").stdout, 10, "login1 is cleared up")


def test_job_that_can_never_start(site: Centre) -> None:
    """Slurm takes it, as it is set up here, and says why it waits; so do we."""
    gears(site.login1, "lab andes --job --no-wait -t 2-00:00:00 -p debug", check=True)
    found = wait_until(lambda: "will never start" in (now := status(site.login1))["reason"] and now, 30, "why it waits")
    assert (found["state"], "-t" in found["reason"]) == ("queued", True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--job -t soon", "-t: 'soon' is not a time"),
        ("--job -N 0", "-N: 0 is not a number between 1 and"),
        ("--job -A 'a b'", "-A: 'a b' is not a name a scheduler knows"),
        ("--job --directive 'rm -rf ~'", "--directive: 'rm -rf ~' is not a directive"),
        ("--job --renew -1", "--renew: -1 is not a number"),
        ("-A csc123", "-A requires --job"),
    ],
)
def test_wrong_words_submit_nothing(site: Centre, options: str, words: str) -> None:
    done = gears(site.login1, f"lab andes {options}")
    assert (done.returncode, queue(site)) == (2, []), done.stderr
    assert words in done.stderr
    assert "next:" in done.stderr


def test_site_without_scheduler(site: Centre) -> None:
    done = make(site.login1, "lab JOB=1")
    assert done.returncode == 2
    assert "local has no batch scheduler in its profile" in done.stderr


def write_profile(centre: Centre, extra: str) -> None:
    path = "~/.config/gears/sites/andes.toml"
    centre.login1.run(f"cat >{path}", input=PROFILE + extra, check=True)


def test_environment_missing_on_the_node(site: Centre) -> None:
    """As where the compute nodes do not see the login nodes' disk: here the path is hidden on c1 and c2."""
    for node in (site.c1, site.c2):
        node.run(f"mount -t tmpfs none {home()}/.venv", "root", check=True)
    try:
        done = gears(site.login1, "lab andes --job", timeout_s=60)
    finally:
        for node in (site.c1, site.c2):
            node.run(f"umount {home()}/.venv", "root", check=True)
    assert done.returncode == 1, done.stderr
    assert f"{home()}/.venv/bin/python does not exist on " in done.stderr
    assert "--job" in done.stderr


def test_job_ends_before_jupyterlab_answers(site: Centre) -> None:
    try:
        write_profile(site, "prologue = ['echo the module was not found', 'exit 7']\n")
        done = gears(site.login1, "lab andes --job", timeout_s=60)
    finally:
        write_profile(site, "")
    assert done.returncode == 1, done.stderr
    assert "the module was not found" in done.stderr
    assert status(site.login1)["state"] == "failed"


def test_job_that_is_cancelled_in_its_prologue_clears_up(site: Centre) -> None:
    try:
        write_profile(site, "prologue = ['sleep 600']\n")
        gears(site.login1, "lab andes --job --no-wait", check=True)
    finally:
        write_profile(site, "")
    wait_until(lambda: [process for process in site.c1.processes("alice") if process.comm == "sleep"], 60, "it runs")
    cancel(site, queue(site)[0]["id"])
    lives = site.login1.path(f"{home()}/run/andes").glob("job.*.life")
    life = max(lives, key=lambda path: int(path.name.split(".")[1]))
    wait_until(lambda: re.search(r"^ended [1-9]\d* TERM$", life.read_text(), re.M), 20, "the end is written down")
    assert not list(site.c1.path("/tmp").glob("gears-*"))


def test_prologue_runs_before_jupyterlab(site: Centre) -> None:
    try:
        write_profile(site, "prologue = ['export FROM_PROLOGUE=seen']\n")
        submit(site.login1)
    finally:
        write_profile(site, "")
    assert Kernel(lab_at(site.login1)).run("import os; print(os.environ['FROM_PROLOGUE'])") == "seen\n"


def test_held_job_is_told_of_and_goes_on_when_released(site: Centre) -> None:
    gears(site.login1, "lab andes --job --no-wait --directive=--hold", check=True)
    found = wait_until(lambda: (now := status(site.login1))["job"]["state"] == "HELD" and now, 30, "it is held")
    assert found["state"] == "queued"
    assert "held" in found["reason"].lower()
    site.login1.run(["scontrol", "release", queue(site)[0]["id"]], check=True)
    wait_until(lambda: status(site.login1)["state"] == "up", 60, "it has started")


def test_walltime_is_warned_of_and_its_end_told(site: Centre) -> None:
    """Slurm ends jobs to the minute: this one lives for one. It is warned of 15 and 3 s before (`walltime_warning`).
    For as long as it runs, nobody asks Slurm.
    """
    submit(site.login1, "-t 0:01:00")
    asked = site.scheduler_calls()
    lab = lab_at(site.login1)
    told, untold = Kernel(lab), Kernel(lab)
    told.run("import signal; signal.signal(signal.SIGUSR1, lambda *_: open('told', 'w').close())")
    terminal = lab.request("POST", "/api/terminals").json()["name"]
    shown = lab.open_websocket(f"/terminals/websocket/{terminal}")
    found = wait_until(lambda: (now := status(site.login1))["reason"] and now, 60, "it warns")
    assert (found["state"], "save your work" in found["reason"]) == ("up", True)
    assert "min left" in gears(site.login1, "status andes").stdout
    wait_until(lambda: site.c1.path("/home/alice/told").exists(), 60, "the kernel with a handler is told")
    assert site.scheduler_calls() == asked
    assert untold.run("print('lives')") == "lives\n"
    while "this job ends in" not in shown.recv():
        pass
    shown.close()
    assert "this job ends in" in site.login1.run(f"cat {home()}/run/andes/job.*.log").stdout
    done = wait_until(lambda: (now := status(site.login1))["state"] == "failed" and now, 150, "its end is told")
    assert "walltime" in done["reason"]


def test_compute_node_that_lets_nobody_in(open_centre) -> None:  # type: ignore[no-untyped-def]
    """As with pam_slurm_adopt, or where users may not log in to compute nodes at all."""
    deny = {"c1": "DenyUsers alice\n", "c2": "DenyUsers alice\n"}
    with_reverse = open_centre(sshd_extra=deny, **SLURM)
    done = gears(with_reverse.login1, "lab andes --job", timeout_s=120)
    assert done.returncode == 1, done.stderr
    assert "--reach reverse" in done.stderr
    assert gears(with_reverse.login1, "stop andes").returncode == 0
    assert gears(with_reverse.login1, "lab andes --job --reach reverse").returncode == 0
