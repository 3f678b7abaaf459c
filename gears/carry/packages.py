"""Which versions of packages a state was saved with, and whether this kernel has compatible ones."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import sys
from collections.abc import Iterable
from typing import Any

INSTALLED = ("/site-packages/", "/dist-packages/")
STANDARD = os.path.dirname(os.__file__) + os.sep


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Return for each package, or each of the person's own modules, its version, or "sha256:" and its source's hash."""
    found = {}
    for module in modules:
        top = module.partition(".")[0]
        version = getattr(sys.modules.get(top), "__version__", None)
        if isinstance(version, str) and _is_installed(sys.modules.get(top)):
            found[top] = version
        elif source := _source(sys.modules.get(module)):
            found[module] = source
    return found


def why_not(versions: dict[str, str]) -> str:
    """Return which package is missing or has another major version here, or "". Imports the packages."""
    for name, saved in sorted(versions.items()):
        try:
            module = importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  importing a package can fail in any way
            return f"{name} can't be imported here ({type(error).__name__}: {error})"
        if saved.startswith("sha256:"):
            if _source(module) != saved:
                return f"{name} has changed since ({getattr(module, '__file__', '')})"
        elif _major(str(getattr(module, "__version__", ""))) != _major(saved):
            return f"{name} is {getattr(module, '__version__', 'without a version')} here, and was {saved}"
    return ""


def _major(version: str) -> tuple[str, ...]:
    """Return what of a version must be the same: before 1.0 the second number too, as semver.org (4.) has it."""
    numbers = re.findall(r"\d+", version)
    return tuple(numbers[:2] if numbers[:1] == ["0"] else numbers[:1])


def _is_installed(module: Any) -> bool:
    return any(part in (getattr(module, "__file__", None) or "") for part in INSTALLED)


def _source(module: Any) -> str:
    """Return the hash of the source of a module of the person's own, or "" for installed and standard ones."""
    file = getattr(module, "__file__", None) or ""
    if not file.endswith(".py") or _is_installed(module) or file.startswith(STANDARD):
        return ""
    try:
        with open(file, "rb") as source:
            return "sha256:" + hashlib.sha256(source.read()).hexdigest()
    except OSError:
        return ""
