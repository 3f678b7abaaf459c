"""HTTP requests over a UNIX socket or a loopback port, one per connection, with a time limit."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

TIMEOUT_S = 3.0


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a UNIX socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def get_json(
    where: Path | int, target: str, *, token: str = "", timeout_s: float = TIMEOUT_S
) -> tuple[int, dict[str, Any]]:
    """Return status and JSON object of a GET; empty if the body is not one.

    Raises what http.client and the socket raise.
    """
    return request_json(where, "GET", target, token=token, timeout_s=timeout_s)


def request_json(
    where: Path | int, method: str, target: str, *, token: str = "", timeout_s: float = TIMEOUT_S
) -> tuple[int, dict[str, Any]]:
    """Return status and JSON object of a request, like `get_json`. Reads at most 1 MB of the body."""
    headers = {"Accept": "application/json", "Connection": "close"}
    if token:
        headers["Authorization"] = f"token {token}"
    connection = _connection(where, timeout_s)
    try:
        connection.request(method, target, headers=headers)
        response = connection.getresponse()
        return response.status, _object(response.read(1_000_000))
    finally:
        connection.close()


def _connection(where: Path | int, timeout_s: float) -> http.client.HTTPConnection:
    if isinstance(where, int):
        return http.client.HTTPConnection("127.0.0.1", where, timeout=timeout_s)
    return UnixConnection(where, timeout_s)


def connects(path: Path, *, timeout_s: float = 1.0) -> bool:
    """Tell whether the socket accepts connections; the existence of the file does not prove it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(timeout_s)
        try:
            trial.connect(str(path))
        except OSError:
            return False
    return True


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
