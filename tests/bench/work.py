"""Over a long line: JupyterLab's page, cells, large and many outputs, a notebook of 50 MB; by each way to the node.

All ways lead from the laptop over the line to the hub, and from there to JupyterLab on one login node, of the same
environment. Pages are loaded in Chromium; for all else a client of a few lines stands for the browser, whose own work
would hide the way's. Each value is the median of the rounds; the last column is the least time for one round trip (four
for a page) and the bytes.
"""

import json
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from statistics import median

from tests.bench.client import Client, port, wait_for_answer
from tests.bench.laptop import PORT, laptop_connected
from tests.bench.pages import TOKEN, Contender, Line, Loaded, lines, load_twice, over
from tests.bench.peers import PEER, install_peer
from tests.bench.start import BARE, BARE_PORT
from tests.centre import Centre
from tests.helpers import Kernel, Lab, connect, execute_request, gears, home, lab_at, wait_until
from tests.opening import await_up, type_open

CHAIN_PORT, MASTER_PORT, FORWARD_PORT = 38811, 38812, 38813
MASTER = "/tmp/master.sck"
USUAL = ((80, 20),)
CELLS = 20
OUTPUT_BYTES, PLOT_BYTES, NOTEBOOK_BYTES = 5_000_000, 2_000_000, 50_000_000
ENCODINGS = "gzip, deflate, br"
"""What browsers accept."""

PRINTED = f"import sys; sys.stdout.write(('%079d\\n' % 7) * {OUTPUT_BYTES // 80})"
SMALL = "import time\nfor n in range(200):\n    print(n, flush=True)\n    time.sleep(0.005)"
PLOT = (
    f"import os, base64; from IPython.display import display; noise = base64.b64encode(os.urandom({PLOT_BYTES}))\n"
    "display({'image/png': noise.decode(), 'text/plain': 'plot'}, raw=True)"
)
WAITING_S = 300
NO_LIMIT = "c.ZMQChannelsWebsocketConnection.iopub_data_rate_limit = 1e9"
"""Else 5 MB at once would be replaced by a warning."""


@dataclass(frozen=True)
class Task:
    """`moved`: bytes that the way carries for it where nothing is compressed; `apart_s`: what it lasts by itself."""

    name: str
    unit: str
    run: Callable[["Way"], float]
    moved: int = 0
    apart_s: float = 0.0


class Way:
    """JupyterLab behind a port of the laptop, with a kernel."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._channels = lab.open_channels(Kernel(lab).id)
        self._channels.settimeout(WAITING_S)
        assert self._channels.sock
        self._kept = HTTPConnection("localhost", timeout=WAITING_S)
        self._kept.sock = connect(lab.host, lab.where, WAITING_S)
        for connection in (self._channels.sock, self._kept.sock):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as browsers do
        self.run("1")

    def run(self, code: str) -> float:
        """Return the seconds from a cell's request to its last output."""
        message, request = execute_request(code)
        began, last = time.perf_counter(), 0.0
        self._channels.send(request)
        while True:
            reply = json.loads(self._channels.recv())
            if reply["parent_header"].get("msg_id") != message:
                continue
            if reply["msg_type"] in ("stream", "display_data", "execute_result"):
                last = time.perf_counter() - began
            elif reply["msg_type"] == "error":
                raise RuntimeError("\n".join(reply["content"]["traceback"]))
            elif reply["msg_type"] == "status" and reply["content"]["execution_state"] == "idle":
                return last

    def request(self, method: str, target: str, body: bytes | None = None) -> float:
        """Return the seconds that a request of the page takes, with all of the answer."""
        sent = {"Accept-Encoding": ENCODINGS, "Sec-Fetch-Site": "same-origin", "Connection": "close"}
        if self.lab.token:
            sent["Authorization"] = f"token {self.lab.token}"
        began = time.perf_counter()
        connection = HTTPConnection("localhost", timeout=WAITING_S)
        connection.sock = connect(self.lab.host, self.lab.where, WAITING_S)
        connection.request(method, target, body, sent)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status < 300, answer.status
        return time.perf_counter() - began

    def ping(self) -> float:
        """Return the seconds that a small request takes on a connection that is open."""
        began = time.perf_counter()
        self._kept.request("GET", "/api")
        self._kept.getresponse().read()
        return time.perf_counter() - began

    def close(self) -> None:
        self._kept.close()
        self._channels.close()
        for kernel in self.lab.kernels():
            self.lab.request("DELETE", f"/api/kernels/{kernel}")


def notebook() -> bytes:
    """Return the request that saves a notebook whose output is text, as numbers and logs are."""
    line = "step {0:7d}  loss {1:.6f}  accuracy {2:.4f}  {3:016x}\n"
    lines = [line.format(n, 1 / (n + 1), n % 9973 / 9973, n * 2654435761 % 2**64) for n in range(NOTEBOOK_BYTES // 62)]
    outputs = [{"output_type": "stream", "name": "stdout", "text": lines}]
    cell = {
        "cell_type": "code",
        "execution_count": 1,
        "id": "a",
        "metadata": {},
        "outputs": outputs,
        "source": "train()",
    }
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps({"type": "notebook", "format": "json", "content": content}).encode()


def tasks() -> list[Task]:
    saved = notebook()
    large = "/api/contents/large.ipynb"
    return [
        Task("a request on an open connection", "ms", lambda way: median(way.ping() for _ in range(CELLS)) * 1000),
        Task("cell to output", "ms", lambda way: median(way.run("print(7)") for _ in range(CELLS)) * 1000),
        Task("5 MB printed", "s", lambda way: way.run(PRINTED), OUTPUT_BYTES),
        Task("200 small outputs in a second", "s", lambda way: way.run(SMALL), apart_s=1.0),
        Task("a plot of 2 MB", "s", lambda way: way.run(PLOT), len(b64encode(bytes(PLOT_BYTES)))),
        Task("a notebook of 50 MB: save", "s", lambda way: way.request("PUT", large, saved), len(saved)),
        Task("a notebook of 50 MB: open", "s", lambda way: way.request("GET", f"{large}?content=1"), len(saved)),
    ]


def measure(centre: Centre, rounds: int) -> Iterator[str]:
    for name in ("jupyter", "jupyter-lab"):  # jupyter-forward looks on PATH
        centre.login1.install(name, f'#!/bin/sh\nexec {home()}/.venv/bin/{name} "$@"\n')
    centre.login1.install("activate", "# conda's, which jupyter-forward wants: JupyterLab is on PATH here\n")
    centre.hub.run(f"mkdir -p .jupyter && echo '{NO_LIMIT}' >> .jupyter/jupyter_server_config.py", check=True)
    gears(centre.hub, "lab andes", check=True)
    wanted, ways = tasks(), WAYS if install_peer() else {name: way for name, way in WAYS.items() if name != FORWARD}
    for line in lines(USUAL):
        pages, found = [], []
        with over(centre, line), bare(centre):
            for way in ways.values():
                with way(centre) as lab:
                    page = Contender(int(lab.where), lab.token)
                    pages.append([load_twice(centre, page) for _ in range(rounds + 1)][1:])
                    found.append(_measure(lab, wanted, rounds))
        yield from _page_table(line, list(ways), pages)
        yield from _table(line, wanted, found)


def _measure(lab: Lab, wanted: list[Task], rounds: int) -> list[float]:
    """Return the median of each task. Round 0 warms up."""
    with closing(Way(lab)) as way:
        taken = [[task.run(way) for task in wanted] for _ in range(rounds + 1)][1:]
    return [median(values) for values in zip(*taken, strict=True)]


def _page_table(line: Line, names: list[str], pages: list[list[tuple[Loaded, Loaded]]]) -> Iterator[str]:
    """Yield the head of the table, and the pages: `pages` has those of each way."""
    head = [str(line), *names, "limit"]
    yield f"\n| {' | '.join(head)} |\n{'| --- ' * len(head)}|"
    for number, name in enumerate(("first page", "second page")):
        loads = [[pair[number] for pair in way] for way in pages]
        least = line.limit_s(4, median(load.moved for load in loads[0]))
        values = [*(median(load.taken_s for load in way) for way in loads), least]
        yield f"| {name} | {' | '.join(f'{value:.3g} s' for value in values)} |"


def _table(line: Line, wanted: list[Task], found: list[list[float]]) -> Iterator[str]:
    for number, task in enumerate(wanted):
        least = line.limit_s(1, task.moved) + task.apart_s
        values = [*(values[number] for values in found), least * (1000 if task.unit == "ms" else 1)]
        yield f"| {task.name} | {' | '.join(f'{value:.3g} {task.unit}' for value in values)} |"


# --- the ways --------------------------------------------------------------------------------


@contextmanager
def bare(centre: Centre) -> Iterator[None]:
    plain = centre.login1.popen(f"{BARE} --IdentityProvider.token={TOKEN}")
    try:
        with Client(centre.login1) as login1:
            login1.run(wait_for_answer, port(BARE_PORT))
        yield
    finally:
        centre.login1.end_popen(plain)


@contextmanager
def _by_stanza(centre: Centre) -> Iterator[Lab]:
    with laptop_connected(centre):
        yield _answering(centre, PORT, lab_at(centre.hub).token)


@contextmanager
def _by_open(centre: Centre) -> Iterator[Lab]:
    opened = await_up(centre.laptop, type_open(centre.laptop, "andes --no-browser"))
    try:
        yield opened.lab
    finally:
        opened.close()


@contextmanager
def _by_chain(centre: Centre) -> Iterator[Lab]:
    """With a session, as ours: with `ssh -N` each connection would take some 40 ms longer."""
    inner = f"ssh -L {CHAIN_PORT}:localhost:{BARE_PORT} login1 sleep 100000"
    chain = centre.laptop.popen(f"exec ssh -L {CHAIN_PORT}:localhost:{CHAIN_PORT} hub {inner}")
    try:
        yield _answering(centre, CHAIN_PORT, TOKEN)
    finally:
        centre.laptop.end_popen(chain)


@contextmanager
def _by_master(centre: Centre) -> Iterator[Lab]:
    """One ssh inside of the other, to the login node, to which the forward is added."""
    master = centre.laptop.popen(f"exec ssh -M -S {MASTER} -J hub login1 sleep 100000")
    try:
        wait_until(lambda: centre.laptop.run(f"ssh -S {MASTER} -O check login1").returncode == 0, 20, "the master")
        forward = f"ssh -S {MASTER} -O forward -L {MASTER_PORT}:localhost:{BARE_PORT} login1"
        centre.laptop.run(forward, check=True)
        yield _answering(centre, MASTER_PORT, TOKEN)
    finally:
        centre.laptop.end_popen(master)


@contextmanager
def _by_forward(centre: Centre) -> Iterator[Lab]:
    """Through the hub by the user's ssh configuration, which jupyter-forward reads."""
    host = "\nHost node\n  HostName login1\n  ProxyCommand ssh -W login1:22 hub\n"
    centre.laptop.run("cat >> .ssh/config", input=host, check=True)
    words = f"exec {PEER}/bin/jupyter-forward --port {FORWARD_PORT} --conda-env base alice@node"
    terminal = centre.laptop.spawn(words, env={"BROWSER": "true", "COLUMNS": "400"}, timeout_s=90)
    try:
        terminal.expect("token=")
        terminal.expect(r"\w+")
        yield _answering(centre, FORWARD_PORT, str(terminal.after))
    finally:
        terminal.close(force=True)


def _answering(centre: Centre, number: int, token: str) -> Lab:
    with Client(centre.laptop) as laptop:
        laptop.run(wait_for_answer, port(number))
    return Lab(centre.laptop, number, token, timeout_s=WAITING_S)


BY_STANZA, BY_OPEN, BY_CHAIN, FORWARD = "gears, the stanza", "`gears open`", "chain of `ssh -L`", "jupyter-forward"
WAYS: dict[str, Callable[[Centre], AbstractContextManager[Lab]]] = {
    BY_STANZA: _by_stanza,
    BY_OPEN: _by_open,
    BY_CHAIN: _by_chain,
    "ControlMaster": _by_master,
    FORWARD: _by_forward,
}
