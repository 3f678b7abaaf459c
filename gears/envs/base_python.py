"""The external Python that a virtual environment needs: found, and bundled into an archive if it is in the user's home.

uv keeps the Pythons that it installs in the home. They find their library relative to the executable, so an archive can
include one, without the packages installed into it. The system's Python is on each node anyway.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

BUNDLED = ".base"
"""Its directory in the archive."""

EXCLUDED = ("site-packages", "test", "idlelib", "tkinter", "ensurepip")


def external(prefix: Path) -> str:
    """Return the path of the external Python; "" if the environment has its own."""
    python = os.path.realpath(prefix / "bin" / "python")
    return "" if python.startswith(os.path.realpath(prefix) + os.sep) else python


def root_to_bundle(prefix: Path, home: Path) -> Path | None:
    """Return the root of the external Python if it is in the home and works on its own; else None."""
    python = external(prefix)
    root = Path(python).parent.parent
    in_home = python and python.startswith(os.path.realpath(home) + os.sep) and Path(python).parent.name == "bin"
    shares = "include-system-site-packages = true" in _read(prefix / "pyvenv.cfg")
    return root if in_home and not shares and any(root.glob("lib/python3*/os.py")) else None


def files(root: Path, python: str) -> Iterator[tuple[Path, str]]:
    """Yield the files to bundle, each with its path in the archive."""
    yield Path(python), f"{BUNDLED}/bin/{os.path.basename(python)}"
    for library in root.glob("lib/libpython3*"):
        yield library, f"{BUNDLED}/lib/{library.name}"
    for top in root.glob("lib/python3*"):
        for directory, names, found in os.walk(top):
            names[:] = sorted(set(names) - set(EXCLUDED))
            for name in sorted(found):
                path = Path(directory, name)
                yield path, f"{BUNDLED}/{path.relative_to(root)}"


def link(path: Path, python: str) -> str | None:
    """Return the target in the archive of a link from bin/ to that Python; None for any other link."""
    leads_out = path.is_symlink() and os.path.isabs(os.readlink(path)) and os.path.realpath(path) == python
    return f"../{BUNDLED}/bin/{os.path.basename(python)}" if leads_out else None


def update_home(copy: Path) -> None:
    """Write the path of the bundled Python into an unpacked environment (PEP 405: `home`)."""
    config = copy / "pyvenv.cfg"
    if (copy / BUNDLED).is_dir():
        config.write_text(re.sub(r"(?m)^home\s*=.*$", f"home = {copy / BUNDLED / 'bin'}", _read(config)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
