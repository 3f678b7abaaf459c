"""How far the verification of a transfer has come, so that several jobs can do it one after the other."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gears.data import manifest
from gears.data.verification import Difference, Verified
from gears.system import records

EVERY_S = 2.0
MOST_NAMED = 1000


@dataclass(frozen=True, slots=True)
class Reached:
    """What was compared so far by the manifest of this seal. `last`: in hexadecimal, since names are bytes."""

    seal: str
    last: str
    entries: int
    size: int
    kinds: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    named: tuple[tuple[str, ...], ...] = ()  # path, kind, words


class Resumption:
    """Keeps in the file `path` how far a verification by `record` has come. Raises what `manifest.check` raises."""

    def __init__(self, path: Path, record: Path) -> None:
        self._path, self._seal, self._written = path, manifest.check(record).sha256, time.monotonic()

    def begun(self) -> Verified | None:
        """Return what an interrupted run has found; None if there was none, or the manifest is a newer one."""
        reached = records.load(Reached, self._path)
        if reached is None or reached.seal != self._seal:
            return None
        differences = Counter(dict(zip(reached.kinds, reached.counts, strict=True)))
        named = [Difference(bytes.fromhex(path), kind, what) for path, kind, what in reached.named]
        last = bytes.fromhex(reached.last)
        return Verified(reached.entries, reached.size, differences=differences, named=named, last=last)

    def note(self, verified: Verified, *, now: bool = False) -> None:
        """Record how far it has come, unless that was done less than EVERY_S ago. Raises OSError."""
        if not now and time.monotonic() - self._written < EVERY_S:
            return
        self._written = time.monotonic()
        kinds = tuple(verified.differences)
        counts = tuple(verified.differences[kind] for kind in kinds)
        named = tuple((one.path.hex(), one.kind, one.what) for one in verified.named[:MOST_NAMED])
        reached = Reached(self._seal, verified.last.hex(), verified.entries, verified.size, kinds, counts, named)
        records.save(self._path, reached)

    def forget(self) -> None:
        """Begin anew the next time."""
        self._path.unlink(missing_ok=True)
