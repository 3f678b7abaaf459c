"""Which entries of a manifest a get is to bring back. Pure."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence

from gears.data.entries import Entry


class Selection:
    """Patterns as in fnmatch(3), of which `*` also matches slashes; a directory that matches has all below it."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._wanted = [(text, re.compile(fnmatch.translate(_plain(text)))) for text in patterns]
        self.unmatched = list(patterns)
        self._below = b""

    @property
    def everything(self) -> bool:
        """Whether all is wanted."""
        return not self._wanted

    def takes(self, entry: Entry) -> bool:
        """Tell whether an entry is wanted. To be asked in the order of a manifest."""
        if self.everything or (self._below and entry.path.startswith(self._below)):
            return True
        name = os.fsdecode(entry.path)
        found = [text for text, pattern in self._wanted if pattern.match(name)]
        if found:
            self.unmatched = [text for text in self.unmatched if text not in found]
            self._below = entry.path + b"/" if entry.path != b"." else b""
            if entry.path == b".":
                self._wanted = []
        return bool(found)


def _plain(pattern: str) -> str:
    return os.path.normpath(pattern) if pattern.rstrip("/") else "."
