"""What a job does for a run: DVC in its clone, a commit of the results, and their branch in the workspace's repository.

Each step may be repeated: what a job that was killed has done is not done again. The clone goes once the branch is
there; after a failure it stays.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from gears.errors import GearsError, NothingRunning
from gears.schedulers.environment import current_job
from gears.sites.load import load_site
from gears.system import files, records, timestamps
from gears.system.host import Host, this_host
from gears.workspace import runs, settings
from gears.workspace.dvc import CACHE, Dvc, find_dvc
from gears.workspace.git import changed, git, identity
from gears.workspace.running import InJob, locks_of, repro
from gears.workspace.runs import Ended, Run, RunState
from gears.workspace.setup import Say

READY = "gears-checked-out"
"""In the clone's `.git`: its data is there. What a killed stage has written since, `dvc checkout` would refuse to
remove; `dvc repro` removes it, or goes on with it, as dvc.yaml says."""


def work(directory: Path, job_name: str, say: Say) -> int:
    """Do what the job of that name has to, record how it ended, and return its exit status.

    Raises NothingRunning for a job that another one has replaced, and what DVC and git fail with.
    """
    run = runs.load(directory)
    if run is None or run.job_name != job_name:
        raise NothingRunning(f"{job_name} has nothing to do: another job runs these stages", next="gears workspace run")
    if not files.read_text(runs.id_path(directory, job_name)).strip():
        files.write_private(runs.id_path(directory, job_name), f"{current_job()}\n")
    say(f"job {current_job() or job_name}: {run.words} at {run.commit[:12]}, in {run.clone}")
    try:
        status, head = carry_out(run)
    except GearsError as exc:
        _end(directory, run, RunState.FAILED, reason=exc.message)
        raise
    if status:
        if not runs.load_end(directory, run):  # else the child, which got no lock, has said why
            _end(directory, run, RunState.FAILED, reason=f"dvc ended with status {status}")
        return status
    _end(directory, run, RunState.DONE, head=head, reason="" if head else "nothing had to be run")
    shutil.rmtree(run.clone, ignore_errors=True)
    say(f"its results are on the branch {run.branch}" if head else "nothing had to be run")
    return 0


def _end(directory: Path, run: Run, state: RunState, *, head: str = "", reason: str = "") -> None:
    ended = Ended(job_name=run.job_name, state=state, at=timestamps.utc_now(), head=head, reason=reason)
    records.save(runs.ended_path(directory), ended)


def carry_out(run: Run) -> tuple[int, str]:
    """Run the stages, and bring their results back. Return DVC's exit status, and the commit; "" for no results."""
    if not (run.clone / ".git").is_dir():
        raise GearsError(
            f"the clone {run.clone} is gone", next=f"cd {run.top} && gears workspace run {run.words} --job"
        )
    found, host = settings.load(run.clone), this_host()
    theirs = find_dvc(run.top, found)
    dvc = replace(theirs, top=run.clone)
    ready = run.clone / ".git" / READY
    if not ready.exists():
        share_cache(theirs, dvc)
        dvc.check_out()
        ready.touch()
    job = InJob(load_site(run.site), host, run.job_name)
    if status := repro(dvc, found, run.stages, locks_of(theirs, run.stages), job):
        return status, ""
    head = commit(run, host)
    if head == run.commit:
        return 0, ""
    git(run.top, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(run.clone), f"{head}:{_ref(run)}")
    return 0, head


def share_cache(theirs: Dvc, ours: Dvc) -> None:
    """Let the clone use the cache of the workspace from which it was made."""
    directory = theirs.get_local(CACHE)
    if not os.path.isabs(directory):
        ours.set_local(CACHE, theirs.run("cache", "dir").strip())


def commit(run: Run, host: Host) -> str:
    """Commit what the stages have changed, and return the commit. Raises CommandFailed if a hook refuses it."""
    if changed(run.clone):
        message = f"Run {run.words}\n\nJob {current_job() or run.job_name} on {host.hostname}"
        git(run.clone, "add", "--all")
        git(run.clone, *identity(run.top, run.user, host.hostname), "commit", "--quiet", "--message", message)
    return git(run.clone, "rev-parse", "HEAD")


def _ref(run: Run) -> str:
    return f"refs/heads/{run.branch}"
