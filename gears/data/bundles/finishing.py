"""The end of a get: symbolic and hard links, then what belongs to the directories."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from gears.data import attributes, contents, manifest
from gears.data.bundles.extractor import Problem
from gears.data.bundles.watch import Watch
from gears.data.entries import Entry, Type
from gears.data.tree import Tree, is_in, split


class Finisher:
    """Makes links and finishes directories in the target."""

    def __init__(self, target: Path, watch: Watch) -> None:
        self._tree, self._other, self._watch, self._tally = Tree(target), Tree(target), watch, watch.tally
        self._token, self._number = secrets.token_hex(8), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tree.close()
        self._other.close()

    def make_links(self, path: Path, damaged: set[bytes]) -> list[Problem]:
        """Make the links in the spool at `path`; return those of damaged files."""
        failed, last = list[Problem](), None
        for entry in manifest.read(path):
            self._watch.check()
            if entry.same_as in damaged:
                failed.append((entry.path, f"a hard link to {os.fsdecode(entry.same_as or b'')!r}"))
                self._tally.fail(*failed[-1])
                continue
            if last is not None and split(last)[0] != split(entry.path)[0]:
                self._sync(split(last)[0])
            last = entry.path
            self._make_link(entry)
        if last is not None:
            self._sync(split(last)[0])
        return failed

    def _sync(self, directory: bytes) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.fsync(self._tree.directory(directory))

    def _make_link(self, entry: Entry) -> None:
        self._number += 1
        temporary = f".gears-part-{self._token}-{self._number}".encode()
        directory, name = split(entry.path)
        try:
            at = self._tree.directory(directory)
            self._make(entry, temporary, at)
            try:
                self._publish(temporary, name, at)
            finally:
                with contextlib.suppress(FileNotFoundError):  # rename(2) leaves it if both are the same file already
                    os.unlink(temporary, dir_fd=at)
        except OSError as exc:
            if contents.is_full(exc):
                raise
            self._tally.fail(entry.path, exc.strerror or str(exc))
            return
        self._tally.count(entry)

    def _make(self, entry: Entry, temporary: bytes, at: int) -> None:
        if entry.same_as is None:
            os.symlink(entry.target or b"", temporary, dir_fd=at)
            self._tally.lost.update(attributes.apply_to_symlink(temporary, at, entry))
            return
        first_directory, first_name = split(entry.same_as)
        source = self._other.directory(first_directory)
        os.link(first_name, temporary, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)

    def _publish(self, temporary: bytes, name: bytes, at: int) -> None:
        """Rename a link to a name that is free, or that an older version of this get's file has."""
        os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)

    # --- directories --------------------------------------------------------------------------

    def finish_directories(self, entries: Iterator[Entry]) -> None:
        """Give each directory its mode, time and attributes, after what is in it. `entries`: in order."""
        way = list[Entry]()
        for entry in entries:
            while way and not is_in(entry.path, way[-1].path):
                self._finish(way.pop())
            way.append(entry)
        while way:
            self._finish(way.pop())

    def _finish(self, entry: Entry) -> None:
        if entry.type is not Type.DIRECTORY:
            return
        try:
            with self._tree.opened(entry.path) as fd:
                self._tally.lost.update(attributes.apply(fd, entry))
        except OSError as exc:
            self._tally.fail(entry.path, exc.strerror or str(exc))
