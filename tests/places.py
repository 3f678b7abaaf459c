"""Places for tests of stores, each fresh: a directory, servers of S3 and WebDAV by the real rclone, HPSS and Globus.

Between the servers and whoever uses them there is a proxy, which can cut connections, and take them without an answer.
"""

import os
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(sys.executable).parent
CLOSED = 9
"""A port at which nobody listens (discard, RFC 863)."""

ADDRESS = re.compile(r"\[http://127\.0\.0\.1:(\d+)/\]")
"""What a server of rclone says it listens at."""


def until(happened: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Proxy:
    """Passes on bytes. `cut_after`: closes a connection when it has sent that many; `silent`: passes on nothing."""

    def __init__(self, port: int) -> None:
        self.to, self.cut_after, self.silent = port, -1, False
        self.sent = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self.to)) as server:
            other = {client: server, server: client}
            while not 0 <= self.cut_after <= self.sent:
                for ready in select.select([client, server], [], [], 0.05)[0] if not self.silent else ():
                    data = ready.recv(65536)
                    if not data:
                        return
                    self.sent += len(data)
                    other[ready].sendall(data)
                if self.silent:
                    time.sleep(0.05)


@contextmanager
def rclone_server(protocol: str, directory: Path, *options: str) -> Iterator[int]:
    """`rclone serve` on a port of its choice, which it answers at when this returns."""
    argv = [str(PROGRAMS / "rclone"), "serve", protocol, "--addr", "127.0.0.1:0", *options, str(directory)]
    said = directory.parent / f"{protocol}.log"
    with said.open("w") as log:
        server = subprocess.Popen(argv, stderr=log, env=os.environ | {"RCLONE_CONFIG": "/dev/null"})
    try:
        until(lambda: bool(ADDRESS.search(said.read_text())), f"rclone serve {protocol} does not answer")
        found = ADDRESS.search(said.read_text())
        assert found
        yield int(found[1])
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(directory, ignore_errors=True)


def processes_with(word: str) -> list[int]:
    """Processes that have `word` in their environment or command line, but this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            read = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            if word.encode() in read and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found
