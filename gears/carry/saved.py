"""The saved states of a site: one directory for each notebook. Find them, list them, and remove them.

Beside the files of the state (`files`) a directory has `seen`: the identity of the last lab whose kernel looked at it.
A lab loads a state once; a kernel that its person restarts begins empty.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from dataclasses import dataclass
from typing import Any

from . import settings
from .files import MANIFEST, Directory, Unsafe, default_key, read_key

SEEN = "seen"
SETTINGS = (*settings.FIRST, *settings.LAST)
MOST_SHOWN = 5
"""Variables that are named in a line, with the reason; the others are counted."""
DAY_S = 86400


@dataclass(frozen=True)
class State:
    """A saved state. `origin`: such as "job 4711". `unsafe`: why it will not be loaded; then only `directory` is known.

    `missing`: why each other variable was not saved. `saved_at`: Unix time.
    """

    directory: str
    notebook: str = ""
    lab: str = ""
    job: str = ""
    host: str = ""
    python: str = ""
    saved_at: float = 0.0
    names: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    size: int = 0
    unsafe: str = ""

    @property
    def origin(self) -> str:
        """Return where it was saved, for a sentence."""
        return f"job {self.job}" if self.job else f"the lab on {self.host}"


def directory_of(root: str, notebook: str) -> str:
    """Return the directory of a notebook's state. Pure."""
    name = re.sub(r"[^\w.-]", "_", os.path.splitext(os.path.basename(notebook))[0])[:40]
    return os.path.join(root, f"{name}-{hashlib.sha256(notebook.encode()).hexdigest()[:12]}")


def find(root: str, notebook: str, *, key: str | None = None) -> State | None:
    """Return the state of a notebook; None if there is none."""
    directory = directory_of(root, notebook)
    return read(directory, key=key) if os.path.lexists(os.path.join(directory, MANIFEST)) else None


def list_states(root: str, *, key: str | None = None) -> list[State]:
    """Return all states of a site, the newest first. Reads the manifests only."""
    try:
        names = os.listdir(root)
    except OSError:
        return []
    directories = [os.path.join(root, name) for name in names]
    found = [read(path, key=key) for path in directories if os.path.lexists(os.path.join(path, MANIFEST))]
    return sorted(found, key=lambda state: -state.saved_at)


def read(directory: str, *, key: str | None = None) -> State:
    """Read the manifest of a state, after its keyed hash was checked."""
    try:
        with Directory(directory, read_key(key or default_key())) as files:
            manifest = files.read_manifest()
    except (OSError, Unsafe) as error:
        return State(directory, unsafe=str(error))
    return _parse(directory, manifest)


def _parse(directory: str, manifest: dict[str, Any]) -> State:
    about = manifest.get("about", {})
    groups = [group for group in manifest["groups"] if group["kind"] == "variables"]
    return State(
        directory=directory,
        notebook=str(about.get("notebook", "")),
        lab=str(about.get("lab", "")),
        job=str(about.get("job", "")),
        host=str(about.get("host", "")),
        python=str(manifest["python"]),
        saved_at=float(manifest["saved_at"]),
        names=tuple(name for group in groups for name in group["names"]),
        missing=tuple(sorted(manifest["missing"].items())),
        notes=tuple((name, "; ".join(notes)) for name, notes in sorted(manifest["notes"].items())),
        size=sum(group["stream"] + sum(buffer["size"] for buffer in group["buffers"]) for group in groups),
    )


def forget(state: State) -> None:
    """Remove a state. Raises OSError."""
    shutil.rmtree(state.directory)


def remove_old(root: str, days: int, *, now: float | None = None) -> int:
    """Remove the states that were saved longer ago than `days`. Return their number."""
    old = (now or time.time()) - days * DAY_S
    removed = 0
    for name in os.listdir(root):
        directory = os.path.join(root, name)
        try:
            if os.lstat(os.path.join(directory, MANIFEST)).st_mtime < old:
                shutil.rmtree(directory)
                removed += 1
        except OSError:  # not a state, or another lab removes it
            continue
    return removed


def read_seen(directory: str) -> str:
    """Return the identity of the lab that looked at this state last, or ""."""
    try:
        with open(os.path.join(directory, SEEN), encoding="ascii") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def write_seen(directory: str, lab: str) -> None:
    """Note that a lab has looked at this state. A failure only means that it may look again."""
    path = os.path.join(directory, SEEN)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(lab)
    except OSError:
        pass
