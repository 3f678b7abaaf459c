"""Load a saved state into a kernel's namespace. All hashes are checked before anything is unpickled."""

from __future__ import annotations

import base64
import importlib
import io
import pickle
import platform
import sys
import time
from typing import Any

from . import packages, settings
from .files import Directory, Unsafe, default_key, read_key
from .objects import CONSTANT, HELPER, MODULE, NAMES
from .rebuild import HELPERS
from .report import Report

FORMAT = 1
PYTHON = f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}"


class StateUnpickler(pickle.Unpickler):
    """Read what StatePickler wrote, with functions over `namespace`. Only for bytes whose keyed hash was checked."""

    def __init__(self, file: Any, namespace: dict[str, Any], buffers: list[Any]) -> None:
        super().__init__(file, buffers=buffers)
        self._namespace = namespace

    def persistent_load(self, pid: tuple[str, ...]) -> Any:
        """Return what a persistent id names."""
        kind, *name = pid
        if kind == NAMES:
            return self._namespace
        if kind == HELPER:
            return HELPERS[name[0]]
        module = importlib.import_module(name[0])
        if kind == CONSTANT:
            return getattr(module, name[1])
        return module if kind == MODULE else module.__dict__

    def find_class(self, module: str, name: str) -> Any:
        """Return an object of a module by its name; none of the notebook, whose objects are in the stream."""
        if module == "__main__":
            raise pickle.UnpicklingError(f"refers to {name} of the notebook by its name only")
        return super().find_class(module, name)


def load(directory: str, namespace: dict[str, Any], *, key: str | None = None) -> Report:
    """Load the variables that were saved last into `namespace`. Those that are there already are left as they are."""
    began, report = time.monotonic(), Report()
    try:
        with Directory(directory, read_key(key or default_key())) as files:
            manifest = files.read_manifest()
            if (manifest["format"], manifest["python"]) != (FORMAT, PYTHON):
                report.problem = f"the state is of {manifest['python']}, and this kernel is {PYTHON}"
            else:
                report.saved_at = manifest["saved_at"]
                report.missing, report.notes = dict(manifest["missing"]), dict(manifest["notes"])
                _load_groups(files, manifest["groups"], namespace, report)
    except FileNotFoundError as error:
        report.problem = f"there is no saved state: {error}"
    except (OSError, Unsafe) as error:
        report.problem = f"the state is not loaded: {error}"
    report.seconds = time.monotonic() - began
    return report


def _load_groups(files: Directory, groups: list[dict[str, Any]], namespace: dict[str, Any], report: Report) -> None:
    first = [group for group in groups if group["names"][0] in settings.FIRST and group["kind"] == "setting"]
    last = [group for group in groups if group["names"][0] in settings.LAST and group["kind"] == "setting"]
    for group in first:
        _load_setting(files, group, namespace, report, settings.FIRST)
    for group in groups:
        if group["kind"] == "variables":
            _load_variables(files, group, namespace, report)
    for group in last:
        _load_setting(files, group, namespace, report, settings.LAST)


def _load_setting(
    files: Directory, group: dict[str, Any], namespace: dict[str, Any], report: Report, apply: dict[str, Any]
) -> None:
    [name] = group["names"]
    found = _load_group(files, group, namespace, report)
    try:
        if found is not None:
            apply[name](found[name])
    except Exception as error:  # noqa: BLE001  said, and the variables are loaded
        report.missing[name] = f"it can't be set here ({type(error).__name__}: {error})"


def _load_variables(files: Directory, group: dict[str, Any], namespace: dict[str, Any], report: Report) -> None:
    found = _load_group(files, group, namespace, report)
    for name, value in (found or {}).items():
        if name in namespace:
            report.missing[name] = "the notebook has a variable of this name already"
        else:
            namespace[name] = value
            report.names.append(name)


def _load_group(
    files: Directory, group: dict[str, Any], namespace: dict[str, Any], report: Report
) -> dict[str, Any] | None:
    """Return the content of a group by name, or None, which the report explains. Checks the hashes first."""
    try:
        if why := packages.why_not(group["packages"]):
            report.miss(group["names"], why)
            return None
        small = [buffer["size"] for buffer in group["buffers"] if not buffer["part"]]
        stream, *pieces = _read(files, group, [group["stream"], *small])
        buffers = [
            files.read_part(buffer["part"], [buffer["size"]])[0] if buffer["part"] else pieces.pop(0)
            for buffer in group["buffers"]
        ]
        found: dict[str, Any] = StateUnpickler(io.BytesIO(stream), namespace, buffers).load()
    except Exception as error:  # noqa: BLE001  unpickling can raise anything
        report.miss(group["names"], f"it can't be loaded ({type(error).__name__}: {error})")
        return None
    return found


def _read(files: Directory, group: dict[str, Any], sizes: list[int]) -> list[bytearray]:
    """Return the stream and the small buffers of a group: of its part, or of the manifest, whose hash was checked."""
    if group["part"]:
        return files.read_part(group["part"], sizes)
    content, pieces = bytearray(base64.b64decode(group["inline"])), []
    for size in sizes:
        pieces.append(content[:size])
        del content[:size]
    return pieces
