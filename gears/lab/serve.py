"""The lab host's end of a hop: the remote command of the front's ssh.

It starts the lab if needed, reports in lines of JSON, and becomes a shell that waits for the end of the connection.
The lab runs in tmux and does not depend on this process, the hop or the front.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path

from gears.lab.start import choose_lab, prepare
from gears.lab.state import load_lab, loop_alive, save_lab
from gears.lab.status.model import State
from gears.lab.status.report import HopReport
from gears.lab.status.status import OBSERVE_EVERY_S, observe
from gears.lab.stop import stop_lab
from gears.lab.supervisor.loop import start_loop
from gears.sites.context import Context
from gears.sites.directories import open_paths
from gears.sites.locate import lab_route
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.sites.route import Route
from gears.ssh.failures import ENDED, STOPPED
from gears.ssh.report import send
from gears.system import files, processes
from gears.system.installation import gears_argv
from gears.system.progress import Progress, wait_for
from gears.system.unix_http import connects


def serve(site: Site, local: Path, again: list[str], *, requested: bool, job: bool = False) -> int:
    """Start the lab if needed, report, and become a shell. Returns ENDED where there is nothing to keep open.

    Unless `requested`, a lab that was stopped on purpose is not started again, and no job is submitted. `job`: run the
    lab as a job, where none runs yet. `again`: the arguments of this call.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(ENDED))  # later the shell's trap does this
    route = lab_route(site)
    if not requested and ended_on_purpose(route, job=job):
        return end()
    note_end(open_paths(route, local=local))  # before anything is seen of a start, which someone may stop
    context = prepare(route, local=local)
    left = left_behind(context)
    if requested and not job and observe(context).state == State.FAILED:
        files.write_fifo(context.paths.ask, "again")
    wanted = replace(context, route=replace(route, job=job and requested))
    context, word = choose_lab(wanted, requested=requested)
    started = start_loop(context, local=local, word=word)
    wait_for(lambda: connects(context.paths.link), timeout_s=10)
    report(context, left, started=started)
    settled = (State.UP, State.FAILED, State.STOPPED, State.QUEUED)
    wait_for(lambda: observe(context).state in settled, timeout_s=60, every_s=OBSERVE_EVERY_S)
    report(context, left, started=started)
    if observe(context).state == State.STOPPED:  # on this host, since it was started
        return end()
    return hold(context, again)


def end() -> int:
    """Return ENDED, whatever comes until this process has ended.

    Who stops the lab signals it, and Python gives up handlers before it ends: the front would see a signal, not ENDED,
    and dial again.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return ENDED


def serve_stop(site: Site, local: Path, *, say: Progress) -> int:
    """Carry out the front's `gears stop`. Return ENDED, the exit status at which the front's loop ends."""
    route = lab_route(site)
    paths = open_paths(route, local=local)
    (paths.remote_ends / str(os.getpid())).unlink(missing_ok=True)
    stop_lab(Context(route, paths, say))
    sys.stdout.write(f"{STOPPED}\n")  # ssh itself stays while a browser has a connection open
    sys.stdout.flush()
    return ENDED


def ended_on_purpose(route: Route, *, job: bool) -> bool:
    """Return whether the lab was ended on purpose: no loop lives, there is no job, and its record says so.

    With `job` the record does not matter: no job is submitted unless requested.
    """
    paths = open_paths(route)
    if loop_alive(paths) or paths.job_record.exists():
        return False
    return job or bool((lab := load_lab(paths.lab_record)) and lab.ended)


def left_behind(context: Context) -> str | None:
    """Return another host on which a lab of this site was started and not stopped, if any."""
    lab = load_lab(context.paths.lab_record)
    if lab is None or lab.ended or lab.job or lab.host == context.route.here:
        return None
    return lab.host


def note_end(paths: RunDir) -> None:
    """Record this process as a front's remote end, so that it is signalled when the lab is shut down."""
    files.ensure_private(paths.remote_ends)  # removed with the last remote ends
    for file in paths.remote_ends.iterdir():
        found = processes.read(file)
        if not found or not found.alive():
            file.unlink(missing_ok=True)
    files.write_private(paths.remote_ends / str(os.getpid()), processes.line(processes.this_process()))


def report(context: Context, left: str | None, *, started: bool) -> None:
    """Send one line of JSON to the front's keeper (`gears.ssh.report`).

    The lab's record is copied to the home first, where that differs.
    """
    paths = context.paths
    status = observe(context)
    lab = load_lab(paths.lab_here)
    if lab and not lab.ended and load_lab(paths.lab_record) != lab:
        save_lab(paths.lab_record, lab)
    connection = os.environ.get("SSH_CONNECTION", "").split()  # ssh(1): the server's address is third, its port fourth
    separate = context.site.lab.home == "separate"  # else the front reads the same file
    found = HopReport(
        host=context.route.here,
        address=connection[2] if len(connection) == 4 else None,
        port=connection[3] if len(connection) == 4 else None,
        serving=connects(paths.link),
        state=status.state,
        reason=status.reason,
        lab=lab,
        job=status.job,
        left=left,
        started=started,
        token=files.read_text(paths.token).strip() if separate else None,
    )
    send(found.as_values())


def hold(context: Context, again: list[str]) -> int:
    """Become a shell that waits for the end of the connection, or for a command from the front.

    Before its trap is set a signal would end the shell without a status, and the front would dial again. So the record
    of this process is removed first; the shell writes it again, which fails where everything was stopped in between
    (`signal_fronts`). The script is an argument, since a file could be removed before the shell has read it.
    """
    from gears.system.templates import render

    noted = context.paths.remote_ends / str(os.getpid())
    values = {
        "site": context.site.name,
        "ended": ENDED,
        "noted": noted,
        "me": processes.line(processes.this_process()).strip(),
    }
    script = render("remote.sh.j2", serve=shlex.join([*gears_argv(), *again]), **values)
    try:
        noted.unlink()
    except FileNotFoundError:
        return end()
    return os.execv("/bin/sh", ["sh", "-c", script, "gears"])
