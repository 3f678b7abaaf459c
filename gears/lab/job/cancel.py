"""Cancel a job: leave nothing in the queue, and close its records."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gears.errors import CommandFailed, NotReachable
from gears.lab.job import records
from gears.lab.job.records import JobRecord, Successor
from gears.lab.state import load_lab, mark_ended
from gears.schedulers.base import OVER, scheduler
from gears.sites.paths import RunDir
from gears.system.progress import Progress

ENDING_S = 60.0
"""Time limit for a cancelled job to leave the queue: its two signals are some time apart (Slurm's KillWait: 30 s)."""


def cancel_jobs(paths: RunDir, say: Progress, *, but: Sequence[str] = ()) -> list[str]:
    """Cancel the job and its successor, and wait until they have left the queue. Return their ids, without `but`.

    Raises NotReachable, with the records unchanged, where the scheduler does not accept or confirm it.
    """
    job = records.read(paths)
    if not (job and job.live):
        return []
    ids = [id for id in _ids(paths, job) if id not in but]
    for id in ids:
        say(f"cancelling job {id}")
        try:
            scheduler(job.kind).cancel(id)
        except CommandFailed as exc:
            raise _unsure(paths, id, exc.message) from exc
    for id in ids:
        _await_end(paths, job, id)
    return ids


def _ids(paths: RunDir, job: JobRecord) -> list[str]:
    """List the ids, the successor's first, since it would start as soon as the other job has ended."""
    both: list[Successor | JobRecord] = [job.successor, job] if job.successor else [job]
    ids = [one.id for one in both]
    for one in both:
        if not one.id:  # its submission was interrupted: find it by name
            found = scheduler(job.kind).find(one.name, one.clusters)
            if found is None:
                raise _unsure(paths, one.name, "the scheduler does not answer")
            ids += found
    return [id for id in ids if id]


def _await_end(paths: RunDir, job: JobRecord, id: str) -> None:
    deadline, pause_s = time.monotonic() + ENDING_S, 0.5
    while (found := scheduler(job.kind).query(id)).state not in OVER:
        if time.monotonic() > deadline:
            raise _unsure(paths, id, f"it is still {found.word or found.state}")
        time.sleep(pause_s)
        pause_s = min(5.0, pause_s * 1.5)


def _unsure(paths: RunDir, id: str, why: str) -> NotReachable:
    return NotReachable(f"job {id} may still be in the queue: {why}", next=f"gears stop {paths.site}")


def end_records(paths: RunDir) -> None:
    """Close the records after the job was ended on purpose, and cancel its successor.

    Where the scheduler does not answer, the successor's script finds no record of itself and ends.
    """
    job = records.read(paths)
    if job and job.successor and job.successor.id:
        try:
            scheduler(job.kind).cancel(job.successor.id)
        except CommandFailed:
            pass
    lab = load_lab(paths.lab_record)
    if job and lab and lab.job == job.number:
        mark_ended(paths, lab.host)
    records.forget(paths)
