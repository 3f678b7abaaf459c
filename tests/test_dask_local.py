"""Clusters without a batch system: on the machine itself, found from the laptop too, bounded, and honest when gone."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.centre import Centre, Host
from tests.clusters import CONFIG, PYTHON, cluster, dask, python, up
from tests.conftest import Took
from tests.helpers import gears, home, wait_until

HPC = """\
[front]
host = "hub"
root = "~/gears"
[lab]
host = "andes"
match = ["login*"]
[dask]
idle_worker = "00:00:02"
"""
SERVER = '[lab]\nhost = "login1"\nmatch = ["login1"]\n'
SMALL = SERVER + "[dask]\ncores = 1\n"
CENTRE = {"profiles": {"hpc": HPC, "antakya": SERVER, "small": SMALL}}

CLIENT = "import dask.distributed as dd; client = dd.Client(); print(client.scheduler.address)"


@pytest.fixture(autouse=True)
def fresh(centre: Centre) -> Iterator[None]:
    yield
    for site in ("hpc", "antakya", "small"):
        dask(centre.login1, f"down {site}")
    dask(centre.login2, "down hpc")


def connect(host: Host, site: str = "hpc", **environ: str) -> tuple[int, str, float]:
    """A script with a bare Client(): its exit status, what it said last, and how long that Client() took."""
    timed = f"import time, distributed; began = time.monotonic()\ntry:\n    {CLIENT}\nfinally:\n"
    done = python(host, f"{timed}    print(time.monotonic() - began)", site, env=environ)
    return done.returncode, done.stdout + done.stderr, float(done.stdout.splitlines()[-1])


def kill_all(host: Host, site: str) -> None:
    """The owner, stopped first lest it end by its loop's hangup, and the loop that would clear up after it."""
    directory = f"{home()}/run/{site}/dask"
    loop = host.path(f"{directory}/loop").read_text().split()[1]
    owner = json.loads(host.path(f"{directory}/cluster.json").read_text())["pid"]
    host.kill(owner, signal="STOP")
    host.run(["kill", "-9", loop, str(owner)], check=True)


def test_from_the_laptop_as_from_the_lab_host(centre: Centre) -> None:
    assert dask(centre.laptop, "status hpc").returncode == 4
    done = dask(centre.laptop, "up hpc --min=1")
    assert done.returncode == 0, done.stderr
    assert "The Dask cluster of hpc is up on login1." in done.stdout
    address = cluster(centre.login1, "hpc")["address"]
    assert connect(centre.login1)[1].startswith(address)
    for host in (centre.laptop, centre.hub, centre.login2):
        assert cluster(host, "hpc")["address"] == address, host.name
    assert dask(centre.laptop, "scale 1 hpc").stdout == "hpc: 1 workers requested, 1 connected\n"
    assert "its Dask cluster keeps running" in gears(centre.hub, "stop hpc").stderr
    assert dask(centre.hub, "down hpc").stdout == "hpc: the Dask cluster has ended\n"
    assert dask(centre.laptop, "down hpc").stdout == "hpc: no Dask cluster was up\n"
    wait_until(lambda: not centre.login1.processes("alice"), 10, "nothing of hers is left on login1")
    assert dask(centre.hub, "scale 1 hpc").returncode == 4


def test_ten_at_once_start_one(centre: Centre) -> None:
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: up(centre.login1, "hpc"), range(10)))
    assert len({record["id"] for record in found}) == 1
    owners = [process for process in centre.login1.processes("alice") if process.comm.startswith("python")]
    assert len(owners) == 1


def test_a_notebook_older_than_the_cluster_finds_it_and_is_told_when_it_has_ended(centre: Centre) -> None:
    code = """
import sys, dask.distributed
for line in sys.stdin:
    try:
        client = dask.distributed.Client()
        print(client.scheduler.address, client.cluster is None, flush=True)
        client.close()
    except ConnectionError as exc:
        print(" ".join(str(exc).split()), flush=True)
"""
    up(centre.login1, "hpc")
    dask(centre.login1, "down hpc")
    notebook = centre.login1.popen([PYTHON, "-c", code], env={"DASK_CONFIG": CONFIG.format(site="hpc")}, stdin=-1)
    assert notebook.stdin
    assert notebook.stdout

    def ask() -> str:
        notebook.stdin.write("\n")
        notebook.stdin.flush()
        return notebook.stdout.readline().strip()

    for _ in range(2):
        address = up(centre.login1, "hpc")["address"]
        assert ask() == f"{address} True"
        dask(centre.login1, "down hpc")
        assert ask() == "your Dask cluster has ended: it was stopped on request next: gears dask up hpc"
    centre.login1.end_popen(notebook)


def test_a_stale_address_is_told_of_at_once(centre: Centre, took: Took) -> None:
    # what a loop does at its end takes a stale address away, too
    wait_until(lambda: not centre.login1.processes("alice"), 30, "the cluster before has cleared up")
    up(centre.login1, "hpc")
    address = cluster(centre.login1, "hpc")["address"]
    kill_all(centre.login1, "hpc")
    status, said, seconds = connect(centre.login1)
    assert status == 1, said
    assert f"your Dask cluster at {address} does not respond" in said
    assert "next: gears dask status hpc" in said
    assert seconds < 3
    took("refused", time.monotonic() - seconds)
    assert dask(centre.login1, "status hpc").returncode == 4
    assert not centre.login1.path(f"{CONFIG.format(site='hpc')}/10-cluster.yaml").exists()


def test_a_record_that_can_not_be_read_ends_no_cluster(centre: Centre) -> None:
    up(centre.login1, "hpc")
    record = f"{home()}/run/hpc/dask/cluster.json"
    address = cluster(centre.login1, "hpc")["address"]
    for _ in range(40):  # the owner replaces it every ten seconds
        centre.login1.run(["chmod", "0", record], check=True)
        time.sleep(0.1)
    wait_until(lambda: centre.login1.run(["cat", record]).returncode == 0, 15, "the owner has written it again")
    found = cluster(centre.login1, "hpc")
    assert (found["address"], found["state"]) == (address, "up")


def test_a_host_that_fell_silent_is_told_of_within_three_seconds(centre: Centre) -> None:
    """The record, in the home, says that it lives; packets to it are lost."""
    up(centre.login1, "hpc")
    directory, there = f"{home()}/run/hpc/dask", cluster(centre.login1, "hpc")["address"]
    silent = there.replace("127.0.0.1", "10.77.2.11")
    centre.login2.run(f"cp -a {directory} ~/copy && sed -i 's,{there},{silent},' ~/copy/cluster.json", check=True)
    _, _, refused_s = connect(centre.login2, DASK_CONFIG="/home/alice/copy/config")
    centre.login1.cut()
    try:
        status, said, seconds = connect(centre.login2, DASK_CONFIG="/home/alice/copy/config")
    finally:
        centre.login1.heal()
        centre.login2.run("rm -rf ~/copy")
    assert status == 1
    assert f"your Dask cluster at {silent} does not respond" in said
    assert seconds < 2 + 3 * max(refused_s, 0.5)


def test_without_a_cluster_a_bare_client_keeps_to_the_share_of_the_profile(centre: Centre) -> None:
    up(centre.login1, "small")
    dask(centre.login1, "down small")
    code = """
import json
if __name__ == "__main__":
    from dask.distributed import Client
    client = Client()
    info = client.scheduler_info()
    print(json.dumps([sum(client.nthreads().values()), info["services"], client.scheduler.address]))
    import subprocess
    print(subprocess.run(["ss", "-Hltn"], capture_output=True, text=True).stdout)
"""
    centre.login1.run("cat > ~/bare.py", input=code, check=True)
    done = centre.login1.run([PYTHON, "bare.py"], env={"DASK_CONFIG": CONFIG.format(site="small")}, check=True)
    threads, services, address = json.loads(done.stdout.splitlines()[0])
    assert threads == 1
    assert address.startswith("tls://127.0.0.1:")
    assert f"127.0.0.1:{services['dashboard']}" in done.stdout
    assert "0.0.0.0:" not in done.stdout.replace("0.0.0.0:22", "").replace("0.0.0.0:*", "")


def test_a_second_cluster_is_refused_with_numbers(centre: Centre) -> None:
    first = up(centre.login1, "antakya")["bounds"]
    done = dask(centre.login1, "up small")
    assert done.returncode == 2
    assert f"the cluster of antakya has {first['cores']} cores and {first['memory'] / 1e9:.1f} GB of the" in done.stderr
    assert "dask down antakya" in done.stderr.rpartition("next: ")[2]
    assert cluster(centre.login1, "small")["state"] != "up"
    assert dask(centre.login1, "up small --oversubscribe").returncode == 0
    assert cluster(centre.login1, "small")["bounds"]["cores"] == 1
    too_many = dask(centre.login1, "scale 7 small")
    assert too_many.returncode == 2
    assert "7 workers exceed the limit of 1 on this machine: 1 cores (" in too_many.stderr


def test_her_own_address_stays_hers(centre: Centre) -> None:
    up(centre.login1, "hpc")
    hers = {"DASK_SCHEDULER_ADDRESS": "tls://127.0.0.1:9", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"}
    status, said, _ = connect(centre.login1, **hers)
    assert status == 1
    assert "tls://127.0.0.1:9" in said
    assert "gears dask" not in said


def test_idle_workers_go_and_an_idle_cluster_says_when_it_will(centre: Centre) -> None:
    up(centre.login1, "hpc")
    python(
        centre.login1, "from dask.distributed import Client; print(Client().submit(sum, [1, 2]).result())", check=True
    )
    wait_until(lambda: cluster(centre.login1, "hpc")["workers"] == 0, 30, "its worker has gone")
    assert "idle since" in dask(centre.login1, "status hpc").stdout
