"""Switching the fixed path from one server to another refuses nobody: no connection fails, none is reset."""

import http.client
import os
import shutil
import socket
import socketserver
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from gears.lab.status.model import Page, State
from gears.lab.supervisor.waiting_page import WaitingServer
from gears.system.files import ensure_link, switch
from gears.system.unix_http import connect_unix, http_over
from tests.centre import Centre, Host
from tests.helpers import PATIENCE, Lab, add_stanza, dial, lab_at, make, wait_until

REQUESTS = 2000
PAGE = Page(site="test", state=State.CONNECTING)


class LabServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """In place of JupyterLab: answers 200, and keeps a connection open as long as the client likes."""

    request_queue_size = 128
    daemon_threads = True

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:
            pass


@pytest.fixture
def local() -> Iterator[Path]:
    """A host-local directory with a short path, as sockets want it."""
    directory = Path(tempfile.mkdtemp(prefix="gears-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory)


@contextmanager
def serving_lab(path: Path) -> Iterator[LabServer]:
    with LabServer(str(path), LabServer.Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def get(path: Path) -> int:
    """The status of one request on a connection of its own, a moment from now."""
    time.sleep(0.005)
    with closing(http_over(connect_unix(path, 60))) as connection:
        connection.request("GET", "/api", headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return answer.status


def test_no_request_is_lost_while_the_path_is_switched(local: Path) -> None:
    """Every 50 ms between the waiting page and a lab, through two links, as at the fixed path."""
    link, fixed = local / "test.sck", local / "fixed.sck"
    waiting = WaitingServer(local / "test.wait.1.sck", PAGE)
    with serving_lab(local / "test.lab.1.sck"):
        ensure_link(link, waiting.path)
        ensure_link(fixed, link)
        with switching(link, (local / "test.lab.1.sck", waiting.path)) as targets, ThreadPoolExecutor(4) as pool:
            seen = Counter(pool.map(lambda _: get(fixed), range(REQUESTS)))
    waiting.leave()
    assert seen.total() == REQUESTS
    assert set(seen) == {200, 503}
    assert len(targets) >= 20


@contextmanager
def switching(link: Path, targets: tuple[Path, Path]) -> Iterator[list[Path]]:
    """Every 50 ms, in a thread; yields where the path was switched to so far."""
    over, done = threading.Event(), list[Path]()

    def switch_on() -> None:
        while not over.wait(0.05):
            done.append(targets[len(done) % 2])
            switch(link, done[-1])

    thread = threading.Thread(target=switch_on)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()


def test_an_open_connection_outlives_a_switch(local: Path) -> None:
    link = local / "test.sck"
    waiting = WaitingServer(local / "test.wait.1.sck", PAGE)
    ensure_link(link, local / "test.lab.1.sck")
    with serving_lab(local / "test.lab.1.sck"), closing(http_over(connect_unix(link, 60))) as connection:
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"ok"
        switch(link, waiting.path)
        waiting.leave()
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"ok"


def test_who_connected_before_the_switch_is_answered_though_the_request_comes_late(local: Path) -> None:
    """Through a long way the request arrives a round trip after the connection."""
    waiting = WaitingServer(local / "test.wait.1.sck", PAGE)
    with ThreadPoolExecutor(1) as pool, closing(http_over(connect_unix(waiting.path, 60))) as connection:
        leaving = pool.submit(waiting.leave)
        time.sleep(1)
        assert not leaving.done()
        connection.request("GET", "/")
        assert connection.getresponse().status == 503
        leaving.result()
    assert not waiting.path.exists()


def test_who_says_nothing_does_not_keep_the_waiting_page_alive(local: Path) -> None:
    """A browser opens connections in advance."""
    waiting = WaitingServer(local / "test.wait.1.sck", PAGE)
    with socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(waiting.path))
        began = time.monotonic()
        waiting.leave()
        assert time.monotonic() - began < 3 + PATIENCE * 1


def test_a_websocket_waits_for_the_lab(local: Path) -> None:
    """Refused, JupyterLab in a browser would not try again for 10 to 30 s."""
    waiting = WaitingServer(local / "test.wait.1.sck", PAGE)
    with ThreadPoolExecutor(1) as pool, closing(http_over(connect_unix(waiting.path, 60))) as connection:
        connection.request("GET", "/api/kernels/x/channels", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        answer = pool.submit(connection.getresponse)
        assert [get(waiting.path) for _ in range(20)] == [503] * 20
        assert not answer.done()
        waiting.leave()
        assert answer.result(1).status == 503


def test_a_large_upload_is_answered(local: Path) -> None:
    """A notebook saved while the lab is away: its 503 is read, and not a reset for what was left unread."""
    waiting = WaitingServer(local / "test.wait.1.sck", PAGE)
    with closing(http_over(connect_unix(waiting.path, 60))) as connection:
        connection.request("PUT", "/api/contents/x.ipynb", b"x" * 20_000_000)
        assert connection.getresponse().status == 503
    waiting.leave()


# --- on the real route ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def laptop(centre: Centre) -> Lab:
    """JupyterLab through the laptop's port; an ssh of its own keeps the forward open."""
    assert make(centre.hub, "andes-lab").returncode == 0
    add_stanza(centre)
    dial(centre)
    return Lab(centre.laptop, 38888, timeout_s=30)


def test_who_comes_between_a_hop_and_the_keeper_is_not_refused(centre: Centre, laptop: Lab) -> None:
    """The loop holds a listening socket: connections queue there until a keeper answers, here kept from its start.

    As after a second loss: the turn after the first one is prepared, and needs no keeper.
    """
    hub, program = centre.hub, "~/gears/.venv/bin/gears"
    hop, link = pid_of(hub, "ssh"), next(hub.path("/tmp").glob("gears-alice-*")) / "andes.sck"
    wait_until(lambda: not keepers(hub), 10, "the keeper left")
    hub.run(f"rm /tmp/gears-alice-*/andes/redial.*; mv {program} {program}.away", check=True)
    try:
        hub.kill(hop, check=True)
        wait_until(lambda: ".wait." in os.readlink(link), 5, "the path leads away from the hop")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(lambda: laptop.request("GET", "/api").status)
            time.sleep(0.5)
            assert not answer.done()
            hub.run(f"mv {program}.away {program}", check=True)
            assert answer.result() in (200, 503)
    finally:
        hub.run(f"test -e {program} || mv {program}.away {program}", check=True)
    wait_until(laptop.answers, 20, "JupyterLab answers again")


def pid_of(host: Host, comm: str) -> int:
    return next(p.pid for p in host.processes("alice") if p.comm == comm)


@pytest.mark.parametrize("broken", ["lab", "hop"])
def test_from_the_waiting_page_to_the_lab(centre: Centre, laptop: Lab, broken: str) -> None:
    """Requests come all the while, and the keeper leaves: they meet the waiting page or the lab, and nothing else."""
    host = centre.login1 if broken == "lab" else centre.hub
    host.kill(pid_of(host, "jupyter-lab" if broken == "lab" else "ssh"))
    if broken == "hop":
        centre.login1.cut()
    wait_until(laptop.waits, 10, "the waiting page")
    with asking(laptop) as seen:
        centre.login1.heal()
        wait_until(lambda: lab_at(centre.hub).answers(), 30, "JupyterLab answers")
        wait_until(lambda: not keepers(host), 10, "the keeper left")
    assert set(seen) == {"200", "503"}, seen


@contextmanager
def asking(lab: Lab) -> Iterator[Counter[str]]:
    """Ask in four threads, as fast as it goes; yields how often each status, or each error, was met."""
    over, seen, lock = threading.Event(), Counter[str](), threading.Lock()

    def ask_on() -> None:
        while not over.wait(0.005):
            try:
                met = str(lab.request("GET", "/api").status)
            except (OSError, http.client.HTTPException) as error:
                met = repr(error)
            with lock:
                seen[met] += 1

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(ask_on)
        try:
            yield seen
        finally:
            over.set()


def keepers(host: Host) -> list[int]:
    return [p.pid for p in host.processes("alice") if p.comm == "gears"]
