"""A job that carries variables ends, in each way that a job can: the notebook goes on in the next one. Real Slurm."""

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.helpers import Kernel, Lab, gears, home, lab_at, status, wait_until
from tests.jobs import PROFILE, cancel, clear, open_notebook, queue
from tests.pages import COMMANDS, code, table

EVERY = '[carry]\nevery = "00:00:02"\n'
CENTRE = {"slurm": True, "profiles": {"andes": PROFILE + EVERY}}
LIMIT_S = 95.0
"""For each wait, of which a busy machine has PATIENCE times as much; less than what a test may take in all."""
ENVIRONMENT = """
python3 -m venv --without-pip ~/climate
echo ~/gears/.venv/lib/python3*/site-packages >$(echo ~/climate/lib/python3*/site-packages)/all.pth
exec ~/gears/.venv/bin/gears env add ~/climate
"""
"""An environment of one's own, with the packages of gears."""


@pytest.fixture(scope="module")
def slurm(centre: Centre) -> Iterator[Centre]:
    """A Slurm that leaves a job as much time to end as its default does."""
    for host in (centre.login1, centre.login2, centre.c1, centre.c2):
        host.run("sed -i s/KillWait=5/KillWait=30/ /etc/slurm/slurm.conf", "root", check=True)
    centre.login2.run("scontrol reconfigure", "root", check=True)
    yield centre
    clear(centre)


def submit(centre: Centre, words: str = "") -> None:
    """A lab in a job, unless one runs: what is asked of it goes to its own socket, not through hub and login node."""
    if not queue(centre):
        done = gears(centre.login1, f"lab andes --job --carry --no-wait {words}", timeout_s=LIMIT_S)
        assert done.returncode == 0, done.stderr


def lab_of(centre: Centre) -> Lab | None:
    """The lab on the node where a job runs, once it answers."""
    node = next((job["node"] for job in queue(centre) if job["state"] == "RUNNING"), "")
    lab = lab_at(centre.hosts[node]) if node else None
    return lab if lab and lab.answers() else None


def notebook(centre: Centre, name: str, kernel: str = "python3") -> Kernel:
    """A notebook, opened in the lab of the job that runs."""
    return open_notebook(wait_until(lambda: lab_of(centre), LIMIT_S, "the lab answers"), name, kernel)


def running(centre: Centre) -> str:
    return next((job["id"] for job in queue(centre) if job["state"] == "RUNNING"), "")


def starts_again(centre: Centre, job: str) -> bool:
    """Whether a requeued job runs. It is not made to wait (BeginTime)."""
    if running(centre) == job:
        return True
    centre.login2.run(["scontrol", "update", f"jobid={job}", "starttime=now"], "root")
    return False


def test_warned_before_the_walltime_and_the_successor_takes_over(slurm: Centre) -> None:
    """The warning is sent as slurmctld sends that of `--signal=B:`, to the script alone."""
    submit(slurm, "--renew")
    kernel = notebook(slurm, "warned.ipynb")
    first = running(slurm)
    kernel.run("steps, model = ['first'], open('/dev/null')")
    done = gears(slurm.login1, "state save andes", timeout_s=LIMIT_S)
    assert done.returncode == 0, done
    assert "not saved: model: model: an open file" in done.stdout
    kernel.run("steps += ['last']")
    wait_until(lambda: len(queue(slurm)) == 2, LIMIT_S, "a successor waits")
    slurm.login2.run(["scancel", "--batch", "--signal=USR1", first], "root", check=True)
    wait_until(lambda: running(slurm) not in (first, ""), LIMIT_S, "the successor runs")
    printed = notebook(slurm, "warned.ipynb").run("print(steps)")
    assert "['first', 'last']" in printed
    assert f"1 of 2 variables are back, from job {first} at" in printed
    assert "`model` was not: model: an open file" in printed


def test_crashed_kernel_has_the_last_save_and_one_restarted_on_purpose_begins_empty(slurm: Centre) -> None:
    submit(slurm)
    kernel = notebook(slurm, "crashed.ipynb")
    kernel.run("x = 'kept'")
    wait_until(lambda: saved(slurm, "crashed.ipynb"), LIMIT_S, "it is saved")
    (pid,) = kernels(kernel)
    kernel.lab.host.kill(pid)
    wait_until(lambda: kernels(kernel) not in ([pid], []), LIMIT_S, "it is started again")
    assert "kept\n" in kernel.run("print(x)")
    assert kernel.lab.request("POST", f"/api/kernels/{kernel.id}/restart").status == 200
    assert kernel.run("print('x' in globals())") == "False\n"


def saved(centre: Centre, name: str) -> bool:
    return name in gears(centre.login1, "state list andes").stdout


def kernels(kernel: Kernel) -> list[int]:
    """The processes of this kernel on its node."""
    found = kernel.lab.host.processes("alice")
    return [process.pid for process in found if any(f"kernel-{kernel.id}.json" in word for word in process.argv)]


def test_requeued(slurm: Centre) -> None:
    submit(slurm)
    notebook(slurm, "requeued.ipynb").run("x = 'requeued'")
    job = running(slurm)
    slurm.login2.run(["scontrol", "requeue", job], "root", check=True)
    wait_until(lambda: running(slurm) != job, LIMIT_S, "it has ended")
    time.sleep(2)  # in the second of its end slurmd would not launch it: "Job credential revoked"
    wait_until(lambda: starts_again(slurm, job), LIMIT_S, "it runs again")
    assert "requeued\n" in notebook(slurm, "requeued.ipynb").run("print(x)")


def test_cancelled_and_another_one_asked_for(slurm: Centre) -> None:
    submit(slurm)
    notebook(slurm, "cancelled.ipynb").run("x = 'cancelled'")
    job = running(slurm)
    cancel(slurm, *[job["id"] for job in queue(slurm)])
    wait_until(lambda: not queue(slurm), LIMIT_S, "it is over")
    listed = json.loads(gears(slurm.login1, "state list andes --json").stdout)
    assert ("/home/alice/cancelled.ipynb", job) in [(state["notebook"], state["job"]) for state in listed]
    carried = status(slurm.login1)["carry"]
    assert carried["notebooks"] == len(listed)
    documented = [field for row in table(COMMANDS, "Fields of `--json`", "field") for field in code(row[0])]
    assert [f"carry.{field}" for field in carried] == [field for field in documented if field.startswith("carry.")]
    gears(slurm.login1, "stop andes", timeout_s=LIMIT_S)
    submit(slurm)
    assert "cancelled\n" in notebook(slurm, "cancelled.ipynb").run("print(x)")


def test_power_of_its_node_fails_and_the_last_periodic_save_is_back(slurm: Centre) -> None:
    submit(slurm)
    kernel = notebook(slurm, "off.ipynb")
    kernel.run("x = 'saved in time'")
    wait_until(lambda: saved(slurm, "off.ipynb"), LIMIT_S, "it is saved")
    (node, job) = next((job["node"], job["id"]) for job in queue(slurm) if job["state"] == "RUNNING")
    slurm.hosts[node].power_off()
    down = ["scontrol", "update", f"nodename={node}", "state=down", "reason=off"]
    slurm.login2.run(down, "root", check=True)
    wait_until(lambda: starts_again(slurm, job), LIMIT_S, "it runs on the other node")
    assert "saved in time\n" in notebook(slurm, "off.ipynb").run("print(x)")


def test_from_the_login_node_to_a_job(slurm: Centre) -> None:
    """In JupyterLab's own kernel, and in one of an environment."""
    slurm.login1.run(ENVIRONMENT, check=True)
    gears(slurm.login1, "stop andes", timeout_s=LIMIT_S)
    done = gears(slurm.login1, "lab andes --carry", timeout_s=LIMIT_S)
    assert done.returncode == 0, done.stderr
    open_notebook(lab_at(slurm.login1), "moved.ipynb").run("x = 'moved'")
    open_notebook(lab_at(slurm.login1), "climate.ipynb", "climate").run("import sys; x = sys.prefix")
    gears(slurm.login1, "stop andes", timeout_s=LIMIT_S, check=True)
    submit(slurm)
    printed = notebook(slurm, "moved.ipynb").run("print(x)")
    assert "moved\n" in printed
    assert "1 of 1 variables are back, from the lab on login1 at " in printed
    printed = notebook(slurm, "climate.ipynb", "climate").run("print(x, x == sys.prefix)")
    assert "/home/alice/climate True\n" in printed
    assert "2 of 2 variables are back, from the lab on login1 at " in printed


def test_before_the_end_it_is_saved_and_told_what_is(slurm: Centre) -> None:
    """In the last quarter of its time. The end of this lab is said by the variable that a job's script sets."""
    gears(slurm.login1, "stop andes", timeout_s=LIMIT_S)
    command = f"GEARS_JOB_ENDS=$(($(date +%s) + 60)) exec {home()}/.venv/bin/gears lab andes --carry"
    slurm.login1.run(command, timeout_s=LIMIT_S, check=True)
    lab = lab_at(slurm.login1)
    open_notebook(lab, "ending.ipynb").run("steps, model = [1], open('/dev/null')")
    assert lab.request("GET", "/gears/panel").json()["saved"] == ""
    told = wait_until(lambda: lab.request("GET", "/gears/panel").json()["saved"], LIMIT_S, "it is saved")
    assert re.fullmatch(
        r"saved: 1 of 2 variables of 1 of 1 notebooks, [\d.]+ MB, [\d.]+ s; "
        r"ending\.ipynb: model is not: model: an open file",
        told,
    )
    assert saved(slurm, "ending.ipynb")
