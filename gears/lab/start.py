"""Bring a lab up: the steps of `gears lab`.

Each step can be repeated, and a command can be killed after any of them: the next start continues from there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gears.errors import GearsError, StartFailed, UsageError
from gears.lab.state import Plan, load_lab, load_turn, loop_alive
from gears.lab.status.model import ShownJob, State, Status
from gears.lab.status.report import count_reports, read_hop
from gears.lab.status.status import observe
from gears.lab.supervisor.keeper import start_keeper
from gears.lab.supervisor.loop import REBIND_S, clear_loop, end_loop, start_loop
from gears.lab.wait import ANY_REQUESTER, JobWasOver, Requester, Waiting, request
from gears.sites.context import Context, load_context, no_progress
from gears.sites.directories import open_paths
from gears.sites.load import from_json
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.system import files
from gears.system.commands import find_program
from gears.system.progress import Progress, wait_for

ASKED_S = 100.0
"""Time limit for the lab host to submit a job and to report it."""


def bring_up(route: Route, *, say: Progress, wait: bool = True, requester: Requester = ANY_REQUESTER) -> Status:
    """Make sure the lab of a site is up and reachable from here. Raises LoginNeeded, NotReachable, StartFailed."""
    check_host(route)
    context = prepare(route, say=say)
    status = observe(context)
    if status.state == State.UP:
        say(f"already up: {status.url}")
    else:
        status = start_and_wait(context, status, requester, wait=wait)
    if status.state == State.UP:
        check_kind(context, status)
    return status


def start_and_wait(context: Context, status: Status, requester: Requester, *, wait: bool) -> Status:
    """Start what does not run, and wait for the lab. Where the job that was there turns out to have ended before, a new
    one takes its place, once. Raises what `ensure_loop` and `await_lab` raise."""
    context, started = ensure_loop(context, status, requester)
    requester.begun()
    if not wait:
        return observe(context)
    job = status.job if context.route.job and status.job and status.job.live and not started else None
    try:
        return await_lab(context, requester, started=started, job=job)
    except JobWasOver as exc:
        context.say(f"{exc.message}: a new job is requested")
    context, started = ensure_loop(context, observe(context), requester)
    return await_lab(context, requester, started=started)


def check_host(route: Route) -> None:
    """Raise UsageError on a laptop, where no part of a lab runs."""
    site = route.site.name
    if route.role == "elsewhere":
        raise UsageError(
            f"{site}: start its lab on {route.lab}",
            next=f"gears ssh-config {site}; ssh {site}-jupyter   (there: gears lab {site})",
        )


def prepare(route: Route, *, say: Progress = no_progress, local: Path | None = None) -> Context:
    """Check programs and make directories and the token, so that errors rise before anything is started.

    `local`: the host-local directory that the front has chosen. Raises MissingProgram, UnsafePath; UsageError or
    GearsError for an environment that can't be used.
    """
    find_program("tmux")
    if route.role == "front":
        find_program("ssh")
    paths = open_paths(route, local=local)
    if route.role == "lab":
        if route.site.envs.default:
            from gears.envs.activate import usable

            usable(route.site.envs.default)
        await_token(paths)
        files.ensure_secret(paths.token)
    return Context(route, paths, say)


def await_token(paths: RunDir) -> None:
    """Wait for the token of a running lab, REBIND_S at most.

    Where a cleaner removed it from the home, that lab writes it again (`gears.lab.jupyter.rebind`).
    """
    lab = load_lab(paths.lab_here)
    if paths.token.exists() or not lab or lab.has_password:
        return
    lives = lab.process.alive
    wait_for(lambda: paths.token.exists() or not lives(), timeout_s=REBIND_S)


def ensure_loop(context: Context, status: Status, requester: Requester) -> tuple[Context, bool]:
    """Make sure that the loop of this host and its keeper run. Return the context of what runs; True if it is new.

    Raises what `check_retry`, `start_loop` and `ask_for_job` raise.
    """
    word = "start"
    if context.route.role == "lab":
        check_retry(context.route, status)
        context, word = choose_lab(context, requested=requester.may_ask)
    started = start_loop(context, word=word)
    if not started and loop_alive(context.paths):
        start_keeper(context)  # it may have been killed together with its guard
        ask_for_job(context, status)
    return context, started


def choose_lab(context: Context, *, requested: bool) -> tuple[Context, str]:
    """Choose what to run here, and the word for the first turn of its loop.

    An existing job, a new one where one is requested, or JupyterLab itself. `requested`: a user runs a command. If not,
    no job is submitted in place of one that has ended.
    """
    from gears.lab.job import records

    route, paths = context.route, context.paths
    existing = records.read(paths)
    if existing and existing.host != route.here:
        existing = records.read_settled(paths)
    if existing and requested and load_turn(paths).plan == Plan.ASK:
        with files.locked(paths.start_lock):
            end_loop(context)  # it waits for the user, who is here now
    if existing and (existing.live or not requested):
        site = from_json(existing.profile) if existing.profile else context.site
        return replace(context, route=replace(route, job=True, site=site)), "adopt"
    if route.job:
        return context, "submit"
    if records.read(paths) != existing:  # another command has just submitted one
        return choose_lab(context, requested=requested)
    records.forget(paths)
    return context, "start"


def check_retry(route: Route, status: Status) -> None:
    """Raise GearsError where a job has failed and no new one was requested, since jobs are charged."""
    if status.state == State.FAILED and status.job and not route.job:
        site = route.site.name
        raise GearsError(status.reason or "the job has ended", next=f"gears lab {site} --job   (or: gears stop {site})")


def await_lab(context: Context, requester: Requester, *, started: bool, job: ShownJob | None = None) -> Status:
    """Wait until the lab is up. `job`: it was there before.

    Raises what `Waiting.until_up` raises, after undoing a start that can't come up.
    """
    try:
        status = Waiting(context, requester, ask=not started, job=job).until_up()
    except StartFailed:
        from gears.lab.stop import undo_start

        if started:
            undo_start(context)
        raise
    report_left_lab(context)
    return status


def check_kind(context: Context, status: Status) -> None:
    """Raise GearsError where a job is requested, but JupyterLab is up and not a job.

    What another login node has just written of the job may be seen in part (`records.read_settled`).
    """
    route = context.route
    if not route.job or status.job:
        return
    from gears.lab.job import records

    if not records.read_settled(context.paths):
        host = status.lab.host if status.lab else route.lab
        site = route.site.name
        raise GearsError(f"JupyterLab runs on {host}, not as a job", next=f"gears stop {site}; gears lab {site} --job")


def report_left_lab(context: Context) -> None:
    """Report a lab that was left on another host behind the same alias."""
    report = read_hop(context.paths) if context.route.role == "front" else None
    if report and report.left:
        stop = f"ssh {report.left}, then gears stop {context.site.name}"
        context.say(f"a lab was left on {report.left} and may still be running: {stop}")


def ask_for_job(context: Context, status: Status) -> None:
    """Request a job from the lab host: on the front, where a hop is already up.

    Waits ASKED_S at most for its submission. Raises what `check_retry` raises.
    """
    route, paths = context.route, context.paths
    if route.role != "front":
        return
    check_retry(route, status)
    if not route.job or (status.job and status.job.live and status.state != State.FAILED):
        return
    reported, turn = count_reports(paths), status.turn
    if status.hops[0].state == State.UP and request(context):
        context.say(f"{status.hops[0].target}: requested a job")
        wait_for(
            lambda: count_reports(paths) > reported or observe(context).turn != turn, timeout_s=ASKED_S, every_s=0.1
        )
    elif not load_context(paths.here).route.job:  # else another command has just requested one
        clear_loop(context)
        start_loop(context)
