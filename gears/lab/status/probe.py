"""Ask a socket what is behind it: one GET /api."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gears.system.unix_http import TIMEOUT_S, get_json


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found behind a socket.

    kind: `jupyter` (a lab), `waiting` (a waiting page; `content` is its JSON), `refused` (no such socket, or nobody
    listens), `closed` (accepted, then closed without a word: what ssh does where the far end can't be reached),
    `silent` (no answer in time), or `other` (an answer that is neither; `content` says which status).
    """

    kind: str
    content: dict[str, Any]


def probe(where: Path | int, *, timeout_s: float = TIMEOUT_S) -> Answer:
    """Ask what is behind a socket, or a port of 127.0.0.1. Never raises for anything the other end does."""
    try:
        status, content = get_json(where, "/api", timeout_s=timeout_s)
    except TimeoutError:
        return Answer("silent", {})
    except (ConnectionRefusedError, FileNotFoundError):
        return Answer("refused", {})
    except (OSError, http.client.HTTPException):
        return Answer("closed", {})
    if status == 200 and "version" in content:
        return Answer("jupyter", content)
    if status == 503 and "gears" in content:
        return Answer("waiting", content)
    return Answer("other", {"status": status})
