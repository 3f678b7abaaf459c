"""The logs of a site, the last lines of each first."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from gears.errors import NothingRunning
from gears.sites.load import load_site
from gears.system import files
from gears.system.installation import gears_home

TAIL_LINES = 40

FOLLOW_EVERY_S = 0.5
"""A home on NFS notifies of nothing (inotify(7)), so logs are read again."""


def show_logs(site: str, *, follow: bool) -> Iterator[str]:
    """Read the last TAIL_LINES lines of each run/<site>/*.log, after a line with its path.

    With `follow`, continue with new lines, and those of new logs, until interrupted. Raises what `load_site` raises,
    and NothingRunning without logs.
    """
    directory = gears_home() / "run" / load_site(site).name
    logs = sorted(directory.glob("*.log"))
    if not logs:
        raise NothingRunning(f"{site} has no logs in {directory}", next=f"gears lab {site}")
    seen = {log: log.stat().st_size for log in logs}
    for log in logs:
        yield f"==> {log}\n"
        yield from files.read_text(log).splitlines(keepends=True)[-TAIL_LINES:]
    while follow:
        for log in sorted(directory.glob("*.log")):
            text, seen[log] = _read_on(log, seen.get(log, 0))
            yield from text.splitlines(keepends=True)
        time.sleep(FOLLOW_EVERY_S)


def _read_on(log: Path, seen: int) -> tuple[str, int]:
    """Read a log after its first `seen` bytes, or whole where it has become shorter; return the text and its size."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(seen if seen <= size else 0)
            text = file.read()
            return text.decode(errors="replace"), file.tell()
    except OSError:
        return "", seen
