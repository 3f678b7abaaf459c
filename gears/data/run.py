"""A copy or a restoration under way: batches to the workers, hard links, the sum, news, and the request to stop."""

from __future__ import annotations

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from gears.data import attributes, checksums, contents, durable, workers
from gears.data.copier import Copier, Done, Item
from gears.data.crew import Crew, Helpers
from gears.data.entries import Entry, to_line
from gears.data.pulse import MustStop, Ticker
from gears.data.sharing import Rule
from gears.data.tally import Tally
from gears.data.tree import Tree, is_in, split
from gears.data.writers import join_writers
from gears.errors import GearsError, Incomplete

BATCH_FILES = 512
BATCH_BYTES = 64 << 20

Add = Callable[[bytes], None]
"""Takes a line of the manifest, or lines of the checksums."""
OnProgress = Callable[[Tally], None]
"""Called after each batch, and about once a second while bytes move, with the sum so far."""


def incomplete(target: Path, reason: str, name: str) -> GearsError:
    """Return the error for a target that fails."""
    return Incomplete(
        f"{name}: {reason}; what is copied stays, and the same command goes on", next=f"df -h {target}; df -i {target}"
    )


class Run:
    """Hands out batches, makes hard links, and sums up."""

    def __init__(
        self, copier: Copier, on_progress: OnProgress, must_stop: MustStop, *, add_line: Add, add_checksums: Add
    ) -> None:
        self.tally, self.stopped, self._cut = Tally(), "", False
        self._copier, self._on_progress = copier, on_progress
        self._add_line, self._add_checksums = add_line, add_checksums
        self._target, self._shared = Tree(copier.target.root), dict[bytes, tuple[Entry, int]]()
        self._ticker = Ticker(copier.pulse, must_stop, self._report)
        copier.tick = self._ticker.tick

    def carry_out(self, items: Iterator[Item], jobs: int, crew: Crew | None = None) -> None:
        """Copy all items; all results are added that there are. `crew`: helps on other nodes.

        Raises Incomplete if the target has failed, Paused if the run had to stop.
        """
        root, tick = self._copier.target.root, self._ticker.tick
        begin, batches = functools.partial(join_writers, root), self._batches(items)
        helpers = Helpers(crew, _is_doubtful, self._copier.pulse) if crew else None
        try:
            found = workers.run_ordered(self._copier, batches, jobs=jobs, begin=begin, on_wait=tick, helpers=helpers)
            with contextlib.closing(found) as results:
                for done in results:
                    self._take(done)
                    tick()
            self._clear_lost(helpers)
        finally:
            self._copier.close()
            self._target.close()
        if self._cut or self.stopped:
            self._ticker.require_going_on()
        if self.stopped:
            raise incomplete(root, self.stopped, str(root))

    def _clear_lost(self, helpers: Helpers | None) -> None:
        """Remove what ended helpers have left under temporary names."""
        for mark, batch in helpers.lost if helpers else ():
            for directory in dict.fromkeys(split(item.entry.path)[0] for item in batch):
                with contextlib.suppress(OSError):
                    self._target.clear_temporaries(directory, mark)

    def _batches(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        """Group items; ends when the target has failed, or the run has to stop."""
        batch, size = list[Item](), 0
        for item in items:
            batch.append(item)
            size += item.entry.size
            if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
                self._ticker.tick()
                if self.stopped or self._ticker.reason:
                    self._cut = True
                    return
        if batch:
            yield batch

    def _report(self) -> None:
        self.tally.moved = self._copier.pulse.moved
        self._on_progress(self.tally)

    def create_directory(self, path: bytes) -> str | None:
        """Make sure of a directory in the target; return why there can't be one. Raises OSError if there is no room."""
        try:
            self._target.ensure_directory(path)
        except OSError as exc:
            if contents.is_full(exc):
                raise
            return f"no directory in the copy: {exc.strerror}"
        return None

    def clear_temporaries(self, path: bytes) -> None:
        """Remove what an interrupted run has left in a directory, if it is one, and may be read."""
        with contextlib.suppress(OSError):
            self._target.clear_temporaries(path)

    def _take(self, done: Done) -> None:
        self.stopped = self.stopped or done.stopped or ""
        self.tally.add(done.tally)
        self._shared |= done.shared
        self._add_checksums(done.checksums)
        for result in done.results:
            if isinstance(result, bytes):
                self._add_line(result)
            else:
                self._link(result)
        self._report()

    def _link(self, entry: Entry) -> None:
        """Make a hard link; copy the file instead where that is refused."""
        first = self._first(entry.same_as or b"")
        if first is None or not self._make_link(first.path, entry.path):
            self.tally.lost["hard link"] += 1
            self._take(self._copier([Item(replace(entry, same_as=None))]))
            return
        linked = replace(first, path=entry.path, same_as=first.path)
        self.tally.count(linked)
        self._add_line(to_line(linked))
        self._add_checksums(checksums.to_lines((linked,)))

    def _first(self, path: bytes) -> Entry | None:
        """Return the entry that another name is to be linked to, if it was copied. Forgets it with the last name."""
        entry, others = self._shared.pop(path, (None, 0))
        if entry is not None and others > 1:
            self._shared[path] = entry, others - 1
        return entry if entry is not None and entry.held else None

    def count_unlinked(self) -> None:
        """Count as lost the links that nobody has asked for: those of names that were still there."""
        self.tally.lost += Counter({"hard link": sum(others for _, others in self._shared.values())})

    def _make_link(self, first: bytes, path: bytes) -> bool:
        temporary, (first_directory, first_name) = self._copier.temporary_name(), split(first)
        try:
            source = self._target.directory(first_directory)
            at = self._copier.target.directory(split(path)[0])
            os.link(first_name, temporary, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)
        except OSError:
            return False
        try:
            self._copier.publish(temporary, path)
        except OSError:
            return False
        finally:
            with contextlib.suppress(FileNotFoundError):  # rename(2) leaves it if both are the same file already
                os.unlink(temporary, dir_fd=at)
        return True


def _is_doubtful(done: Done) -> bool:
    """Tell whether another node has met what may be wrong with it alone, such as a place that it does not mount."""
    return bool(done.tally.problems or done.stopped)


# --- directories, at the end -----------------------------------------------------------------


class Finisher:
    """Gives directories their modes, times and attributes, after what is in them, and syncs them."""

    def __init__(self, source: Tree | None, target: Tree, rule: Rule | None, tally: Tally) -> None:
        self._source, self._target, self._rule, self._tally = source, target, rule, tally
        self._root = os.open(target.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._at_once = durable.syncs_all_at_once(self._root)

    def finish_all(self, entries: Iterable[Entry]) -> None:
        """Finish the directories among the entries, which are in order. Raises OSError if they can't be synced."""
        open_ones: list[Entry] = []
        try:
            for entry in entries:
                while open_ones and not is_in(entry.path, open_ones[-1].path):
                    self._finish(open_ones.pop())
                if entry.held:
                    open_ones.append(entry)
            while open_ones:
                self._finish(open_ones.pop())
            if self._at_once:
                durable.sync_all(self._root)
        finally:
            os.close(self._root)

    def _finish(self, entry: Entry) -> None:
        try:
            if self._source and self._source.lstat(entry.path).st_mtime_ns != entry.mtime_ns:
                self._tally.fail(entry.path, "files were added to it or removed from it meanwhile")
            with self._target.opened(entry.path) as fd:
                self._tally.lost.update(attributes.apply(fd, self._rule.applied(entry) if self._rule else entry))
                if not self._at_once:
                    os.fsync(fd)
        except OSError as exc:
            self._tally.fail(entry.path, exc.strerror or str(exc))
