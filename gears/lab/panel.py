"""What JupyterLab's status bar and panel show of the lab they belong to (`gears.lab.jupyter.panel`).

Gathered in a process of its own, `gears _panel`: a dead file server, or a scheduler that does not answer, must not stop
JupyterLab.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from gears.dask.cluster import look as look_at_cluster
from gears.dask.records import ClusterState
from gears.errors import MissingProgram, NothingRunning
from gears.lab.job import records as job_records
from gears.lab.job.keep_going import keep_going
from gears.lab.job.records import JobRecord
from gears.lab.status.job_status import SOON_S, seconds_left
from gears.lab.status.model import Hop, parse_status
from gears.lab.status.status import lab_notes, observe
from gears.schedulers.base import Job, JobState, scheduler
from gears.sites.context import Context
from gears.sites.directories import find_paths
from gears.sites.load import from_json
from gears.sites.locate import locate
from gears.sites.paths import RunDir
from gears.system import files
from gears.system.records import as_values

KEEP, STOP = "keep", "stop"
"""Actions that the page can offer: let another job take over, and end JupyterLab."""

LOW_SHARE, LOW_BYTES = 0.02, 5_000_000_000
"""A disk is about to be full with less than this share free, and less than so many bytes."""


@dataclass(frozen=True, slots=True)
class Walltime:
    """The time of the job. `left_s` of `whole_s`; from `warn_s` before the end the page warns."""

    left_s: int
    whole_s: int
    warn_s: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """The site's Dask cluster. `dashboard`: its page, below JupyterLab's address; None where it is on another host."""

    state: ClusterState
    host: str | None
    workers: int
    tasks: int
    dashboard: str | None


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that is about to be full: the directory on it, its free bytes and its size."""

    path: str
    free: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What the page shows. `status`: as `gears status --json` has it, with the hops that the front's keeper has noted.

    `successor`: the job that takes over, in state UNKNOWN unless the scheduler was asked. `later`: one is submitted at
    the end of this one. `notes`: a line for each setting or kernel that needs attention.
    """

    status: files.Record
    walltime: Walltime | None = None
    successor: Job | None = None
    later: bool = False
    cluster: Cluster | None = None
    disks: tuple[Disk, ...] = ()
    notes: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()

    def as_values(self) -> files.Record:
        """Return what the page gets as JSON."""
        return as_values(self)


def open_context(name: str) -> Context:
    """Return the context of the site's lab on this host. Raises NothingRunning where none was ever started."""
    route = locate(name)
    paths = find_paths(route)
    if paths is None:
        raise NothingRunning(f"{name}: no lab was started from this home", next=f"gears lab {name}")
    job = job_records.read(paths)
    site = from_json(job.profile) if job and job.profile else route.site
    return Context(replace(route, site=site, role="lab", lab=route.here), paths)


def keep(context: Context) -> str:
    """Let another job take over (`keep_going`); return a sentence on the outcome. Raises what that raises."""
    kept = keep_going(context)
    if kept.later:
        when = f"{kept.job.host} submits the next job when this one ends"
        return f"{when}: it could not be submitted from {context.route.here} ({kept.later})"
    return f"job {kept.job.successor.id if kept.job.successor else ''} takes over when this one ends"


def gather(context: Context, *, ask: bool) -> Panel:
    """Gather what the page shows. `ask`: query the scheduler about the successor. Takes some seconds at most."""
    paths = context.paths
    status, job = observe(context), job_records.read(paths)
    runs = job is not None and job.on_node and status.lab is not None
    return Panel(
        status=replace(status, hops=way(paths)).as_json(),
        walltime=walltime(job) if job and runs else None,
        successor=successor(job, ask=ask) if job else None,
        later=bool(job and job.renew and not job.successor),
        cluster=cluster(context),
        disks=tuple(low_disks(context)),
        notes=tuple(note.strip() for note in lab_notes(status.lab)) if status.lab else (),
        actions=(KEEP, STOP) if job and runs and not job.successor else (STOP,),
    )


def way(paths: RunDir) -> tuple[Hop, ...]:
    """Return the hops between the laptop and the lab host, as the front's keeper has noted them in a shared home."""
    noted = parse_status(files.read_record(paths.state))
    return noted.hops if noted else ()


def walltime(job: JobRecord) -> Walltime | None:
    """Return the time of a running job; None where its end is not known."""
    left_s = seconds_left(job.ends)
    if left_s is None or not job.walltime_s:
        return None
    return Walltime(max(0, left_s), job.walltime_s, min(SOON_S, job.walltime_s // 4))


def successor(job: JobRecord, *, ask: bool) -> Job | None:
    """Return the job that takes over; None where there is none, or it is being submitted."""
    if not (job.successor and job.successor.id):
        return None
    if not ask:
        return Job(job.successor.id, JobState.UNKNOWN)
    try:
        return scheduler(job.kind).query(job.successor.id)
    except MissingProgram as exc:
        return Job(job.successor.id, JobState.UNKNOWN, reason=exc.message)


def cluster(context: Context) -> Cluster | None:
    """Return the site's Dask cluster; None where there is none, or it has ended."""
    found = look_at_cluster(context.paths)
    if not found.lives:
        return None
    record = found.record
    here = record.dashboard is not None and record.host == context.route.here
    page = f"proxy/{record.dashboard.port}/status" if here and record.dashboard else None
    return Cluster(found.state, record.host, record.workers or 0, record.tasks or 0, page)


def low_disks(context: Context) -> list[Disk]:
    """List the disks that are about to be full, of those on which JupyterLab writes."""
    wanted = (Path.home(), context.paths.run, context.paths.local, Path(context.site.lab.directory).expanduser())
    found: dict[int, Disk] = {}
    for path in wanted:
        try:
            room, device = os.statvfs(path), path.stat().st_dev
        except OSError:
            continue
        free, size = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
        if free < LOW_BYTES and free < LOW_SHARE * size:
            found.setdefault(device, Disk(str(path), free, size))
    return list(found.values())
