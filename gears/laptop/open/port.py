"""The laptop's port: the waiting page listens there while the connection is down, ssh while it is up.

Never both, and no data that ssh forwards passes through this process. They take turns: the page stops listening, ssh is
told to listen, and only then are pending requests answered: a kernel's websocket, which the page holds, connects again
and reaches ssh. In between, the port is closed for as long as `ssh -O forward` takes (about 10 ms).
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable

from gears.errors import GearsError
from gears.lab.status.model import Page
from gears.lab.supervisor.waiting_page import WaitingServer
from gears.system.ports import free_port, ipv6_port_is_free, taken_by

QUEUE = 128

RETURN_S = 2.0
"""Time for the port to be free again after ssh has ended."""


class LaptopPort:
    """127.0.0.1:`number`: no other machine can reach it."""

    def __init__(self, number: int, page: Page, again: str, *, patient_s: float = 0.0) -> None:
        """Take the port, and show `page`. `again`: the command that was typed.

        Raises GearsError if the port is in use and stays so for `patient_s`.
        """
        self.number = number
        self.again = again
        self._page = page
        self._server: WaitingServer[Page] | None = self._serve(patient_s)

    def show(self, page: Page) -> None:
        """Set what the page says from now on."""
        self._page = page
        if self._server:
            self._server.page = page

    def take_back(self) -> None:
        """Serve the page again after ssh has ended. Raises GearsError if another program has taken the port."""
        if self._server is None:
            self._server = self._serve(RETURN_S)

    def hand_over(self, forward: Callable[[], bool]) -> bool:
        """Hand the port over to ssh with `forward`, which returns whether ssh listens. If not, serve the page again."""
        if self._server is None:
            return True
        server, self._server = self._server, None
        server.close_door()
        try:
            done = forward()
        finally:
            threading.Thread(target=server.leave, daemon=True).start()
        if not done:
            self.take_back()
        return done

    def close(self) -> None:
        """Stop the page, if it has the port; leave the port to ssh if ssh has it. Can be repeated."""
        if self._server:
            self._server.close_door()
            self._server = None

    def _serve(self, patient_s: float) -> WaitingServer[Page]:
        with self._listen(patient_s) as listener:
            return WaitingServer(None, self._page, listener)

    def _listen(self, patient_s: float) -> socket.socket:
        deadline = time.monotonic() + patient_s
        while True:
            try:
                return _listen_at(self.number)
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                    raise self._refusal(exc) from exc
                time.sleep(0.002)

    def _refusal(self, error: OSError) -> GearsError:
        fix = f"{self.again} --port {free_port(self.number + 1)}"
        if error.errno != errno.EADDRINUSE:
            return GearsError(f"port {self.number} of this machine: {error.strerror}", next=fix)
        return GearsError(f"port {self.number} of this machine is in use by {taken_by(self.number)}", next=fix)


def _listen_at(number: int) -> socket.socket:
    """Listen at the port. Raises OSError; EADDRINUSE also if a program listens at ::1, which browsers may prefer."""
    listener = socket.create_server(("127.0.0.1", number), backlog=QUEUE)
    if not ipv6_port_is_free(number):
        listener.close()
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    return listener
