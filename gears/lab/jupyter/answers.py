"""Compress what JupyterLab's API answers: contents, settings, kernelspecs. Large answers are compressed in a thread.

Only answers to requests that no other web page can have caused: an attacker who makes a browser send requests of his
choice, and sees the size of each answer, could else guess what is in it (BREACH). HTML pages, which hold the token, are
never compressed.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from gears.lab.jupyter.compressed import accepted, compress

LEAST_BYTES = 1024
LARGE_BYTES = 1_000_000
"""From here on in a thread: less takes some 10 ms at most."""

MOST_BYTES = 500_000_000

QUALITY = {"br": 4, "gzip": 4}
LARGE_QUALITY = {"br": 1, "gzip": 1}
"""Faster than the line, even a fast one."""


def is_own(headers: Any) -> bool:
    """Return whether a request comes from JupyterLab's own page, or carries the token in a header."""
    return headers.get("Sec-Fetch-Site") == "same-origin" or "Authorization" in headers


def compress_answers(handler: Any) -> None:
    """Let `handler`, APIHandler, and the classes based on it compress their answers."""
    plain = handler.finish

    @functools.wraps(plain)
    def finish(self: Any, chunk: Any = None, **options: Any) -> Any:
        """End the answer, compressed where the request allows it."""
        if chunk is not None:
            self.write(chunk)
        size = sum(map(len, self._write_buffer))
        encoding = _encoding(self, size, options.get("set_content_type", "application/json"))
        if size < LARGE_BYTES or not encoding:
            if encoding:
                _replace(self, encoding, compress(b"".join(self._write_buffer), encoding, QUALITY[encoding]))
            return plain(self, **options)
        self._auto_finish = False  # else tornado ends the answer when the handler's method returns
        return asyncio.ensure_future(_finish_later(self, encoding, lambda: plain(self, **options)))

    handler.finish = finish


def _encoding(handler: Any, size: int, content_type: str) -> str:
    """Return how to encode an answer; "" for as it is."""
    if not LEAST_BYTES <= size <= MOST_BYTES or handler._headers_written or "Content-Encoding" in handler._headers:
        return ""
    if not content_type.startswith(("application/json", "text/")) or handler.request.method == "HEAD":
        return ""
    handler.add_header("Vary", "Accept-Encoding")
    headers = handler.request.headers
    return accepted(headers.get("Accept-Encoding", "")) if is_own(headers) else ""


def _replace(handler: Any, encoding: str, content: bytes) -> None:
    """Replace what a handler is to send. Its ETag is computed from this, so each encoding has its own."""
    handler._write_buffer = [content]
    handler.clear_header("Content-Length")
    handler.set_header("Content-Encoding", encoding)


async def _finish_later(handler: Any, encoding: str, finish: Any) -> None:
    content = b"".join(handler._write_buffer)
    try:
        _replace(handler, encoding, await asyncio.to_thread(compress, content, encoding, LARGE_QUALITY[encoding]))
    except Exception:
        handler.log.exception("gears: an answer of %d bytes was not compressed", len(content))
    if not handler.request.connection.stream.closed():
        await finish()
