"""The end of a put: its manifest, from the listing and the indexes of the new bundles, stored and read back."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gears.data import manifest
from gears.data.bundles.bundler import store_file
from gears.data.bundles.fetching import INDEXES, MANIFEST
from gears.data.bundles.layout import README, index_name, put_name
from gears.data.bundles.ownership import Lock
from gears.data.bundles.readme import TEXT
from gears.data.checksums import Checksums, checksums_path, to_lines
from gears.data.entries import Entry, Type, order, parse, path_of, planned_for, to_line
from gears.data.links import Outstanding
from gears.data.manifest import Bundle, Header
from gears.data.tally import Tally
from gears.data.tree import Tree

CHECKSUMS, BUNDLES = "SHA256SUMS", "BUNDLES"


def write_manifest(listing: Path, header: Header, source: Path, state: Path, tally: Tally) -> Path:
    """Write manifest and checksums of a put to the state directory, the first under its new name; count what it has."""
    new = manifest.new_path(state / MANIFEST)
    sums = Checksums(checksums_path(state / MANIFEST))
    with Tree(source) as tree, manifest.Writer(new, header) as writer, sums:
        for line, entry in _completed(listing, state / INDEXES):
            tally.count(entry)
            _check_directory(tree, entry, tally)
            writer.add_line(line)
            sums.add(to_lines((entry,)))
        writer.seal()
        sums.finish()
    return new


def _check_directory(tree: Tree, entry: Entry, tally: Tally) -> None:
    if entry.type is not Type.DIRECTORY or not entry.held:
        return
    try:
        changed = tree.lstat(entry.path).st_mtime_ns != entry.mtime_ns
    except OSError:
        changed = True
    if changed:
        tally.fail(entry.path, "files were added to it or removed from it meanwhile")


def _completed(listing: Path, indexes: Path) -> Iterator[tuple[bytes, Entry]]:
    """Yield lines and entries of the listing with what the indexes know of those that were put now."""
    shared, found = Outstanding[Entry](), _Indexes(indexes)
    others = Counter(entry.same_as for entry in manifest.read(listing, containing=b'"same_as') if entry.same_as)
    for line in manifest.read_lines(listing):
        if line.startswith(manifest.SEAL):
            return
        if name := planned_for(line):
            line, entry = found.find(line, name)
        else:
            entry = parse(line)
        if entry.same_as is not None:
            entry = _linked(entry, shared.take(entry.same_as))
            yield to_line(entry), entry
            continue
        shared.put(entry.path, entry, others.get(entry.path, 0))
        yield line, entry


def _linked(entry: Entry, first: Entry | None) -> Entry:
    if entry.problem is not None:
        return entry
    if first is None or first.problem is not None:
        return replace(entry, bundle=None, problem="its first name could not be read")
    return replace(first, path=entry.path, same_as=first.path)


class _Indexes:
    """The indexes of new bundles, each read once, along with the listing."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._open = directory, dict[str, _Index]()

    def find(self, line: bytes, name: str) -> tuple[bytes, Entry]:
        """Return line and entry of a planned file as its bundle `name` has them."""
        if name not in self._open:
            while len(self._open) > 1:  # the one before, and one that a large file has for itself
                self._open.pop(next(iter(self._open)))
            self._open[name] = _Index(self._directory / index_name(name))
        with contextlib.suppress(ValueError):  # a damaged line
            if found := self._open[name].find(line):
                return found, parse(found)
        entry = replace(parse(line), bundle=None, problem="it is not in the index of its bundle")
        return to_line(entry), entry


class _Index:
    """Looks up lines of an index by paths that ascend, in one pass over it."""

    def __init__(self, path: Path) -> None:
        self._lines = manifest.read_lines(path)
        self._next = next(self._lines, b"")

    def find(self, line: bytes) -> bytes:
        """Return the line of the path that `line` has; b"" if there is none."""
        wanted, path = path_of(line), b""
        while self._next and not self._next.startswith(wanted):
            path = path or parse(line).path
            if self._next.startswith(manifest.SEAL) or order(parse(self._next).path) > order(path):
                return b""
            self._next = next(self._lines, b"")
        found, self._next = self._next, next(self._lines, b"")
        return found


def bundle_lines(bundles: tuple[Bundle, ...]) -> str:
    """Return the list of checksums of the bundles, as sha256sum reads it."""
    return "".join(f"{bundle.sha256}  {bundle.name}\n" for bundle in bundles)


def store_manifest(lock: Lock, new: Path, header: Header, state: Path) -> None:
    """Store what belongs to a put, the manifest last, and keep it as the newest."""
    store, number = lock.store, header.number
    bundles = state / BUNDLES
    bundles.write_text(bundle_lines(header.bundles))
    if number == 1:
        store.write(README, [TEXT.encode()])
    lock.check()
    for kind, path in ((CHECKSUMS, checksums_path(state / MANIFEST)), (BUNDLES, bundles), (MANIFEST, new)):
        store_file(store, put_name(kind, number), path)
    os.replace(new, state / MANIFEST)
    with Tree(state) as directory:
        os.fsync(directory.directory(b"."))
