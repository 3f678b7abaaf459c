"""What is on disk of a site's cluster: its plan, its owner's record of it, and what its owner is asked for.

The owner reads and writes the same files by their keys (`anywhere/gears_dask_owner.py`), in whatever environment it
runs. It goes on when gears is updated, so a key keeps its name.
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

AGAIN_S = 0.05


class ClusterState(StrEnum):
    """`QUEUED`: the job that is to own it waits. `ENDED`: its record tells why. `STOPPED`: there is none. `UNKNOWN`: it
    is on another host, and nothing is heard of it."""

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
    """How many workers the cluster `id` is to have. `number`: of this wish, by which its owner's answer is known."""

    id: str
    number: str
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class End:
    """The cluster `id` is to end: `down` is true."""

    id: str
    down: bool


def save_wanted(paths: RunDir, wanted: Wanted | End) -> None:
    """Write what the owner is asked for. It looks there every second."""
    save(paths.dask_file("wanted.json"), wanted)


def forget_wanted(paths: RunDir) -> None:
    """Remove what the owner was asked for, if anything."""
    paths.dask_file("wanted.json").unlink(missing_ok=True)


# --- cluster.json ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a cluster is started with, and its record repeats.

    `kind`: of batch system; None: its workers are on the host itself, within `bounds`. `environment`: "" for gears'
    own. `processes`: workers in a job. `idle_timeout_s`: after so long without work it ends itself; None: never.
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
    """Where its web pages are: on this port of its host, below the secret `prefix`."""

    port: int
    prefix: str


@dataclass(frozen=True, slots=True)
class Jobs:
    """How many jobs of workers there are, and of how many no worker has come yet."""

    all: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """What the batch system says of a job of workers, see `gears.schedulers.base.Job`."""

    id: str
    state: str
    reason: str = ""
    starts: str | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there are no workers, in the batch system's words."""

    message: str
    since: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Of jobs of workers, since its start."""

    submitted: int = 0
    refused: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord(Terms):
    """What its owner tells of it; None: nothing yet.

    `job`: the one that its owner is, where that is a job. `reason`: why it ended, or why that job waits. `host`, `pid`
    and `start` are its owner. `workers`, `threads`, `memory` in bytes, `tasks`: as many as there are. Times are UTC.
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
        """Return the owner's process; None if the record does not tell."""
        if self.host is None or self.pid is None or self.start is None:
            return None
        return Process(self.host, self.pid, self.start)

    @property
    def asked(self) -> tuple[int, int]:
        """Return the least and the most workers that it was asked for last; 0 and 0 once it is to end."""
        return (self.wanted.minimum, self.wanted.maximum) if isinstance(self.wanted, Wanted) else (0, 0)

    def ended(self, why: str) -> ClusterRecord:
        """Return the record of a cluster that has ended now, for the reason `why`."""
        return replace(self, state=ClusterState.ENDED, reason=why, updated=timestamps.utc_now())


def load_cluster(paths: RunDir) -> ClusterRecord | None:
    """Read the record; None where there is none.

    Read an empty one again: a shared home may show nothing for a moment while a record is being replaced.
    """
    file = paths.dask_file("cluster.json")
    found = read_record(file)
    if not found and file.parent.is_dir():
        time.sleep(AGAIN_S)
        found = read_record(file)
    return parse(ClusterRecord, found)


def save_cluster(paths: RunDir, record: ClusterRecord) -> None:
    """Write the record in the place of an owner that is gone."""
    save(paths.dask_file("cluster.json"), record)


# --- plan.json -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the scheduler and its web pages listen. 0: any."""

    scheduler: int = 0
    dashboard: int = 0


@dataclass(frozen=True, slots=True)
class Files:
    """The owner's: its record, what it is asked for, where it publishes the address and notes it."""

    record: str
    wanted: str
    published: str
    addresses: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Terms):
    """What the owner of a cluster is told.

    `made`: seconds since 1970. `tls`: the file of key and certificate. `prefix`: the secret part of its pages' address.
    `worker`, `options`: words for dask-jobqueue's class or Dask's LocalCluster, as those have them. `host`: the address
    to listen on; "" as Dask chooses. `life_s`: when workers may leave, see `config.life_s`. `query`: the command that
    tells of jobs.

    Of a cluster of jobs alone, else None: `class_name`, of dask-jobqueue; `in_job`, whether its owner is a job as well,
    `job`, then its id; `named`, whether the profile says which network interface is to be used.
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
        """Return the cluster's record as long as its owner has told nothing. `host`: where its owner begins."""
        terms = {term.name: getattr(self, term.name) for term in fields(Terms)}
        return ClusterRecord(**terms, job=self.job, host=self.host if host is None else host, wanted=self.wanted)


CLASS = "class"
"""What `class_name` is called on disk: in Python a word of the language."""

OF_JOBS = (CLASS, "in_job", "named", "job")
"""Keys that a plan without them does not have."""


def load_plan(paths: RunDir) -> Plan | None:
    """Read the plan; None where there is none."""
    values = read_record(paths.dask_file("plan.json"))
    return parse(Plan, values | {"class_name": values.get(CLASS)})


def save_plan(paths: RunDir, plan: Plan) -> None:
    """Write the plan for the owner, without the keys of `OF_JOBS` that are None."""
    values = as_values(plan)
    values[CLASS] = values.pop("class_name")
    told = {name: value for name, value in values.items() if value is not None or name not in OF_JOBS}
    write_record(paths.dask_file("plan.json"), told)


def forget_plan(paths: RunDir) -> None:
    """Remove the plan, if there is one."""
    paths.dask_file("plan.json").unlink(missing_ok=True)
