"""A cluster of one's own, with a real Slurm: found by every bare Client(), scaled by the work, gone without a trace."""

import json
import signal
import time
from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.clusters import SITES, await_workers, clear, cluster, dask, notebook, up
from tests.conftest import Took
from tests.helpers import Kernel, gears, home, wait_until
from tests.jobs import queue

CENTRE = SITES
WORK = """\
import time, socket
done = client.gather(client.map(lambda i: (time.sleep(0.5), i, socket.gethostname())[1:], range(80), pure=False))
print(sum(i for i, _ in done), *sorted({host for _, host in done}))
"""


@pytest.fixture(scope="module")
def lab(centre: Centre) -> Iterator[Centre]:
    gears(centre.hub, "lab andes", check=True)
    yield centre
    gears(centre.hub, "stop andes", check=True)


@pytest.fixture
def fresh(centre: Centre) -> Iterator[Centre]:
    yield centre
    clear(centre)


def nodes(kernel: Kernel) -> set[str]:
    found = kernel.run("print(*{w['host'] for w in client.scheduler_info(n_workers=-1)['workers'].values()})")
    return set(found.split())


def test_two_notebooks_and_an_ipython_session_share_one_cluster(lab: Centre, fresh: Centre, took: Took) -> None:
    began = time.monotonic()
    up(lab.hub)
    took("up", began)
    first, second = notebook(lab.hub), notebook(lab.hub)
    shell = lab.hub.spawn(f"exec {home()}/.venv/bin/gears shell andes --ipython", timeout_s=60)
    shell.expect(r"In \[")
    shell.send("from dask.distributed import Client; client = Client(); print('at' + client.scheduler.address)\r")
    shell.expect(r"at(tls://10\.77\.2\.11:\d+)")
    address = shell.match[1]
    shell.close()
    assert address == cluster(lab.hub)["address"]
    for kernel in (first, second):
        assert kernel.run("print(client.scheduler.address)").strip() == address
    assert queue(lab) == []
    began = time.monotonic()
    assert first.run(WORK) == "3160 c1 c2\n"
    took("80 tasks of half a second, from no worker", began)
    await_workers(lab.hub, 0)
    wait_until(lambda: queue(lab) == [], 30, "no job is left")
    assert second.run(WORK).startswith("3160 ")


# --- nothing is left ---------------------------------------------------------------------------


def kill(centre: Centre, site: str, *what: str, number: int = signal.SIGKILL) -> None:
    """A signal for the owner of a cluster, for the loop around it, or for both at once."""
    directory = centre.login1.path(f"{home()}/run/{site}/dask")
    pids = {
        "owner": json.loads((directory / "cluster.json").read_text())["pid"],
        "loop": (directory / "loop").read_text().split()[1],
    }
    centre.login1.run(["kill", f"-{number:d}", *(str(pids[name]) for name in what)], check=True)


def with_jobs(centre: Centre) -> None:
    """A cluster with two jobs that run, and two that wait: bob has left one processor of each node."""
    for node in ("c1", "c2"):
        words = ["sbatch", "-p", "debug", "-c", "3", "-o", "/dev/null", f"--nodelist={node}", "--wrap", "sleep 600"]
        centre.login1.run(words, "bob", cwd="/tmp", check=True)
    up(centre.login1, "quick", "--min=4 --max=4")
    wait_until(lambda: (cluster(centre.login1, "quick")["workers"] or 0) >= 2, 60, "workers have come")
    wait_until(lambda: {job["state"] for job in queue(centre)} == {"PENDING", "RUNNING"}, 30, "some jobs wait")


@pytest.mark.parametrize("how", ["down", "SIGTERM", "SIGHUP", "kill -9"])
def test_however_it_ends_no_job_is_left(centre: Centre, fresh: Centre, how: str, took: Took) -> None:
    with_jobs(centre)
    began = time.monotonic()
    if how == "down":
        assert dask(centre.login1, "down quick").stdout == "quick: the Dask cluster has ended\n"
    else:
        kill(centre, "quick", "owner", number={"kill -9": signal.SIGKILL}.get(how) or signal.Signals[how])
    wait_until(lambda: queue(centre) == [], 30, "the queue is empty")
    took(f"queue empty after {how}", began)
    assert not centre.login1.path(f"{home()}/run/quick/dask/config/10-cluster.yaml").exists()
    found = cluster(centre.login1, "quick")
    assert found["state"] == "ended"
    assert how in {"down": "down", "kill -9": "kill -9"}.get(how, found["reason"])
    assert dask(centre.login1, "down quick").stdout == "quick: no Dask cluster was up\n"
    wait_until(lambda: "dask@quick" not in centre.login1.run("tmux -L gears ls").stdout, 10, "its session has ended")


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_jobs_that_a_killed_owner_left_are_cancelled_by_the_next_command(
    centre: Centre, fresh: Centre, command: str
) -> None:
    with_jobs(centre)
    theirs = centre.login1.run(["sbatch", "--parsable", "-p", "debug", "-o", "/dev/null", "--wrap", "sleep 600"]).stdout
    kill(centre, "quick", "loop", "owner")
    assert len(queue(centre)) > 1  # a worker that runs ends by itself, soon after its scheduler
    dask(centre.login1, f"{command} quick")
    wait_until(lambda: [job["id"] for job in queue(centre)] == [theirs.strip()], 30, "her own job alone is left")


def test_typed_inside_a_job_it_outlives_that(centre: Centre, fresh: Centre) -> None:
    """salloc(1) runs it on the login node, with the variables of its own allocation."""
    typed = f"salloc --partition=debug --ntasks=1 --time=2 {home()}/.venv/bin/gears dask up quick --min=1"
    centre.login1.run(typed, check=True, timeout_s=120)
    await_workers(centre.login1, 1, "quick")
    wait_until(lambda: [job["state"] for job in queue(centre)] == ["RUNNING"], 30, "only the workers' job is left")
    assert cluster(centre.login1, "quick")["state"] == "up"
