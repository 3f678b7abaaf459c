"""What else holds a file, according to the manifests of all transfers.

A transfer has the same tree at its source and at its target, and its manifest says what that was. So for a file below
one of the two, with the size and the mtime of the manifest, there is a copy at the other.

A copy counts only if it stays: none at a place that is purged itself, which would only put the loss off. Where the
other end is a tree of files on this host, each copy is looked at (size and mtime; not read), since somebody may have
removed it. A tree that this host can't see counts if the transfer has written it: not if it was the source, which may
have changed since. Bundles count once their manifest is sealed. A copy that the last verification found to differ does
not count.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gears.data import manifest, records
from gears.data.addresses import Address, full_path
from gears.data.caches import CachedObjects, find_caches, store_of
from gears.data.entries import Entry, Type
from gears.data.listing import Candidate, key_of
from gears.data.places import declared, is_mounted
from gears.data.records import Method, TaskState, Transfer, Verb
from gears.data.stores.posix import PosixStore
from gears.errors import UsageError
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.system.host import Host


@dataclass(frozen=True, slots=True)
class End:
    """An end of a transfer. `is_tree`: files as they were, no bundles; `written`: by the transfer itself."""

    address: str
    path: str
    is_tree: bool
    written: bool


def ends(transfer: Transfer) -> tuple[End, End]:
    """Return the source and the target. What a push has staged stands for the cache from which it was."""
    bundles = transfer.method is Method.BUNDLES
    at_source = bundles and transfer.verb is Verb.GET
    source = End(transfer.source, store_of(transfer.source_path), is_tree=not at_source, written=at_source)
    return source, End(transfer.target, transfer.target_path, is_tree=not bundles or at_source, written=True)


@dataclass
class Copy:
    """A copy of a directory. `inside`: key of the part of the searched root that is in it; `outside`: the path in the
    manifest of that root, if the copy is of more.

    `tree`: the copy's directory if it can be seen here; `bundles`: those that are there, if that can be seen.
    """

    transfer: Transfer
    verified: bool
    record: Path
    inside: bytes
    outside: bytes
    tree: str | None
    bundles: frozenset[str] | None = None

    @cached_property
    def _known(self) -> manifest.Known:
        return manifest.Known(self.record)

    def has(self, key: bytes) -> bool:
        """Tell whether the key is in the directory."""
        return not self.inside or key.startswith(self.inside + b"\0")

    def holds(self, candidate: Candidate) -> bool:
        """Tell whether there is a copy of a file. Keys must ascend from call to call."""
        key, _, size, mtime_ns = candidate
        path = (key[len(self.inside) + 1 :] if self.inside else key).replace(b"\0", b"/")
        path = b"/".join(filter(None, (self.outside, path)))
        entry = self._known.find(path)
        same = entry and entry.held and entry.type is Type.FILE and (entry.size, entry.mtime_ns) == (size, mtime_ns)
        return bool(same) and self._is_there(entry)

    def _is_there(self, entry: Entry | None) -> bool:
        if entry is None:
            return False
        if self.bundles is not None and entry.bundle is not None and entry.bundle not in self.bundles:
            return False
        return self.tree is None or is_there(self.tree, entry)


def is_there(tree: str, entry: Entry) -> bool:
    """Tell whether a tree still has a file as the manifest has it, by size and mtime."""
    try:
        info = os.lstat(os.path.join(os.fsencode(tree), entry.path))
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and (info.st_size, info.st_mtime_ns) == (entry.size, entry.mtime_ns)


class Copies:
    """The copies of what is in a directory, `root`."""

    def __init__(self, found: Sequence[Copy], caches: Sequence[CachedObjects] = ()) -> None:
        self._found: Sequence[Copy | CachedObjects] = [*found, *caches]
        self._caches = caches
        self._directory, self._here = b"\0", list[Copy | CachedObjects]()

    @property
    def covered(self) -> tuple[bytes, ...]:
        """Return the keys of the directories that have copies; empty bytes for the root."""
        return tuple(sorted({copy.inside for copy in self._found}))

    def what_is(self, key: bytes) -> str:
        """Return what an object of a cache of DVC is in its workspace; empty for any other file."""
        return next((cache.what_is(key) for cache in self._caches if cache.has(key)), "")

    def look_up(self, candidate: Candidate) -> tuple[bool, bool]:
        """Tell whether something else holds a file, and whether that was verified. Keys must ascend."""
        directory = candidate[0].rpartition(b"\0")[0]
        if directory != self._directory:
            self._directory = directory
            self._here = [copy for copy in self._found if copy.has(candidate[0])]
        held = [copy.verified for copy in self._here if copy.holds(candidate)]
        return bool(held), any(held)


def find_copies(root: str, site: Site, paths: RunDir | None, host: Host) -> Copies:
    """Find the copies of what is in `root`, in the records of all transfers of the site."""
    transfers = records.all_transfers(paths) if paths else []
    found = [copy for one in transfers if paths for copy in _copies(one, root, site, paths, host)]
    return Copies(found, list(find_caches(root, site, host)))


def _copies(transfer: Transfer, root: str, site: Site, paths: RunDir, host: Host) -> Iterator[Copy]:
    record = records.manifest_path(paths, transfer.name)
    task = records.load_task(paths, transfer.name)
    if not record.exists() or (task and task.state is TaskState.DIFFERENT):
        return
    source, target = ends(transfer)
    for held, other in ((source, target), (target, source)):
        where = relation(root, held.path) if held.is_tree else None
        if where is None or is_purged(other, site, host) or not _exists(other, transfer, site, host):
            continue
        tree = other.path if other.is_tree and os.path.isdir(other.path) else None
        bundles = None if other.is_tree else bundles_in(other.path, record)
        yield Copy(transfer, bool(task and task.verified), record, *where, tree, bundles)


def bundles_in(directory: str, record: Path) -> frozenset[str] | None:
    """Return which bundles of a manifest a directory has, by name and size; None if it is none of this host."""
    header = manifest.read_header(record)
    if header is None or not os.path.isdir(directory):
        return None
    found = PosixStore(Path(directory)).sizes()
    return frozenset(one.name for one in header.bundles if found.get(one.name) == one.size)


def relation(root: str, directory: str) -> tuple[bytes, bytes] | None:
    """Return the key of `directory` below `root`, and the path of `root` below `directory`; one of them is empty.

    None if neither is in the other.
    """
    here, there = os.path.realpath(root), os.path.realpath(directory)
    if here == there:
        return b"", b""
    if there.startswith(here.rstrip("/") + "/"):
        return key_of(os.path.relpath(there, here)), b""
    if here.startswith(there.rstrip("/") + "/"):
        return b"", os.fsencode(os.path.relpath(here, there))
    return None


def is_purged(end: End, site: Site, host: Host) -> bool:
    """Tell whether the place of an end is purged: that which its address names, or in which its path is."""
    name = place_name(end, site, host)
    return bool(name) and declared(site)[name].purge_days > 0


def place_name(end: End, site: Site, host: Host) -> str:
    """Return the name of the place of an end; empty for a path that is in none."""
    places = declared(site)
    if (name := end.address.partition(":")[0]) in places:
        return name
    roots = {root: name for name in places if (root := root_of(name, site, host))}
    inside = [root for root in roots if (found := relation(root, end.path)) and not found[1]]
    return roots[max(inside, key=len)] if inside else ""


def root_of(name: str, site: Site, host: Host) -> str:
    """Return the directory of a place of the kind posix; empty for others, and if `project` is not set."""
    try:
        return full_path(Address(name, ""), site, host) if declared(site)[name].kind == "posix" else ""
    except UsageError:
        return ""


def is_seen(name: str, site: Site, host: Host) -> bool:
    """Tell whether a place is a directory that this host mounts."""
    place, root = declared(site)[name], root_of(name, site, host)
    return bool(root) and (not place.hosts or is_mounted(place, host)) and os.path.isdir(root)


def _exists(end: End, transfer: Transfer, site: Site, host: Host) -> bool:
    """Tell whether an end is there; of what this host can't see, whether the transfer has written it."""
    name = place_name(end, site, host)
    seen = is_seen(name, site, host) if name else transfer.host == host.hostname
    return os.path.isdir(end.path) if seen else end.written
