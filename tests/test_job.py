"""JupyterLab as a batch job, on real Slurm: the same address, on whatever node the job runs."""

from collections.abc import Iterator

import pytest

from tests.centre import Centre, Host
from tests.helpers import gears, home, listening_ports, make, status, wait_until
from tests.jobs import SLURM, JobLab, cancel, clear, connect, drained, node_of, occupy, queue, state, submit

CENTRE = SLURM


@pytest.fixture(scope="module")
def laptop(centre: Centre) -> JobLab:
    submit(centre.hub)
    return connect(centre)


@pytest.fixture
def site(laptop: JobLab) -> Iterator[JobLab]:
    """The laptop's ssh lives through all tests; each leaves no job behind."""
    clear(laptop.centre)
    yield laptop
    clear(laptop.centre)


@pytest.mark.parametrize("reach", ["ssh", "reverse"])
def test_from_hub_and_laptop_a_cell_runs_on_the_compute_node(site: JobLab, reach: str) -> None:
    hub, c1 = site.centre.hub, site.centre.c1
    done = make(hub, f"andes-lab JOB=1 ARGS='--reach {reach} -t 0:20:00 -n 1 -p batch -v'")
    assert done.returncode == 0, done.stderr
    assert "#SBATCH --time=00:20:00" in done.stderr, "-v shows the job script"
    assert "is up on c1" in done.stdout
    kernel = site.kernel()
    assert node_of(kernel) == "c1"
    found = status(hub)
    assert found["state"] == "up"
    assert found["lab"]["host"] == "c1"
    assert (found["job"]["state"], found["job"]["node"]) == ("RUNNING", "c1")
    assert found["job"]["id"] == queue(site.centre)[0]["id"]
    assert listening_ports(c1) == set(), "a lab in a job, and its kernels, have no TCP port"


def test_cancelled_job_is_told_of_and_not_submitted_again(site: JobLab) -> None:
    submit(site.centre.hub)
    (job,) = queue(site.centre)
    cancel(site.centre, job["id"])
    assert "cancelled" in site.waits_with("cancelled").lower()
    found = status(site.centre.hub)
    assert (found["state"], found["job"]["state"]) == ("failed", "ENDED")
    assert "--job" in found["next"]
    assert queue(site.centre) == []
    plain = gears(site.centre.hub, "lab andes")
    assert plain.returncode == 1
    assert queue(site.centre) == []
    submitted_behind_a_silent_hop(site.centre.hub)
    assert node_of(site.kernel()) == "c1"


def submitted_behind_a_silent_hop(hub: Host) -> None:
    """A busy login node answers later: the job is asked for nevertheless."""
    hub.run("pkill -STOP -x ssh", check=True)
    try:
        terminal = hub.spawn("gears/.venv/bin/gears lab andes --job")
        terminal.expect("requested a job")
    finally:
        hub.run("pkill -CONT -x ssh", check=True)
    terminal.expect("is up on c1")


def test_job_that_had_ended_unnoticed_is_replaced_by_who_asks_for_one(site: JobLab) -> None:
    """It was cancelled a moment ago, and the login node is too busy to look."""
    hub, login1 = site.centre.hub, site.centre.login1
    submit(hub)
    (job,) = queue(site.centre)
    busy = " ".join(str(one.pid) for one in login1.processes("alice") if "sshd" not in one.argv[0])
    login1.run(f"kill -STOP {busy}")  # one may have just ended
    try:
        cancel(site.centre, job["id"])
        wait_until(lambda: not queue(site.centre), 60, "it has ended")
        terminal = hub.spawn("gears/.venv/bin/gears lab andes --job")
        terminal.expect("unknown")
    finally:
        login1.run(f"kill -CONT {busy}")
    terminal.expect(f"job {job['id']}: cancelled.*a new job is requested")
    terminal.expect("is up on c1")
    assert [one["state"] for one in queue(site.centre)] == ["RUNNING"]


@pytest.mark.parametrize("reach", ["ssh", "reverse"])
def test_successor_takes_over_on_another_node(site: JobLab, reach: str) -> None:
    centre = site.centre
    submit(centre.hub, f"--renew 2 --reach {reach}")
    jobs = wait_until(lambda: len(found := queue(centre)) == 2 and found, 20, "a successor waits")
    (running,) = [job for job in jobs if job["state"] == "RUNNING"]
    (successor,) = [job for job in jobs if job != running]
    assert successor["reason"] == "Dependency"
    assert running["node"] == "c1"
    wait_until(lambda: status(centre.hub)["job"]["successor"] == successor["id"], 20, "the record has it")
    with drained(centre, "c1"):
        cancel(centre, running["id"])
        wait_until(site.lab.waits, 20, "the waiting page is there meanwhile")
        wait_until(site.lab.answers, 60, "the successor answers")
    assert node_of(site.kernel()) == "c2"
    found = status(centre.hub)["job"]
    assert (found["id"], found["node"]) == (successor["id"], "c2")
    wait_until(lambda: len(queue(centre)) == 2, 20, "the successor has one of its own")
    assert status(centre.hub)["job"]["renew"] == 1
    assert gears(centre.hub, "stop andes", timeout_s=120).returncode == 0
    assert queue(centre) == []


@pytest.mark.parametrize("reach", ["ssh", "reverse"])
def test_shut_down_in_jupyterlab_ends_job_and_successor(site: JobLab, reach: str) -> None:
    centre = site.centre
    submit(centre.hub, f"--renew --reach {reach}")
    wait_until(lambda: len(queue(centre)) == 2, 20, "a successor waits")
    assert site.lab.request("POST", "/api/shutdown").status == 200
    wait_until(lambda: not queue(centre), 30, "nothing runs or waits")
    wait_until(lambda: state(centre.hub) == "stopped", 20, "it is stopped, on the hub too")
    for host in (centre.login1, centre.hub, centre.c1):
        wait_until(lambda host=host: not host.run("ls -d /tmp/gears-*").stdout, 10, f"{host.name} is cleared up")


def test_full_queue_is_shown_and_the_job_starts_when_there_is_room(site: JobLab) -> None:
    centre = site.centre
    theirs = [occupy(centre, node) for node in ("c1", "c2")]
    done = gears(centre.hub, "lab andes --job --no-wait --json")
    assert done.returncode == 0, done.stderr
    reason = site.waits_with("Resources")
    assert gears(centre.hub, "status andes").returncode == 0
    found = wait_until(lambda: (now := status(centre.hub))["job"]["starts"] and now, 40, "an expected start")
    assert (found["state"], found["job"]["state"], found["job"]["word"]) == ("queued", "PENDING", "PENDING")
    assert "Resources" in found["reason"]
    assert "submitted" in reason
    page = site.lab.request("GET", "/", accept="text/html").text
    assert "Resources" in page
    assert "expected to start" in page
    cancel(centre, *theirs)
    wait_until(site.lab.answers, 60, "it has started")
    assert node_of(site.kernel()) in ("c1", "c2")


def test_stop_in_the_queue_leaves_nothing(site: JobLab) -> None:
    centre = site.centre
    for node in ("c1", "c2"):
        occupy(centre, node)
    gears(centre.hub, "lab andes --job --no-wait")
    wait_until(lambda: state(centre.hub) == "queued", 20, "it waits")
    done = gears(centre.hub, "stop andes", timeout_s=120)
    assert done.returncode == 0, done.stderr
    assert queue(centre) == []
    assert state(centre.hub) == "stopped"
    assert gears(centre.hub, "stop andes").stdout == "andes: nothing was running\n"
    assert not centre.hub.path(f"{home()}/run/andes.sck").is_symlink()


def test_stop_on_the_login_node_ends_the_hubs_hop_too(site: JobLab) -> None:
    centre = site.centre
    submit(centre.hub)
    assert gears(centre.login1, "stop andes", timeout_s=120).returncode == 0
    wait_until(lambda: state(centre.hub) == "stopped", 10, "the hub knows that it was stopped")
    for host in (centre.hub, centre.login1):
        wait_until(lambda host=host: not host.run("ls -d /tmp/gears-*").stdout, 10, f"{host.name} is cleared up")


def test_refusal_on_the_login_node_leaves_the_hub_as_able_as_before(site: JobLab) -> None:
    centre = site.centre
    submit(centre.hub)
    cancel(centre, *[job["id"] for job in queue(centre)])
    wait_until(lambda: state(centre.hub) == "failed", 30, "the job is over")
    assert gears(centre.login1, "lab andes --job -p nosuch").returncode == 1
    for host in (centre.login1, centre.hub):
        found = wait_until(lambda host=host: (now := status(host))["state"] == "failed" and now, 10, "it is still over")
        assert ("cancelled" in found["reason"], found["next"].endswith("gears lab andes --job")) == (True, True)
    submit(centre.hub)
    assert node_of(site.kernel()) == "c1"


@pytest.mark.parametrize("where", ["login1", "hub"])
def test_ten_at_once_submit_one_job(site: JobLab, where: str) -> None:
    centre = site.centre
    started = [centre.hosts[where].popen(f"{home()}/.venv/bin/gears lab andes --job") for _ in range(10)]
    said = [process.communicate(timeout=240) for process in started]
    assert [process.returncode for process in started] == [0] * 10, said
    assert len(queue(centre)) == 1


def test_two_login_nodes_at_once_submit_one_job(site: JobLab) -> None:
    """One of them follows it, and the other says so."""
    centre = site.centre
    hosts = [centre.login1, centre.login2] * 3
    started = [host.popen(f"{home()}/.venv/bin/gears lab andes --job") for host in hosts]
    said = [process.communicate(timeout=240)[1] for process in started]
    assert len(queue(centre)) == 1, said
    follower = status(centre.login1)["job"]["host"]
    for host, process, words in zip(hosts, started, said, strict=True):
        assert process.returncode == 0 or f"is monitored from {follower}" in words, (host.name, words)
