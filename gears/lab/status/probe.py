"""Ask a socket what is behind it: one GET /api."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gears.lab.status.model import Status, parse_status
from gears.system.unix_http import TIMEOUT_S, get_json

Kind = Literal["jupyter", "waiting", "refused", "closed", "silent", "other"]
"""What was found behind a socket: a lab; a waiting page; no such socket, or nothing listens; accepted, then closed
without an answer, as ssh does where the far end can't be reached; no answer in time; any other answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found behind a socket. `page`: what a waiting page shows; None where that can't be read."""

    kind: Kind
    page: Status | None = None


def probe(where: Path | int, *, timeout_s: float = TIMEOUT_S) -> Answer:
    """Ask what is behind a socket, or a port of 127.0.0.1. Never raises, whatever the other end does."""
    try:
        status, content = get_json(where, "/api", timeout_s=timeout_s)
    except TimeoutError:
        return Answer("silent")
    except (ConnectionRefusedError, FileNotFoundError):
        return Answer("refused")
    except (OSError, http.client.HTTPException):
        return Answer("closed")
    if status == 200 and "version" in content:
        return Answer("jupyter")
    if status == 503 and "gears" in content:
        return Answer("waiting", parse_status(content["gears"]))
    return Answer("other")
