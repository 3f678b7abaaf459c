"""ProxyCommand for ssh: the connection to a host as it is over a long, slow line. The kernel need not have netem.

    ssh -o ProxyCommand='python3 line.py %h %p --delay-ms 40 --mbit 20' HOST

Each direction is delayed by --delay-ms, so a round trip takes twice that longer, and carries --mbit megabits a second
at most (0: no limit). Order and content are kept. What is on its way is bounded, as by the buffers of a real path, so
that the sender is slowed down. Imports nothing of the tests: it runs on the laptop.
"""

import argparse
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

CHUNK = 16_384
BUFFER_S = 0.1
"""Time that the full buffer before the bottleneck takes to empty."""
UNLIMITED_BUFFER = 8_000_000


class Direction:
    """One direction of the line: a thread takes what comes, another gives it when it is due."""

    def __init__(self, delay_s: float, rate: float, read: Callable[[], bytes], write: Callable[[bytes], Any]) -> None:
        self._delay_s, self._rate, self._read, self._write = delay_s, rate, read, write
        self._free_at = 0.0
        room = rate * (delay_s + BUFFER_S) if rate else UNLIMITED_BUFFER
        self._under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(max(4, int(room / CHUNK)))

    def start(self) -> threading.Thread:
        """Start carrying; the thread returned ends after the last byte was given."""
        threading.Thread(target=self._take, daemon=True).start()
        giver = threading.Thread(target=self._give, daemon=True)
        giver.start()
        return giver

    def _take(self) -> None:
        data = b"-"
        while data:
            try:
                data = self._read()
            except OSError:
                data = b""
            self._free_at = max(time.monotonic(), self._free_at) + (len(data) / self._rate if self._rate else 0)
            self._under_way.put((self._free_at + self._delay_s, data))

    def _give(self) -> None:
        while (parcel := self._under_way.get())[1]:
            time.sleep(max(0.0, parcel[0] - time.monotonic()))
            try:
                self._write(parcel[1])
            except OSError:
                return


def write_all(number: int, data: bytes) -> None:
    """Write all of `data` to a file descriptor."""
    while data:
        data = data[os.write(number, data) :]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--delay-ms", type=float, default=40)
    parser.add_argument("--mbit", type=float, default=20)
    wanted = parser.parse_args()
    peer = socket.create_connection((wanted.host, wanted.port))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line = wanted.delay_ms / 1000, wanted.mbit * 125_000
    up = Direction(*line, lambda: os.read(0, CHUNK), peer.sendall)
    down = Direction(*line, lambda: peer.recv(CHUNK), lambda data: write_all(1, data))
    ends = [up.start(), down.start()]
    while all(end.is_alive() for end in ends):  # either end hangs up for both, as ssh does
        ends[1].join(0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
