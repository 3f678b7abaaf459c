"""bob against alice's cluster: on every host of it, every listener of hers, without her certificate."""

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.centre import Centre, Host
from tests.centre.network import ADDRESSES
from tests.clusters import SITES, await_workers, clear, up
from tests.helpers import home, listening_ports

CENTRE = SITES

TRY = """\
import asyncio, json, ssl, sys, tempfile, urllib.request, urllib.error
from distributed import Security
from distributed.core import rpc
from gears.dask.certificate import _make

PATHS = ("/", "/status", "/health", "/metrics", "/json/counts.json", "/sitemap.json")
NOTHING = '{"paths": ["/sitemap.json"]}'  # of a worker without pages

with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
    file.write(_make())
    file.flush()
    his = {what: file.name for what in ("tls_ca_file", "tls_client_cert", "tls_client_key")}
    foreign = Security(**his).get_connection_args("client")
blind = ssl.create_default_context()
blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
none = {"ssl_context": blind, "require_encryption": True}

async def call(where, args):
    try:
        async with asyncio.timeout(5):
            async with rpc(where, connection_args=args, timeout=3) as remote:
                return {"SERVED": str(await remote.identity())[:200]}
    except Exception as exc:
        return type(exc).__name__

def page(url):
    try:
        with urllib.request.build_opener().open(url, timeout=3) as answer:
            said = answer.read(200).decode()
            return said if said == NOTHING else {"SERVED": said}
    except urllib.error.HTTPError as exc:
        return exc.code
    except Exception as exc:
        return type(exc).__name__

async def main():
    found = []
    for host, port in json.load(sys.stdin):
        where = f"{host}:{port}"
        met = {path: page(f"http://{where}{path}") for path in PATHS}
        met["plain"] = await call(f"tcp://{where}", {})
        met["no certificate"] = await call(f"tls://{where}", none)
        met["a certificate of his own"] = await call(f"tls://{where}", foreign)
        found.append({"where": where, **met})
    print(json.dumps(found))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def two_workers(centre: Centre) -> Iterator[Centre]:
    """A home that others may enter, a cluster with two jobs of two workers, one on each node."""
    centre.hub.run("chmod 755 ~ ~/gears", check=True)
    up(centre.login1, "andes", "--min=4")
    await_workers(centre.login1, 4)
    yield centre
    clear(centre)


def listeners(host: Host) -> list[tuple[str, int]]:
    """alice's, by an address at which bob reaches it on that host."""
    found = set()
    for address, port in listening_ports(host):
        if int(address, 16) == 0:  # at every address, of IPv4 or of IPv6, of which the host has none
            found.add((ADDRESSES[host.name]["inside"], port))
        else:
            assert len(address) == 8, address
            found.add((socket.inet_ntoa(struct.pack("<I", int(address, 16))), port))
    return sorted(found)


def tried(host: Host, where: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """What bob meets at each."""
    python = f"{home('bob')}/.venv/bin/python"
    done = host.run([python, "-c", TRY], "bob", input=json.dumps(where), timeout_s=120, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_bob_is_served_at_no_listener_of_hers(two_workers: Centre) -> None:
    """Scheduler and dashboard on login1; on each node two workers, two nannies, and the pages of the workers."""
    hosts = (two_workers.login1, two_workers.c1, two_workers.c2)
    every = {host.name: listeners(host) for host in hosts}
    print(json.dumps(every))
    assert len(every["login1"]) >= 2
    assert all(len(every[node]) >= 6 for node in ("c1", "c2"))
    for host in hosts:
        for met in tried(host, every[host.name]):
            assert "SERVED" not in json.dumps(met), (host.name, met)
    open_to_others = [place for name in every for place in every[name] if place[0] != "127.0.0.1"]
    assert len(open_to_others) == 9  # scheduler, four workers, four nannies
    for met in tried(two_workers.login2, open_to_others):
        assert "SERVED" not in json.dumps(met), met


def test_with_her_certificate_they_are_served(two_workers: Centre) -> None:
    """What bob was refused is not simply dead: the same calls, as alice."""
    code = "from dask.distributed import Client; c = Client(); print(len(c.scheduler_info(n_workers=-1)['workers']))"
    config = f"{home()}/run/andes/dask/config"
    done = two_workers.c1.run([f"{home()}/.venv/bin/python", "-c", code], env={"DASK_CONFIG": config}, check=True)
    assert done.stdout == "4\n"


def test_bob_reads_nothing_of_the_cluster(two_workers: Centre) -> None:
    run = f"{home()}/run/andes/dask"
    for host in (two_workers.login1, two_workers.c1):
        for path in (run, f"{run}/tls.pem", f"{run}/config", f"{run}/cluster.json", f"{run}/logs"):
            command = f"ls -d {path}/. || cat {path}"
            assert host.run(command).returncode == 0, path
            assert "Permission denied" in host.run(command, "bob").stderr, path
    aside = two_workers.c1.run("ls -d /tmp/dask-*", check=True).stdout.split()
    assert aside
    for path in aside:
        assert "Permission denied" in two_workers.c1.run(["ls", path], "bob").stderr


def test_no_secret_is_among_the_processes_or_in_a_job_script(two_workers: Centre) -> None:
    run = f"{home()}/run/andes/dask"
    secrets = [two_workers.login1.run(f"cat {run}/prefix", check=True).stdout.strip()]
    secrets += two_workers.login1.run(f"sed -n 2,3p {run}/tls.pem", check=True).stdout.split()
    seen = [host.run("ps -e -ww -o args", "bob").stdout for host in (two_workers.login1, two_workers.c1)]
    job = two_workers.login2.run("squeue -h -u alice -o %A | head -1", check=True).stdout.strip()
    seen.append(two_workers.login2.run(["scontrol", "write", "batch_script", job, "-"], check=True).stdout)
    assert "tls.pem" in seen[-1]
    for secret in secrets:
        assert len(secret) > 30
        assert not [text for text in seen if secret in text]
