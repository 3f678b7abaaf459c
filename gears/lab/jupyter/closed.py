"""Verify by requests that a running server refuses clients without a login. Imports nothing of Jupyter."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gears.lab.jupyter.settings import ANYBODY

ANSWER_S = 10.0
REFUSALS = (401, 403, 302)
"""302: to the login page; 403: for requests that ask for JSON."""

NO_KERNEL = "00000000-0000-0000-0000-000000000000"
XSRF = {"Cookie": f"_xsrf={'0' * 32}", "X-XSRFToken": "0" * 32}
"""Anyone can make a matching pair (tornado's version 1), so that no request is refused for a missing one."""

WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


class Open(Exception):
    """A request without a login was answered. The message names it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A request that must be refused; `target` is relative to the server's base."""

    target: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_bytes(self, base_url: str) -> bytes:
        """Return the request as HTTP/1.1, without a body, with matching XSRF tokens."""
        headers = {"Host": "localhost", "Connection": "close", "Content-Length": "0"} | XSRF | dict(self.headers)
        lines = [f"{self.method} {base_url}{self.target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def plan_trials() -> list[Trial]:
    """Plan requests that read, start and use files, kernels and terminals: with no, an empty and a wrong token."""
    return [
        Trial("api/contents"),
        Trial("api/contents", headers={"Origin": ANYBODY}),
        Trial("api/contents", headers={"Authorization": f"token {secrets.token_hex(8)}"}),
        Trial("api/contents?token="),
        Trial("api/kernels"),
        Trial("api/kernels", "POST"),
        Trial(f"api/kernels/{NO_KERNEL}/channels", headers=WEBSOCKET),
        Trial("api/terminals", "POST"),
        Trial("files/.bashrc"),
        Trial("lab"),
    ]


async def prove(web_app: Any, base_url: str, directory: Path) -> None:
    """Send the requests to the application through a socket in `directory`, 0700. Raises Open."""
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_unix_socket

    path = directory / f"trial-{secrets.token_hex(4)}"
    server = HTTPServer(web_app)
    server.add_socket(bind_unix_socket(str(path), mode=0o600))
    try:
        await _try_all(base_url, path)
    finally:
        server.stop()
        with contextlib.suppress(OSError):
            path.unlink()


async def prove_port(port: int, base_url: str) -> None:
    """Send the requests to a port of 127.0.0.1, which all users of this host can reach. Raises Open."""
    await _try_all(base_url, port)


async def _try_all(base_url: str, where: Path | int) -> None:
    """Send all, without logging: twenty refusals at each start would look like an attack.

    Those that would start something in an open server come last: it would outlive the start that is refused.
    """
    trials = plan_trials()
    logging.disable(logging.WARNING)
    try:
        for starting in (False, True):
            await asyncio.gather(*(_try(one, base_url, where) for one in trials if (one.method == "POST") == starting))
    finally:
        logging.disable(logging.NOTSET)


async def _try(trial: Trial, base_url: str, where: Path | int) -> None:
    reader, writer = await _connect(where)
    try:
        writer.write(trial.as_bytes(base_url))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_S)
    except asyncio.IncompleteReadError as exc:
        head = exc.partial
    finally:
        writer.close()
    judge(trial, head.decode("latin-1"))


async def _connect(where: Path | int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(where, int):
        return await asyncio.open_connection("127.0.0.1", where)
    return await asyncio.open_unix_connection(str(where))


def judge(trial: Trial, head: str) -> None:
    """Raise Open unless the head of an answer refuses, and lets no page of another origin read it."""
    status = int(found[1]) if (found := re.match(r"HTTP/\S+ (\d+)", head)) else 0
    if status not in REFUSALS:
        raise Open(f"{trial.method} /{trial.target} without a login was answered with {status or 'nothing'}")
    if "Origin" in trial.headers and re.search(r"(?im)^access-control-allow-origin: *(\*|https://anybody)", head):
        raise Open("any web page can read its answers (Access-Control-Allow-Origin)")


def ask_port(port: int, targets: Iterable[str] = ("/api/contents", "/api/kernels")) -> None:
    """Send requests as another user of this host would, from a command of gears.

    Raises Open; OSError where nothing answers within ANSWER_S.
    """
    for target in targets:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
        try:
            connection.request("GET", target, headers={"Accept": "application/json", "Connection": "close"})
            status = connection.getresponse().status
        finally:
            connection.close()
        if status not in REFUSALS:
            raise Open(f"GET {target} without a login was answered with {status}")
