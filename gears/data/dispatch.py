"""Start what a user asks for: as a batch job, in tmux, or in the foreground. One at a time for each transfer."""

from __future__ import annotations

import itertools
import signal
from dataclasses import dataclass, replace

from gears.data import batch, following, planning, records
from gears.data.following import Shown
from gears.data.records import Task, TaskState, Transfer, Verb
from gears.errors import CommandFailed, GearsError, NothingRunning, NotReachable, UsageError
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.system import files, processes, timestamps, tmux
from gears.system.commands import find_program
from gears.system.progress import wait_for

START_S = 15.0
STOP_S = 60.0
LOCK_S = 90.0
"""A submission may take so long while another one of the same user holds the lock."""


@dataclass(frozen=True, slots=True)
class Started:
    """What was started. `shown`: its state; `already`: it was under way before."""

    shown: Shown
    already: bool = False


def start(context: Context, transfer: Transfer, verb: Verb, *, foreground: bool = False) -> Started:
    """Record a transfer, or find the same one, and start its task, unless that is under way.

    Raises UsageError for another transfer of this name, NotReachable if a place can't be reached from here; nothing was
    started then. With `foreground` it is only recorded: `execution.execute` is next.
    """
    paths = context.paths
    files.ensure_private(paths.transfers)
    with files.locked(paths.transfers / ".lock", timeout_s=LOCK_S):
        known = records.load_transfer(paths, transfer.name)
        check_same(known, transfer, context)
        if known:
            shown = following.look(context, known)
            if shown.under_way:
                return Started(shown, already=True)
            transfer = replace(transfer, created=known.created)
        planning.check_reachable(transfer, context.route)
        files.ensure_private(paths.transfer(transfer.name))
        before = records.load_task(paths, transfer.name)
        records.save_transfer(paths, transfer)
        _start_task(context, transfer, _new_task(verb, before), before, foreground)
    return Started(following.look(context, transfer))


def named(context: Context, transfer: Transfer) -> Transfer:
    """Return a get or a copy under the name of the same one before, or the next free one: what it makes has another."""
    for number in itertools.count(1):
        name = transfer.name if number == 1 else f"{transfer.name}-{number}"
        known = records.load_transfer(context.paths, name)
        if known is None or _key(known) == _key(transfer):
            return replace(transfer, name=name)
    raise AssertionError


def check_same(known: Transfer | None, transfer: Transfer, context: Context) -> None:
    """Raise UsageError if the name is taken by another transfer."""
    if known is None or _key(known) == _key(transfer):
        return
    free = next(name for n in range(2, 10_000) if not records.load_transfer(context.paths, name := f"{known.name}-{n}"))
    renamed = planning.again(replace(transfer, name=free), context.site.name)
    what = f"{known.verb} {known.source} → {known.target}"
    raise UsageError(f"there is another transfer {known.name}: {what}", next=renamed)


def _key(transfer: Transfer) -> tuple[object, ...]:
    return transfer.verb, transfer.source_path, transfer.target_path, transfer.patterns


def _new_task(verb: Verb, before: Task | None) -> Task:
    """Return the record of a task that is to begin. It keeps what is known of the data, one that verifies all of it."""
    task = Task(verb=verb, state=TaskState.QUEUED, queued=timestamps.utc_now())
    if before is None:
        return task
    task = replace(task, total_files=before.total_files, total_size=before.total_size, proven=before.verified)
    if verb is not Verb.VERIFY:
        return replace(task, verified_at=before.verified_at if before.verified else "")
    kept = ("files", "problems", "verified", "verified_at", "bundles", "total_bundles")
    return replace(task, **{name: getattr(before, name) for name in kept})


def _start_task(context: Context, transfer: Transfer, task: Task, before: Task | None, foreground: bool) -> None:
    paths, name = context.paths, transfer.name
    batch.stop_path(paths, name).unlink(missing_ok=True)
    batch.loop_path(paths, name).unlink(missing_ok=True)
    in_batch = batch.is_wanted(context.site) and not foreground
    task = replace(task, batch=in_batch, job_name="" if foreground else batch.new_name())
    records.save_task(paths, name, task)
    if foreground:
        return
    try:
        if in_batch:
            batch.submit(context, name, task.job_name)
        else:
            _start_in_tmux(context, transfer, task)
    except GearsError:
        _restore(paths, transfer, before)
        raise


def _restore(paths: RunDir, transfer: Transfer, before: Task | None) -> None:
    """Take the records back after a start that failed."""
    if before is None:
        records.forget(paths, transfer.name)
    else:
        records.save_task(paths, transfer.name, before)


def _start_in_tmux(context: Context, transfer: Transfer, task: Task) -> None:
    paths, name = context.paths, transfer.name
    find_program("tmux")
    tmux.check_tmux()
    script = batch.script_path(paths, name, task.job_name)
    files.write_private(script, batch.render_script(context, name, task.job_name, in_job=False))
    tmux.start_session(tmux.session_name(task.job_name, paths.site), "data", script)
    if not wait_for(lambda: processes.read(batch.loop_path(paths, name)) is not None, timeout_s=START_S):
        raise GearsError(f"the transfer {name} did not start in tmux", next="gears doctor")


# --- stop and forget -------------------------------------------------------------------------


def stop(context: Context, name: str) -> str:
    """Stop what is done about a transfer; what is finished stays. Returns what was ended, in words.

    Raises NothingRunning if it is not under way, NotReachable for a process of another host or a silent scheduler.
    """
    paths, site = context.paths, context.site
    shown = following.find(context, name)
    task = shown.task
    if not shown.under_way or task is None:
        raise NothingRunning(
            f"{name} is not under way: {shown.state}", next=f"gears data status {name} --site {site.name}"
        )
    files.write_private(batch.stop_path(paths, name), f"{timestamps.utc_now()}\n")
    if task.batch:
        try:
            return f"cancelled job {' and job '.join(batch.cancel(site, paths, name, task))}"
        except CommandFailed as exc:
            raise NotReachable(exc.message, next=exc.next) from exc
    _end_process(context, name, task)
    return f"ended the process {task.pid} on {task.host}"


def _end_process(context: Context, name: str, task: Task) -> None:
    """End the script, if there is one, and so its worker, which records its end. SIGKILL after STOP_S."""
    worker = processes.Process(task.host, task.pid, task.started_ticks)
    loop = processes.read(batch.loop_path(context.paths, name)) if task.job_name else None
    if (loop or worker).alive() is None:
        there = f"ssh {task.host} gears data stop {name} --site {context.site.name}"
        raise NotReachable(f"{name} runs on {task.host}", next=there)
    (loop or worker).signal(signal.SIGTERM)
    wait_for(lambda: not worker.alive(), timeout_s=STOP_S)
    worker.end(timeout_s=0.1)
    if loop:
        loop.end()


def forget(context: Context, name: str) -> Transfer:
    """Remove the records of a transfer. Raises NotReachable while a task is, or may be, under way."""
    paths, site = context.paths, context.site
    with files.locked(paths.transfers / ".lock", timeout_s=LOCK_S):
        shown = following.find(context, name)
        if shown.under_way or shown.state is TaskState.UNKNOWN:
            to_stop = f"gears data stop {name} --site {site.name}"
            raise NotReachable(f"{name} is {shown.state}: its records are still needed", next=to_stop)
        if shown.task and shown.task.batch:
            batch.cancel_successor(site, paths, name, shown.task)
        records.forget(paths, name)
    return shown.transfer
