"""What breaks while a job waits or runs: what survives, survives; nothing is submitted twice; status is right."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.centre import Centre, Host
from tests.centre.processes import Process
from tests.helpers import Kernel, change_shell, gears, home, status, wait_until
from tests.jobs import SLURM, JobLab, cancel, clear, connect, job_record, node_of, occupy, queue, state, submit

CENTRE = SLURM
FAILING_S = 60
"""How long the scheduler answers nothing but errors."""


@pytest.fixture(scope="module")
def laptop(centre: Centre) -> JobLab:
    submit(centre.hub)
    return connect(centre)


@pytest.fixture
def site(laptop: JobLab) -> Iterator[JobLab]:
    """All hosts on, the laptop connected, and no job; none is left behind."""
    for host in laptop.centre.hosts.values():
        host.boot()
        host.heal()
    clear(laptop.centre)
    if not laptop.terminal.isalive():
        laptop.dial()
    yield laptop
    clear(laptop.centre)


def keep(site: JobLab) -> Kernel:
    kernel = site.kernel()
    kernel.run("kept = 'kept'")
    return kernel


def check_kept(kernel: Kernel) -> None:
    assert kernel.run("print(kept)") == "kept\n"


@pytest.mark.parametrize("reach", ["ssh", "reverse"])
def test_login_node_off_and_the_other_one_takes_the_job_over(site: JobLab, reach: str) -> None:
    centre = site.centre
    submit(centre.hub, f"--reach {reach}")
    kernel = keep(site)
    (job,) = queue(centre)
    centre.login1.power_off()
    wait_until(lambda: state(centre.hub) in ("unknown", "connecting"), 30, "status says that it is out of reach")
    done = gears(centre.hub, "lab andes", timeout_s=120)
    assert done.returncode == 0, done.stderr
    wait_until(site.lab.answers, 30, "the same address")
    check_kept(kernel)
    found = status(centre.hub)
    assert (found["state"], found["job"]["id"], found["job"]["host"]) == ("up", job["id"], "login2")
    assert queue(centre) == [job]


@pytest.mark.parametrize("reach", ["ssh", "reverse"])
def test_tmux_and_loop_on_the_login_node_killed(site: JobLab, reach: str) -> None:
    centre = site.centre
    submit(centre.hub, f"--reach {reach}")
    kernel = keep(site)
    ours = [p.pid for p in centre.login1.processes("alice") if p.comm in ("tmux: server", "sh", "ssh", "cat", "sshd")]
    centre.login1.kill(*ours)
    wait_until(site.lab.answers, 60, "the hub's hop is dialled again, and finds the job")
    check_kept(kernel)
    assert len(queue(centre)) == 1


def test_hub_rebooted(site: JobLab) -> None:
    centre = site.centre
    submit(centre.hub)
    kernel = keep(site)
    centre.hub.power_off()
    centre.hub.boot()
    assert gears(centre.hub, "lab andes").returncode == 0
    site.dial()
    wait_until(site.lab.answers, 30, "the same address")
    check_kept(kernel)
    assert len(queue(centre)) == 1


@pytest.mark.parametrize("reach", ["ssh", "reverse"])
def test_jupyterlab_killed_in_its_job(site: JobLab, reach: str) -> None:
    """It is started again there, and the scheduler is asked about that once."""
    centre = site.centre
    submit(centre.hub, f"--reach {reach}")
    (job,) = queue(centre)
    before = centre.scheduler_calls()
    (pid,) = [p.pid for p in centre.c1.processes("alice") if "gears.lab.node" in p.argv]
    centre.c1.kill(pid)
    wait_until(lambda: not site.lab.answers(), 10, "it is gone")
    wait_until(site.lab.answers, 30, "it is back")
    assert node_of(site.kernel()) == "c1"
    assert centre.scheduler_calls() - before <= 3, "one squeue is three requests"
    assert [found["id"] for found in queue(centre)] == [job["id"]]


@pytest.mark.parametrize("reach", ["ssh", "reverse"])
def test_link_to_the_compute_node_cut(site: JobLab, reach: str) -> None:
    centre = site.centre
    submit(centre.hub, f"--reach {reach}")
    kernel = keep(site)
    (job,) = queue(centre)
    centre.c1.cut()
    wait_until(lambda: state(centre.hub) == "unknown", 40, "status says that the node does not answer")
    centre.c1.heal()
    wait_until(site.lab.answers, 60, "the way is back")
    check_kept(kernel)
    assert [found["id"] for found in queue(centre)] == [job["id"]]


def test_tunnel_whose_end_is_noticed_late_ends_together_with_its_job(site: JobLab) -> None:
    """The login node's sshd is busy: its end of the tunnel has ended, but the socket is still there."""
    centre = site.centre
    submit(centre.hub, "--reach reverse --renew")
    running = wait_until(lambda: running_with_successor(centre), 30, "a successor waits")
    (remote,) = tunnel_ends(centre.login1)
    turn = turn_of(centre.login1)
    centre.login1.kill(remote.ppid, signal="STOP")
    centre.login1.kill(remote.pid)
    wait_until(lambda: turn_of(centre.login1) > turn, 20, "the loop has seen the end")
    cancel(centre, running)
    centre.login1.kill(remote.ppid, signal="CONT")
    wait_until(site.lab.answers, 60, "the successor is at the same address")


def test_tunnel_of_a_node_without_power_and_that_of_the_successor(site: JobLab) -> None:
    """The login node can't know that the node is off, and its end of the tunnel lives on for a while."""
    centre = site.centre
    submit(centre.hub, "--reach reverse --renew")
    assert node_of(site.kernel()) == "c1"
    running = wait_until(lambda: running_with_successor(centre), 30, "a successor waits")
    centre.c1.power_off()
    cancel(centre, running)  # else Slurm puts it back in the queue
    centre.login2.run("scontrol update nodename=c1 state=down reason=off", "root", check=True)
    wait_until(lambda: len(tunnel_ends(centre.login1)) == 2, 25, "both tunnels are there")
    wait_until(site.lab.answers, 60, "the successor is at the same address")
    assert node_of(site.kernel()) == "c2"


def running_with_successor(centre: Centre) -> str:
    """The id of the running job, once another one waits."""
    jobs = queue(centre)
    return next((job["id"] for job in jobs if job["state"] == "RUNNING"), "") if len(jobs) == 2 else ""


def tunnel_ends(host: Host) -> list[Process]:
    """The shells that sshd has started there for tunnels from jobs."""
    return [process for process in host.processes("alice") if "/meet" in process.argv[-1] and process.comm != "cat"]


def turn_of(host: Host) -> int:
    """The number of the loop's turn."""
    (file,) = host.path("/tmp").glob("gears-*/andes/turn.json")
    return int(json.loads(file.read_text())["number"])


@pytest.mark.parametrize("shell", ["tcsh", "fish"])
def test_tunnel_to_another_login_shell(site: JobLab, shell: str) -> None:
    centre = site.centre
    change_shell(centre, shell)
    try:
        submit(centre.hub, "--reach reverse")
        assert node_of(site.kernel()) == "c1"
        clear(centre)
    finally:
        change_shell(centre, "bash")


def test_node_powered_off_and_the_job_is_put_back_in_the_queue(site: JobLab) -> None:
    """Slurm requeues it; it starts on the other node, at the same address."""
    centre = site.centre
    submit(centre.hub)
    assert node_of(keep(site)) == "c1"
    (job,) = queue(centre)
    centre.c1.power_off()
    wait_until(lambda: state(centre.hub) in ("unknown", "queued"), 40, "status says that it does not answer")
    wait_until(
        lambda: "NODE_FAIL" in centre.login2.run(f"sacct -j {job['id']}").stdout or requeued(centre), 60, "Slurm saw it"
    )
    centre.login2.run(["scontrol", "update", f"jobid={job['id']}", "starttime=now"], "root")
    wait_until(site.lab.answers, 120, "it is back on the other node")
    assert node_of(site.kernel()) == "c2"


def requeued(centre: Centre) -> bool:
    return any(job["state"] in ("PENDING", "RUNNING") and job["node"] != "c1" for job in queue(centre))


def test_scheduler_fails_while_the_job_runs(site: JobLab) -> None:
    centre = site.centre
    submit(centre.hub)
    kernel = keep(site)
    before = queue(centre)
    centre.fail_scheduler()
    centre.login1.kill(*[p.pid for p in centre.login1.processes("alice") if p.comm == "ssh"])
    wait_until(site.lab.answers, 30, "the way to the node comes back without the scheduler")
    check_kept(kernel)
    assert state(centre.hub) == "up"
    centre.mend_scheduler()
    assert queue(centre) == before


def test_scheduler_fails_for_a_minute_while_the_job_waits(site: JobLab) -> None:
    centre = site.centre
    theirs = [occupy(centre, node) for node in ("c1", "c2")]
    gears(centre.hub, "lab andes --job --no-wait")
    site.waits_with("Resources")
    (job,) = queue(centre)
    centre.fail_scheduler()
    wait_until(lambda: state(centre.hub) == "unknown", 40, "the scheduler can't be asked, and status says so")
    assert status(centre.hub)["job"]["state"] == "UNKNOWN"
    began = time.monotonic()
    while time.monotonic() < began + FAILING_S:
        assert state(centre.hub) == "unknown"
        time.sleep(2)
    centre.mend_scheduler()
    wait_until(lambda: state(centre.hub) == "queued", 60, "it waits as before")
    assert [found["id"] for found in queue(centre)] == [job["id"]]
    cancel(centre, *theirs)
    wait_until(site.lab.answers, 60, "it has started")


@pytest.mark.parametrize("moment", ["SUBMITTING", "submitted"])
def test_killed_while_it_submits(site: JobLab, moment: str) -> None:
    """Whatever is left of a submission, the next command leads to one job."""
    centre = site.centre
    process = centre.login1.popen(f"exec {home()}/.venv/bin/gears lab andes --job")
    wanted = (lambda: job_record(centre.login1)["id"]) if moment == "submitted" else (lambda: job_record(centre.login1))
    wait_until(lambda: exists(wanted), 20, "the record is there")
    centre.login1.kill(*[p.pid for p in centre.login1.processes("alice")])
    centre.login1.end_popen(process)
    done = gears(centre.login1, "lab andes --job", timeout_s=120)
    if done.returncode:  # it was not accepted: the user is told, and asks again
        assert "interrupted" in done.stderr
        done = gears(centre.login1, "lab andes --job", timeout_s=120)
    assert done.returncode == 0, done.stderr
    assert len(queue(centre)) == 1


def exists(look: object) -> bool:
    try:
        return bool(look())  # type: ignore[operator]
    except (OSError, ValueError):
        return False


def test_a_cleaner_on_the_node_takes_the_sockets_of_a_job(site: JobLab) -> None:
    centre = site.centre
    submit(centre.hub)
    (job,) = queue(centre)
    centre.hosts[job["node"]].run("rm -rf /tmp/gears-alice-*", check=True)
    lab = site.lab
    wait_until(lambda: lab.answers() and lab.request("POST", "/api/kernels", {}).status == 201, 30, "a kernel starts")
    assert site.kernel().run("print(1)") == "1\n"
    assert queue(centre) == [job]
