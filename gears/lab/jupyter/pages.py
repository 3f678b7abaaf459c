"""JupyterLab over a long, slow line: few bytes, few round trips, no waits. Everything that gears adds for this.

Also a command, for `make init`: `python -m gears.lab.jupyter.pages` compresses the files of this environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

from gears.errors import GearsError
from gears.lab.jupyter import first_page, small_messages
from gears.lab.jupyter.answers import compress_answers
from gears.lab.jupyter.compressed import QUALITY, Store, is_worthwhile
from gears.lab.jupyter.panel import LABEXTENSIONS
from gears.lab.jupyter.static_files import Copies, serve_copies

MADE = Path(sys.prefix) / "share/gears/pages"
"""Copies of this environment's own files, for all who use it."""

SERVED = ("share/jupyter/lab/static", "share/jupyter/labextensions", "share/jupyter/lab/themes")
"""Directories of an environment from which JupyterLab serves files."""


def install(serverapp: Any, home: Path) -> None:
    """Let the server compress what it sends, its page load quickly, and messages go at once.

    `home`: a directory for further copies.
    """
    from jupyter_server.base.handlers import APIHandler, FileFindHandler
    from tornado.websocket import WebSocketProtocol13

    copies = Copies(Store([MADE, home]))
    try:
        serve_copies(FileFindHandler, copies)
        compress_answers(APIHandler)
        first_page.improve(serverapp.web_app, static_directory(), copies)
        small_messages.install(WebSocketProtocol13)
    except Exception:  # of another version of Jupyter: all is sent as without gears
        serverapp.log.exception("gears: pages are as slow as without gears")


def static_directory() -> Path:
    """Return the directory with JupyterLab's own scripts."""
    from jupyterlab.commands import get_app_dir

    return Path(get_app_dir()) / "static"


def files_to_compress(prefix: Path) -> Iterator[str]:
    """Yield the files of an environment that get copies."""
    import jupyter_server

    places = [*(prefix / place for place in SERVED), LABEXTENSIONS, Path(jupyter_server.__file__).parent / "static"]
    for place in places:
        for folder, _, names in os.walk(place):
            for file in (os.path.join(folder, name) for name in names):
                if is_worthwhile(file, os.stat(file).st_size):
                    yield file


def make_copies(directory: Path = MADE) -> None:
    """Make the copies for this environment's files, and remove those of files that it no longer has.

    What has its copies keeps them: they are named after the content.
    """
    store, found = Store([directory], 0o666), list(files_to_compress(Path(sys.prefix)))
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        first = pool.submit(first_page.make, store, Path(sys.prefix, SERVED[0]))
        for file, encoding in product(found, QUALITY):
            if store.needs(file, encoding):
                pool.submit(store.add, file, encoding)
    store.remove_others(found, filter(None, [first.result()]))


if __name__ == "__main__":
    try:
        make_copies()
    except (OSError, GearsError) as exc:
        sys.exit(f"gears: pages are not compressed: {exc}")
