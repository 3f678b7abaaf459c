"""Save a kernel's variables to a directory, and load them into another kernel.

A save changes no variable, and runs no code of the person's but `__reduce__`, `__getstate__` and their like. It is
called between cells. Each variable is pickled once to see whether that works and which objects it reaches. Variables
that reach the same object are a group, and each group is pickled as one: what was one object is one object again.
What is known to come back different is not saved, or has a note in the report; `docs/decisions.md` has the limits.
"""

from __future__ import annotations

import base64
import pickle
import re
import time
from collections.abc import Callable
from typing import Any

from . import packages, settings
from .culprits import find_culprit
from .files import Directory, Part, Unsafe, default_key, digest_of, read_key
from .loading import FORMAT, PYTHON, load
from .objects import Loaded, Scan, StatePickler
from .report import Report

BIG = 1 << 20
"""Buffers from this size on (bytes) are files of their own, and used again by the next save if unchanged."""
HIDDEN = {"In", "Out", "exit", "quit", "get_ipython", "open"}
OF_IPYTHON = re.compile(r"_|__|___|_\d+|_i|_ii|_iii|_i\d+|_ih|_oh|_dh|_sh|_exit_code|__\w+__")
INLINE = 16 << 10
"""A group up to this size (bytes) is in the manifest itself."""
NO_TIME = "there was no time left to save it"


__all__ = ["load", "save", "user_names"]


class Stopped(Exception):
    """`must_stop` said so."""


class OutOfTime(Exception):
    """`limit_s` is over."""


class TooLarge(Exception):
    """A group does not fit into `limit_bytes`, or on the disk."""


def user_names(namespace: dict[str, Any]) -> list[str]:
    """Return the names of a namespace that are the person's, without those of IPython."""
    shell = {name for name in HIDDEN if type(namespace.get(name)).__module__.startswith(("IPython", "ipykernel"))}
    shell |= {name for name in HIDDEN if getattr(namespace.get(name), "__module__", None) in SHELL_MODULES}
    shell |= {"In", "Out"} if "_ih" in namespace else set()
    return [name for name in list(namespace) if isinstance(name, str) and name not in shell and not _of_ipython(name)]


SHELL_MODULES = ("IPython.core.autocall", "IPython.core.interactiveshell", "IPython.core.getipython", "io")


def _of_ipython(name: str) -> bool:
    return OF_IPYTHON.fullmatch(name) is not None


def save(  # noqa: PLR0913  each limits or names something else
    namespace: dict[str, Any],
    directory: str,
    *,
    limit_bytes: int | None = None,
    limit_s: float | None = None,
    must_stop: Callable[[], bool] = lambda: False,
    key: str | None = None,
    about: dict[str, str] | None = None,
) -> Report:
    """Save the variables of `namespace`; what can't be saved is in the report. `key`: the file of the key, in the home.

    `about`: what else the manifest says, such as the notebook.

    Small groups first, as many as `limit_bytes`, the disk and `limit_s` allow. A call of `must_stop` that returns true
    ends it without effect, and so does any failure of the directory: the last good save stays.
    """
    began = time.monotonic()
    report = Report(saved_at=time.time())
    try:
        with Directory(directory, read_key(key or default_key(), make=True), make=True) as files:
            files.lock()
            _Save(namespace, files, report, limit_bytes, limit_s and began + limit_s, must_stop).run(about or {})
    except Stopped:
        report.problem = "the save was stopped"
    except BlockingIOError:
        report.problem = "another save is under way"
    except (OSError, Unsafe) as error:
        report.problem = f"the state can't be written: {error}"
    if report.problem:
        report.names = []
    report.seconds = time.monotonic() - began
    return report


class _Save:
    def __init__(
        self,
        namespace: dict[str, Any],
        files: Directory,
        report: Report,
        limit_bytes: int | None,
        deadline: float | None,
        must_stop: Callable[[], bool],
    ) -> None:
        self.namespace, self.files, self.report = namespace, files, report
        self.left = files.room() if limit_bytes is None else min(limit_bytes, files.room())
        self.deadline, self.must_stop = deadline, must_stop
        self.last, self.loaded = self._last_buffers(), Loaded()
        self.scans: dict[str, Scan] = {}
        self.sizes: dict[str, int] = {}

    def run(self, about: dict[str, str]) -> None:
        """Scan all variables, write all groups, then the manifest; then remove what it does not name."""
        groups: list[dict[str, Any]] = []
        for name, value in settings.gather().items():
            self._add(groups, [name], {name: value}, "setting")
        names = user_names(self.namespace)
        for name in names:
            self._scan(name)
        for group in _groups(self.scans, self.sizes):
            self._note_shared_memory(group)
            self._add(groups, group, {name: self.namespace[name] for name in group}, "variables")
        manifest = {
            "format": FORMAT, "python": PYTHON, "saved_at": self.report.saved_at, "groups": groups,
            "missing": self.report.missing, "notes": self.report.notes, "about": about,
        }  # fmt: skip
        self.report.names = [name for group in groups if group["kind"] == "variables" for name in group["names"]]
        self._stop_if_told()
        self.files.write_manifest(manifest)
        self.files.clean(_parts(manifest))

    def _check(self) -> None:
        self._stop_if_told()
        if self.deadline and time.monotonic() > self.deadline:
            raise OutOfTime

    def _stop_if_told(self) -> None:
        if self.must_stop():
            raise Stopped

    def _last_buffers(self) -> dict[int, set[str]]:
        """Return the buffers of the last save by size, to know which to look for before writing."""
        found: dict[int, set[str]] = {}
        try:
            last = self.files.read_manifest()
        except (FileNotFoundError, Unsafe):
            return found
        for group in last["groups"] if last.get("format") == FORMAT else []:
            for buffer in group["buffers"]:
                if buffer["part"]:
                    found.setdefault(buffer["size"], set()).add(buffer["part"])
        return found

    def _scan(self, name: str) -> None:
        scan, counted = Scan(self.loaded), _Counter()
        why = self._try(self.namespace[name], scan, counted)
        if why is None:
            self.scans[name], self.sizes[name] = scan, counted.size
            for note in scan.notes:
                self.report.note(name, note)
        elif isinstance(why, OutOfTime):
            self.report.missing[name] = NO_TIME
        else:
            self.report.missing[name] = find_culprit(name, self.namespace[name], self._try, why)

    def _try(self, obj: Any, scan: Scan | None = None, counted: _Counter | None = None) -> Exception | None:
        counted = counted or _Counter()
        try:
            StatePickler(counted, self.namespace, scan or Scan(self.loaded), counted.add, self._check).dump(obj)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001  the objects' own methods may raise anything
            return error
        return None

    def _note_shared_memory(self, group: list[str]) -> None:
        users: dict[int, dict[int, bool]] = {}
        for name in group:
            for address, objects in self.scans[name].memory.items():
                users.setdefault(address, {}).update(objects)
        shared = {address for address, objects in users.items() if len(objects) > 1 and not all(objects.values())}
        for name in group:
            if shared & set(self.scans[name].memory):
                self.report.note(name, "shares memory with another array; after the load each has a copy of its own")

    def _add(self, groups: list[dict[str, Any]], names: list[str], content: dict[str, Any], kind: str) -> None:
        """Write one group, or name its variables as missing."""
        scan = Scan(self.loaded)
        try:
            self._check()
            group = self._write(content, scan)
        except OutOfTime:
            self.report.miss(names, NO_TIME)
        except TooLarge as error:
            self.report.miss(names, str(error))
        except Stopped:
            raise
        except OSError as error:
            self.report.miss(names, f"it can't be written: {error}")
        except Exception as error:  # noqa: BLE001  the objects' own methods may raise anything
            self.report.miss(names, f"{', '.join(names)}: {type(error).__name__}: {error}")
        else:
            groups.append({**group, "names": names, "kind": kind, "packages": packages.versions_of(scan.modules)})

    def _write(self, content: dict[str, Any], scan: Scan) -> dict[str, Any]:
        """Write the stream of a group with its small buffers, and each big buffer as a part. Return its entry."""
        found: list[pickle.PickleBuffer] = []
        before = self.left
        try:
            with _Stream(self) as out:
                StatePickler(out, self.namespace, scan, found.append, self._check).dump(content)
                stream = out.size
                buffers = [self._write_buffer(buffer.raw(), out) for buffer in found]
                return {**out.keep(), "stream": stream, "buffers": buffers}
        except BaseException:
            self.left = before
            raise

    def new_part(self) -> Part:
        """Begin a part."""
        return self.files.new_part(self._check)

    def spend(self, size: int) -> None:
        """Take bytes from the room that is left. Raises TooLarge."""
        if size > self.left:
            raise TooLarge(f"it is larger than the room that is left ({max(0, self.left) >> 20} MB)")
        self.left -= size
        self.report.bytes_written += size

    def _write_buffer(self, data: memoryview, out: _Stream) -> dict[str, Any]:
        size, part = data.nbytes, ""
        if size < BIG:
            out.write(data)
        else:
            part = self._big(data)
        return {"size": size, "readonly": data.readonly, "part": part}

    def _big(self, data: memoryview) -> str:
        size = data.nbytes
        if size in self.last and self.files.has(name := digest_of(data, self._check)) and name in self.last[size]:
            self.report.bytes_reused += size
            return name
        self.spend(size)
        with self.new_part() as part:
            part.write(data)
            return part.keep()


class _Counter:
    """Counts what pickle writes, and keeps nothing."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.size += size
        return size

    def add(self, buffer: pickle.PickleBuffer) -> None:
        self.size += buffer.raw().nbytes


class _Stream:
    """Where a group is written to: the manifest if it is small, since each file is a wait for the disk, else a part."""

    def __init__(self, save: _Save) -> None:
        self._save, self._held, self.size = save, bytearray(), 0
        self._part: Part | None = None

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        if self._part is not None:
            self._part.__exit__()

    def write(self, data: Any) -> int:
        """Append bytes. Called by pickle. Raises TooLarge."""
        size = memoryview(data).nbytes
        self._save.spend(size)
        self.size += size
        if self._part is None and self.size > INLINE:
            self._part = self._save.new_part()
            self._part.write(self._held)
        if self._part is not None:
            self._part.write(data)
        else:
            self._held += data
        return size

    def keep(self) -> dict[str, str]:
        """Return where the content is, for the manifest."""
        if self._part is not None:
            return {"part": self._part.keep(), "inline": ""}
        return {"part": "", "inline": base64.b64encode(self._held).decode()}


def _groups(scans: dict[str, Scan], sizes: dict[str, int]) -> list[list[str]]:
    """Return the names by groups that reach a common object or common memory; small groups first."""
    leader: dict[str, str] = {name: name for name in scans}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = name = leader[leader[name]]
        return name

    first: dict[tuple[str, int], str] = {}
    for name, scan in scans.items():
        for reached in [("object", number) for number in scan.seen] + [("memory", number) for number in scan.memory]:
            leader[find(name)] = find(first.setdefault(reached, name))
    groups: dict[str, list[str]] = {}
    for name in scans:
        groups.setdefault(find(name), []).append(name)
    return sorted(groups.values(), key=lambda names: sum(sizes[name] for name in names))


def _parts(manifest: dict[str, Any]) -> set[str]:
    groups = manifest["groups"]
    return {group["part"] for group in groups if group["part"]} | {
        buffer["part"] for group in groups for buffer in group["buffers"] if buffer["part"]
    }
