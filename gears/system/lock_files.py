"""Files that say who does something, for all hosts that share a file system.

flock(2) keeps processes of one host apart, and those of several only where the file system passes locks on. These files
are made by link(2), which is atomic on NFS too. Whether one is stale only its reader can tell, by what is in it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from gears.system import files, records


def create(path: Path, record: Any, mode: int = 0o600) -> bool:
    """Create the file with a record, whole or not at all; False if there is one. Raises OSError."""
    draft = _beside(path)
    try:
        records.save(draft, record)
        draft.chmod(mode)
        os.link(draft, path)
    except FileExistsError:
        return _is_same(draft, path)  # NFS can repeat a call that was carried out
    finally:
        draft.unlink(missing_ok=True)
    return True


def remove(path: Path, expected: Any, kind: type[Any]) -> None:
    """Remove the file if its record, of this kind, still is `expected`, None for a damaged one.

    What another process has made meanwhile is put back.
    """
    aside = _beside(path)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if records.load(kind, aside) != expected:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()


def _is_same(draft: Path, path: Path) -> bool:
    """Tell whether both are one file. The number of links does not: NFS and FUSE may show an old one."""
    try:
        return draft.samefile(path)
    except FileNotFoundError:
        return False


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name.removeprefix('.')}-{files.random_hex(8)}")
