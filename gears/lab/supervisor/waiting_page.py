"""The waiting page, and the server that answers every request with it, 503: on a UNIX socket, or the laptop's port.

HTML for a browser, JSON for programs: what is up, what is tried, what failed, what to run. It contains no secret, loads
nothing from other hosts, and refreshes itself until JupyterLab answers.
"""

from __future__ import annotations

import json
import os
import select
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Generic, TypeVar

from gears.lab.status.model import Page, State, StepState
from gears.system.templates import render

RELOAD_S = 2
MARKS = {StepState.UP: "✓", StepState.TRYING: "…", StepState.WAITING: "·", StepState.FAILED: "✗"}
HEADINGS = {
    State.NEEDS_LOGIN: "login required",
    State.FAILED: "failed",
    State.UNKNOWN: "not reachable at the moment",
}

QUIET_S = 0.3
"""How long no connection must arrive, after the switch, before the server leaves."""

HOLD_S = 180.0
"""How long a websocket waits for its answer. Browsers give up after 20 s (Firefox) to 240 s (Chromium)."""

MOST_BODY = 1 << 30


def as_json(page: Page) -> bytes:
    """Render the page for programs: a JSON object with the page under `gears`."""
    return json.dumps({"gears": page.as_values()}).encode()


def as_html(page: Page) -> bytes:
    """Render the page for a browser. Text in parentheses at the end of its `next` is a note, not a command."""
    command, _, note = (page.next or "").partition("   (")
    text = render(
        "waiting.html.j2",
        status=page,
        heading=_heading(page),
        marks=MARKS,
        command=command,
        note=note.removesuffix(")"),
        again=page.again or f"ssh {page.site}-jupyter",
        reload_s=RELOAD_S,
    )
    return text.encode()


def _heading(page: Page) -> str:
    if page.state == State.FAILED and page.job and not page.job.live:
        return "the job has ended"
    return HEADINGS.get(page.state, f"{page.state}…")


ShownPage = TypeVar("ShownPage", bound=Page)


class WaitingServer(socketserver.ThreadingMixIn, socketserver.TCPServer, Generic[ShownPage]):
    """Serves `page`, which its owner replaces whole whenever something has changed."""

    address_family = socket.AF_UNIX

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, path: Path | None, page: ShownPage, listener: socket.socket | None = None) -> None:
        """Serve in a thread from now on.

        `listener`: a socket that already listens at `path` or at a port; it is left open and in place.
        """
        self.path = path or Path()
        self.page = page
        self.last_request = time.monotonic()
        self.unanswered: set[Any] = set()
        self.leaving = threading.Event()
        self.owns_path = listener is None
        super().__init__(str(path), Handler, bind_and_activate=False)  # type: ignore[arg-type]  # a UNIX socket's
        self._listen(listener)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def _listen(self, listener: socket.socket | None) -> None:
        if listener:
            self.socket.close()
            self.socket = listener.dup()
            return
        self.path.unlink(missing_ok=True)
        self.server_bind()
        os.chmod(self.path, 0o600)
        self.server_activate()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Record when the request arrived, and that it is unanswered; then answer it in a thread."""
        self.last_request = time.monotonic()
        self.unanswered.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Shut the connection down, and record that it needs no answer."""
        super().shutdown_request(request)
        self.unanswered.discard(request)

    def close_door(self) -> None:
        """Stop accepting, after taking the connections that wait. They are answered, at the latest by `leave`."""
        self.shutdown()
        while select.select([self.socket], [], [], 0)[0]:
            try:
                self.process_request(*self.get_request())
            except OSError:
                break
        self.socket.close()

    def leave(self, *, most_s: float = 3.0) -> None:
        """Answer requests that are still arriving, then close. Call it after the path was switched away.

        On a slow network a request follows its connection by a round trip, so open connections are waited for too, but
        not longer than `most_s`: browsers also open connections that they never use.
        """
        deadline = time.monotonic() + most_s
        self.last_request = time.monotonic()
        self.leaving.set()
        while time.monotonic() < deadline and (self.unanswered or time.monotonic() < self.last_request + QUIET_S):
            time.sleep(0.02)
        self.shutdown()
        self.server_close()
        if self.owns_path:
            self.path.unlink(missing_ok=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an error in the keeper's log, unless it is only that a client went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers a request with the waiting page: HTML for clients that accept it, else JSON."""

    server: WaitingServer[Page]
    protocol_version = "HTTP/1.1"
    server_version = "gears"
    timeout = 5

    def answer(self) -> None:
        """Answer at once; but let a websocket wait for the lab, HOLD_S at most.

        JupyterLab, once refused, retries only after 10 to 30 s.
        """
        self._skip_body()
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.server.leaving.wait(HOLD_S)
        wants_json = "text/html" not in self.headers.get("Accept", "")
        body = (as_json if wants_json else as_html)(self.server.page)
        self.send_response(503)
        self.send_header("Content-Type", "application/json" if wants_json else "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", str(RELOAD_S))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True

    def _skip_body(self) -> None:
        """Read to the body's end: closing with unread data resets the connection, and the client misses the answer."""
        try:
            left = min(int(self.headers.get("Content-Length", 0)), MOST_BODY)
        except ValueError:
            return
        while left > 0 and (chunk := self.rfile.read(min(left, 1 << 16))):
            left -= len(chunk)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: requests may carry a token."""
