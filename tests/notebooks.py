"""Notebooks each with a Dask cluster of its own, and their dashboards through the one port of the laptop."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.bench.laptop import PORT
from tests.centre import Centre, Host
from tests.helpers import Kernel, Lab, Reply, lab_at, listening_ports

CLUSTER = """
from dask.distributed import Client, LocalCluster
cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0")
client = Client(cluster)
print(client.submit(sum, [40, 2]).result(), cluster.scheduler_info["services"]["dashboard"])
"""


@dataclass(frozen=True)
class Counted:
    """`dashboards`: how many answer at the laptop; `listeners`: TCP sockets on which the user listens, by host."""

    notebooks: int
    dashboards: int
    forwarded: int
    listeners: dict[str, int]


def laptop_lab(centre: Centre) -> Lab:
    """The lab of andes at the laptop's port, with a laptop connected (`bench.laptop`)."""
    return Lab(centre.laptop, PORT, lab_at(centre.hub).token, timeout_s=60)


def open_notebooks(lab: Lab, count: int) -> list[int]:
    """The dashboards' ports on the lab host. Each kernel has started a cluster and computed with it."""
    kernels = [Kernel(lab) for _ in range(count)]
    with ThreadPoolExecutor(4) as pool:
        printed = [words.split() for words in pool.map(lambda kernel: kernel.run(CLUSTER), kernels)]
    assert {words[0] for words in printed} == {"42"}
    return [int(words[1]) for words in printed]


def close_notebooks(lab: Lab) -> None:
    for kernel in lab.kernels():
        lab.request("DELETE", f"/api/kernels/{kernel}")


def count(centre: Centre, lab: Lab, dashboards: list[int]) -> Counted:
    pages = [page(lab, f"/proxy/{port}/status") for port in dashboards]
    answered = sum(page.status == 200 and "Dask" in page.text for page in pages)
    hosts: list[Host] = [centre.laptop, centre.hub, centre.login1]
    listeners = {host.name: len(listening_ports(host)) for host in hosts}
    return Counted(len(dashboards), answered, len(forwarded_ports(centre)), listeners)


def page(lab: Lab, target: str) -> Reply:
    """As a browser gets it: the first request to the proxy may be sent there again (`deferred_extensions`)."""
    reply = lab.request("GET", target, accept="text/html")
    return lab.request("GET", target, accept="text/html") if reply.status == 307 else reply


def forwarded_ports(centre: Centre) -> set[int]:
    """On the laptop, where only ssh listens."""
    return {port for _, port in listening_ports(centre.laptop)}
