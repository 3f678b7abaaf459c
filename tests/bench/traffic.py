"""Throughput and latency through the whole route, against a chain of `ssh -L` as one types it, to the same servers."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import TypeVar

from tests.bench.client import Client, Connect, get, port
from tests.bench.laptop import PORT, laptop_connected
from tests.bench.rows import Row
from tests.centre import Centre
from tests.helpers import fixed_path, gears, home, record, wait_until

T = TypeVar("T")

CHAIN = "hand-typed chain of `ssh -L`"
TO_LAB, TO_PLAIN, PLAIN = 38801, 38802, 38803
SIZE = 200_000_000
REQUESTS = 100
SERVER = f"{home()}/tests/bench/server.py"


def measure(centre: Centre, rounds: int) -> Iterator[Row]:
    gears(centre.hub, "lab andes", check=True)
    token = centre.hub.path(f"{home()}/run/andes/token").read_text()
    centre.login1.run(f"head -c {SIZE} /dev/zero > big", check=True)
    with laptop_connected(centre), _chain(centre), Client(centre.laptop) as laptop:
        yield from _compare_latency(laptop, rounds, "JupyterLab", TO_LAB, "/api")
        yield _compare_throughput(laptop, rounds, "JupyterLab", TO_LAB, f"/files/big?token={token}", "≥ 1")
        _swap_lab_for_plain_server(centre)
        yield from _compare_latency(laptop, rounds, "plain server", TO_PLAIN, "/")
        yield _compare_throughput(laptop, rounds, "plain server", TO_PLAIN, "/file", "≥ 1.25")


@contextmanager
def _chain(centre: Centre) -> Iterator[None]:
    """With a session, as ours: with `ssh -N` each connection would take some 40 ms longer."""
    lab_port = record(centre.login1, "andes/lab.json")["port"]
    outer = f"ssh -L {TO_LAB}:localhost:{TO_LAB} -L {TO_PLAIN}:localhost:{TO_PLAIN} hub"
    inner = f"ssh -L {TO_LAB}:localhost:{lab_port} -L {TO_PLAIN}:localhost:{PLAIN} login1 sleep 100000"
    ssh = centre.laptop.popen(f"exec {outer} {inner}")
    try:
        wait_until(lambda: _sleeps(centre), 10, "the chain")
        yield
    finally:
        centre.laptop.end_popen(ssh)


def _sleeps(centre: Centre) -> bool:
    return any(process.comm == "sleep" for process in centre.login1.processes("alice"))


def _swap_lab_for_plain_server(centre: Centre) -> None:
    """As the keeper switches the path: the route stays as it is, and ends at another server."""
    link = centre.login1.run(f"readlink {fixed_path()}", check=True).stdout.strip()
    plain = str(Path(link).with_name("plain.sck"))
    centre.login1.popen(["/usr/bin/python3", SERVER, str(PLAIN), plain, f"{Path(home()).parent}/big"])
    wait_until(lambda: centre.login1.connect_unix(plain), 5, "the plain server")
    centre.login1.run(f"ln -s {plain} {link}.new && mv -T {link}.new {link}", check=True)


def _compare_latency(laptop: Client, rounds: int, server: str, chain: int, target: str) -> Iterator[Row]:
    ours, theirs = _alternate(rounds, lambda number: laptop.run(_latencies_ms, port(number), target), chain)
    for name, part in (("p50", 9), ("p95", 18)):
        yield Row(
            f"latency: new connection and small GET, {name} of {REQUESTS}, {server}",
            *("ms", [batch[part] for batch in ours], CHAIN, [batch[part] for batch in theirs], "≤ 1"),
        )


def _compare_throughput(laptop: Client, rounds: int, server: str, chain: int, target: str, aim: str) -> Row:
    ours, theirs = _alternate(rounds, lambda number: laptop.run(_throughput_mb_s, port(number), target), chain)
    return Row(f"throughput: {SIZE // 1_000_000} MB, {server}", "MB/s", ours, CHAIN, theirs, aim)


def _alternate(rounds: int, measured: Callable[[int], T], chain: int) -> tuple[list[T], list[T]]:
    """Round 0 warms up and is not counted."""
    pairs = [(measured(PORT), measured(chain)) for _ in range(rounds + 1)][1:]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _latencies_ms(connect_to: Connect, target: str) -> list[float]:
    """In 5 % steps, from 5 to 95 %."""
    taken = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        status_line, _ = get(connect_to, target)
        taken.append((time.perf_counter() - began) * 1000)
        assert b" 200 " in status_line, status_line
    return quantiles(taken, n=20)


def _throughput_mb_s(connect_to: Connect, target: str) -> float:
    began = time.perf_counter()
    status_line, received = get(connect_to, target)
    taken_s = time.perf_counter() - began
    assert b" 200 " in status_line, status_line
    assert received > SIZE, received
    return received / taken_s / 1e6
