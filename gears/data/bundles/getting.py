"""Brings back what bundles have: a get into a directory, or the restoration of what a directory has lost.

The parts of bundles that are needed are planned in one pass over the manifest and spooled; workers extract them; then
symbolic links and hard links are made, and at the end directories get their modes and times.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from gears.data import manifest, workers
from gears.data.bundles import fetching
from gears.data.bundles.extractor import Extracted, Extractor, Problem
from gears.data.bundles.finishing import Finisher
from gears.data.bundles.layout import read_layout
from gears.data.bundles.needs import Needs
from gears.data.bundles.putting import WORK, incomplete
from gears.data.bundles.selection import Selection
from gears.data.bundles.spools import Part, Spools, read_sorted
from gears.data.bundles.watch import MustStop, OnProgress, Watch
from gears.data.crew import Crew, Helpers
from gears.data.stores.base import Store
from gears.data.tally import Tally
from gears.data.tree import Tree, split
from gears.data.writers import join_writers, only_writer
from gears.errors import ContentsDiffer, UsageError
from gears.system import files

WRITTEN = "written"
PART_BYTES, PART_FILES = 1 << 30, 20_000
"""Where a part of a bundle can be read alone, several workers share a bundle."""


def get(  # noqa: PLR0913
    store: Store,
    target: Path,
    state: Path,
    *,
    patterns: Sequence[str] = (),
    jobs: int = 1,
    must_stop: MustStop = lambda: "",
    on_progress: OnProgress = lambda _tally: None,
    crew: Crew | None = None,
) -> Tally:
    """Bring back what matches the patterns, or all, into the directory `target`.

    May be repeated, also after kill -9: files that are there, by their size and time, are not read from the store
    again. A file that is there, is another one and was not written by this get, stays and is named in the result. What
    could not be put has no copy: it is named too. `crew`: extracts too, on other nodes.

    Raises ContentsDiffer at the end if members are not as the manifest says, which get no name; UsageError if there is
    no finished put, or a pattern matches nothing; BrokenSeal or Incomplete for a damaged manifest; NotReachable if
    another process writes into the target; Paused if `must_stop` returned a reason; Incomplete if the disk is full.
    """
    selection, run = Selection(patterns), _Run(store, target, state, jobs, crew)
    return run.carry_out(selection, False, must_stop, on_progress)


def restore(
    store: Store,
    state: Path,
    directory: Path,
    *,
    jobs: int = 1,
    on_progress: OnProgress = lambda _tally: None,
) -> Tally:
    """Bring back to `directory` what the manifest of `state` has, else the newest one of the store, and it has not.

    What is there under a name, whatever it is, stays as it is. Raises what `get` raises.
    """
    run = _Run(store, directory, state, jobs)
    return run.carry_out(Selection(()), True, lambda: "", on_progress)


def _is_doubtful(extracted: Extracted) -> bool:
    """Tell whether another node has met what may be wrong with it alone."""
    return bool(extracted.tally.problems or extracted.damaged)


def _clear_lost(tree: Tree, mark: str, part: Part) -> None:
    """Remove what an ended helper has left of a part under temporary names."""
    for directory in dict.fromkeys(split(member.entry.path)[0] for member in read_sorted(part)):
        with contextlib.suppress(OSError):
            tree.clear_temporaries(directory, mark)


class _Run:
    """A get or a restoration."""

    def __init__(self, store: Store, target: Path, state: Path, jobs: int, crew: Crew | None = None) -> None:
        self._store, self._target, self._state, self._jobs = store, target.resolve(), state.resolve(), jobs
        self._crew = crew
        self._work, self._damaged = self._state / f"{WORK}-get", list[Problem]()

    def carry_out(self, selection: Selection, restoring: bool, must_stop: MustStop, on_progress: OnProgress) -> Tally:
        """Bring back what is selected."""
        try:
            files.ensure_private(self._state)
            path = self._manifest(restoring)
            is_new = not self._target.is_dir()
            self._target.mkdir(mode=0o700, parents=True, exist_ok=True)
            with only_writer(self._target):
                shutil.rmtree(self._work, ignore_errors=True)
                watch = Watch(self._work / "watch", must_stop, on_progress)
                needs = Needs(self._target, selection, self._spools(), self._notes(path), watch)
                needs.restoring, needs.is_new = restoring, is_new
                self._bring_back(path, needs, watch)
        except OSError as exc:
            raise incomplete(self._target, exc) from exc
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
        on_progress(watch.tally)
        self._require_whole()
        return watch.tally

    def _manifest(self, restoring: bool) -> Path:
        """Return the newest manifest; for a restoration that of the state directory, which may be a part of one."""
        path = self._state / fetching.MANIFEST
        if restoring and path.exists():
            manifest.check(path)
            return path
        return fetching.fetch_manifest(self._store, read_layout(self._store.sizes()), self._state)

    def _spools(self) -> Spools:
        limits = (PART_BYTES, PART_FILES) if self._store.ranged else (None, None)
        return Spools(self._work / "parts", most_bytes=limits[0], most=limits[1])

    def _notes(self, path: Path) -> Path:
        return self._state / WRITTEN / f"{fetching.header_of(path).number:04d}"

    def _bring_back(self, path: Path, needs: Needs, watch: Watch) -> None:
        with needs:
            needs.plan(path)
        if unmatched := needs.selection.unmatched:
            raise UsageError(f"nothing matches {unmatched[0]!r}", next=f"grep -c path {path}   (lists what there is)")
        self._extract(needs.spools, self._notes(path), watch)
        with Finisher(self._target, watch) as finisher:
            self._damaged += finisher.make_links(needs.links_path, {name for name, _ in self._damaged})
            finisher.finish_directories(manifest.read(needs.directories_path))

    def _extract(self, spools: Spools, notes: Path, watch: Watch) -> None:
        jobs, helpers = min(self._jobs, len(spools.parts)), None
        if self._crew and len(spools.parts) > 1:
            jobs, helpers = max(1, jobs), Helpers(self._crew, _is_doubtful)
        extractor = Extractor(self._store, self._target, notes, watch.signals(max(jobs, 2) if helpers else jobs))
        begin = functools.partial(join_writers, self._target)
        results = workers.run_ordered(
            extractor, spools.parts, jobs=jobs, begin=begin, on_wait=watch.poll, helpers=helpers
        )
        with contextlib.closing(results) as extracted:
            for one in extracted:
                watch.tally.add(one.tally)
                for name, reason in one.damaged:
                    watch.tally.fail(name, reason)
                self._damaged += one.damaged
                watch.report()
        with Tree(self._target) as tree:
            for mark, part in helpers.lost if helpers else ():
                _clear_lost(tree, mark, part)

    def _require_whole(self) -> None:
        """Raise ContentsDiffer if members were damaged."""
        if self._damaged:
            name, reason = self._damaged[0]
            what = f"{len(self._damaged)} files could not be brought back, such as {os.fsdecode(name)!r}: {reason}"
            raise ContentsDiffer(f"{what}; the others are there", next="gears data status")
