"""Serve compressed copies of static files to browsers that accept them, through jupyter_server's own handler.

`FileFindHandler` decides, as without gears, who may read which file: a copy is only used for a file that it is about to
serve. Requests for a range, and clients that accept no encoding, get the file itself.
"""

from __future__ import annotations

import asyncio
import functools
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from gears.lab.jupyter.compressed import QUALITY, Copy, Store, accepted, is_worthwhile

NICE = 10
"""Of the thread that makes copies: JupyterLab and its kernels come first."""


class Background:
    """One thread of low priority, started for the first call. It does not delay the end of JupyterLab."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, call: Callable[[], object]) -> None:
        """Call a function in the thread, after those before it. Its OSError is dropped."""
        self._calls.put(call)
        if not self._thread:
            self._thread = threading.Thread(target=self._work, name="gears-compress", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)  # Linux: of this thread only
        except OSError:
            pass
        while True:
            call = self._calls.get()
            try:
                call()
            except OSError:
                pass


class Copies:
    """The copies for one server: found in a thread, and made in the background where they are missing."""

    def __init__(self, store: Store) -> None:
        self.store, self.background = store, Background()
        self._asked: set[str] = set()

    async def find(self, file: str, encoding: str) -> Copy | None:
        """Return the copy of a file; if it is missing, None, and it is made for the next request."""
        try:
            if not is_worthwhile(file, os.stat(file).st_size):
                return None
            copy = await asyncio.to_thread(self.store.find, file, encoding)
        except OSError:
            return None
        if not copy and file not in self._asked:
            self._asked.add(file)
            self.background.run(functools.partial(self._make, file))
        return copy

    def _make(self, file: str) -> None:
        try:
            missing = [encoding for encoding in QUALITY if self.store.needs(file, encoding)]
            for encoding in missing:
                self.store.add(file, encoding)
            if missing:
                self.store.prune()
        finally:
            self._asked.discard(file)


def serve_copies(handler: Any, copies: Copies) -> None:
    """Let `handler`, FileFindHandler, and the classes based on it serve copies."""
    from tornado.web import StaticFileHandler

    plain, read = handler.get, StaticFileHandler.get_content.__func__  # type: ignore[attr-defined]

    @functools.wraps(plain)
    async def get(self: Any, path: str, include_body: bool = True) -> None:
        """Answer GET and HEAD with a copy if there is one, else as usual."""
        unchanged = getattr(type(self).get_content, "__func__", None) is read  # unlike a theme's
        try:
            if unchanged and (file := served_file(self, path)):
                await _prepare(self, file, copies)
        except Exception:
            self.log.exception("gears: %s is sent as it is", path)
        await plain(self, path, include_body)

    handler.get = get


async def _prepare(handler: Any, file: str, copies: Copies) -> None:
    headers = handler.request.headers
    if headers.get("If-Range", "").startswith('"'):  # of an encoded answer, perhaps, to which no range of ours fits
        headers.pop("Range", None)
    encoding = accepted(headers.get("Accept-Encoding", ""))
    copy = await copies.find(file, encoding) if encoding and "Range" not in headers else None
    if copy:
        handler.get_content_size = lambda: len(copy.content)
        handler.get_content = lambda *_: copy.content
        handler.compute_etag = lambda: f'"{copy.tag}"'
    set_headers = handler.set_headers

    def set_ours() -> None:
        """Set the headers of the handler, then those of the encoding."""
        set_headers()
        handler.add_header("Vary", "Accept-Encoding")
        if copy:
            handler.set_header("Content-Encoding", copy.encoding)
            handler.set_header("Accept-Ranges", "none")

    handler.set_headers = set_ours


def served_file(handler: Any, path: str) -> str:
    """Return the file that a handler is about to serve; "" where it will refuse, redirect or not find it."""
    from tornado.web import HTTPError

    handler.path = handler.parse_url_path(path)
    file = handler.get_absolute_path(handler.root, handler.path)
    try:
        return (file and os.path.isfile(file) and handler.validate_absolute_path(handler.root, file)) or ""
    except HTTPError:
        return ""
