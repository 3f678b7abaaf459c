"""Owns a Dask cluster: makes it, tells of it in a file, scales it, and ends it with all its jobs.

    python gears_dask_owner.py PLAN     PLAN: a file of JSON, written by gears/dask/start.py

It runs under the Python of whatever environment the workers are to have, so it imports the standard library and Dask
only. What it is to do it reads in a file in the home, so a person may say it on any host that shares that: how many
workers, or the end. What it does is in `record`. SIGTERM, SIGINT and SIGHUP end it as `down` does.
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

LOOK_S = 1.0
BEAT_S = 10.0
"""So often the record says that its owner lives, though nothing has changed."""

ASK_AFTER_S = 3.0
ASK_PAUSES_S = (10.0, 20.0, 30.0, 60.0)
"""How long a job waits before the batch system is asked why, and then between questions."""

ASK_S = 120.0
CLOSE_S = 60.0
DASK = ("dask", "distributed")


class Owner:
    """One cluster, from its plan to its end. `displaced`: another cluster has taken its place."""

    def __init__(self, plan: Record) -> None:
        self.plan = plan
        self.files: dict[str, str] = plan["files"]
        self.wanted: Record = plan["wanted"]
        self.started = utc(time.time())
        self.cluster: Any = None
        self.scaling: Any = None
        self.waiting: dict[str, Record] = {}
        self.asked, self.questions = 0.0, 0
        self.told: Record = {}
        self.told_at = 0.0
        self.warned = ""
        self.clients: set[str] = set()
        self.why = ""
        self.displaced = False
        self.end = asyncio.Event()

    async def run(self) -> None:
        """Make the cluster and look after it every second until it is to end. Closing it takes 60 s at most."""
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), self.leave, f"it got {name}")
        plan = self.plan
        self.scaling = Scaling(None, plan["processes"], plan["maximum_jobs"], plan["idle_worker_s"], plan["life_s"])
        self.cluster = self.scaling.cluster = await make_cluster(plan, self.scaling)
        try:
            self.publish()
            self.tell("up")  # who waits for this word finds the address there
            while not self.end.is_set():
                await self.step()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.end.wait(), LOOK_S)
        finally:
            if self.plan["id"] in lines(self.files["published"]):
                remove(self.files["published"])
            self.tell("ending")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.cluster.close(), CLOSE_S)
            self.tell("ended")

    def leave(self, why: str) -> None:
        """Let `run` end the cluster. The first of several reasons counts."""
        self.why = self.why or why
        self.end.set()

    async def step(self) -> None:
        """Scale the cluster to what is wanted, ask about its jobs and update the record; or leave, if it is to end."""
        if self.cluster.scheduler.status.name in ("closing", "closed"):
            self.leave(f"it had nothing to do for {self.plan['idle_timeout_s']} s")
            return
        found = read(self.files["wanted"])
        if found.get("id") == self.plan["id"] and found != self.wanted:
            self.wanted = found
        if self.wanted.get("down"):
            self.leave("it was asked to end")
            return
        if read(self.files["record"]).get("id") != self.plan["id"]:
            self.displaced = True  # another cluster has been started on another host: what is told is its own
            self.leave("another cluster took its place")
            return
        await self.scaling.step(self.wanted["minimum"], self.wanted["maximum"])
        await self.ask()
        self.warn()
        self.tell("up")

    # --- the batch system ------------------------------------------------------------------------

    async def ask(self) -> None:
        """Ask gears, which knows every batch system, why jobs wait and whether they still do.

        Ask seldom: administrators ban who asks all the time.
        """
        jobs = {job.id: job for job in self.scaling.waiting()}
        self.waiting = {id: said for id, said in self.waiting.items() if id in jobs}
        if not jobs or not self.plan["query"]:
            self.questions = 0
            return
        pause = ASK_PAUSES_S[min(self.questions, len(ASK_PAUSES_S) - 1)] if self.questions else 0.0
        oldest = min(job.asked for job in jobs.values())
        if time.time() < max(oldest + ASK_AFTER_S, self.asked + pause):
            return
        self.asked, self.questions = time.time(), self.questions + 1
        for said in await answers([*self.plan["query"], self.plan["id"], *jobs]):
            self.waiting[said["id"]] = said
            if said["state"] in ("ENDED", "GONE") and (job := jobs.get(said["id"])) and job.came is None:
                why = f"job {job.id} ended before a worker came of it: {said['reason'] or 'it is gone from the queue'}"
                await self.scaling.ended(job.name, f"{why}; its output is in {self.plan['logs']}")

    def warn(self) -> None:
        """Let every notebook that is connected know, at each refusal: there a computation only waits."""
        trouble, clients = self.scaling.trouble, set(self.cluster.scheduler.clients)
        said = f"{trouble.count} {trouble.message}" if trouble.message else ""
        if said and (said != self.warned or clients - self.clients):
            text = f"your Dask cluster gets no workers: {trouble.message}"
            self.cluster.scheduler.log_event("warn", {"message": pickle.dumps(text)})
        self.warned, self.clients = said, clients

    # --- what it tells -----------------------------------------------------------------------------

    def publish(self) -> None:
        """Write the address where a bare `Client()` looks, and note it.

        By the note a notebook that was there before the cluster ended is told that it has one of ours.
        """
        old = lines(self.files["addresses"])[-20:]
        write(self.files["addresses"], "\n".join([*old, self.cluster.scheduler_address, ""]))
        address = json.dumps(self.cluster.scheduler_address)
        write(self.files["published"], f"# {self.plan['id']}\nscheduler-address: {address}\n")

    def tell(self, state: str) -> None:
        """Write the record if it has changed or is 10 s old; nothing once another cluster has this one's place."""
        if self.displaced:
            return
        told = self.describe(state)
        if told != self.told or time.time() - self.told_at >= BEAT_S:
            self.told, self.told_at = told, time.time()
            write(self.files["record"], json.dumps(told | {"updated": utc(self.told_at)}, indent=1) + "\n")

    def describe(self, state: str) -> Record:
        """Return the record without its time. `gears.dask.records.ClusterRecord` explains the keys."""
        plan, scheduler = self.plan, self.cluster.scheduler
        idle_since = scheduler.idle_since if state == "up" else None
        same = ("id", "site", "kind", "environment", "maximum_jobs", "processes", "bounds", "idle_timeout_s")
        return {
            **{name: plan[name] for name in same},
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
            "jobs": {"all": len(jobs), "waiting": sum(job.came is None for job in jobs)},
            "waiting": list(self.waiting.values()),
            "tasks": processing + len(scheduler.queued) + len(scheduler.unrunnable),
            "trouble": {"message": trouble.message, "since": utc(trouble.since)} if trouble.message else None,
            "counts": dict(self.scaling.counts),
        }


# --- files and programs ------------------------------------------------------------------------------


async def answers(command: list[str]) -> list[Record]:
    """Run a command that prints a JSON list, and return it; [] if the command fails or takes more than 120 s."""
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    with contextlib.suppress(OSError, ValueError, asyncio.TimeoutError):
        program = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=pipe, stderr=null)
        out, _ = await asyncio.wait_for(program.communicate(), ASK_S)
        return list(json.loads(out))
    return []


def read(path: str) -> Record:
    """Read a JSON object; {} where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def lines(path: str) -> list[str]:
    """Read the words of a file, split at white space; [] where it can't be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().split()
    except OSError:
        return []


def write(path: str, text: str) -> None:
    """Write a file whole or not at all, 0600. Ignore an OSError: a full disk is no reason to end a cluster."""
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}.{secrets.token_hex(3)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        remove(temporary)


def remove(path: str) -> None:
    """Remove a file. Ignore an OSError, such as that it is gone."""
    with contextlib.suppress(OSError):
        os.remove(path)


def utc(seconds: float) -> str:
    """Format seconds since 1970 as records have them: 2026-01-31T09:30:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def start_time() -> str:
    """Read when this process started, in clock ticks since boot (proc(5), field 22).

    By that gears tells a process from a later one of its number.
    """
    with open(f"/proc/{os.getpid()}/stat", encoding="utf-8") as file:
        stat = file.read()
    return stat[stat.rindex(")") + 2 :].split()[19]


async def main(path: str) -> None:
    """Run the owner of the plan at `path`, until its cluster has ended."""
    await Owner(read(path)).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
