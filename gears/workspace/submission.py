"""Submit a run of stages as a batch job: its clone, its record, its script. Asking again for what is under way is done.

The clone is made here, of what is committed: what is edited meanwhile does not count. The name of the job is recorded
before it is submitted; a job whose name is not in the record ends at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gears.data.batch import PASSED_ON
from gears.errors import CommandFailed, GearsError, NotReachable, UsageError
from gears.schedulers.base import JobSpec, check_output, find_taken, scheduler
from gears.sites import validators
from gears.sites.profile import Scheduler, Site
from gears.system import files, records, timestamps
from gears.system.host import Host
from gears.system.installation import this_gears
from gears.workspace import runs
from gears.workspace.dvc import find_dvc
from gears.workspace.git import changed, git, try_git
from gears.workspace.running import check_free, locks_of
from gears.workspace.runs import FoundRun, Run
from gears.workspace.settings import Settings
from gears.workspace.setup import Say, ensure_dvc, place_path

SCRATCH = "scratch"
"""The place for clones; without it they are beside the records."""

LOCK_S = 150.0
"""A clone and a submission may take so long while another one holds the lock."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run that is under way. `already`: it was before."""

    run: Run
    found: FoundRun
    already: bool = False


def submit(top: Path, found: Settings, stages: Sequence[str], site: Site, host: Host, say: Say) -> Submitted:
    """Submit a job that runs the stages as they are committed; all without any. One that was interrupted goes on.

    Raises UsageError for changes that are not committed, NotReachable if another process runs one of the stages,
    SubmissionRefused or CommandFailed; no job runs then.
    """
    wanted = site.scheduler
    assert wanted is not None
    check_committed(top, say)
    dvc = find_dvc(top, found)
    ensure_dvc(dvc, found, site, host, say)
    directory = runs.directory_of(top)
    files.ensure_private(directory)
    with files.locked(directory / ".lock", timeout_s=LOCK_S):
        prune(top)
        known = _same(top, stages)
        if known and (there := _look(directory / known.name, known)).is_live:
            return Submitted(known, there, already=True)
        check_free(locks_of(dvc, stages), site, host)
        run = _with_job(known or _new(top, directory, found, stages, site, host), site)
        _ensure_clone(run)
        _submit(directory / run.name, run, wanted)
        return Submitted(run, runs.look(directory / run.name, run))


def _with_job(run: Run, site: Site) -> Run:
    """Return the record for a new job."""
    assert site.scheduler is not None
    job_name, now = f"gears-ws-{secrets.token_hex(3)}", timestamps.utc_now()
    return replace(run, site=site.name, scheduler=site.scheduler.kind, job_name=job_name, submitted=now)


def _look(directory: Path, run: Run) -> FoundRun:
    """Look at a run. Raises NotReachable while nobody can tell whether it has a job."""
    found = runs.look(directory, run)
    if found.state == runs.RunState.UNKNOWN and not found.job:
        again = "gears workspace status   (later)"
        raise NotReachable(f"{run.words}: a job may have been submitted; {found.reason}", next=again)
    return found


def check_committed(top: Path, say: Say) -> None:
    """Raise UsageError for a change that is not committed. Files that git does not know are only said."""
    lines = changed(top)
    if edited := [line[3:] for line in lines if not line.startswith("??")]:
        said = f"{top}: a job runs what is committed, and {len(edited)} changes are not, such as {edited[0]}"
        raise UsageError(said, next=f"git -C {top} commit -a")
    if lines:
        say(f"not committed, and so not in the job: {', '.join(line[3:] for line in lines[:5])}")
    if not try_git(top, "rev-parse", "--verify", "--quiet", "HEAD"):
        raise UsageError(f"{top} has no commit yet", next=f"git -C {top} commit")


def prune(top: Path) -> None:
    """Forget the runs that need nobody any more, with clones that were left of those that are done."""
    for directory, run in runs.each(top):
        found = runs.look(directory, run)
        if runs.is_settled(top, found) or (found.state == runs.RunState.DONE and not found.branch):
            if found.state == runs.RunState.DONE:
                shutil.rmtree(run.clone, ignore_errors=True)
            shutil.rmtree(directory, ignore_errors=True)


def _same(top: Path, stages: Sequence[str]) -> Run | None:
    """Return the run of these stages of this commit that is under way, or did not come to its end."""
    head = git(top, "rev-parse", "HEAD")
    for directory, run in runs.each(top):
        ended = runs.load_end(directory, run)
        if (run.commit, run.stages) == (head, tuple(stages)) and not (ended and ended.state == runs.RunState.DONE):
            return run
    return None


def _new(top: Path, directory: Path, found: Settings, stages: Sequence[str], site: Site, host: Host) -> Run:
    wanted = site.scheduler
    assert wanted is not None
    name = _free_name(top, directory)
    return Run(
        name=name,
        stages=tuple(stages),
        commit=git(top, "rev-parse", "HEAD"),
        branch=f"run/{branch_word(stages)}-{name}",
        top=top,
        clone=_clone_path(directory / name, name, found, site, host),
        site=site.name,
        scheduler=wanted.kind,
        user=host.user,
        job_name="",
        submitted="",
    )


def _free_name(top: Path, directory: Path) -> str:
    if try_git(top, "rev-parse", "--verify", "--quiet", "refs/heads/run"):
        said = f"{top} has a branch `run`, so that git can have none that begins with run/"
        raise UsageError(said, next=f"git -C {top} branch -m run OTHER")
    while (directory / (name := secrets.token_hex(2))).exists():
        pass
    return name


def branch_word(stages: Sequence[str]) -> str:
    """Return the stages as a part of the name of a branch. Pure."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", "-".join(stages))[:40].strip("-") or "all"


def _clone_path(beside: Path, name: str, found: Settings, site: Site, host: Host) -> Path:
    try:
        scratch = place_path(SCRATCH, found, site, host)
    except GearsError:
        return beside / "clone"
    return scratch / "gears-runs" / f"{found.name}-{name}"


def _ensure_clone(run: Run) -> None:
    """Clone the workspace at the run's commit, unless that is there. Until it is complete, its path does not exist."""
    if run.clone.is_dir():
        return
    draft = run.clone.with_name(f".{run.clone.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    run.clone.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        git(run.top, "clone", "--quiet", "--no-checkout", "--no-tags", "--", str(run.top), str(draft), timeout_s=600)
        git(draft, "checkout", "--quiet", "-B", run.branch, run.commit, timeout_s=600)
        local = run.top / ".dvc/config.local"
        if local.is_file():
            shutil.copy(local, draft / ".dvc/config.local")
        if hooks := try_git(run.top, "config", "core.hooksPath"):
            git(draft, "config", "core.hooksPath", hooks)
        draft.rename(run.clone)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _submit(directory: Path, run: Run, wanted: Scheduler) -> None:
    files.ensure_private(directory)
    script = directory / f"{run.job_name}.sh"
    files.write_private(script, render_script(directory, run, wanted))
    files.write_private(_output(directory), "")
    before = runs.load(directory)
    records.save(runs.record_path(directory), run)
    try:
        id = scheduler(wanted.kind).submit(script)
    except CommandFailed as exc:
        id = find_taken(run.scheduler, run.job_name)
        if not id:
            _take_back(directory, run, before)
            exc.next = exc.next or f"gears sites show {run.site}   ([scheduler] of the profile says how)"
            raise
    files.write_private(runs.id_path(directory, run.job_name), f"{id}\n")


def _take_back(directory: Path, run: Run, before: Run | None) -> None:
    """Restore the record of an earlier job, or remove that of a run which never had one."""
    if before:
        records.save(runs.record_path(directory), before)
        return
    shutil.rmtree(run.clone, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        run.clone.parent.rmdir()  # made for it


def render_script(directory: Path, run: Run, wanted: Scheduler) -> str:
    """Render the job script. Raises UsageError if the clone's path is not valid in one."""
    from gears.system.templates import render

    try:
        log = check_output(_output(directory))
    except UsageError as exc:
        fix = f"gears workspace join {run.top} DIR   (with a path of letters, digits, ., _ and -)"
        raise UsageError(exc.message, next=fix) from exc
    spec = JobSpec(
        name=run.job_name,
        log=log,
        account=wanted.account,
        queue=wanted.queue,
        nodes=wanted.nodes,
        walltime_s=validators.walltime_s(wanted.walltime),
        directives=wanted.directives,
    )
    return render(
        "workspace-job.sh.j2",
        header=scheduler(wanted.kind).header(spec),
        log=runs.log_path(directory),
        environment={name: value for name in PASSED_ON if (value := os.environ.get(name))},
        prologue=wanted.prologue,
        umask=files.current_umask(),
        work=[this_gears(), "_workspace", "work", str(directory), run.job_name],
    )


def _output(directory: Path) -> Path:
    return directory / "job.out"
