"""Messages of a server's websocket: what follows them behind a socket, and how soon they arrive through a plain relay.

A relay that does not set TCP_NODELAY stands for the laptop's ssh.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import pytest
import websocket
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets, bind_unix_socket
from tornado.web import Application
from tornado.websocket import WebSocketHandler, WebSocketProtocol13

from gears.lab.jupyter import small_messages
from gears.lab.jupyter.small_messages import LARGE_BYTES
from tests.helpers import wait_until

PAUSE_S = 0.003
LARGE = "x" * (LARGE_BYTES + 1)


class Kernel(WebSocketHandler):
    """Answers as a cell does: "busy", and soon after it the output."""

    async def on_message(self, message: str | bytes) -> None:
        self.write_message("busy")
        await asyncio.sleep(PAUSE_S)
        self.write_message(LARGE if message == "large" else "output")


@pytest.fixture
def port_and_socket(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Where a server listens, in a thread."""
    path, bound = tmp_path / "sck", bind_sockets(0, "127.0.0.1")
    loop, end = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        server = HTTPServer(Application([("/", Kernel)]))
        server.add_sockets([*bound, bind_unix_socket(str(path))])
        await end.wait()
        server.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    wait_until(path.exists, 10, "it listens")
    yield bound[0].getsockname()[1], path
    loop.call_soon_threadsafe(end.set)
    thread.join()
    loop.close()


@pytest.fixture
def hastened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WebSocketProtocol13, "start_pinging", WebSocketProtocol13.start_pinging)
    small_messages.install(WebSocketProtocol13)


def connect(where: int | Path) -> socket.socket:
    if isinstance(where, int):
        return socket.create_connection(("127.0.0.1", where), timeout=10)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(where))
    return connection


@contextmanager
def relay(path: Path) -> Iterator[int]:
    """A port from which all goes to a UNIX socket and back, for one connection."""

    def pump(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(LARGE_BYTES):
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def carry() -> None:
        near, _ = listener.accept()
        with near, connect(path) as far:
            back = threading.Thread(target=pump, args=(far, near))
            back.start()
            pump(near, far)
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=carry)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join()


@contextmanager
def opened(where: int | Path) -> Iterator[websocket.WebSocket]:
    with connect(where) as connection:
        yield websocket.create_connection("ws://localhost/", socket=connection, timeout=10)


def frames(channel: websocket.WebSocket, message: str, count: int) -> list[tuple[int, int]]:
    """Opcode and size of each frame that comes after a message."""
    channel.send(message)
    return [(opcode, len(data)) for opcode, data in (channel.recv_data(control_frame=True) for _ in range(count))]


TEXT, CLOSE, PING = 1, 8, 9


@pytest.mark.usefixtures("hastened")
def test_behind_a_socket_a_ping_follows_each_message(port_and_socket: tuple[int, Path]) -> None:
    with connect(port_and_socket[1]) as connection:
        channel = websocket.create_connection("ws://localhost/", socket=connection, timeout=10)
        assert frames(channel, "small", 4) == [(TEXT, 4), (PING, 0), (TEXT, 6), (PING, 0)]
        channel.pong()
        assert frames(channel, "large", 4)[2:] == [(TEXT, len(LARGE)), (PING, 0)]
        channel.send_close()
        rest = b"".join(iter(lambda: connection.recv(100), b""))
        assert (rest[0] & 0x0F, len(rest)) == (CLOSE, 2 + rest[1]), rest


@pytest.mark.usefixtures("hastened")
def test_on_the_port_messages_are_as_they_were(port_and_socket: tuple[int, Path]) -> None:
    with opened(port_and_socket[0]) as channel:
        assert frames(channel, "small", 2) == [(TEXT, 4), (TEXT, 6)]


def output_ms(where: int | Path, rounds: int = 29) -> float:
    """From the request of a cell to its output: the lower quartile, which other programs disturb least. At first the
    system acknowledges without delay."""
    taken = []
    with opened(where) as channel:
        for _ in range(rounds):
            began = perf_counter()
            channel.send("small")
            assert (channel.recv(), channel.recv()) == ("busy", "output")
            taken.append((perf_counter() - began) * 1000)
    return quantiles(taken[5:], n=4)[0]


def test_output_does_not_wait_for_an_acknowledgement(
    port_and_socket: tuple[int, Path], request: pytest.FixtureRequest
) -> None:
    def measure() -> tuple[float, float]:
        with relay(port_and_socket[1]) as relayed:
            return output_ms(relayed), output_ms(port_and_socket[0])

    before = measure()
    request.getfixturevalue("hastened")
    after = measure()
    assert after[0] < 0.6 * before[0], (before, after)
    assert after[1] < 0.6 * before[1], (before, after)
