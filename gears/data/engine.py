"""Copying a tree with a manifest, and bringing back from a copy what a directory has lost. For Linux.

The walk is in this process, in the order of manifests; batches go to the workers (`copier`), and their results come
back in that order. So entries of earlier runs are found in one pass over their manifest, and memory does not grow with
the number of entries. It grows with the names in one directory, and with the hard links whose other names have not come
yet.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gears.data import attributes, manifest
from gears.data.checksums import Checksums, checksums_path
from gears.data.copier import Copier, Item
from gears.data.crew import Crew
from gears.data.entries import Entry, Type
from gears.data.links import Groups
from gears.data.pulse import MustStop, never
from gears.data.run import Finisher, OnProgress, Run, incomplete
from gears.data.sharing import Rule, Shared
from gears.data.tally import Tally
from gears.data.tree import Found, Tree, walk
from gears.data.writers import only_writer
from gears.errors import UsageError
from gears.system import files, timestamps

DIRECTORY_LINE = b'"type":"directory"'
"""In the line of each directory, and in no other: in a name the quotation marks are escaped."""


def _ignore(_: object) -> None: ...


def copy_tree(  # noqa: PLR0913
    source: Path,
    target: Path | Shared,
    record: Path,
    *,
    jobs: int = 1,
    must_stop: MustStop = never,
    on_progress: OnProgress = _ignore,
    crew: Crew | None = None,
) -> Tally:
    """Copy what is in `source` into the directory `target`, and write the manifest `record` and its SHA256SUMS.

    Files of the same name in the target are replaced; nothing else there is removed. May be repeated, also after kill
    -9: files that are finished by the manifest, and have the same size and mtime in the source, are not copied again.
    What can't be copied is in the result and in the manifest: `Tally.complete` says whether there was any. `crew`:
    copies too, on other nodes, which mount both.

    Raises UsageError for directories that contain one another, Incomplete if the disk is full or a worker ended, Paused
    if `must_stop` gives a reason, BrokenSeal for a damaged manifest of an earlier run, NotReachable if another process
    writes into the target, or with this manifest.
    """
    target, rule = (target.path, target.rule) if isinstance(target, Shared) else (target, None)
    source, target, record = source.resolve(), target.resolve(), record.resolve()
    _check_apart(source, target, record)
    copier = Copier(source, target, rule=rule)
    try:
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with files.locked(record.with_name(f"{record.name}.lock"), timeout_s=1.0):
            return _copy_locked(source, copier, record, jobs, must_stop, on_progress, crew)
    except OSError as exc:
        raise incomplete(target, exc.strerror or str(exc), str(exc.filename or source)) from exc


def _check_apart(source: Path, target: Path, record: Path) -> None:
    if not source.is_dir():
        raise UsageError(f"{source}: not a directory", next=f"ls -ld {source}")
    pairs = ((target, source), (source, target), (record, source), (record, target))
    for inner, outer in pairs:
        if inner.is_relative_to(outer):
            raise UsageError(f"{inner} is in {outer}: source, copy and manifest have to be apart", next="gears --help")


def _copy_locked(  # noqa: PLR0913
    source: Path,
    copier: Copier,
    record: Path,
    jobs: int,
    must_stop: MustStop,
    on_progress: OnProgress,
    crew: Crew | None,
) -> Tally:
    known, new, target = manifest.carry_over(record), manifest.new_path(record), copier.target.root
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    sums = Checksums(checksums_path(record))
    with only_writer(target), sums, manifest.Writer(new, _header(source, copier.rule)) as writer:

        def note(tally: Tally) -> None:
            writer.flush()  # after each batch: kill -9 costs the batches under way, and no more
            on_progress(tally)

        run = Run(copier, note, must_stop, add_line=writer.add_line, add_checksums=sums.add)
        run.carry_out(_found_items(source, run, manifest.Known(known)), jobs, crew)
        with Tree(source) as from_tree, Tree(target) as to_tree:
            directories = manifest.read(new, containing=DIRECTORY_LINE)
            Finisher(from_tree, to_tree, copier.rule, run.tally).finish_all(directories)
        writer.seal()
        sums.finish()
    manifest.old_path(record).unlink(missing_ok=True)  # before the rename: it must not outlive what is newer
    os.replace(new, record)
    with Tree(record.parent) as directory:
        os.fsync(directory.directory(b"."))
    return run.tally


def _header(source: Path, rule: Rule | None) -> manifest.Header:
    shared, group = (rule.shared, rule.group) if rule else ("", "")
    now = timestamps.utc_now()
    return manifest.Header(os.fsencode(source), socket.gethostname(), now, shared=shared, group=group)


# --- what is to be copied --------------------------------------------------------------------


def _found_items(source: Path, run: Run, known: manifest.Known) -> Iterator[Item]:
    """Walk the source, create its directories in the target, and yield what is to be copied."""
    groups, refused = Groups(), set[bytes]()

    def enter(path: bytes) -> bool:
        return path not in refused

    for found in walk(source, enter):
        refused.clear()
        item = _plan(found, groups, known)
        is_directory = item.entry.type is Type.DIRECTORY and item.entry.held
        if is_directory and (problem := run.create_directory(item.entry.path)):
            refused.add(found.path)
            item = Item(replace(item.entry, problem=problem))
        yield item


def _plan(found: Found, groups: Groups, known: manifest.Known) -> Item:
    if found.info is None:
        return Item(Entry(found.path, Type.FILE, problem=found.problem))
    entry = attributes.plan_entry(found.path, found.info, problem=found.problem)
    others = found.info.st_nlink - 1 if entry.type in (Type.FILE, Type.SYMLINK) else 0
    if others and (first := groups.first(found.path, found.info)):
        return Item(replace(entry, same_as=first))
    return Item(entry, known.find(found.path) if entry.type is Type.FILE else None, others)


# --- restoring -------------------------------------------------------------------------------


def restore(
    record: Path,
    source: Path,
    directory: Path,
    *,
    jobs: int = 1,
    must_stop: MustStop = never,
    on_progress: OnProgress = _ignore,
) -> Tally:
    """Bring back to `directory` what the manifest `record` has, and it has not, from the copy `source`.

    What is there under a name, whatever it is, stays as it is. A file of the copy that is not what the manifest says is
    not brought back, and is in the result. May be repeated; after kill -9, directories that were being made can be
    left with the mode 0700 and a new time.

    Raises BrokenSeal for a damaged manifest, Incomplete if it has no seal, the disk is full or a worker ended, Paused
    if `must_stop` gives a reason, NotReachable if another process writes into the directory.
    """
    try:
        manifest.check(record)
        created: list[Entry] = []
        if not directory.is_dir():
            directory.mkdir(mode=0o700, parents=True)
            created += itertools.islice(manifest.read(record), 1)  # the directory itself
        copier = Copier(source, directory, restoring=True)
        run = Run(copier, on_progress, must_stop, add_line=_ignore, add_checksums=_ignore)
        with only_writer(directory), Tree(directory) as tree:
            run.carry_out(_lost_items(record, tree, run, created), jobs)
            run.count_unlinked()
            Finisher(None, tree, None, run.tally).finish_all(created)
    except OSError as exc:
        raise incomplete(directory, exc.strerror or str(exc), str(exc.filename or directory)) from exc
    return run.tally


def _lost_items(record: Path, tree: Tree, run: Run, created: list[Entry]) -> Iterator[Item]:
    """Yield what the tree has lost; create directories, and remove what an interrupted run has left."""
    others = Counter(entry.same_as for entry in manifest.read(record, containing=b'"same_as') if entry.same_as)
    for entry in manifest.read(record):
        if not entry.held or (problem := _why_missing(tree, entry.path)) is None:
            if entry.type is Type.DIRECTORY:  # before anything in it is under way
                run.clear_temporaries(entry.path)
            continue
        if not problem and entry.type is Type.DIRECTORY:
            problem = run.create_directory(entry.path) or ""
            created += [] if problem else [entry]
        yield Item(replace(entry, problem=problem or None), None, others[entry.path])


def _why_missing(tree: Tree, path: bytes) -> str | None:
    """Return None if the path is there, empty if it is missing, else why that is unknown."""
    try:
        tree.lstat(path)
    except FileNotFoundError:
        return ""
    except OSError as exc:
        return exc.strerror or str(exc)
    return None
