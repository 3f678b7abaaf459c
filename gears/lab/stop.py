"""`gears stop`: stop the lab and its hop, and clean up this host; nothing else of the user's is touched."""

from __future__ import annotations

import sys
from dataclasses import replace

from gears.errors import CommandFailed, NotReachable
from gears.lab.state import Plan, load_lab, load_turn, loop_alive, mark_ended
from gears.lab.status.model import State, Status
from gears.lab.status.report import read_hop
from gears.lab.status.status import observe
from gears.lab.supervisor.cleanup import clean
from gears.lab.supervisor.loop import clear_loop, end_loop
from gears.sites.context import Context
from gears.sites.directories import find_paths, open_paths
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.ssh.failures import ENDED, STOPPED, WRONG_NODE, Failure, ended_before_gears, explain_failure
from gears.ssh.hop import Hop, plan_hop
from gears.ssh.pin import Pin, load_pin, may_retry_by_name, redial_options
from gears.system import files, processes
from gears.system.commands import run, run_in_terminal
from gears.system.progress import Progress, wait_for

MOST_NODES, MOST_PASSCODES = 4, 2
"""How often a name that leads to other nodes than the lab's is dialled: without prompts, and with a passcode."""

STOPPING_S = 100.0
"""Time limit for the lab host: a job has to leave the queue, which can take a minute."""


def stop(route: Route, *, say: Progress) -> bool:
    """Stop the lab and its hop, and clean up this host. False where nothing ran.

    Raises NotReachable where the lab's host can't be reached; this host is cleaned up all the same.
    """
    paths = find_paths(route)
    if paths is None or not (paths.local.is_dir() or _may_run(Context(route, paths))):
        return False
    paths = open_paths(route)
    if route.role == "lab":
        return stop_lab(Context(route, paths, say))
    return stop_hop(Context(route, paths, say))


def stop_lab(context: Context) -> bool:
    """Ask JupyterLab to end, which shuts down its kernels and ends its loop; then clean up. False where nothing ran.

    A job is stopped by `stop_job`.
    """
    paths = context.paths
    if paths.job_record.exists():
        return stop_job(context)
    ran = False
    with files.locked(paths.start_lock):
        loop, lab = processes.read(paths.loop), _lab_process(paths)
        if lab and lab.alive():
            ran = True
            lab.end(timeout_s=20)
        if loop and loop.alive():
            ran = True
            wait_for(lambda: not loop.alive(), timeout_s=3 if lab else 0)  # 0: JupyterLab is still starting
        end_loop(context)
        mark_ended(paths, context.route.here)
        clean(paths)
    return ran


def stop_job(context: Context) -> bool:
    """Cancel the job, queued or running, and end its loop. False where there was none.

    Raises NotReachable, with nothing changed, where the scheduler can't be reached.
    """
    paths = context.paths
    from gears.lab.job import records
    from gears.lab.job.cancel import cancel_jobs, end_records

    with files.locked(paths.start_lock, timeout_s=120):
        job = records.read(paths)
        cancelled = cancel_jobs(paths, context.say)
        end_loop(context)  # else it could write the record again, or submit another job
        cancel_jobs(paths, context.say, but=cancelled)
        end_records(paths)
        clean(paths)
    return bool(job and job.live)


def _lab_process(paths: RunDir) -> processes.Process | None:
    """Find the lab's process by its record on local disk, else by the copy in the home."""
    labs = [load_lab(paths.lab_here), load_lab(paths.lab_record)]
    return next((lab.process for lab in labs if lab and not processes.before_boot(str(lab.started))), None)


def stop_hop(context: Context) -> bool:
    """Stop the lab on the lab host, and clean up this host, a front. False where nothing ran.

    Raises NotReachable where the lab host can't be reached; this host is cleaned up all the same.
    """
    paths = context.paths
    status = observe(context)
    alive = loop_alive(paths)
    reached = _stop_lab_host(context, status)
    clear_loop(context)
    if not reached:
        raise NotReachable(
            f"{context.route.here} is cleaned up, but the lab on {status.hops[0].target} could not be stopped",
            next=f"ssh {status.hops[0].target}   (there: gears stop {context.site.name})",
        )
    if status.lab:
        mark_ended(paths, status.lab.host)
    paths.pin.unlink(missing_ok=True)
    paths.fixed.unlink(missing_ok=True)  # no host serves it any longer
    if context.site.lab.home == "separate":
        paths.job_record.unlink(missing_ok=True)
    return alive or status.state != State.STOPPED


def undo_start(context: Context) -> None:
    """Undo the start of a hop that did not come up. A lab that ran before is kept."""
    if (report := read_hop(context.paths)) and report.started:
        _stop_lab_host(context, observe(context))
    clear_loop(context)


def _has_next_turn(paths: RunDir, number: int) -> bool:
    """Return whether the loop has moved on from turn `number`. The last turn, after a stop, does not count."""
    turn = load_turn(paths)
    return turn.number not in (0, number) and turn.plan != Plan.STOP


def _reports_stop(paths: RunDir) -> bool:
    """Return whether the lab host has reported that everything has ended there."""
    return STOPPED in files.read_text(paths.hop_out).splitlines()


def _may_run(context: Context) -> bool:
    """Return whether the records in the home name something that may be running.

    That is a job, a lab on this host whose sockets a cleaner removed, or, seen from a front, a lab that was not ended
    on its host.
    """
    paths = context.paths
    lab, found = load_lab(paths.lab_record), _lab_process(paths)
    unended = bool(context.route.role == "front" and lab and not lab.ended)
    return paths.job_record.exists() or unended or bool(found and found.alive())


def _has_record(paths: RunDir) -> bool:
    return paths.lab_record.exists() or paths.job_record.exists()


def _stop_lab_host(context: Context, status: Status) -> bool:
    """Stop the lab on its host. True where that was reached, or nothing runs there.

    Uses the hop where it is up, which needs no second login; else a separate ssh, which may prompt in a terminal.
    """
    paths = context.paths
    loop = processes.read(paths.loop)
    connected = status.hops[0].state in (State.UP, State.FAILED)
    if connected and loop and files.write_fifo(paths.hop_in, "stop"):
        context.say(f"{status.hops[0].target}: stopping the lab")
        number = load_turn(paths).number
        wait_for(
            lambda: not loop.alive() or _has_next_turn(paths, number) or _reports_stop(paths),
            timeout_s=STOPPING_S,
            every_s=0.05,
        )
        if not loop.alive() or _reports_stop(paths):
            return True
    elif status.state == State.STOPPED or (status.lab is None and not _has_record(paths)):
        return True
    hop = plan_hop(context.site, paths)
    context.say(f"{hop.host}: stopping the lab over a separate ssh connection")
    return end_by_ssh(hop, load_pin(paths))


def end_by_ssh(hop: Hop, pin: Pin) -> bool:
    """Stop the lab over ssh to the node's address or name (`pin.redial_options`). True where it was reached.

    The first attempt can't prompt: it uses up no passcode, and shows whether one is required.
    """
    ssh_options, guard = redial_options(hop, pin)
    ended = _end_alone(hop, ssh_options, guard)
    if ended and ssh_options and may_retry_by_name(hop.host, ended):
        named = redial_options(hop, replace(pin, by="name"))
        first, ended = ended, _end_alone(hop, *named)
        if (first.kind, ended and ended.kind) != ("login", "login"):  # else the address leads to the right node
            ssh_options, guard = named
    if ended is None or ended.kind not in NEEDS_USER or not sys.stdin.isatty():
        return ended is None
    for _ in range(MOST_PASSCODES if guard else 1):
        status = run_in_terminal(_stop_command(hop, ssh_options, guard), timeout_s=180)
        if status != WRONG_NODE:
            return status == ENDED
    return False


NEEDS_USER = ("login", "refused", "hostkey-unknown")
"""Kinds of failure that a user can resolve at a prompt: a passcode, a key's passphrase, a yes."""


def _end_alone(hop: Hop, ssh_options: tuple[str, ...], guard: str) -> Failure | None:
    """Stop the lab without prompts. None: the host was reached; else why it was not."""
    command = _stop_command(hop, ssh_options, guard, "-o", "BatchMode=yes")
    for _ in range(MOST_NODES):
        try:
            run(command, timeout_s=STOPPING_S)
        except CommandFailed as exc:
            if exc.status == ENDED:
                return None
            if exc.status != WRONG_NODE:
                return explain_failure(exc.status or 255, exc.stderr, site="", host=hop.host, interactive=False)
        else:
            return ended_before_gears(hop.host, "the session ended")
    return explain_failure(WRONG_NODE, "", site="", host=hop.host, interactive=False)


def _stop_command(hop: Hop, ssh_options: tuple[str, ...], guard: str, *words: str) -> list[str]:
    options = [word for option in hop.options for word in ("-o", option)]
    return ["ssh", "-T", *words, *options, *ssh_options, hop.host, f"{guard}{hop.remote} --stop"]
