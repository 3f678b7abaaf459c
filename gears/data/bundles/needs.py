"""What a get has to bring back: one pass over the manifest, compared with what the target has."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from gears.data import attributes, contents, manifest
from gears.data.bundles.extractor import TAKEN
from gears.data.bundles.journal import Journal
from gears.data.bundles.selection import Selection
from gears.data.bundles.spools import Spools
from gears.data.bundles.watch import Watch
from gears.data.copier import SAME_TIME_NS
from gears.data.entries import Entry, Type
from gears.data.manifest import Header
from gears.data.tree import Tree, is_in

HEADER = Header(b"", "", "")


class Needs:
    """Plans a get: creates directories, and spools the members to extract, the links to make, the directories made.

    `restoring`: what is there stays, without a word. `is_new`: the target was created by this run.
    """

    def __init__(self, target: Path, selection: Selection, spools: Spools, notes: Path, watch: Watch) -> None:
        self.selection, self.spools, self.restoring, self.is_new = selection, spools, False, False
        work = watch.directory.parent
        self.links_path, self.directories_path = work / "links", work / "directories"
        self._tree, self._watch, self._notes = Tree(target), watch, notes
        self._tally, self._journal = watch.tally, Journal(notes)
        self._ours: Journal | None = None
        self._way, self._depth = list[Entry](), 0
        self._others, self._carriers = Counter[bytes](), dict[bytes, bytes]()

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self._links = self._stack.enter_context(manifest.Writer(self.links_path, HEADER))
        self._directories = self._stack.enter_context(manifest.Writer(self.directories_path, HEADER))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tree.close()
        self._stack.close()

    def plan(self, path: Path) -> None:
        """Go through the manifest. Raises OSError if the target has no room, Paused."""
        linked = manifest.read(path, containing=b'"same_as')
        self._others.update(entry.same_as for entry in linked if entry.same_as)
        for entry in manifest.read(path):
            self._watch.check()
            wanted = self.selection.takes(entry)
            self._follow(entry)
            if wanted:
                self._make_directories()
                self._need(entry)
        self.spools.flush()

    # --- directories --------------------------------------------------------------------------

    def _follow(self, entry: Entry) -> None:
        while self._way and not is_in(entry.path, self._way[-1].path):
            self._way.pop()
        self._depth = min(self._depth, len(self._way))
        if entry.type is Type.DIRECTORY and entry.held:
            self._way.append(entry)

    def _make_directories(self) -> None:
        for directory in self._way[self._depth :]:
            try:
                if self._make_directory(directory):
                    self._directories.add(directory)
            except OSError as exc:
                if contents.is_full(exc):
                    raise
                self._tally.fail(directory.path, f"no directory can be made: {exc.strerror}")
        self._depth = len(self._way)

    def _make_directory(self, directory: Entry) -> bool:
        """Make sure of a directory; return whether it is to get its mode and time at the end."""
        is_root = directory.path == b"."
        if not self.restoring:
            self._tree.ensure_directory(directory.path)
            return not is_root or self.selection.everything
        if is_root or self._lstat(directory.path):
            with contextlib.suppress(OSError):
                self._tree.clear_temporaries(directory.path)
            return is_root and self.is_new
        self._tree.ensure_directory(directory.path)
        return True

    # --- files --------------------------------------------------------------------------------

    def _need(self, entry: Entry) -> None:
        """Spool an entry if the target has not got it, and count it if it has."""
        if entry.type is Type.DIRECTORY and entry.held:
            self._tally.count(entry)
            return
        if not entry.held:
            if not self.restoring:
                self._tally.count(entry)
            return
        try:
            info = None if self.is_new else self._lstat(entry.path)
            there = info is not None and self._is_there(entry, info)
        except OSError as exc:
            self._tally.fail(entry.path, exc.strerror or str(exc))
            return
        if info is None or (not self.restoring and not there and self._is_ours(entry.path, info)):
            self._bring(entry)
        elif there and not self.restoring:
            self._reuse(entry)
        elif not self.restoring:
            self._tally.fail(entry.path, TAKEN)

    def _bring(self, entry: Entry) -> None:
        """Spool an entry: as a link to another name of the same file, if that comes too, else as a member."""
        first = entry.same_as or entry.path
        if first in self._carriers:
            self._links.add(replace(entry, same_as=self._carriers[first]))
            return
        if entry.same_as is not None or entry.path in self._others:
            self._carriers[first] = entry.path
        if entry.type is Type.FILE:
            self.spools.add(entry if entry.same_as is None else replace(entry, same_as=None))
        else:
            self._links.add(replace(entry, same_as=None))

    def _reuse(self, entry: Entry) -> None:
        if entry.same_as is not None or entry.path in self._others:
            self._carriers.setdefault(entry.same_as or entry.path, entry.path)
        self._tally.count(entry)
        self._tally.reused += entry.type is Type.FILE

    def _is_there(self, entry: Entry, info: os.stat_result) -> bool:
        """Return whether a file of the target is what the manifest says, and has what belongs to it."""
        found = attributes.plan_entry(entry.path, info)
        if found.type is not entry.type:
            return False
        if entry.type is Type.SYMLINK:
            return self._readlink(entry.path) == entry.target
        if found.size != entry.size or abs(found.mtime_ns - entry.mtime_ns) > SAME_TIME_NS or self.restoring:
            return False
        if self._journal.has(entry.path, info):
            return True
        with self._tree.opened(entry.path) as fd:
            if contents.sha256(fd, self._watch.check) != entry.sha256:
                return False
            if stat.S_ISREG(os.fstat(fd).st_mode):
                self._tally.lost.update(attributes.apply(fd, entry))
        return True

    def _is_ours(self, path: bytes, info: os.stat_result) -> bool:
        if self._ours is None:
            self._ours = Journal(self._notes.parent)
        return self._ours.has(path, info)

    def _readlink(self, path: bytes) -> bytes:
        directory, _, name = path.rpartition(b"/")
        return os.readlink(name, dir_fd=self._tree.directory(directory or b"."))

    def _lstat(self, path: bytes) -> os.stat_result | None:
        try:
            return self._tree.lstat(path)
        except FileNotFoundError:
            return None
