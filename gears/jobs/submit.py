"""Submitting: one job however many ask for it at once, and none that nobody knows of.

The record stands before the scheduler is asked, with the job's name in it. So a job whose submitter was killed is found
again by its name, and a job that was refused in our eyes and accepted in the scheduler's ends as soon as it starts: its
script looks for its name in the record.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from gears import checks, store
from gears.dask.place import ensure_config
from gears.errors import CommandFailed, NotReachable, SubmissionRefused
from gears.jobs import batch, records, scheduler
from gears.jobs.environment import chosen, clusters, of_submission
from gears.jobs.request import check_scheduler
from gears.route import Route
from gears.rundir import RunDir
from gears.sites import to_json
from gears.store import Record


def submit(route: Route, paths: RunDir) -> Record:
    """Submit a job, unless another host is just doing so: the record of the one that is there now.

    Raises SubmissionRefused or CommandFailed with the record as it was before, NotReachable.
    """
    before = records.read(paths)
    deadline = time.monotonic() + 2 * records.TOLD_S
    while (claimed := records.claim(paths, route.here)) is None:
        now = records.read(paths)
        if records.live(now) and now["id"]:
            return now
        if time.monotonic() > deadline:
            raise NotReachable("another host is submitting a job, and does not end", next=f"gears status {paths.site}")
        time.sleep(0.2)
    now = records.read(paths)
    if records.live(now):
        return now
    record = _new_record(route, *claimed)
    records.write(paths, record)
    try:
        record["id"] = _hand_in(route, paths, record, after=None)
    except CommandFailed:
        paths.job_life(record["number"]).unlink(missing_ok=True)
        records.write(paths, before) if before else records.forget(paths)
        raise
    record |= {"state": "PENDING", "known": "PENDING"}
    records.write(paths, record)
    records.remove_old(paths, record["number"])
    return record


def submit_successor(route: Route, paths: RunDir, record: Record) -> Record:
    """The record with a job that waits for the end of this one. A refusal is written into it, and tried no more."""
    claimed = records.claim(paths, route.here)
    if claimed is None:
        return record
    number, name = claimed
    successor: Record = {"number": number, "name": name, "id": "", "clusters": record["id"].partition(";")[2]}
    records.write(paths, record | {"successor": successor})
    try:
        successor["id"] = _hand_in(route, paths, successor, after=record)
    except CommandFailed as exc:
        paths.job_life(number).unlink(missing_ok=True)
        return record | {"successor": None, "renew": 0, "trouble": f"no job will take over: {exc.message}"}
    return record | {"successor": successor}


def promote(record: Record) -> Record:
    """The record once the successor's time has come."""
    successor = record["successor"]
    fresh = {"state": "PENDING", "known": "PENDING", "reason": "", "node": None, "starts": None, "ends": None}
    later: Record = record | fresh | successor
    return later | {"successor": None, "renew": record["renew"] - 1, "asked": 0.0, "gone": 0}


def settle(route: Route, record: Record) -> Record:
    """The record of a submission that was broken off: the job is found by its name, or was never taken."""
    found = scheduler(record["kind"]).find(record["name"], record.get("clusters", ""))
    if found is None:
        return record | {"reason": "the scheduler can't be asked whether it took the job"}
    if found:
        return record | {"id": found[0], "state": "PENDING", "known": "PENDING"}
    if time.time() - record["begun"] < records.TOLD_S and record["host"] != route.here:
        return record
    return record | {"state": "GONE", "reason": "the submission was broken off"}


def _new_record(route: Route, number: int, name: str) -> Record:
    wanted = check_scheduler(route.site)
    record: Record = {"number": number, "name": name, "id": "", "kind": wanted.kind, "host": route.here}
    record |= {"state": "SUBMITTING", "known": "SUBMITTING", "word": "", "reason": "", "position": None, "node": None}
    record |= {"starts": None, "ends": None, "submitted": store.utc_now(), "begun": time.time(), "asked": 0.0}
    record |= {"walltime_s": checks.walltime_s(wanted.walltime), "renew": wanted.renew, "successor": None}
    record["profile"] = to_json(route.site)
    record["clusters"] = clusters(wanted.kind, wanted.directives, os.environ)
    record |= {"account": wanted.account, "queue": wanted.queue, "gone": 0, "trouble": ""}
    return record


def _hand_in(route: Route, paths: RunDir, job: Record, *, after: Record | None) -> str:
    spec = batch.plan_job(route, paths, job["number"], job["name"], after=after)
    before = after["number"] if after else None
    ensure_config(route.site, paths)
    store.write_private(paths.job_meet(job["number"]), route.here + "\n")
    for file in (spec.log, paths.job_log(job["number"])):
        store.write_private(file, "")  # 0600: a scheduler would make it as it likes
    script = batch.render_script(route, paths, job["number"], spec, before=before)
    store.write_private(paths.job_script, script)
    kind = check_scheduler(route.site).kind
    job["variables"] = chosen(kind, of_submission(script, os.environ))
    try:
        return scheduler(kind).submit(paths.job_script)
    except CommandFailed as exc:
        pauses_s = ASK_PAUSES_S[: 1 if isinstance(exc, SubmissionRefused) else None]
        if taken := find_taken(kind, job["name"], job["clusters"], pauses_s):
            return taken
        raise _explained(exc, paths.site) from exc


ASK_PAUSES_S = (0.2, 1.0, 2.0, 4.0)
"""Before each question whether a job was taken all the same: a scheduler that is late shows it late."""


def find_taken(kind: str, name: str, where: str, pauses_s: Sequence[float]) -> str:
    """The id of a job that the scheduler took although its submission failed: sbatch, say, may time out when the
    controller has the job. "" where there is none, or it can't be asked; such a job ends as it begins."""
    for pause_s in pauses_s:
        time.sleep(pause_s)
        if found := scheduler(kind).find(name, where):
            return found[0]
    return ""


def _explained(exc: CommandFailed, site: str) -> CommandFailed:
    """The error with what a person can do."""
    if isinstance(exc, SubmissionRefused):
        cure = (exc.next or "gears lab SITE --job --help").replace("SITE", site)
        return SubmissionRefused(f"the job was refused: {exc.message}", stderr=exc.stderr, next=cure)
    later = exc.next or f"gears lab {site} --job   (later: the scheduler could not be asked)"
    return CommandFailed(f"no job was submitted: {exc.message}", stderr=exc.stderr, next=later)
