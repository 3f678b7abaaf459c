"""The status of a site as `gears status --json` shows it. Imports nothing that starts or serves, to answer at once."""

from __future__ import annotations

from pathlib import Path

from gears import store
from gears.facts import count_kernels
from gears.locate import find_paths
from gears.route import Route
from gears.rundir import RunDir, gears_home
from gears.status import observe


def look(route: Route) -> store.Record:
    """Read the status as `--json` shows it. Makes nothing, and takes 3 s at most where something hangs."""
    paths = find_paths(route) or RunDir(gears_home(), route.site.name, Path("/nonexistent"))
    record = observe(route, paths).as_record()
    if record["state"] == "up" and record["lab"]:
        record["lab"]["kernels"] = count_kernels(paths)
    for inner in ("steps", "title", "turn"):
        del record[inner]
    return record
