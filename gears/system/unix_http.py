"""HTTP requests over a UNIX socket or a loopback port, one per connection, with a time limit."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from http.client import HTTPConnection

TIMEOUT_S = 3.0


class NoHttp(OSError):
    """The answer is not HTTP, or ended too early."""


def get_json(
    where: Path | int, target: str, *, token: str = "", timeout_s: float = TIMEOUT_S
) -> tuple[int, dict[str, Any]]:
    """Return status and JSON object of a GET; empty if the body is not one.

    Raises OSError; TimeoutError and ConnectionRefusedError as sockets do, NoHttp.
    """
    return request_json(where, "GET", target, token=token, timeout_s=timeout_s)


def request_json(
    where: Path | int, method: str, target: str, *, token: str = "", timeout_s: float = TIMEOUT_S
) -> tuple[int, dict[str, Any]]:
    """Return status and JSON object of a request, like `get_json`. Reads at most 1 MB of the body."""
    headers = {"Accept": "application/json", "Connection": "close"}
    if token:
        headers["Authorization"] = f"token {token}"
    with _connect(where, timeout_s) as sock:
        from http.client import HTTPException  # a third of the time of a command that asks nobody

        connection = http_over(sock)
        try:
            connection.request(method, target, headers=headers)
            response = connection.getresponse()
            return response.status, _object(response.read(1_000_000))
        except HTTPException as exc:
            raise NoHttp(f"no answer in HTTP: {exc!r}") from exc
        finally:
            connection.close()


def _connect(where: Path | int, timeout_s: float) -> socket.socket:
    if isinstance(where, int):
        return socket.create_connection(("127.0.0.1", where), timeout_s)
    return connect_unix(where, timeout_s)


def connect_unix(path: Path, timeout_s: float) -> socket.socket:
    """Connect to a UNIX socket. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def http_over(sock: socket.socket) -> HTTPConnection:
    """Return an HTTP connection on a socket that is connected."""
    from http.client import HTTPConnection

    connection = HTTPConnection("localhost", timeout=sock.gettimeout())
    connection.sock, connection.auto_open = sock, 0  # it would dial localhost again, on port 80
    return connection


def connects(path: Path, *, timeout_s: float = 1.0) -> bool:
    """Tell whether the socket accepts connections; the existence of the file does not prove it."""
    try:
        connect_unix(path, timeout_s).close()
    except OSError:
        return False
    return True


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
