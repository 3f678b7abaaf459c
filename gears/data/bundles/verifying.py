"""Reads all that a put has stored again, and compares it with the newest manifest.

Each bundle is read whole: its members are compared with the manifest, all of it with its own SHA-256, which also covers
the headers that tar needs. Indexes, manifests and lists of checksums are compared with their seals.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gears.data import checksums, manifest, workers
from gears.data.bundles import fetching
from gears.data.bundles.fetching import MANIFEST
from gears.data.bundles.layout import Layout, bundle_name, index_name, put_name, read_layout
from gears.data.bundles.putting import WORK, incomplete
from gears.data.bundles.sealing import BUNDLES, CHECKSUMS, bundle_lines
from gears.data.bundles.spools import Part, Spools, passes, read_sorted
from gears.data.bundles.streams import Damaged, Stream, read_bundle, take_file
from gears.data.bundles.watch import Signals, Watch
from gears.data.crew import Crew, Helpers
from gears.data.entries import Entry, Type
from gears.data.manifest import Bundle
from gears.data.stores.base import Store
from gears.data.tally import Tally
from gears.data.verification import DIFFERENT, EXTRA, MISSING, Difference, Verified
from gears.errors import GearsError
from gears.system import files

OnVerified = Callable[[Verified], None]


def verify(
    store: Store,
    state: Path,
    *,
    jobs: int = 1,
    on_progress: OnVerified = lambda _verified: None,
    crew: Crew | None = None,
) -> Verified:
    """Read every bundle again, and all that belongs to it. Changes nothing in the store.

    `crew`: reads bundles too, on other nodes; those that they find to differ are read once more here.

    Raises UsageError if no put has finished, BrokenSeal or Incomplete if the newest manifest is damaged and the state
    directory has none, and what the store raises.
    """
    state = state.resolve()
    work = state / f"{WORK}-verify"
    try:
        files.ensure_private(state)
        shutil.rmtree(work, ignore_errors=True)
        found = read_layout(store.sizes())
        path = fetching.fetch_manifest(store, found, state)
        run = _Run(store, found, path, work, on_progress)
        run.check_records()
        run.check_bundles(jobs, crew)
        on_progress(run.verified)
        return run.verified
    except OSError as exc:
        raise incomplete(state, exc) from exc
    finally:
        shutil.rmtree(work, ignore_errors=True)


@dataclass(slots=True)
class Checked:
    """The result for a bundle."""

    entries: int = 0
    size: int = 0
    differences: list[Difference] = field(default_factory=list)


class _Run:
    """A verification."""

    def __init__(self, store: Store, found: Layout, path: Path, work: Path, on_progress: OnVerified) -> None:
        self.verified = Verified()
        self._store, self._found, self._path, self._work, self._on_progress = store, found, path, work, on_progress
        self._header = fetching.header_of(path)

    def _differ(self, name: str, kind: str, what: str) -> None:
        self.verified.add([Difference(name.encode(), kind, what)])

    # --- records ------------------------------------------------------------------------------

    def check_records(self) -> None:
        """Compare manifests, lists of checksums and indexes with their seals, and name what does not belong there."""
        number = self._header.number
        for old in sorted(self._found.manifests.keys() - {number}):
            self._check_old(old)
        self._check_file(put_name(MANIFEST, number), fetching.hash_file(self._path))
        sums = hashlib.sha256()
        for entry in manifest.read(self._path, containing=b'"sha256":'):
            if entry.sha256 and entry.held:
                sums.update(checksums.to_line(entry))
        self._check_file(put_name(CHECKSUMS, number), sums.hexdigest())
        lines = bundle_lines(self._header.bundles).encode()
        self._check_file(put_name(BUNDLES, number), hashlib.sha256(lines).hexdigest())
        for bundle in self._header.bundles:
            self._check_index(bundle)
        self._name_extra()

    def _check_file(self, name: str, wanted: str) -> None:
        if (found := fetching.hash_stored(self._store, name)) != wanted:
            kind, what = (DIFFERENT, "other contents than were sealed") if found else (MISSING, "not there")
            self._differ(name, kind, what)

    def _check_old(self, number: int) -> None:
        name, path = put_name(MANIFEST, number), self._fetched(put_name(MANIFEST, number))
        try:
            if path:
                manifest.check(path)
                fetching.check_number(path, number)
        except GearsError as exc:
            self._differ(name, DIFFERENT, exc.message)

    def _check_index(self, bundle: Bundle) -> None:
        name = index_name(bundle.name)
        path = self._fetched(name)
        if path is None:
            self._differ(name, MISSING, "not there")
        elif fetching.checked_index(path, bundle.name) != bundle:
            self._differ(name, DIFFERENT, "damaged, or the index of another bundle")

    def _fetched(self, name: str) -> Path | None:
        self._work.mkdir(mode=0o700, exist_ok=True)
        try:
            fetching.download(self._store, name, self._work / "record")
        except FileNotFoundError:
            return None
        return self._work / "record"

    def _name_extra(self) -> None:
        known = {bundle.name for bundle in self._header.bundles}
        extra = [bundle_name(number) for number in self._found.tars if bundle_name(number) not in known]
        for name in (*extra, *self._found.others):
            self._differ(name, EXTRA, "not in the manifest")

    # --- bundles ------------------------------------------------------------------------------

    def check_bundles(self, jobs: int, crew: Crew | None) -> None:
        """Read the bundles, several at once."""
        parts = self._parts()
        watch = Watch(self._work / "watch", lambda: "", self._tell)
        jobs, helpers = min(jobs, len(parts)), Helpers(crew, _is_doubtful) if crew and len(parts) > 1 else None
        signals = watch.signals(max(jobs, 2) if helpers else jobs)
        checker = Checker(self._store, signals, {one.name: one for one in self._header.bundles})
        found = workers.run_ordered(checker, parts, jobs=jobs, on_wait=watch.poll, helpers=helpers)
        with contextlib.closing(found) as results:
            for checked in results:
                self.verified.add(checked.differences)
                self.verified.entries += checked.entries
                self.verified.size += checked.size
                watch.report()

    def _tell(self, _tally: Tally) -> None:
        self._on_progress(self.verified)

    def _parts(self) -> list[Part]:
        """Spool the members of each bundle; count what has none."""
        spools, parts = Spools(self._work / "parts"), dict[str, Part]()
        for entry in manifest.read(self._path):
            if not entry.held:
                self.verified.not_held += 1
            elif entry.type is Type.FILE and entry.same_as is None:
                spools.add(entry)
            else:
                self.verified.entries += 1
        spools.flush()
        parts = {part.bundle: part for part in spools.parts}
        names = [bundle.name for bundle in self._header.bundles]
        self._name_unknown(parts.keys() - set(names), parts)
        return [parts.get(name, Part(name, Path(os.devnull))) for name in names]

    def _name_unknown(self, bundles: Iterable[str], parts: dict[str, Part]) -> None:
        for name in bundles:
            found = [member.entry for member in read_sorted(parts[name])]
            self.verified.add([Difference(entry.path, MISSING, f"{name} is not in the manifest") for entry in found])


def _is_doubtful(checked: Checked) -> bool:
    """Tell whether another node has found a difference: it may not see the store as it is."""
    return bool(checked.differences)


class Checker:
    """Reads one bundle after another, whole, in a worker."""

    def __init__(self, store: Store, signals: Signals, bundles: dict[str, Bundle]) -> None:
        self._store, self._signals, self._bundles = store, signals, bundles

    def __call__(self, part: Part) -> Checked:
        """Compare a bundle and its members with the manifest."""
        checked = Checked()
        stream = Stream(read_bundle(self._store, part.bundle), 0, self._signals.note)
        for number, run in enumerate(passes(read_sorted(part), None)):
            source = stream if number == 0 else Stream(read_bundle(self._store, part.bundle), 0, self._signals.note)
            for member in run:
                self._check(member.entry, source, checked)
        checked.differences += self._whole(self._bundles[part.bundle], stream)
        self._signals.finish()
        return checked

    def _check(self, entry: Entry, stream: Stream, checked: Checked) -> None:
        try:
            if take_file(stream, entry) != entry.sha256:
                checked.differences.append(Difference(entry.path, DIFFERENT, f"other contents in {entry.bundle}"))
                return
        except Damaged as exc:
            checked.differences.append(Difference(entry.path, MISSING, str(exc)))
            return
        checked.entries += 1
        checked.size += entry.size

    def _whole(self, bundle: Bundle, stream: Stream) -> list[Difference]:
        """Compare the bundle itself, after its last member."""
        name = bundle.name.encode()
        try:
            stream.drain()
        except Damaged:
            return [Difference(name, MISSING, "not there")]
        if stream.position != bundle.size:
            return [Difference(name, DIFFERENT, f"{stream.position} bytes instead of {bundle.size}")]
        if stream.digest.hexdigest() != bundle.sha256:
            return [Difference(name, DIFFERENT, "other contents than were sealed")]
        return []
