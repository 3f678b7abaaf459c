"""JupyterLab's page in a real Chromium on the laptop, over a long line: gears' lab, and plain `jupyter lab`.

Plain is reached through a chain of `ssh -L` as one types it. The line is between laptop and hub (`line`); both
JupyterLabs run on one login node, and are opened in turn. The first page is that of a browser that has seen nothing;
the second one is opened in the same browser. A page is there once its launcher can be used.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from playwright.sync_api import BrowserContext, Page

from tests.bench.client import Client, port, wait_for_answer
from tests.bench.laptop import PORT, laptop_connected
from tests.bench.rows import Row
from tests.bench.start import BARE, BARE_PORT
from tests.centre import Centre
from tests.helpers import gears, home, lab_at, record

CHAIN_PORT = 38804
CHAIN = "plain `jupyter lab`, chain of `ssh -L`"
TOKEN = "e5b8a1c0d2"
LINES = ((0, 0), (20, 20), (80, 20), (200, 4))
"""Round trip in ms and Mbit/s, each 0 for none. Another choice: GEARS_BENCH_LINES="80:20 80:4"."""


@dataclass(frozen=True)
class Line:
    """`rtt_ms`: added to each round trip; `mbit`: megabits a second in each direction, 0: no limit."""

    rtt_ms: float
    mbit: float

    def __str__(self) -> str:
        rate = f"{self.mbit:g} Mbit/s" if self.mbit else "unlimited"
        return f"{self.rtt_ms:g} ms, {rate}"

    def stanza(self) -> str:
        """Return what to add to the laptop's ssh configuration."""
        if not (self.rtt_ms or self.mbit):
            return ""
        command = f"python3 {home()}/tests/bench/line.py %h %p --delay-ms {self.rtt_ms / 2} --mbit {self.mbit}"
        return f"\nHost hub andes-jupyter\n  ProxyCommand {command}\n"

    def limit_s(self, trips: int, moved: float) -> float:
        """Return the least time for that many round trips, one after the other, and bytes."""
        return trips * self.rtt_ms / 1000 + (moved / (self.mbit * 125_000) if self.mbit else 0)


@dataclass
class Loaded:
    """Of one page: time until it can be used, bytes, requests, and processor time of its server."""

    taken_s: float = 0.0
    moved: float = 0.0
    requests: int = 0
    cpu_s: float = 0.0
    served: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Contender:
    """A JupyterLab at a port of the laptop; `pid` on the login node, 0: its processor time is not measured."""

    port: int
    token: str
    pid: int = 0


def lines(usual: Sequence[tuple[float, float]] = LINES) -> list[Line]:
    """Return the lines to measure, where none are chosen those that are usual."""
    chosen = os.environ.get("GEARS_BENCH_LINES", "").split()
    return [Line(*map(float, words.split(":"))) for words in chosen] if chosen else [Line(*both) for both in usual]


def measure(centre: Centre, rounds: int) -> Iterator[Row]:
    gears(centre.hub, "lab andes", check=True)
    for line in lines():
        with _contenders(centre, line) as (ours, theirs):
            pages = [(load_twice(centre, ours), load_twice(centre, theirs)) for _ in range(rounds + 1)][1:]
        for number, page in enumerate(("first", "second")):
            yield from _rows(line, page, [pair[0][number] for pair in pages], [pair[1][number] for pair in pages])


def _rows(line: Line, page: str, ours: list[Loaded], theirs: list[Loaded]) -> Iterator[Row]:
    def row(what: str, unit: str, of: Callable[[Loaded], float], aim: str = "") -> Row:
        return Row(f"{page} page, {line}: {what}", unit, list(map(of, ours)), CHAIN, list(map(of, theirs)), aim)

    fast, far = not (line.rtt_ms or line.mbit), line.rtt_ms >= 200 and page == "first"
    yield row("to the launcher", "s", lambda loaded: loaded.taken_s, "≤ 1" if fast else "≤ 0.3" if far else "≤ 0.5")
    yield row("moved", "MB", lambda loaded: loaded.moved / 1e6, "≤ 1.5 MB" if page == "first" else "")
    yield row("requests to the server", "", lambda loaded: loaded.requests)
    yield row("processor time of the server", "s", lambda loaded: loaded.cpu_s, "≤ 1.1")
    if not fast:
        least = line.limit_s(4, median(loaded.moved for loaded in ours))
        yield Row(f"{page} page, {line}: limit (4 round trips, its bytes)", "s", [least])


@contextmanager
def over(centre: Centre, line: Line) -> Iterator[None]:
    """Let the laptop's ssh go over that line. Its configuration is restored at the end."""
    configuration = centre.laptop.path("/home/alice/.ssh/config")
    before = configuration.read_text() if configuration.exists() else ""
    centre.laptop.run("cat >> .ssh/config", input=line.stanza(), check=True)
    try:
        yield
    finally:
        configuration.write_text(before)


@contextmanager
def _contenders(centre: Centre, line: Line) -> Iterator[tuple[Contender, Contender]]:
    """Both reached over that line."""
    with over(centre, line), ExitStack() as stack:
        plain = centre.login1.popen(f"{BARE} --IdentityProvider.token={TOKEN}")
        stack.callback(centre.login1.end_popen, plain)
        inner = f"ssh -L {CHAIN_PORT}:localhost:{BARE_PORT} login1 sleep 100000"
        chain = centre.laptop.popen(f"exec ssh -L {CHAIN_PORT}:localhost:{CHAIN_PORT} hub {inner}")
        stack.callback(centre.laptop.end_popen, chain)
        stack.enter_context(laptop_connected(centre))
        laptop = stack.enter_context(Client(centre.laptop))
        for number in (PORT, CHAIN_PORT):
            laptop.run(wait_for_answer, port(number))
        lab = Contender(PORT, lab_at(centre.hub).token, record(centre.hub, "andes/lab.json")["pid"])
        yield lab, Contender(CHAIN_PORT, TOKEN, _bare_pid(centre, lab.pid))


def _bare_pid(centre: Centre, other: int) -> int:
    running = [process for process in centre.login1.processes("alice") if process.pid != other]
    return next(process.pid for process in running if f"port={BARE_PORT}" in " ".join(process.argv))


def load_twice(centre: Centre, contender: Contender) -> tuple[Loaded, Loaded]:
    with centre.browser() as browser:
        context = browser.page.context
        first = _load(centre, contender, context, f"?token={contender.token}")
        return first, _load(centre, contender, context, "")


def _load(centre: Centre, contender: Contender, context: BrowserContext, query: str) -> Loaded:
    """Open the page, and close it again."""
    page = context.new_page()
    loaded = Loaded()
    count(page, loaded)
    cpu_s, began = _cpu_s(centre, contender.pid), time.monotonic()
    page.goto(f"http://localhost:{contender.port}/lab/workspaces/auto-b{query}", wait_until="commit")
    page.wait_for_selector(".jp-LauncherCard", timeout=120_000)
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=120_000)
    loaded.taken_s = time.monotonic() - began
    page.wait_for_timeout(1000)  # what it still asks for
    loaded.cpu_s = _cpu_s(centre, contender.pid) - cpu_s
    page.close()
    return loaded


def count(page: Page, loaded: Loaded) -> None:
    """Count what Chromium asks the server for (Chrome DevTools protocol, Network)."""
    events = page.context.new_cdp_session(page)
    cached: set[str] = set()

    def served(event: dict[str, Any]) -> None:
        if event["response"].get("fromDiskCache"):
            cached.add(event["requestId"])

    def finished(event: dict[str, Any]) -> None:
        if event["requestId"] not in cached and event["encodedDataLength"] > 0:
            loaded.requests += 1
            loaded.moved += event["encodedDataLength"]

    events.on("Network.requestServedFromCache", lambda event: cached.add(event["requestId"]))
    events.on("Network.responseReceived", served)
    events.on("Network.loadingFinished", finished)
    events.send("Network.enable")


def _cpu_s(centre: Centre, pid: int) -> float:
    """Return the processor time of a process of the login node (proc(5): /proc/PID/stat, fields 14 and 15)."""
    if not pid:
        return 0.0
    words = centre.login1.path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
