"""The archive of an environment on disk: where it is, and whether the environment has changed since.

    <packs>/NAME.tar.gz    the archive, 0600
    <packs>/NAME.json      its record: what it was made from, and its size

Jobs import this under a bare Python, so it imports little.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gears.envs.paths import place
from gears.system import records

MARK = ".gears-copy"
"""A file in a copy on a node, with the modification time that the environment had when it was copied."""


@dataclass(frozen=True, slots=True)
class Pack:
    """`of`: the `fingerprint` of the environment. `base`: the external Python that it needs, or ""."""

    name: str
    prefix: str
    kind: str  # conda or venv
    of: str
    bytes: int
    unpacked_bytes: int
    base: str
    made: str


def directory(run: Path) -> Path:
    """Return the directory of archives, for all sites. `run`: $GEARS_HOME/run."""
    return place(run).root / "packs"


def archive_of(packs: Path, name: str) -> Path:
    """Return the path of an environment's archive, which need not exist."""
    return packs / f"{name}.tar.gz"


def save_pack(packs: Path, pack: Pack) -> None:
    """Write the record of an archive. Raises OSError."""
    records.save(packs / f"{pack.name}.json", pack)


def load_pack(packs: Path, name: str) -> Pack | None:
    """Load the record of an archive; None if there is no archive, or its record is missing or does not match it."""
    pack = records.load(Pack, packs / f"{name}.json")
    try:
        return pack if pack and archive_of(packs, name).stat().st_size == pack.bytes else None
    except OSError:
        return None


def pack_names(packs: Path) -> list[str]:
    """List the environments whose archives have a record."""
    return sorted(path.stem for path in packs.glob("[!.]*.json"))


def remove_pack(packs: Path, name: str) -> bool:
    """Remove an archive, its record first: an archive without one is never used. False if there was none."""
    existed = archive_of(packs, name).exists()
    (packs / f"{name}.json").unlink(missing_ok=True)
    archive_of(packs, name).unlink(missing_ok=True)
    return existed


def is_fresh(pack: Pack) -> bool:
    """Tell whether the environment has not changed since it was packed."""
    return pack.of == fingerprint(Path(pack.prefix))


def state(packs: Path, name: str) -> str:
    """Return "" (not packed), "fresh", or "stale": the environment has changed, and jobs do not use the archive."""
    pack = load_pack(packs, name)
    return "" if pack is None else "fresh" if is_fresh(pack) else "stale"


def fingerprint(prefix: Path) -> str:
    """Compute a value that changes when a package is installed, replaced or removed: 16 hexadecimal digits.

    Stats some hundred files, and reads none.
    """
    patterns = ("lib/python3*/site-packages/*.dist-info", "lib/python3*/site-packages/*.pth", "conda-meta/*.json")
    found = [path for pattern in patterns for path in prefix.glob(pattern)]
    digest = hashlib.sha256()
    for path in sorted([*found, prefix / "pyvenv.cfg"]):
        try:
            digest.update(f"{path.relative_to(prefix)} {path.stat().st_mtime_ns}\n".encode())
        except OSError:
            continue
    return digest.hexdigest()[:16]
