"""Puts a directory into bundles on a store.

A run that was interrupted goes on by the same means as a put that is incremental to the one before: what sealed bundles
have, by the newest manifest and their indexes, is kept; the rest is planned and written anew. So a plan need not
survive, nor does the state directory.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gears.data import manifest, workers
from gears.data.bundles import fetching, layout, ownership, tasks
from gears.data.bundles.bundler import Bundler, Written
from gears.data.bundles.fetching import MANIFEST
from gears.data.bundles.layout import Layout, put_name, read_layout
from gears.data.bundles.ownership import IsGone, Lock
from gears.data.bundles.planning import Plan, Planned, Planner, make_plans
from gears.data.bundles.sealing import store_manifest, write_manifest
from gears.data.bundles.tasks import Others
from gears.data.bundles.watch import MustStop, OnProgress, Watch
from gears.data.manifest import Bundle, Header
from gears.data.stores.base import Store
from gears.data.tally import Tally
from gears.data.writers import join_writers, only_writer
from gears.errors import BrokenSeal, GearsError, Incomplete, UsageError
from gears.system import files, timestamps

WORK = "work"
"""What a run needs only while it runs, in the state directory."""


def put(  # noqa: PLR0913
    source: Path,
    store: Store,
    state: Path,
    *,
    bundle_size: int,
    jobs: int,
    must_stop: MustStop = lambda: "",
    on_progress: OnProgress = lambda _tally: None,
    is_gone: IsGone = ownership.never,
    others: Others | None = None,
) -> Tally:
    """Store all that is in `source` as bundles of at most `bundle_size` bytes, and a manifest.

    What an earlier put has stored and has not changed is kept. With nothing new, nothing is written. May be repeated,
    also after kill -9; the same call goes on. What can't be put is in the result and in the manifest:
    `Tally.complete` says whether there was any. `is_gone` says whether the holder of a lock has ended that is on
    another host, as the scheduler knows of its job. `others`: tasks on other nodes that may help (`tasks.help_put`).

    Raises UsageError if the target is another source's or the source contains it, NotReachable if another run writes
    into it, Paused if `must_stop` returned a reason, Incomplete if the disk is full or a worker ended, BrokenSeal for a
    damaged manifest of an earlier put, ContentsDiffer if the store returns other contents than were written.
    """
    source, state = source.resolve(), state.resolve()
    check_apart(source, store, state)
    try:
        files.ensure_private(state)
        with only_writer(state):  # until the workers of a killed run have ended
            tasks.end_runs(state)
            work = state / tasks.RUNS / secrets.token_hex(8) if others else state / WORK
            watch = Watch(work / tasks.WATCH, must_stop, on_progress)
            return _Run(source, store, state, work, bundle_size, jobs, others).carry_out(watch, is_gone)
    except OSError as exc:
        raise incomplete(source, exc) from exc


def incomplete(where: Path, error: OSError) -> Incomplete:
    """Return the error for a file system that fails on this host."""
    name = os.fsdecode(error.filename or where)
    what = f"{name}: {error.strerror or error}; what is finished stays, and the same command goes on"
    return Incomplete(what, next=f"df -h {name}; df -i {name}")


def check_apart(source: Path, store: Store, state: Path) -> None:
    """Raise UsageError if the source is no directory, or contains what is written meanwhile."""
    if not source.is_dir():
        raise UsageError(f"{source}: not a directory", next=f"ls -ld {source}")
    directory = getattr(store, "directory", None)
    for inner in (state, directory):
        if isinstance(inner, Path) and inner.resolve().is_relative_to(source):
            raise UsageError(f"{inner} is in {source}: source and bundles have to be apart", next="gears data --help")


@dataclass(slots=True)
class _Run:
    source: Path
    store: Store
    state: Path
    work: Path  # of what only this run needs
    bundle_size: int
    jobs: int
    others: Others | None

    def carry_out(self, watch: Watch, is_gone: IsGone) -> Tally:
        """Take the lock, and put."""
        sizes = self.store.sizes()
        ownership.ensure_owner(self.store, self.source, self.state, len(sizes))
        lock = Lock(self.store, ownership.this_holder(), is_gone)
        lock.take()
        try:
            tally = self._put(lock, watch)
        except BaseException:
            with contextlib.suppress(GearsError, OSError):  # the first error is the one to tell
                lock.release()
            raise
        finally:
            tasks.end_runs(self.state)
            shutil.rmtree(self.work, ignore_errors=True)
        lock.release()
        return tally

    def _put(self, lock: Lock, watch: Watch) -> Tally:
        found = read_layout(self.store.sizes())
        self._drop_unfinished(found)
        path = fetching.fetch_manifest(self.store, found, self.state) if found.newest else None
        before = () if path is None else fetching.header_of(path).bundles
        self._remove_leftovers(found, before)
        good = tuple(bundle for bundle in before if found.has(bundle))
        indexes = fetching.fetch_indexes(self.store, found, self.state, before)
        known = fetching.merge_known(path, list(indexes.values()), self.work / "known")
        header = self._header(found.newest + 1, (*good, *indexes))
        first = max(found.next_bundle, tasks.next_number(self.state))
        planner = Planner(self.work, header, first, self.bundle_size)
        planned, good_names = planner.planned, {bundle.name for bundle in header.bundles}
        with contextlib.closing(make_plans(self.source, known, planner, watch, self.jobs, good_names)) as plans:
            written = self._write(plans, planned, header, lock.for_workers(), watch)
        if path and not planned.bundles and not indexes and good == before and self._is_unchanged(planned, path):
            return _counted(path, watch.tally, planned)
        if self.others:
            self._remove_late(found, {bundle.name for bundle in (*before, *written)}, before)
        watch.tally.bundles = watch.tally.total_bundles = len(header.bundles) + len(written)
        header = self._header(header.number, (*header.bundles, *written))
        watch.tally.reused = planned.kept
        new = write_manifest(planned.listing, header, self.source, self.state, watch.tally)
        store_manifest(lock, new, header, self.state)
        watch.on_progress(watch.tally)
        return watch.tally

    def _header(self, number: int, bundles: tuple[Bundle, ...]) -> Header:
        ordered = tuple(sorted(bundles, key=lambda bundle: bundle.name))
        return Header(os.fsencode(self.source), socket.gethostname(), timestamps.utc_now(), number, ordered)

    def _drop_unfinished(self, found: Layout) -> None:
        """Remove the newest manifest if an interrupted run of this transfer was writing it, and it is not whole."""
        newest, new = found.newest, manifest.new_path(self.state / MANIFEST)
        if not newest or not new.exists() or fetching.local_number(self.state / MANIFEST) >= newest:
            return
        try:
            manifest.check(new)
            is_ours = fetching.header_of(new).number == newest
        except (BrokenSeal, Incomplete):
            return
        if is_ours and fetching.hash_stored(self.store, put_name(MANIFEST, newest)) != fetching.hash_file(new):
            self.store.remove(put_name(MANIFEST, newest))
            found.manifests.pop(newest)

    def _remove_leftovers(self, found: Layout, before: tuple[Bundle, ...]) -> None:
        """Remove what an interrupted put has left: parts of files, and bundles without index that no manifest has."""
        if clear := getattr(self.store, "clear_parts", None):
            clear()
        last = max((bundle.name for bundle in before), default="")
        for number in found.unsealed:
            name = layout.bundle_name(number)
            if name > last and not (self.state / fetching.INDEXES / layout.index_name(name)).exists():
                self.store.remove(name)

    def _remove_late(self, found: Layout, ours: set[str], before: tuple[Bundle, ...]) -> None:
        """Remove what tasks have left that were killed, or that an earlier run had and that went on meanwhile."""
        now = read_layout(self.store.sizes())
        for number in set(now.sealed) - set(found.sealed):
            if (name := layout.bundle_name(number)) not in ours:
                self.store.remove(layout.index_name(name))
                self.store.remove(name)
        self._remove_leftovers(now, before)

    def _is_unchanged(self, planned: Planned, path: Path) -> bool:
        return not planned.changed and manifest.check(path).entries == planned.entries

    def _write(self, plans: Iterator[Plan], planned: Planned, header: Header, lock: Lock, watch: Watch) -> list[Bundle]:
        """Write the bundles, several at once, by several processes from the first complete plan on."""
        if self.others:
            leader = tasks.Leader(self.work, self.state, watch, self.others.ended)
            plans = _counting(plans, planned, watch.tally, len(header.bundles))
            bundler = Bundler(self.source, lock, self.state, header, watch.signals(self.jobs))
            return leader.write(self.source, header, plans, bundler, lock, self.jobs)
        begun = list(itertools.islice(plans, 1))
        if self.jobs <= 1 or planned.finished:
            begun += plans
        jobs = min(self.jobs, len(begun)) if planned.finished else self.jobs
        bundler = Bundler(self.source, lock, self.state, header, watch.signals(jobs))
        begin = functools.partial(join_writers, self.state)
        ready = _counting(itertools.chain(begun, plans), planned, watch.tally, len(header.bundles))
        results = workers.run_ordered(bundler, ready, jobs=jobs, begin=begin, on_wait=watch.poll, waiting=sys.maxsize)
        with contextlib.closing(results) as written:
            return [_take(one, watch) for one in written]


def _counting(plans: Iterator[Plan], planned: Planned, tally: Tally, before: int) -> Iterator[Plan]:
    """Yield the plans, and set the number of all bundles when it is known. `before`: of those that are there."""
    for plan in plans:
        tally.bundles = tally.bundles or before
        tally.total_bundles = before + planned.bundles if planned.finished else 0
        yield plan
    tally.total_bundles = before + planned.bundles if planned.bundles else 0


def _take(written: Written, watch: Watch) -> Bundle:
    watch.tally.add(written.tally)
    watch.tally.bundles += 1
    watch.report()
    return written.bundle


def _counted(path: Path, tally: Tally, planned: Planned) -> Tally:
    """Count what a put with nothing new has."""
    for entry in manifest.read(path):
        tally.count(entry)
    tally.reused = planned.kept
    return tally
