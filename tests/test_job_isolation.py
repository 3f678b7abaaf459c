"""A job in the presence of others, bob above all: he gets in nowhere; and what it costs the hosts it is on."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.centre import Centre, Host
from tests.helpers import Kernel, gears, home, lab_at, listening_ports, listening_sockets, wait_until
from tests.jobs import SLURM, clear, job_record, occupy, queue, submit

CENTRE = SLURM
RUN = f"{home()}/run"
WATCHED_S = 25
"""How long a job is watched in the queue: three questions at most, at 3, 13 and 25 s or later."""


@pytest.fixture(scope="module", params=["ssh", "reverse"])
def up(request: pytest.FixtureRequest, centre: Centre) -> Iterator[tuple[Centre, str]]:
    """The lab of andes is up in a job on c1, with a kernel that has run a cell, in a home that others may enter."""
    centre.hub.run("chmod 755 ~ ~/gears", check=True)
    submit(centre.hub, f"--reach {request.param}")
    Kernel(lab_at(centre.hub)).run("print(1)")
    yield centre, request.param
    clear(centre)


def local_directory(host: Host) -> str:
    return host.run(f"dirname $(readlink {RUN}/andes.sck)", check=True).stdout.strip()


def test_bob_connects_to_no_socket_on_the_way(up: tuple[Centre, str]) -> None:
    centre, _ = up
    wanted = {centre.hub: ".hop.", centre.login1: ".job.", centre.c1: ".lab."}
    local = local_directory(centre.hub)
    for host, kind in wanted.items():
        paths = listening_sockets(host)
        hers = [path for path in paths if path.startswith(local)]
        assert [path for path in hers if kind in path], (host.name, paths)
        for path in (*hers, f"{RUN}/andes.sck", f"{local}/andes.sck"):
            assert not host.connect_unix(path, "bob"), (host.name, path)
        assert host.connect_unix(f"{RUN}/andes.sck", "alice"), host.name
    assert len([path for path in listening_sockets(centre.c1) if "/kernel-" in path]) >= 5


def test_no_port_of_hers_is_open_on_login_or_compute_node(up: tuple[Centre, str]) -> None:
    centre, _ = up
    assert [listening_ports(host) for host in (centre.login1, centre.c1)] == [set(), set()]


def test_bob_reads_nothing_of_the_job(up: tuple[Centre, str]) -> None:
    centre, _ = up
    number = job_record(centre.hub)["number"]
    files = [
        f"{RUN}/andes/{name}" for name in ("token", "job.json", "job.sh", f"job.{number}.log", f"job.{number}.life")
    ]
    for host in (centre.login1, centre.c1):
        for path in (*files, local_directory(host)):
            command = f"ls -d {path}/. || cat {path}"
            assert host.run(command).returncode == 0, (host.name, path)
            assert "Permission denied" in host.run(command, "bob").stderr, (host.name, path)


def test_token_is_in_no_process_list_log_or_job_script(up: tuple[Centre, str]) -> None:
    centre, _ = up
    token = centre.hub.run(f"cat {RUN}/andes/token", check=True).stdout.strip()
    (job,) = queue(centre)
    for host in (centre.hub, centre.login1, centre.login2, centre.c1):
        assert token not in host.run("ps -e -ww -o args", "bob").stdout, host.name
    told = centre.login2.run(["scontrol", "show", "job", "-d", "-o", job["id"]], "bob").stdout
    script = centre.login2.run(["scontrol", "write", "batch_script", job["id"], "-"], "alice").stdout
    logs = centre.hub.run(f"cat {RUN}/andes/*.log {RUN}/andes/job.sh {RUN}/andes/job.json").stdout
    assert "JupyterLab" in script
    for text in (told, script, logs):
        assert token not in text


def test_only_tmux_shell_and_ssh_stay_on_the_login_node(up: tuple[Centre, str]) -> None:
    """And with a reverse tunnel the shell at its end, which waits for the next beat."""
    centre, reach = up
    hop = Counter({"sh": 1, "sshd": 1})  # the hub's, at its end here
    loop = Counter({"tmux: server": 1, "sh": 1})
    way = Counter({"ssh": 1}) if reach == "ssh" else Counter({"cat": 1, "sshd": 1})

    def resident() -> Counter[str]:
        found = Counter(process.comm for process in centre.login1.processes("alice"))
        beat = (
            Counter({"sh": found["sh"] - 2, "timeout": 1, "head": 1, "bash": found["bash"]})
            if reach == "reverse"
            else Counter()
        )
        return found - beat

    wait_until(lambda: resident() == hop + loop + way, 15, f"what stays on login1: {hop + loop + way}")


def test_scheduler_is_not_asked_while_the_job_runs(up: tuple[Centre, str]) -> None:
    centre, _ = up
    Kernel(lab_at(centre.hub)).run("print(2)")
    before = centre.scheduler_calls()
    for _ in range(5):
        assert gears(centre.hub, "status andes").returncode == 0
        assert gears(centre.login1, "status andes").returncode == 0
        assert gears(centre.login1, "lab andes --job").returncode == 0
    assert centre.scheduler_calls() == before


def test_scheduler_is_seldom_asked_while_the_job_waits(centre: Centre) -> None:
    """Counted by Slurm itself: three requests for each squeue, one for sbatch."""
    clear(centre)
    for node in ("c1", "c2"):
        occupy(centre, node)
    before, began = centre.scheduler_calls(), time.monotonic()
    gears(centre.login1, "lab andes --job --no-wait", check=True)
    while time.monotonic() < began + WATCHED_S:
        gears(centre.login1, "status andes")
        time.sleep(1)
    asked = centre.scheduler_calls() - before
    clear(centre)
    assert 1 + 3 <= asked <= 1 + 3 * 3, asked


def test_scheduler_is_not_asked_more_often_by_a_home_that_is_full(centre: Centre) -> None:
    """The job's loop can't write down what it has decided, nor when it asked; so it waits, and longer each time."""
    clear(centre)
    for node in ("c1", "c2"):
        occupy(centre, node)
    gears(centre.login1, "lab andes --job --no-wait", check=True)
    asked = centre.scheduler_calls()
    log = centre.login1.path(f"{RUN}/andes/job.log")
    centre.login1.run(f"chmod 500 {RUN}/andes", check=True)
    try:
        wait_until(lambda: "Permission denied" in log.read_text(), 20, "a turn has failed")
        began, asked = time.monotonic(), centre.scheduler_calls()
        time.sleep(max(0, began + 12 - time.monotonic()))
        assert centre.scheduler_calls() - asked <= 3, "one squeue after 10 s, the next after 30"
    finally:
        centre.login1.run(f"chmod 700 {RUN}/andes", check=True)
    clear(centre)
