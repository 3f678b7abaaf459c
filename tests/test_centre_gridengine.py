"""The test centre's Grid Engine: that it is what other tests take it for."""

import subprocess

import pytest

from tests.centre import Centre, Host
from tests.conftest import OpenCentre
from tests.helpers import wait_until

CENTRE = {"sge": True}
SOON_S = 60
"""Most take a second or two; the machine may be busy."""
SLEEP = "-b y -shell n sleep 600"


def qsub(host: Host, words: str = SLEEP, user: str = "alice") -> str:
    """Submit; the job's id."""
    return host.run(f"qsub -terse -j y -cwd -S /bin/sh {words}", user, check=True).stdout.strip()


def qstat(host: Host) -> dict[str, str]:
    """The state of every job of alice, and the queue it is in."""
    lines = [line.split() for line in host.run("qstat -u alice", check=True).stdout.splitlines()[2:]]
    return {words[0]: " ".join([words[4], *(word for word in words if "@" in word)]) for words in lines}


def await_state(host: Host, job: str, state: str) -> None:
    wait_until(lambda: qstat(host).get(job) == state, SOON_S, f"job {job} is {state}")


def queues(centre: Centre) -> dict[str, str]:
    """The state of each node's queue: none where all is well, "au" or "u" where nothing is heard of it."""
    lines = centre.login1.run("qstat -f -q batch", check=True).stdout.splitlines()
    found = [line.split() for line in lines if line.startswith("batch@")]
    return {words[0]: " ".join(words[5:]) for words in found}


def empty_queue(centre: Centre) -> None:
    centre.login1.run("qdel -u alice")
    wait_until(lambda: not qstat(centre.login1), SOON_S, "nothing is queued")


@pytest.mark.parametrize(("user", "host"), [("alice", "login1"), ("bob", "login2")])
def test_gridengine_runs_a_job_on_a_node(centre: Centre, user: str, host: str) -> None:
    submitter = centre.hosts[host]
    submitter.path(f"/home/{user}/job.sh").write_text("hostname; id -un; echo done\n")
    qsub(submitter, "-P csc123 -q batch@c1 -o job.out job.sh", user)
    out = submitter.path(f"/home/{user}/job.out")
    wait_until(lambda: out.exists() and "done" in out.read_text(), SOON_S, "the job writes its output")
    assert out.read_text() == f"c1\n{user}\ndone\n"


def test_gridengine_has_two_nodes_and_tells_why_a_third_job_waits(centre: Centre) -> None:
    running = [qsub(centre.login1) for _ in range(2)]
    wait_until(
        lambda: sorted(qstat(centre.login1)[job] for job in running) == ["r batch@c1", "r batch@c2"],
        SOON_S,
        "a job runs on each node",
    )
    third = qsub(centre.login1)
    asked = ["qstat", "-j", third]
    wait_until(
        lambda: "because it is full" in centre.login1.run(asked, check=True).stdout, SOON_S, "the reason is told"
    )
    assert qstat(centre.login1)[third] == "qw"
    empty_queue(centre)
    assert not [process for node in (centre.c1, centre.c2) for process in node.processes("alice")]


def test_gridengine_gives_a_parallel_job_both_nodes(centre: Centre) -> None:
    centre.login1.path("/home/alice/hosts.sh").write_text("cut -d' ' -f1 $PE_HOSTFILE | sort; echo done\n")
    qsub(centre.login1, "-pe mpi 2 -o hosts.out hosts.sh")
    out = centre.login1.path("/home/alice/hosts.out")
    wait_until(lambda: out.exists() and "done" in out.read_text(), SOON_S, "the job writes its output")
    assert out.read_text() == "c1\nc2\ndone\n"


def test_gridengine_refuses_a_project_and_a_queue_that_are_not_there(centre: Centre) -> None:
    assert '"nosuch" does not exist' in centre.login1.run(f"qsub -P nosuch {SLEEP}").stderr
    assert 'unknown queue "nosuch"' in centre.login1.run(f"qsub -q nosuch {SLEEP}").stderr


def test_gridengine_counts_no_calls(centre: Centre) -> None:
    with pytest.raises(NotImplementedError):
        centre.scheduler_calls()


def test_gridengine_notices_that_a_node_lost_power(centre: Centre) -> None:
    job = qsub(centre.login1, f"-r y -q batch@c1 {SLEEP}")
    await_state(centre.login1, job, "r batch@c1")
    centre.c1.power_off()
    wait_until(lambda: "u" in queues(centre)["batch@c1"], SOON_S, "the node is missed")
    assert qstat(centre.login1)[job] == "r batch@c1"
    centre.c1.boot()
    await_state(centre.login1, job, "Rr batch@c1")
    empty_queue(centre)


def test_gridengine_whose_controller_is_down_or_silent_keeps_its_jobs(open_centre: OpenCentre) -> None:
    centre = open_centre(sge=True)
    job = qsub(centre.login1, f"-q batch@c1 {SLEEP}")
    await_state(centre.login1, job, "r batch@c1")
    centre.fail_scheduler(silent=True)
    with pytest.raises(subprocess.TimeoutExpired):
        centre.login1.run("qstat", timeout_s=3)
    centre.mend_scheduler()
    centre.fail_scheduler()
    refused = centre.login1.run("qstat")
    assert refused.returncode == 1
    assert "unable to send message to qmaster" in refused.stderr
    assert [process for process in centre.c1.processes("alice") if process.comm == "sleep"]
    centre.mend_scheduler()
    assert qstat(centre.login1) == {job: "r batch@c1"}
    centre.login2.power_off()
    centre.login2.boot()
    wait_until(lambda: centre.login1.run("qstat").returncode == 0, SOON_S, "the controller answers")
    assert qstat(centre.login1) == {job: "r batch@c1"}
