"""The files of a site's cluster: its plan, its owner's record, and the request to its owner.

The owner (`anywhere/gears_dask_owner.py`) reads and writes the same files by their keys, in any environment. It keeps
running when gears is updated, so a key keeps its name.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from gears.dask.anywhere.gears_dask_limits import Bounds
from gears.sites.paths import RunDir
from gears.system import timestamps
from gears.system.files import read_record, write_record
from gears.system.processes import Process
from gears.system.records import as_values, parse, save

RETRY_S = 0.05


class ClusterState(StrEnum):
    """`QUEUED`: the job that will own it is pending. `ENDED`: its record has the reason. `STOPPED`: there is none.
    `UNKNOWN`: it is on another host, and does not respond."""

    UP = "up"
    QUEUED = "queued"
    STARTING = "starting"
    ENDING = "ending"
    ENDED = "ended"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


# --- wanted.json -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request for a number of workers of the cluster `id`. `number`: of the request, repeated in the answer."""

    id: str
    number: str
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class End:
    """A request to end the cluster `id`: `down` is true."""

    id: str
    down: bool


def save_wanted(paths: RunDir, wanted: Wanted | End) -> None:
    """Write a request to the owner, which reads it every second."""
    save(paths.dask_file("wanted.json"), wanted)


def remove_wanted(paths: RunDir) -> None:
    """Remove the request to the owner, if there is one."""
    paths.dask_file("wanted.json").unlink(missing_ok=True)


# --- cluster.json ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The parameters of a cluster, which its record repeats.

    `kind`: of batch system; None: its workers run on the host itself, within `bounds`. `environment`: "" for gears'
    own. `processes`: workers per job. `idle_timeout_s`: seconds without work after which it ends; None: never.
    """

    id: str
    site: str = ""
    kind: str | None = None
    environment: str = ""
    maximum_jobs: int = 0
    processes: int = 1
    bounds: Bounds | None = None
    idle_timeout_s: int | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The address of its web pages: this port of its host, below the secret `prefix`."""

    port: int
    prefix: str


@dataclass(frozen=True, slots=True)
class Jobs:
    """The number of jobs of workers, and of those without a worker yet."""

    all: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """What the batch system reports of a job of workers, see `gears.schedulers.base.Job`."""

    id: str
    state: str
    reason: str = ""
    starts: str | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there are no workers, as the batch system reports it."""

    message: str
    since: str


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of jobs of workers since its start."""

    submitted: int = 0
    refused: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord(Terms):
    """The owner's record of its cluster. None: not known yet.

    `job`: the job in which the owner runs, if any. `reason`: why the cluster ended, or why that job is pending. `host`,
    `pid` and `start` are the owner's process. `workers`, `threads`, `memory` in bytes and `tasks` are current totals.
    Times are UTC.
    """

    job: str | None = None
    state: ClusterState | None = None
    reason: str | None = None
    host: str | None = None
    pid: int | None = None
    start: str | None = None
    started: str | None = None
    address: str | None = None
    dashboard: Dashboard | None = None
    versions: dict[str, str] | None = None
    idle_since: str | None = None
    wanted: Wanted | End | None = None
    workers: int | None = None
    threads: int | None = None
    memory: int | None = None
    jobs: Jobs | None = None
    waiting: tuple[WaitingJob, ...] | None = None
    tasks: int | None = None
    trouble: Trouble | None = None
    counts: Counts | None = None
    updated: str | None = None

    @property
    def owner(self) -> Process | None:
        """Return the owner's process; None if the record has none."""
        if self.host is None or self.pid is None or self.start is None:
            return None
        return Process(self.host, self.pid, self.start)

    @property
    def requested(self) -> tuple[int, int]:
        """Return the minimum and maximum of workers last requested; 0 and 0 once it is to end."""
        return (self.wanted.minimum, self.wanted.maximum) if isinstance(self.wanted, Wanted) else (0, 0)

    def ended(self, why: str) -> ClusterRecord:
        """Return the record as of a cluster that has just ended, for the reason `why`."""
        return replace(self, state=ClusterState.ENDED, reason=why, updated=timestamps.utc_now())


def load_cluster(paths: RunDir) -> ClusterRecord | None:
    """Load the record; None if there is none.

    Read an empty one again: a shared home can show nothing for a moment while a record is being replaced.
    """
    file = paths.dask_file("cluster.json")
    found = read_record(file)
    if not found and file.parent.is_dir():
        time.sleep(RETRY_S)
        found = read_record(file)
    return parse(ClusterRecord, found)


def save_cluster(paths: RunDir, record: ClusterRecord) -> None:
    """Write the record for an owner that has ended."""
    save(paths.dask_file("cluster.json"), record)


# --- plan.json -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the scheduler and its web pages. 0: any."""

    scheduler: int = 0
    dashboard: int = 0


@dataclass(frozen=True, slots=True)
class Files:
    """The owner's files: its record, the request to it, the published address, and the list of addresses."""

    record: str
    wanted: str
    published: str
    addresses: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Terms):
    """The instructions to the owner of a cluster.

    `made`: seconds since 1970. `tls`: the file of key and certificate. `prefix`: the secret part of its pages' address.
    `worker`, `options`: arguments of dask-jobqueue's class or Dask's LocalCluster. `host`: the address to listen on; ""
    for Dask's choice. `life_s`: when workers leave, see `config.life_s`. `query`: the command that reports on jobs.

    Only of a cluster of jobs, else None: `class_name`, of dask-jobqueue; `in_job`, whether its owner is a job as well,
    `job`, then its id; `named`, whether the profile sets the network interface.
    """

    made: float = 0.0
    tls: str = ""
    prefix: str = ""
    logs: str = ""
    idle_worker_s: int = 60
    ports: Ports = Ports()
    files: Files | None = None
    worker: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    host: str = ""
    life_s: float | None = None
    query: tuple[str, ...] | None = None
    wanted: Wanted | None = None
    class_name: str | None = None
    in_job: bool | None = None
    named: bool | None = None
    job: str | None = None

    def record(self, host: str | None = None) -> ClusterRecord:
        """Return the cluster's record until its owner has written one. `host`: on which the owner starts."""
        terms = {term.name: getattr(self, term.name) for term in fields(Terms)}
        return ClusterRecord(**terms, job=self.job, host=self.host if host is None else host, wanted=self.wanted)


CLASS = "class"
"""The key of `class_name` on disk, which is a keyword in Python."""

OF_JOBS = (CLASS, "in_job", "named", "job")
"""Keys that are omitted if they are None."""


def load_plan(paths: RunDir) -> Plan | None:
    """Load the plan; None if there is none."""
    values = read_record(paths.dask_file("plan.json"))
    return parse(Plan, values | {"class_name": values.get(CLASS)})


def save_plan(paths: RunDir, plan: Plan) -> None:
    """Write the plan for the owner, without the keys of `OF_JOBS` that are None."""
    values = as_values(plan)
    values[CLASS] = values.pop("class_name")
    present = {name: value for name, value in values.items() if value is not None or name not in OF_JOBS}
    write_record(paths.dask_file("plan.json"), present)


def remove_plan(paths: RunDir) -> None:
    """Remove the plan, if there is one."""
    paths.dask_file("plan.json").unlink(missing_ok=True)
