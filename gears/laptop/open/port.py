"""The laptop's port, at which somebody always listens: the waiting page while the way is down, ssh while it is up.

Never both, and no byte of what ssh forwards passes through here. They take turns: the page stops listening, ssh is
told to, and only then are those still answered who came before: a kernel's websocket, which the page holds, then
connects anew and finds ssh. Between the two the port is closed for as long as an `ssh -O forward` takes (some 10 ms).
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
from gears.lab.supervisor.page_server import WaitingServer
from gears.system.ports import free_port, is_free_beside, taken_by

QUEUE = 128

RETURN_S = 2.0
"""For a port to be free again once ssh has ended."""


class LaptopPort:
    """127.0.0.1:`number`, and nothing else: no other machine gets there."""

    def __init__(self, number: int, page: Page, again: str, *, patient_s: float = 0.0) -> None:
        """Take the port, and show `page`. `again`: the command that was typed.

        Raises GearsError where it is taken, and is so for `patient_s`.
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
        """Let the page answer again: ssh has ended. Raises GearsError where something else has taken the port."""
        if self._server is None:
            self._server = self._serve(RETURN_S)

    def hand_over(self, forward: Callable[[], bool]) -> bool:
        """Let ssh have it; `forward` tells ssh, and whether it listens now. If it does not, the page is back."""
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
        """Stop the page, if it has the port; what ssh has is left alone. May be repeated."""
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
        return GearsError(f"port {self.number} of this machine is taken by {taken_by(self.number)}", next=fix)


def _listen_at(number: int) -> socket.socket:
    """Listen at the port.

    Raises OSError; EADDRINUSE also where somebody is at ::1 only, who would be asked in our place.
    """
    listener = socket.create_server(("127.0.0.1", number), backlog=QUEUE)
    if not is_free_beside(number):
        listener.close()
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    return listener
