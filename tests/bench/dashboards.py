"""Sixteen of Dask's dashboards open in a real Chromium over a long line, and a cell meanwhile; by several ways.

The cluster is a process of its own on the login node, always at work. Each dashboard is a page with a websocket, by
which its plots are updated some five times a second.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from statistics import median

from playwright.sync_api import BrowserContext

from tests.bench.pages import lines, over
from tests.bench.work import BY_CHAIN, BY_OPEN, BY_STANZA, CELLS, USUAL, WAYS, Way, bare
from tests.centre import Centre
from tests.helpers import Lab, gears, home
from tests.panes import await_drawn

DASHBOARD_PORT = 38777
CLUSTER = f"""
from dask.distributed import Client, LocalCluster
import time
where = "127.0.0.1:{DASHBOARD_PORT}"
cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=where)
client = Client(cluster)
print("up", flush=True)
while True:
    client.gather(client.map(lambda number: time.sleep(0.2), range(10), pure=False))
"""
PLOTS = (
    "task-stream",
    "progress",
    "groups",
    "cluster-memory",
    "nprocessing",
    "occupancy",
    "workers",
    "workers-network-timeseries",
    "workers-disk-timeseries",
    "workers-cpu-timeseries",
    "workers-memory-timeseries",
    "workers-memory",
    "compute-time-per-key",
    "aggregate-time-per-action",
    "scheduler-system",
    "profile",
)


def measure(centre: Centre, rounds: int) -> Iterator[str]:
    gears(centre.hub, "lab andes", check=True)
    names = (BY_STANZA, BY_OPEN, BY_CHAIN)
    for line in lines(USUAL):
        found = []
        with over(centre, line), bare(centre), _cluster(centre):
            for name in names:
                with WAYS[name](centre) as lab, closing(Way(lab)) as way:
                    found.append(_measure(centre, lab, way, rounds))
        yield f"\n| {' | '.join([str(line), *names])} |\n{'| --- ' * (1 + len(names))}|"
        rows = ("16 dashboards drawn", "a cell before", "a cell meanwhile")
        for what, values in zip(rows, zip(*found, strict=True), strict=True):
            yield f"| {what} | {' | '.join(values)} |"


def _measure(centre: Centre, lab: Lab, way: Way, rounds: int) -> tuple[str, str, str]:
    drawn, before, meanwhile = [], [], []
    for _ in range(rounds):
        before += [way.run("print(7)") for _ in range(CELLS)]
        with centre.browser() as browser:
            drawn.append(_open_all(browser.page.context, lab))
            meanwhile += [way.run("print(7)") for _ in range(CELLS)]
    return f"{median(drawn):.1f} s", f"{1000 * median(before):.0f} ms", f"{1000 * median(meanwhile):.0f} ms"


def _open_all(context: BrowserContext, lab: Lab) -> float:
    """Return the seconds until each has something drawn on it."""
    address = f"http://localhost:{lab.where}"
    login = context.new_page()
    login.goto(f"{address}/api?token={lab.token}")
    began = time.monotonic()
    pages = [context.new_page() for _ in PLOTS]
    for page, plot in zip(pages, PLOTS, strict=True):
        page.goto(f"{address}/proxy/{DASHBOARD_PORT}/individual-{plot}", wait_until="commit")
    for page in pages:
        await_drawn(page, 1, 120)
    return time.monotonic() - began


@contextmanager
def _cluster(centre: Centre) -> Iterator[None]:
    cluster = centre.login1.popen([f"{home()}/.venv/bin/python", "-c", CLUSTER])
    try:
        assert cluster.stdout
        assert cluster.stdout.readline() == "up\n", cluster.communicate()[1]
        yield
    finally:
        centre.login1.end_popen(cluster)
