"""Manifests and indexes of a store, brought to the state directory of a transfer and checked there."""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from gears.data import manifest
from gears.data.bundles.layout import Layout, bundle_name, index_name, put_name
from gears.data.entries import Entry, order
from gears.data.manifest import Bundle, Header
from gears.data.stores.base import Store
from gears.errors import BrokenSeal, Incomplete, UsageError

MANIFEST, INDEXES = "manifest", "indexes"
OPEN_FILES = 64
"""How many indexes are merged at once."""


def download(store: Store, name: str, path: Path) -> str:
    """Copy a file of a store, and return its SHA-256. Raises FileNotFoundError, and what `Store.read` raises."""
    digest = hashlib.sha256()
    with _open_new(path) as file:
        for chunk in store.read(name):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _open_new(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb")


def hash_stored(store: Store, name: str) -> str:
    """Read a file of a store, and return its SHA-256; "" if there is none."""
    digest = hashlib.sha256()
    try:
        for chunk in store.read(name):
            digest.update(chunk)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file of this host."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- manifests -------------------------------------------------------------------------------


def fetch_manifest(store: Store, layout: Layout, state: Path) -> Path:
    """Return the newest sealed manifest, from the state directory if that has it, else from the store.

    Raises UsageError if no put has finished, BrokenSeal or Incomplete if the store's is damaged.
    """
    path, number = state / MANIFEST, layout.newest
    if (found := local_number(path)) and found >= number:
        return path
    if not number:
        raise UsageError("no put into this place has finished yet", next="gears data list")
    fetched = state / f"{MANIFEST}.fetched"
    download(store, put_name(MANIFEST, number), fetched)
    manifest.check(fetched)
    check_number(fetched, number)
    os.replace(fetched, path)
    return path


def local_number(path: Path) -> int:
    """Return the number of the put whose sealed manifest this is; 0 if there is none. Raises BrokenSeal."""
    if not path.exists():
        return 0
    manifest.check(path)
    header = header_of(path)
    return 0 if header.is_index else header.number


def header_of(path: Path) -> Header:
    """Return the header of a manifest. Raises BrokenSeal if it has none."""
    header = manifest.read_header(path)
    if header is None:
        raise BrokenSeal(f"{path}: no manifest of this version", next=f"head -n 1 {path}")
    return header


def check_number(path: Path, number: int) -> None:
    """Raise BrokenSeal unless a manifest is that of put `number`: an older one or an index may have taken its name."""
    header = header_of(path)
    if (found := header.number) != number or header.is_index:
        kind = "index of a bundle" if header.is_index else "manifest"
        raise BrokenSeal(f"{put_name(MANIFEST, number)} is the {kind} of put {found}", next=f"head -n 1 {path}")


# --- indexes ---------------------------------------------------------------------------------


def fetch_indexes(store: Store, layout: Layout, state: Path, without: Iterable[Bundle]) -> dict[Bundle, Path]:
    """Return the indexes of sealed bundles that are not among `without`, with their bundles.

    One that is damaged, or is not that of its bundle, is left out: what it lists is put again.
    """
    known, found = {bundle.name for bundle in without}, dict[Bundle, Path]()
    (state / INDEXES).mkdir(mode=0o700, exist_ok=True)
    for number in layout.sealed:
        if (name := bundle_name(number)) in known:
            continue
        bundle = fetch_index(store, state, name)
        if bundle and layout.has(bundle):
            found[bundle] = state / INDEXES / index_name(name)
    return found


def fetch_index(store: Store, state: Path, name: str) -> Bundle | None:
    """Make sure that the state directory has the index of a bundle, and return the bundle. None if there is no index.

    None also if it is damaged, or is not that of its bundle.
    """
    path = state / INDEXES / index_name(name)
    return checked_index(path, name) or _fetch_index(store, path, name)


def _fetch_index(store: Store, path: Path, name: str) -> Bundle | None:
    try:
        download(store, index_name(name), path)
    except FileNotFoundError:
        return None
    return checked_index(path, name)


def checked_index(path: Path, name: str) -> Bundle | None:
    """Return the bundle that an index is of. None if it is damaged, or that of another bundle."""
    try:
        manifest.check(path)
        header = header_of(path)
    except (BrokenSeal, Incomplete, UsageError):
        return None
    bundles = header.bundles if header.is_index else ()
    return bundles[0] if len(bundles) == 1 and bundles[0].name == name else None


def merge_known(manifest_path: Path | None, indexes: list[Path], result: Path) -> Path | None:
    """Merge a manifest with indexes into a file that `manifest.Known` reads; of a path the last index has the word."""
    paths = [] if manifest_path is None else [manifest_path]
    if not indexes:
        return manifest_path
    while indexes:
        paths, indexes = [*paths, *indexes[:OPEN_FILES]], indexes[OPEN_FILES:]
        new = result.with_name(f"{result.name}.{len(indexes)}")
        with manifest.Writer(new, header_of(paths[0])) as writer:
            for entry in _merged([manifest.read(path) for path in paths]):
                writer.add(entry)
        paths = [new]
    os.replace(paths[0], result)
    return result


def _merged(readers: list[Iterator[Entry]]) -> Iterator[Entry]:
    ranked = [_ranked(reader, rank) for rank, reader in enumerate(readers)]
    last: Entry | None = None
    for _, _, entry in heapq.merge(*ranked, key=lambda item: item[:2]):
        if last and last.path != entry.path:
            yield last
        last = entry
    if last:
        yield last


def _ranked(reader: Iterator[Entry], rank: int) -> Iterator[tuple[list[bytes], int, Entry]]:
    return ((order(entry.path), rank, entry) for entry in reader)
