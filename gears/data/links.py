"""Names of the same file, by hard links, in the order of a walk."""

from __future__ import annotations

import os
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Groups:
    """The names of the same file, by hard links: a name is forgotten once all the others have come."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, int], tuple[bytes, int]] = {}

    def first(self, path: bytes, info: os.stat_result) -> bytes | None:
        """Return the first path of the same file; None if this is the first."""
        key = info.st_dev, info.st_ino
        found = self._groups.pop(key, None)
        first, left = found or (path, info.st_nlink)
        if left > 1:
            self._groups[key] = first, left - 1
        return first if found else None


class Outstanding(Generic[Value]):
    """What other names will ask for, each once: forgotten with the last of them."""

    def __init__(self) -> None:
        self._values: dict[bytes, tuple[Value, int]] = {}

    def put(self, path: bytes, value: Value, others: int) -> None:
        """Keep a value for `others` names."""
        if others > 0:
            self._values[path] = value, others

    def take(self, path: bytes) -> Value | None:
        """Return the value for one of the names; None if there is none."""
        if path not in self._values:
            return None
        value, left = self._values.pop(path)
        self.put(path, value, left - 1)
        return value
