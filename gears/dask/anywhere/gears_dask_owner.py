"""Owns a Dask cluster: makes it, records its state in a file, scales it, and ends it with all its jobs.

    python gears_dask_owner.py ID PLAN  PLAN: a file of JSON, written by gears/dask/launch.py

It runs under the Python of the workers' environment, so it imports only the standard library and Dask. It reads
requests (a number of workers, or the end) from a file in the home, so that any host that shares the home can make them.
It writes its state to the file `record`. SIGTERM, SIGINT and SIGHUP end it as `down` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import secrets
import signal
import socket
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gears.dask.anywhere.gears_dask_cluster import make_cluster
    from gears.dask.anywhere.gears_dask_scaling import Scaling
else:  # beside this file
    from gears_dask_cluster import make_cluster
    from gears_dask_scaling import Scaling

Record = dict[str, Any]

STEP_S = 1.0
BEAT_S = 10.0
"""The longest time between two writes of the record, which shows that the owner is alive."""

QUERY_AFTER_S = 3.0
QUERY_PAUSES_S = (10.0, 20.0, 30.0, 60.0)
"""How long a job is pending before the first query of the batch system, and then the pauses between queries."""

QUERY_S = 120.0
CLOSE_S = 60.0
DASK = ("dask", "distributed")


class Owner:
    """One cluster, from its plan to its end. `displaced`: another cluster has replaced it."""

    def __init__(self, plan: Record) -> None:
        self.plan = plan
        self.files: dict[str, str] = plan["files"]
        self.wanted: Record = plan["wanted"]
        self.started = utc(time.time())
        self.before = read(self.files["record"]).get("id")  # can't be replaced while the disk is full
        self.cluster: Any = None
        self.scaling: Any = None
        self.waiting: dict[str, Record] = {}
        self.queried, self.queries = 0.0, 0
        self.written: Record = {}
        self.written_at = 0.0
        self.warned = ""
        self.clients: set[str] = set()
        self.why = ""
        self.displaced = False
        self.end = asyncio.Event()

    async def run(self) -> None:
        """Make the cluster, and update it every second until it is to end. Closing it takes at most 60 s."""
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), self.leave, f"it received {name}")
        plan = self.plan
        self.scaling = Scaling(None, plan["processes"], plan["maximum_jobs"], plan["idle_worker_s"], plan["life_s"])
        self.cluster = self.scaling.cluster = await make_cluster(plan, self.scaling)
        try:
            self.publish()
            self.write_record("up")  # only after the address is published
            while not self.end.is_set():
                await self.step()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.end.wait(), STEP_S)
        finally:
            if self.plan["id"] in lines(self.files["published"]):
                remove(self.files["published"])
            self.write_record("ending")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.cluster.close(), CLOSE_S)
            self.write_record("ended")

    def leave(self, why: str) -> None:
        """Make `run` end the cluster. The first of several reasons counts."""
        self.why = self.why or why
        self.end.set()

    async def step(self) -> None:
        """Scale the cluster as requested, query its jobs and update the record; or leave, if it is to end."""
        if self.cluster.scheduler.status.name in ("closing", "closed"):
            self.leave(f"it was idle for {self.plan['idle_timeout_s']} s")
            return
        found = read(self.files["wanted"])
        if found.get("id") == self.plan["id"] and found != self.wanted:
            self.wanted = found
        if self.wanted.get("down"):
            self.leave("it was stopped on request")
            return
        if read(self.files["record"]).get("id") not in (self.plan["id"], self.before, None):
            self.displaced = True  # a cluster has been started on another host, and the record is its own
            self.leave("another cluster has replaced it")
            return
        await self.scaling.step(self.wanted["minimum"], self.wanted["maximum"])
        await self.query_jobs()
        self.warn()
        self.write_record("up")

    # --- the batch system ------------------------------------------------------------------------

    async def query_jobs(self) -> None:
        """Query by gears, which knows every batch system, why jobs are pending and whether they still are.

        Query seldom: administrators ban users who query constantly.
        """
        jobs = {job.id: job for job in self.scaling.waiting()}
        self.waiting = {id: found for id, found in self.waiting.items() if id in jobs}
        if not jobs or not self.plan["query"]:
            self.queries = 0
            return
        pause = QUERY_PAUSES_S[min(self.queries, len(QUERY_PAUSES_S) - 1)] if self.queries else 0.0
        oldest = min(job.requested for job in jobs.values())
        if time.time() < max(oldest + QUERY_AFTER_S, self.queried + pause):
            return
        self.queried, self.queries = time.time(), self.queries + 1
        for found in await run_json([*self.plan["query"], self.plan["id"], *jobs]):
            self.waiting[found["id"]] = found
            if found["state"] in ("ENDED", "GONE") and (job := jobs.get(found["id"])) and job.connected is None:
                why = f"job {job.id} ended before it had a worker: {found['reason'] or 'it is no longer in the queue'}"
                await self.scaling.ended(job.name, f"{why}; its output is in {self.plan['logs']}")

    def warn(self) -> None:
        """Warn in every connected notebook at each refusal, since a computation there just waits."""
        trouble, clients = self.scaling.trouble, set(self.cluster.scheduler.clients)
        warning = f"{trouble.count} {trouble.message}" if trouble.message else ""
        if warning and (warning != self.warned or clients - self.clients):
            text = f"your Dask cluster gets no workers: {trouble.message}"
            self.cluster.scheduler.log_event("warn", {"message": pickle.dumps(text)})
        self.warned, self.clients = warning, clients

    # --- records -----------------------------------------------------------------------------------

    def publish(self) -> None:
        """Write the address where a bare `Client()` reads it, and add it to the list of addresses.

        By the list a notebook that still has the address later recognizes it as one of gears.
        """
        old = lines(self.files["addresses"])[-20:]
        write(self.files["addresses"], "\n".join([*old, self.cluster.scheduler_address, ""]))
        address = json.dumps(self.cluster.scheduler_address)
        write(self.files["published"], f"# {self.plan['id']}\nscheduler-address: {address}\n")

    def write_record(self, state: str) -> None:
        """Write the record if it has changed or is 10 s old; not once another cluster has replaced this one."""
        if self.displaced:
            return
        record = self.describe(state)
        if record != self.written or time.time() - self.written_at >= BEAT_S:
            self.written, self.written_at = record, time.time()
            write(self.files["record"], json.dumps(record | {"updated": utc(self.written_at)}, indent=1) + "\n")

    def describe(self, state: str) -> Record:
        """Return the record without its time. `gears.dask.records.ClusterRecord` explains the keys."""
        plan, scheduler = self.plan, self.cluster.scheduler
        idle_since = scheduler.idle_since if state == "up" else None
        repeated = ("id", "site", "kind", "environment", "maximum_jobs", "processes", "bounds", "idle_timeout_s")
        return {
            **{name: plan[name] for name in repeated},
            "job": os.environ.get("GEARS_DASK_JOB") or None,
            "state": state,
            "reason": self.why or None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "start": start_time(),
            "started": self.started,
            "address": self.cluster.scheduler_address,
            "dashboard": {"port": scheduler.http_server.port, "prefix": plan["prefix"]},
            "versions": {"python": ".".join(map(str, sys.version_info[:3])), **{name: version(name) for name in DASK}},
            "idle_since": utc(idle_since) if idle_since else None,
            **self.measure(scheduler),
        }

    def measure(self, scheduler: Any) -> Record:
        """Count workers, threads, bytes of memory, jobs and tasks, for the record."""
        workers, jobs, trouble = scheduler.workers.values(), self.scaling.jobs.values(), self.scaling.trouble
        processing = sum(len(worker.processing) for worker in workers)
        return {
            "wanted": self.wanted,
            "workers": len(workers),
            "threads": sum(worker.nthreads for worker in workers),
            "memory": sum(worker.memory_limit for worker in workers),
            "jobs": {"all": len(jobs), "waiting": sum(job.connected is None for job in jobs)},
            "waiting": list(self.waiting.values()),
            "tasks": processing + len(scheduler.queued) + len(scheduler.unrunnable),
            "trouble": {"message": trouble.message, "since": utc(trouble.since)} if trouble.message else None,
            "counts": dict(self.scaling.counts),
        }


# --- files and programs ------------------------------------------------------------------------------


async def run_json(command: list[str]) -> list[Record]:
    """Run a command that prints a JSON list, and return it; [] if the command fails or takes more than 120 s."""
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    with contextlib.suppress(OSError, ValueError, asyncio.TimeoutError):
        program = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=pipe, stderr=null)
        out, _ = await asyncio.wait_for(program.communicate(), QUERY_S)
        return list(json.loads(out))
    return []


def read(path: str) -> Record:
    """Read a JSON object; {} if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def lines(path: str) -> list[str]:
    """Read the words of a file, split at white space; [] if it can't be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().split()
    except OSError:
        return []


def write(path: str, text: str) -> None:
    """Replace a file atomically, 0600. Ignore an OSError: a full disk is no reason to end a cluster."""
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}.{secrets.token_hex(3)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        remove(temporary)


def remove(path: str) -> None:
    """Remove a file. Ignore an OSError, such as a missing file."""
    with contextlib.suppress(OSError):
        os.remove(path)


def utc(seconds: float) -> str:
    """Format seconds since 1970 as in records: 2026-01-31T09:30:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def start_time() -> str:
    """Read when this process started, in clock ticks since boot (proc(5), field 22).

    It distinguishes this process from a later one with the same pid.
    """
    with open(f"/proc/{os.getpid()}/stat", encoding="utf-8") as file:
        stat = file.read()
    return stat[stat.rindex(")") + 2 :].split()[19]


async def main(id: str, path: str) -> None:
    """Run the owner of the plan at `path` until its cluster has ended; not if the plan is no longer that of `id`."""
    plan = read(path)
    if plan.get("id") != id:
        sys.exit(f"another cluster was planned in place of {id}")
    await Owner(plan).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
