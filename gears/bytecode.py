"""The bytecode of the modules that a start needs, in one file.

Each import opens and reads several files, and each of these costs a round trip where the home is on a slow file server;
a start of JupyterLab imports more than a thousand modules. So `make init` writes their bytecode into one file of the
environment (`gears.envs.collect`), from which the processes of gears then read it.

All else is as without it: a module has its usual `__file__` and `__path__`, and its source and data are read where they
are. The file is used by the same Python with the same import path only, and while no package has been installed or
removed since; a module only if its source has the same time and size, as Python does it with its own bytecode.
Otherwise Python imports as usual.

Each process of gears imports this before anything else, so it imports only what Python has loaded at its start.
"""

import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import (
    MAGIC_NUMBER,
    ExtensionFileLoader,
    PathFinder,
    SourceFileLoader,
    spec_from_file_location,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

    Entry = tuple[int, str, int, int, int, int]
    """A module: the entry of the import path that it is below, the end of its file's name, the file's time and size;
    where its bytecode is, and how long (0 for an extension module)."""

FILE = f"{sys.prefix}/gears-modules"
"""The file. First the length of its index in 8 bytes, then the index, then the bytecode, in the order of imports."""


def key() -> tuple[object, ...]:
    """Return what the file is valid for: this Python, its import path, and the packages as they are installed.

    An installer makes and removes a directory for each package, which changes the time of the directory above.
    """
    times = [os.stat(path).st_mtime_ns for path in sys.path if path.endswith("-packages")]
    return (sys.version, MAGIC_NUMBER, sys.flags.optimize, tuple(sys.path), tuple(times))


class Loader(SourceFileLoader):
    """Loads a module whose bytecode is in the file. All but its code is as usual."""

    def __init__(self, fullname: str, path: str, finder: "Finder") -> None:
        super().__init__(fullname, path)
        self._finder = finder

    def get_code(self, fullname: str) -> "CodeType | None":
        """Return the module's code; as usual where the file can't be read any more."""
        try:
            return self._finder.read_code(fullname)
        except (OSError, EOFError, ValueError, TypeError):
            return super().get_code(fullname)


class Finder:
    """Finds the modules that are in the file, and unchanged."""

    def __init__(self, descriptor: int, start: int, index: "dict[str, Entry]") -> None:
        self._descriptor, self._start, self._index = descriptor, start, index
        self._path = list(sys.path)

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None" = None, _target: "ModuleType | None" = None
    ) -> ModuleSpec | None:
        """Return how a module is loaded from the file; None where it is imported as usual."""
        entry = self._index.get(fullname)
        if entry is None:
            return None
        root, suffix, time, size, _, length = entry
        directory, _, name = f"{self._path[root]}/{fullname.replace('.', '/')}".rpartition("/")
        file = f"{directory}/{name}{suffix}"
        if not self._is_first(directory, path) or not is_unchanged(file, time, size):
            return None
        loader = Loader(fullname, file, self) if length else ExtensionFileLoader(fullname, file)
        where = [f"{directory}/{name}"] if suffix == "/__init__.py" else None
        return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=where)

    def read_code(self, fullname: str) -> "CodeType":
        """Read a module's code. Raises OSError, and what `marshal` raises where the file is damaged."""
        *_, offset, length = self._index[fullname]
        code: CodeType = marshal.loads(os.pread(self._descriptor, length, self._start + offset))
        return code

    def _is_first(self, directory: str, path: "Sequence[str] | None") -> bool:
        """Return whether Python would look into this directory first, or for a top module as when the file was made."""
        if path is None:
            return sys.path[: len(self._path)] == self._path
        return next(iter(path), None) == directory


def is_unchanged(file: str, time: int, size: int) -> bool:
    """Return whether a file has this time in seconds and this size."""
    try:
        found = os.stat(file)
    except OSError:
        return False
    return (int(found.st_mtime), found.st_size) == (time, size)


def use() -> None:
    """Import from the file from now on, if there is one that is valid here."""
    try:
        finder = open_file()
    except (OSError, EOFError, ValueError, TypeError):
        return
    if finder and PathFinder in sys.meta_path:
        sys.meta_path.insert(sys.meta_path.index(PathFinder), finder)


def open_file() -> Finder | None:
    """Open the file; None if it is of another Python, import path or state of the packages."""
    descriptor = os.open(FILE, os.O_RDONLY)
    try:
        length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
        found, index = marshal.loads(os.pread(descriptor, length, 8))
        if found == key():
            finder, descriptor = Finder(descriptor, 8 + length, index), -1
            return finder
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)
