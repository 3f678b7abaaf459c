"""The jobs that clusters may have left behind: their names, noted in the home, and their cancellation.

The next command cancels them, on any host that can query the batch system.
"""

from __future__ import annotations

import contextlib
import time

from gears.dask.cluster import FRESH_S, look
from gears.dask.records import load_plan
from gears.errors import CommandFailed, MissingProgram
from gears.schedulers.base import scheduler
from gears.sites.paths import RunDir
from gears.system import files
from gears.system.progress import Progress


def note_name(paths: RunDir, name: str, kind: str, clusters: str) -> None:
    """Note the name of all jobs of a cluster, and the Slurm clusters they go to, before the first is submitted.

    The name can't be guessed. Each has its own file, as several commands can note and remove names at once.
    """
    files.ensure_private(paths.dask_names)
    files.write_private(paths.dask_names / name, f"{kind} {clusters}".strip())


def noted_names(paths: RunDir) -> dict[str, str]:
    """Read the noted names, each with its kind of batch system and, after a space, its Slurm clusters."""
    return {file.name: files.read_text(file) for file in sorted(paths.dask_names.glob("dask-*"))}


def reap(paths: RunDir, say: Progress) -> bool:
    """Cancel the user's jobs with a noted name whose cluster has ended.

    False if the batch system can't be queried, or does not end them; then the next command tries again.
    """
    names = [name for name in noted_names(paths) if name not in _in_use(paths)]
    done = [reap_one(paths, name, say) for name in names]
    return all(done)


def reap_one(paths: RunDir, name: str, say: Progress) -> bool:
    """Cancel the jobs of one name, within a minute, and remove the name. False if some may still be in the queue."""
    kind, _, clusters = noted_names(paths).get(name, "").partition(" ")
    if kind and not _cancel_all(name, kind, clusters, say):
        return False
    (paths.dask_names / name).unlink(missing_ok=True)
    return True


def _in_use(paths: RunDir) -> list[str]:
    """Return the names of the running cluster, and of one that is just being started."""
    current, plan = look(paths), load_plan(paths)
    names = [current.record.id] if current.lives else []
    if plan and plan.id != current.record.id and time.time() - plan.made < FRESH_S:
        names.append(plan.id)
    return names


def _cancel_all(name: str, kind: str, clusters: str, say: Progress) -> bool:
    batch, deadline, reported = scheduler(kind), time.monotonic() + 60, False
    pause_s = 0.5
    while ids := batch.find(name, clusters):
        if time.monotonic() > deadline:
            return False
        if not reported:
            say(f"cancelling {len(ids)} jobs left by a Dask cluster: {' '.join(ids)}")
            reported = True
        with contextlib.suppress(CommandFailed, MissingProgram):
            for id in ids:
                batch.cancel(id)
        time.sleep(pause_s)
        pause_s = min(8.0, 2 * pause_s)  # administrators ban users who query constantly
    return ids is not None
