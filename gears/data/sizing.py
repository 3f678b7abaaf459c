"""How much there is to move: a walk in a process of its own, beside the transfer."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self


def measure(root: str) -> tuple[int, int]:
    """Return how many regular files are below `root`, and their bytes, once for all names of a file.

    What can't be read is left out.
    """
    files = size = 0
    below, linked = [root], set[tuple[int, int]]()
    while below:
        try:
            with os.scandir(below.pop()) as found:
                for one in found:
                    if one.is_dir(follow_symlinks=False):
                        below.append(one.path)
                    elif one.is_file(follow_symlinks=False):
                        info = one.stat(follow_symlinks=False)
                        files += 1
                        if info.st_nlink > 1 and (info.st_dev, info.st_ino) in linked:
                            continue
                        size += info.st_size
                        if info.st_nlink > 1:
                            linked.add((info.st_dev, info.st_ino))
        except OSError:
            continue
    return files, size


def _report(root: str, connection: Connection) -> None:
    os.nice(10)
    connection.send(measure(root))


class Sizing:
    """A measurement under way. The process ends with the context, and with its parent."""

    def __init__(self, root: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe(duplex=False)
        self._process = context.Process(target=_report, args=(root, there), daemon=True)
        self._process.start()
        there.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._here.close()

    def result(self) -> tuple[int, int] | None:
        """Return what `measure` has returned, once; None before, and if it has failed."""
        try:
            return self._here.recv() if self._here.poll() else None
        except EOFError:
            return None
