"""A client inside a host: one thread that lives in the host's network, so that connecting costs nothing extra."""

import ctypes
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from tests.centre import Host
from tests.helpers import CLONE_NEWNET, connect

T = TypeVar("T")
Connect = Callable[[], socket.socket]

POLL_S = 0.02


class Client:
    """A context manager; `run` calls a function as if on the host."""

    def __init__(self, host: Host) -> None:
        self._pool = ThreadPoolExecutor(1, initializer=_enter_network, initargs=(host,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, function: Callable[..., T], *arguments: object) -> T:
        return self._pool.submit(function, *arguments).result()


def _enter_network(host: Host) -> None:
    with open(f"/proc/{host.pid}/ns/net") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def port(number: int) -> Connect:
    """For a function that a `Client` runs."""
    return lambda: socket.create_connection(("127.0.0.1", number), timeout=5)


def unix(host: Host, path: str) -> Connect:
    return lambda: connect(host, path, 5)


def get(connect_to: Connect, target: str) -> tuple[bytes, int]:
    """The status line of a GET on a new connection, and how many bytes came in all."""
    buffer = bytearray(1 << 20)
    with connect_to() as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        total = connection.recv_into(buffer)
        status_line = bytes(buffer[:total]).partition(b"\r\n")[0]
        while count := connection.recv_into(buffer):
            total += count
    return status_line, total


def answers(connect_to: Connect) -> bool:
    """Whether JupyterLab is there."""
    try:
        return b" 200 " in get(connect_to, "/api")[0]
    except OSError:
        return False


def wait_for_answer(connect_to: Connect, timeout_s: float = 90) -> float:
    """time.monotonic() as of the first answer of JupyterLab."""
    deadline = time.monotonic() + timeout_s
    while not answers(connect_to):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer within {timeout_s} s")
        time.sleep(POLL_S)
    return time.monotonic()
