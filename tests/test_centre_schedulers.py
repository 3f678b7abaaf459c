"""The test centre's schedulers: that they are what other tests take them for."""

import re
import time

import pytest

from tests.centre import Centre, CentreUnavailable, Host
from tests.centre.requirements import check_requirements
from tests.conftest import OpenCentre
from tests.helpers import wait_until

CENTRE = {"slurm": True}
SOON_S = 30
"""Most take a second or two; the machine may be busy."""
PARTS = ("%T", "%r", "%S", "%N")


def sbatch(host: Host, words: str = "--wrap 'sleep 600'", user: str = "alice") -> str:
    """Submit; the job's id."""
    return host.run(f"sbatch --parsable {words}", user, check=True).stdout.strip()


def squeue(host: Host, job: str) -> tuple[str, ...]:
    """State, reason, start and node of a job."""
    line = host.run(["squeue", "-h", "-t", "all", "-j", job, "-o", "|".join(PARTS)], check=True).stdout.strip()
    return tuple(line.split("|"))


def await_state(host: Host, job: str, state: str, timeout_s: float = SOON_S) -> tuple[str, ...]:
    """What squeue says of the job, once it says that state."""
    wait_until(lambda: squeue(host, job)[0] == state, timeout_s, f"job {job} is {state}")
    return squeue(host, job)


def empty_queue(centre: Centre) -> None:
    centre.login1.run("scancel -u alice", check=True)
    wait_until(lambda: not centre.login1.run("squeue -h", check=True).stdout, SOON_S, "nothing is queued")
    wait_until(lambda: nodes(centre) == ["idle", "idle"], SOON_S, "both nodes are idle")


def nodes(centre: Centre) -> list[str]:
    return centre.login1.run("sinfo -h -N -p batch -o %T", check=True).stdout.split()


# Slurm


@pytest.mark.parametrize(("user", "host"), [("alice", "login1"), ("bob", "login2")])
def test_slurm_runs_a_job_on_a_node(centre: Centre, user: str, host: str) -> None:
    submitter = centre.hosts[host]
    began = time.monotonic()
    submitter.run("sbatch -A nosuch -w c1 -o job.out --wrap 'hostname; id -un; echo done'", user, check=True)
    out = submitter.path(f"/home/{user}/job.out")
    wait_until(lambda: out.exists() and "done" in out.read_text(), SOON_S, "the job writes its output")
    assert out.read_text() == f"c1\n{user}\ndone\n"
    assert time.monotonic() - began < SOON_S


def test_slurm_has_two_nodes_and_tells_why_and_how_long_a_third_job_waits(centre: Centre) -> None:
    running = [sbatch(centre.login1) for _ in range(2)]
    assert {await_state(centre.login1, job, "RUNNING")[3] for job in running} == {"c1", "c2"}
    third = sbatch(centre.login1, "--wrap hostname")
    wait_until(lambda: squeue(centre.login1, third)[1] == "Resources", SOON_S, "the reason is told")
    wait_until(lambda: squeue(centre.login1, third)[2].startswith("20"), SOON_S, "the expected start is told")
    assert squeue(centre.login1, third)[0] == "PENDING"
    centre.login1.run(["scancel", *running], check=True)
    await_state(centre.login1, third, "COMPLETED")
    await_state(centre.login1, running[0], "CANCELLED")
    empty_queue(centre)


def test_slurm_refuses_a_partition_that_is_not_there(centre: Centre) -> None:
    assert "Invalid partition" in centre.login1.run("sbatch -p nosuch --wrap hostname").stderr


def test_slurm_whose_controller_is_down_or_silent_keeps_its_jobs(centre: Centre) -> None:
    job = sbatch(centre.login1)
    node = await_state(centre.login1, job, "RUNNING")[3]
    centre.fail_scheduler()
    refused = centre.login1.run("squeue -h")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Unable to contact slurm controller" in refused.stderr
    assert [process for process in centre.hosts[node].processes("alice") if process.comm == "sleep"]
    centre.mend_scheduler()
    assert squeue(centre.login1, job)[0] == "RUNNING"
    centre.fail_scheduler(silent=True)
    assert "Socket timed out" in centre.login1.run("sbatch --wrap hostname").stderr
    centre.mend_scheduler()
    assert squeue(centre.login1, job)[0] == "RUNNING"
    empty_queue(centre)


def test_slurm_counts_calls_by_user(centre: Centre) -> None:
    before, others = centre.scheduler_calls("alice"), centre.scheduler_calls("bob")
    centre.login1.run("squeue -h --me", check=True)
    one = centre.scheduler_calls("alice") - before
    assert one >= 1
    centre.login1.run("squeue -h --me; squeue -h --me", check=True)
    assert centre.scheduler_calls("alice") == before + 3 * one
    assert centre.scheduler_calls("bob") == others


def test_slurm_comes_back_with_the_controllers_host(centre: Centre) -> None:
    job = sbatch(centre.login1, "--job-name kept --wrap 'sleep 600'")
    node = await_state(centre.login1, job, "RUNNING")[3]
    centre.fail_scheduler()  # which saves its state, as it does some seconds after a change
    centre.login2.power_off()
    centre.login2.boot()
    wait_until(lambda: centre.login1.run("squeue -h").returncode == 0, SOON_S, "the controller answers")
    assert squeue(centre.login1, job)[::3] == ("RUNNING", node)
    wait_until(lambda: "unknown" not in nodes(centre), SOON_S, "the nodes have told the controller of themselves")
    empty_queue(centre)


def test_slurm_notices_that_nodes_lost_power(centre: Centre) -> None:
    requeued = sbatch(centre.login1, "-w c1 --wrap 'sleep 600'")
    lost = sbatch(centre.login1, "-w c2 --no-requeue --wrap 'sleep 600'")
    for job in (requeued, lost):
        await_state(centre.login1, job, "RUNNING")
    for host in (centre.c1, centre.c2):
        host.power_off()
    await_state(centre.login1, lost, "NODE_FAIL", 90)
    assert await_state(centre.login1, requeued, "PENDING", 90)[1] == "BeginTime"
    for host in (centre.c1, centre.c2):
        host.boot()
    wait_until(lambda: nodes(centre) == ["idle", "idle"], SOON_S, "booted nodes take jobs")
    wait_until(lambda: not messages_under_way(centre), SOON_S, "what was to end it there has arrived")
    wait_until(lambda: starts_now(centre, requeued), SOON_S, "it runs again")
    empty_queue(centre)


def messages_under_way(centre: Centre) -> bool:
    """Whether slurmctld still has something to tell a node, as that the job it had when it failed is to end."""
    said = centre.login1.run("sdiag", check=True).stdout
    return any(re.search(rf"{name}: +0\n", said) is None for name in ("Agent queue size", "Agent count"))


def starts_now(centre: Centre, job: str) -> bool:
    """Whether a requeued job runs. It is not made to wait (BeginTime), which Slurm may set once more."""
    centre.login1.run(f"scontrol update jobid={job} starttime=now")
    return squeue(centre.login1, job)[0] == "RUNNING"


# What stands in for other schedulers


def test_an_installed_program_is_found_first_on_its_host_alone(centre: Centre) -> None:
    centre.login1.install("sbatch", "#!/bin/sh\necho a stand-in on $(hostname)\n")
    said = "a stand-in on login1\n"
    assert centre.login1.run("sbatch --version", check=True).stdout == said
    assert centre.hub.run("ssh login1 sbatch --version", check=True).stdout == said
    centre.hub.run("ssh login1 'tmux new-session -d \"sbatch --version >~/said\"'", check=True)
    wait_until(lambda: centre.login1.run("cat ~/said").stdout == said, SOON_S, "the same in tmux")
    assert re.match(r"slurm", centre.login2.run("sbatch --version", check=True).stdout)
    centre.login1.power_off()
    centre.login1.boot()
    assert centre.login1.run("sbatch --version", check=True).stdout == said
    centre.login1.path("/usr/local/bin/sbatch").unlink()


# Without a scheduler


def test_a_centre_without_scheduler_says_so(open_centre: OpenCentre) -> None:
    centre = open_centre()
    assert not [process for process in centre.login2.processes() if "slurm" in process.comm]
    with pytest.raises(RuntimeError, match="no scheduler"):
        centre.fail_scheduler()


def test_a_scheduler_that_is_missing_is_named(centre_possible: None) -> None:
    with pytest.raises(CentreUnavailable, match="apt-get install thescheduler"):
        check_requirements({"/no/such/program": "thescheduler"})
