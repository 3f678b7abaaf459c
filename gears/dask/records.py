"""What is known of a site's cluster, on disk: its owner's record, what its owner is asked for, the names of its jobs.

All of it is in the home, so that any host which shares that can tell, and ask. None of it is believed as it stands: an
owner lives if its process does, or from another host if its record is fresh.
"""

from __future__ import annotations

import calendar
import contextlib
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from gears import process, store
from gears.errors import CommandFailed, MissingProgram, NotReachable
from gears.jobs import OVER, scheduler
from gears.loop import Say, wait_for
from gears.rundir import RunDir, gears_home
from gears.store import Record

FRESH_S = 60.0
"""An owner writes its record every ten seconds at least; clocks of hosts differ, and NFS shows it late."""

KNOCK_S = 2.0
AGAIN_S = 0.05
OBEY_S = 40.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """`state`: up, queued (the job that is to own it waits), starting, ending, ended (its record tells why), stopped
    (there is none), or unknown: on another host, and nothing is heard of it."""

    state: str
    record: Record

    @property
    def lives(self) -> bool:
        return self.state in ("up", "queued", "starting", "ending", "unknown")


def look(paths: RunDir) -> Cluster:
    """The cluster as it is now. Reads only; knocks, for 2 s at most, where its host is another one and it is silent."""
    record, loop = _read(paths.dask_file("cluster.json")), process.read(paths.dask_file("loop"))
    plan = store.read_record(paths.dask_file("plan.json"))
    starting = plan.get("id") not in (None, record.get("id"))
    if starting and loop and (loop.alive() or (loop.alive() is None and _is_new(paths, plan))):
        return Cluster("starting", plan | {"host": loop.host})
    if starting and plan.get("job") and loop is None:
        return Cluster("queued", plan)
    if not record:
        return Cluster("stopped", {})
    if record.get("state") == "ended":
        return Cluster("ended", record)
    return Cluster(_state_of(record), record)


def _read(file: Path) -> Record:
    """A shared home may show nothing for a moment where a record is just being replaced."""
    if (found := store.read_record(file)) or not file.parent.is_dir():
        return found
    time.sleep(AGAIN_S)
    return store.read_record(file)


def _is_new(paths: RunDir, plan: Record) -> bool:
    """Whether a loop of another host has begun a moment ago: that of a job begins when its turn comes."""
    with contextlib.suppress(OSError):
        began = max(float(plan["made"]), paths.dask_file("loop").stat().st_mtime)
        return time.time() - began < FRESH_S
    return False


def settle_job(paths: RunDir, found: Cluster) -> Cluster:
    """Of a cluster that a job owns, and that can't be seen: what the batch system says. Asks it once."""
    if found.state not in ("queued", "unknown") or not found.record.get("job"):
        return found
    job = scheduler(str(found.record["kind"])).query(str(found.record["job"]))
    if job.state not in OVER:
        return Cluster(found.state, found.record | {"reason": job.reason or job.word})
    why = f"job {job.id}, which owned it, is over: {job.reason or job.word or 'it is gone from the queue'}"
    note_end(paths, found, why)
    return look(paths)


def note_end(paths: RunDir, found: Cluster, why: str) -> None:
    told = {"state": "ended", "reason": why, "host": found.record.get("host"), "updated": store.utc_now()}
    store.write_record(paths.dask_file("cluster.json"), found.record | told)
    paths.dask_published.unlink(missing_ok=True)


def _state_of(record: Record) -> str:
    alive = process.Process(record["host"], record["pid"], record["start"]).alive()
    if alive is None:
        if time.time() - seconds(record["updated"]) < FRESH_S:
            return str(record["state"])
        return "ended" if _refuses(record["address"]) else "unknown"
    return str(record["state"]) if alive else "ended"


def _refuses(address: str) -> bool:
    host, _, port = address.partition("://")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        return False
    return False


def goes_on(site: str) -> bool:
    """Whether a cluster of the site is up, as far as this home tells: `gears stop` leaves it alone."""
    paths = RunDir(gears_home(), site, Path("/nonexistent"))
    return paths.dask_file("cluster.json").exists() and look(paths).state == "up"


def forget_stale(paths: RunDir, *, by_loop: bool = False) -> None:
    """A cluster that has ended is published no more, whatever ended it; and other hosts, which can't see its process,
    are told."""
    loop, now = process.read(paths.dask_file("loop")), look(paths)
    if now.state not in ("ended", "stopped"):
        return
    if loop and loop.alive() and not by_loop:
        return  # it sees to that itself, and a record may have been shown by half
    paths.dask_published.unlink(missing_ok=True)
    if now.record and now.record.get("state") != "ended":
        why = now.record.get("reason") or "its owner was killed"
        told = {"state": "ended", "reason": why, "updated": store.utc_now()}
        store.write_record(paths.dask_file("cluster.json"), now.record | told)


def ask_owner(paths: RunDir, cluster: Cluster, wanted: Record) -> Record:
    """Let the owner know, on whatever host it is: its record once it has taken that up. Raises NotReachable."""
    wanted = {"id": cluster.record["id"], "number": secrets.token_hex(4), **wanted}
    store.write_record(paths.dask_file("wanted.json"), wanted)

    def obeyed() -> bool:
        now = look(paths)
        return now.record.get("wanted") == wanted or now.state in ("ended", "stopped")

    if not wait_for(obeyed, timeout_s=OBEY_S, every_s=0.1):
        host = cluster.record.get("host")
        raise NotReachable(f"the cluster's owner on {host} does not answer", next=f"gears dask status {paths.site}")
    return look(paths).record


def seconds(utc: str) -> float:
    """Since 1970, of a time as records have it; 0 for none."""
    try:
        return float(calendar.timegm(time.strptime(utc, "%Y-%m-%dT%H:%M:%SZ")))
    except (TypeError, ValueError):
        return 0.0


# --- the jobs that may be left ---------------------------------------------------------------


def note_name(paths: RunDir, name: str, kind: str, clusters: str) -> None:
    """Before a cluster's first job is submitted: the name that all its jobs have, which nobody can guess, and among
    which clusters of Slurm they go. A file each, for several commands may note and forget names at once."""
    store.ensure_private(paths.dask_names)
    store.write_private(paths.dask_names / name, f"{kind} {clusters}".strip())


def noted_names(paths: RunDir) -> dict[str, str]:
    return {file.name: store.read_text(file) for file in sorted(paths.dask_names.glob("dask-*"))}


def reap(paths: RunDir, say: Say) -> bool:
    """Cancel the jobs that clusters which are no more have left: those of this person with a name of ours. False where
    the batch system can't be asked, or does not let them go; then the next command tries again."""
    names = [name for name in noted_names(paths) if name not in _in_use(paths)]
    done = [reap_one(paths, name, say) for name in names]
    return all(done)


def reap_one(paths: RunDir, name: str, say: Say) -> bool:
    kind, _, clusters = noted_names(paths).get(name, "").partition(" ")
    if kind and not _cancel_all(name, kind, clusters, say):
        return False
    (paths.dask_names / name).unlink(missing_ok=True)
    return True


def _in_use(paths: RunDir) -> list[object]:
    """The names of the cluster that lives, and of one that is just being started."""
    now, plan = look(paths), store.read_record(paths.dask_file("plan.json"))
    starting = plan.get("id") != now.record.get("id") and time.time() - plan.get("made", 0) < FRESH_S
    return [now.record.get("id")] * now.lives + [plan.get("id")] * starting


def _cancel_all(name: str, kind: str, clusters: str, say: Say) -> bool:
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
