"""The jobs that clusters may have left: their names, noted in the home, and their end.

Whoever comes next cancels them, on any host that can ask the batch system.
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
    """Note the name that all jobs of a cluster have, and the Slurm clusters they go to, before the first is submitted.

    Nobody can guess the name. Each has its own file, for several commands may note and forget names at once.
    """
    files.ensure_private(paths.dask_names)
    files.write_private(paths.dask_names / name, f"{kind} {clusters}".strip())


def noted_names(paths: RunDir) -> dict[str, str]:
    """Read the noted names. Each has its kind of batch system and, behind a space, its Slurm clusters."""
    return {file.name: files.read_text(file) for file in sorted(paths.dask_names.glob("dask-*"))}


def reap(paths: RunDir, say: Progress) -> bool:
    """Cancel the jobs that clusters which are no more have left: those of this person with a name of ours.

    False where the batch system can't be asked, or does not let them go; then the next command tries again.
    """
    names = [name for name in noted_names(paths) if name not in _in_use(paths)]
    done = [reap_one(paths, name, say) for name in names]
    return all(done)


def reap_one(paths: RunDir, name: str, say: Progress) -> bool:
    """Cancel the jobs of one name, within a minute, and forget the name. False if some may still be there."""
    kind, _, clusters = noted_names(paths).get(name, "").partition(" ")
    if kind and not _cancel_all(name, kind, clusters, say):
        return False
    (paths.dask_names / name).unlink(missing_ok=True)
    return True


def _in_use(paths: RunDir) -> list[str]:
    """Return the names of the cluster that lives, and of one that is just being started."""
    now, plan = look(paths), load_plan(paths)
    names = [now.record.id] if now.lives else []
    if plan and plan.id != now.record.id and time.time() - plan.made < FRESH_S:
        names.append(plan.id)
    return names


def _cancel_all(name: str, kind: str, clusters: str, say: Progress) -> bool:
    batch, deadline, told = scheduler(kind), time.monotonic() + 60, False
    pause_s = 0.5
    while ids := batch.find(name, clusters):
        if time.monotonic() > deadline:
            return False
        if not told:
            say(f"cancelling {len(ids)} jobs that a Dask cluster left: {' '.join(ids)}")
            told = True
        with contextlib.suppress(CommandFailed, MissingProgram):
            for id in ids:
                batch.cancel(id)
        time.sleep(pause_s)
        pause_s = min(8.0, 2 * pause_s)  # administrators ban who asks all the time
    return ids is not None
