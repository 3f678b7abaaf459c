"""The Python outside on which a virtual environment stands: named, and taken along where it is in the person's home.

uv keeps the Pythons that it brings in the home. They find their library beside themselves, wherever they are; so an
archive may have one, without what was installed into it. The system's own is on each node anyway.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

TAKEN = ".base"
"""Its directory in the archive."""

LEFT_OUT = ("site-packages", "test", "idlelib", "tkinter", "ensurepip")


def outside(prefix: Path) -> str:
    """Return the path of the Python outside; "" if the environment has its own."""
    python = os.path.realpath(prefix / "bin" / "python")
    return "" if python.startswith(os.path.realpath(prefix) + os.sep) else python


def to_take(prefix: Path, home: Path) -> Path | None:
    """Return the root of that Python if it is in the home, and a Python can be made of it alone; else None."""
    python = outside(prefix)
    root = Path(python).parent.parent
    there = python and python.startswith(os.path.realpath(home) + os.sep) and Path(python).parent.name == "bin"
    shares = "include-system-site-packages = true" in _read(prefix / "pyvenv.cfg")
    return root if there and not shares and any(root.glob("lib/python3*/os.py")) else None


def files(root: Path, python: str) -> Iterator[tuple[Path, str]]:
    """Yield the files that are taken along, each with its place in the archive."""
    yield Path(python), f"{TAKEN}/bin/{os.path.basename(python)}"
    for library in root.glob("lib/libpython3*"):
        yield library, f"{TAKEN}/lib/{library.name}"
    for top in root.glob("lib/python3*"):
        for directory, names, found in os.walk(top):
            names[:] = sorted(set(names) - set(LEFT_OUT))
            for name in sorted(found):
                path = Path(directory, name)
                yield path, f"{TAKEN}/{path.relative_to(root)}"


def link(path: Path, python: str) -> str | None:
    """Return where a link of bin/ to that Python leads in the archive; None for others, such as to a link beside it."""
    leads_out = path.is_symlink() and os.path.isabs(os.readlink(path)) and os.path.realpath(path) == python
    return f"../{TAKEN}/bin/{os.path.basename(python)}" if leads_out else None


def settle(copy: Path) -> None:
    """Tell the environment, after unpacking, where its Python is now (PEP 405: `home`)."""
    config = copy / "pyvenv.cfg"
    if (copy / TAKEN).is_dir():
        config.write_text(re.sub(r"(?m)^home\s*=.*$", f"home = {copy / TAKEN / 'bin'}", _read(config)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
