"""Real Slurm, in an account with variables for it, in a job, and behind an sbatch that fails though it has not."""

from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.helpers import Kernel, gears, home, lab_at, status, wait_until
from tests.jobs import SLURM, clear, queue

CENTRE = SLURM
INSIDE = "SLURM_JOB_ID=99 SLURM_JOBID=99 SLURM_NNODES=2 SLURM_NTASKS=8 SLURM_CPU_BIND=quiet,mask_cpu:0x1"
MEANT = "SBATCH_WAIT=1 SBATCH_TIMELIMIT=5 SBATCH_OUTPUT=/dev/null SCANCEL_INTERACTIVE=true SQUEUE_PARTITION=debug"
# slurm.conf(5), MessageTimeout: the controller has the job, and its answer comes too late.
LATE = """\
#!/bin/sh
/usr/bin/sbatch "$@" >/dev/null
echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
exit 1
"""


@pytest.fixture
def slurm(centre: Centre) -> Iterator[Centre]:
    yield centre
    centre.login1.run("rm -f /usr/local/bin/sbatch", "root")
    clear(centre)


def test_variables_of_hers_and_of_a_job_change_nothing(slurm: Centre) -> None:
    typed = f"env SBATCH_ACCOUNT=csc123 {INSIDE} {MEANT} {home()}/.venv/bin/gears"
    done = slurm.login1.run(f"{typed} lab andes --job -t 00:20:00", check=True, timeout_s=60)
    assert "with your SBATCH_ACCOUNT=csc123" in done.stdout
    (job,) = queue(slurm)
    asked = slurm.login2.run(["squeue", "-h", "-j", job["id"], "-o", "%l %P %D %C"], check=True).stdout.split()
    assert asked[:3] == ["20:00", "batch", "1"]
    slurm.login1.run(f"{typed} stop andes", check=True, timeout_s=60)
    assert not queue(slurm)


def test_typed_inside_a_job(slurm: Centre) -> None:
    """salloc(1) runs it on the login node, with the variables of its own allocation."""
    inside = "salloc --partition=debug --ntasks=1 --time=5"
    slurm.login1.run(f"{inside} {home()}/.venv/bin/gears lab andes --job", check=True, timeout_s=90)
    (job,) = wait_until(lambda: len(found := queue(slurm)) == 1 and found, 20, "the allocation has ended")
    asked = slurm.login2.run(["squeue", "-h", "-j", job["id"], "-o", "%l %P %D"], check=True).stdout.split()
    assert asked == ["30:00", "batch", "1"]
    assert Kernel(lab_at(slurm.login1)).run("print(1)") == "1\n"
    slurm.login1.run(f"{inside} {home()}/.venv/bin/gears stop andes", check=True, timeout_s=90)
    wait_until(lambda: not queue(slurm), 20, "both are gone")


def test_a_suspended_job_is_shown_as_suspended_and_goes_on(slurm: Centre) -> None:
    """On the hub too, though no scheduler is asked there, nor while the job's ssh stands."""
    gears(slurm.hub, "lab andes --job", check=True, timeout_s=90)
    kernel = Kernel(lab_at(slurm.hub))
    kernel.run("x = 3")
    (job,) = queue(slurm)
    slurm.login2.run(["scontrol", "suspend", job["id"]], "root", check=True)
    for host in (slurm.login1, slurm.hub):
        found = wait_until(lambda host=host: (now := status(host))["state"] == "unknown" and now, 20, "it is suspended")
        assert found["job"]["state"] == "SUSPENDED"
        assert f"job {job['id']} is suspended on {found['job']['node']}" in found["reason"]
    slurm.login2.run(["scontrol", "resume", job["id"]], "root", check=True)
    wait_until(lambda: status(slurm.hub)["job"]["state"] == "RUNNING", 20, "it goes on")
    assert status(slurm.hub)["state"] == "up"
    assert kernel.run("print(x)") == "3\n"


def test_a_submission_that_timed_out_and_was_taken(slurm: Centre) -> None:
    slurm.login1.install("sbatch", LATE)
    done = gears(slurm.hub, "lab andes --job", timeout_s=90)
    assert done.returncode == 0, done.stderr
    (job,) = queue(slurm)
    assert status(slurm.hub)["job"]["id"] == job["id"]
    assert gears(slurm.hub, "stop andes", timeout_s=90).returncode == 0
    assert not queue(slurm)
