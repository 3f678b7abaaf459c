"""`gears stop`: end the lab, its hop, and what they left on this host; nothing else of the person's."""

from __future__ import annotations

import contextlib
import signal
import sys
from dataclasses import replace

from gears.errors import CommandFailed, NothingRunning, NotReachable
from gears.lab.state import Plan, load_lab, load_turn, mark_ended
from gears.lab.status.model import State, Status
from gears.lab.status.report import read_hop
from gears.lab.status.status import observe
from gears.sites.locate import find_paths, open_paths
from gears.sites.paths import RunDir
from gears.sites.route import Route
from gears.ssh.failures import ELSEWHERE, ENDED, STOPPED, Failure, before_gears, explain_failure
from gears.ssh.hop import Hop, plan_hop
from gears.ssh.pin import Pin, dial_again, load_pin, may_enter_by_name
from gears.ssh.remote_gears import remote_gears
from gears.system import files, processes
from gears.system.commands import run, run_in_terminal
from gears.system.installation import this_gears
from gears.system.progress import Progress, wait_for

MOST_NODES, MOST_PASSCODES = 4, 2
"""So often a name is dialled that leads to other nodes than the lab's: by itself, and for a passcode each."""

STOPPING_S = 100.0
"""For the lab host to end all: a job has to leave the queue, which may take a minute."""


def stop(route: Route, *, say: Progress) -> bool:
    """End the lab, its hop, and what they left; nothing else of the person's. False where nothing ran.

    Raises NotReachable where the lab's host can't be told; this host is cleared all the same.
    """
    paths = find_paths(route)
    if paths is None or not (paths.local.is_dir() or _may_run(route, paths)):
        return False
    paths = open_paths(route)
    if route.role == "lab":
        return stop_lab(route, paths, say=say)
    return stop_hop(route, paths, say=say)


def stop_lab(route: Route, paths: RunDir, *, say: Progress) -> bool:
    """Ask JupyterLab to end, which shuts its kernels down; its loop ends with it; what is left is cleared.

    False where nothing ran. Of a job, as `stop_job`.
    """
    from gears.lab.supervisor.cleanup import clean, leave
    from gears.system import tmux

    if paths.job_record.exists():
        return stop_job(route, paths, say=say)
    ran = False
    with files.locked(paths.start_lock):
        loop, lab = processes.read(paths.loop), _lab_process(paths)
        if lab and lab.alive():
            ran = True
            lab.end(timeout_s=20)
        if loop and loop.alive():
            ran = True
            if not wait_for(lambda: not loop.alive(), timeout_s=3 if lab else 0):  # 0: JupyterLab is still starting
                _end_tree(loop)
        tmux.end_session(route.site.name)
        mark_ended(paths, route.here)
        clean(paths)
        leave(paths)
    return ran


def stop_job(route: Route, paths: RunDir, *, say: Progress) -> bool:
    """Cancel the job, in the queue or running, and end its loop. False where none waited or ran.

    Raises NotReachable, with all as it was, where the scheduler can't be told.
    """
    from gears.lab.job.cancel import cancel_jobs, end_records
    from gears.lab.supervisor.cleanup import clean, leave
    from gears.system import tmux

    with files.locked(paths.start_lock, timeout_s=120):
        loop = processes.read(paths.loop)
        ran = cancel_jobs(paths, say)
        end_records(paths)
        if loop and loop.alive():
            _end_tree(loop)
        tmux.end_session(route.site.name)
        clean(paths)
        leave(paths)
    return ran


def _lab_process(paths: RunDir) -> processes.Process | None:
    """Find the lab's process by the record on local disk; by that in the home, where a cleaner took the other."""
    labs = [load_lab(paths.lab_here), load_lab(paths.lab_record)]
    return next((lab.process for lab in labs if lab and not processes.before_boot(str(lab.started))), None)


def _end_tree(loop: processes.Process) -> None:
    """End a loop and what it runs: the loop first, or it would start its command again."""
    running = processes.children(loop)
    loop.signal(signal.SIGKILL)
    for child in running:
        child.end(timeout_s=10)


def stop_hop(route: Route, paths: RunDir, *, say: Progress) -> bool:
    """Tell the lab host to stop the lab, and clear this host, a front. False where nothing ran.

    Raises NotReachable where the lab host can't be told; this host is cleared all the same.
    """
    status = observe(route, paths)
    loop = processes.read(paths.loop)
    alive = bool(loop and loop.alive())
    told = _tell_lab_host(route, paths, status, say)
    clear_loop(route, paths)
    if not told:
        raise NotReachable(
            f"{route.here} is cleaned up, but the lab on {status.hops[0].target} could not be stopped",
            next=f"ssh {status.hops[0].target}   (there: gears stop {route.site.name})",
        )
    if status.lab:
        mark_ended(paths, status.lab.host)
    paths.pin.unlink(missing_ok=True)
    paths.fixed.unlink(missing_ok=True)  # whatever host the lab was on, it is none's any more
    if route.site.lab.home == "separate":
        paths.job_record.unlink(missing_ok=True)
    return alive or status.state != State.STOPPED


def undo_start(route: Route, paths: RunDir, *, say: Progress) -> None:
    """End what the start of a hop that did not come up began. A lab that ran before stays."""
    if (told := read_hop(paths)) and told.started:
        _tell_lab_host(route, paths, observe(route, paths), say)
    clear_loop(route, paths)


def end_loop(route: Route, paths: RunDir) -> None:
    """End the loop of this host, and leave its directories to the next one."""
    from gears.system import tmux

    with files.locked(paths.start_lock):
        if (loop := processes.read(paths.loop)) and loop.alive():
            _end_tree(loop)
        tmux.end_session(route.site.name)


def clear_loop(route: Route, paths: RunDir) -> None:
    """End the loop of this host, and remove what the site has here. The lab behind it is not told."""
    from gears.lab.supervisor.cleanup import clean, leave
    from gears.system import tmux

    with contextlib.suppress(NothingRunning), files.locked(paths.start_lock):  # the loop may have left it all clear
        if (loop := processes.read(paths.loop)) and loop.alive():
            _end_tree(loop)
        tmux.end_session(route.site.name)
        clean(paths)
        leave(paths)


def _turned(paths: RunDir, number: int) -> bool:
    """Tell whether the loop goes on with another turn than that of `number`; its last one, after a stop, is none."""
    turn = load_turn(paths)
    return turn.number not in (0, number) and turn.plan != Plan.STOP


def _told(paths: RunDir) -> bool:
    """Tell whether the lab host has said that all has ended there."""
    return STOPPED in files.read_text(paths.hop_out).splitlines()


def _may_run(route: Route, paths: RunDir) -> bool:
    """Tell whether the records in the home speak of something that may run.

    That is a job, a lab that lives here though a cleaner took its sockets, or from a front one that was not ended on
    its host.
    """
    lab, found = load_lab(paths.lab_record), _lab_process(paths)
    unended = bool(route.role == "front" and lab and not lab.ended)
    return paths.job_record.exists() or unended or bool(found and found.alive())


def _known_lab(paths: RunDir) -> bool:
    return paths.lab_record.exists() or paths.job_record.exists()


def _tell_lab_host(route: Route, paths: RunDir, status: Status, say: Progress) -> bool:
    """Tell the lab host to stop; True where it was told, or there is nothing to tell.

    Through the hop, where it is up: no second login. Else by an ssh of its own, which may prompt in a terminal.
    """
    loop = processes.read(paths.loop)
    connected = status.hops[0].state in (State.UP, State.FAILED)
    if connected and loop and files.write_fifo(paths.hop_in, "stop"):
        say(f"{status.hops[0].target}: stopping the lab")
        number = load_turn(paths).number
        wait_for(lambda: not loop.alive() or _turned(paths, number) or _told(paths), timeout_s=STOPPING_S, every_s=0.05)
        if not loop.alive() or _told(paths):
            return True
    elif status.state == State.STOPPED or (status.lab is None and not _known_lab(paths)):
        return True
    hop = plan_hop(route.site, paths, remote_gears(route.site, paths.home, this_gears()))
    say(f"{hop.host}: stopping the lab over a separate ssh connection")
    return end_by_ssh(hop, load_pin(paths))


def end_by_ssh(hop: Hop, pin: Pin) -> bool:
    """End the lab by the node's address, or by name, as `pin.dial_again` has it. True where it was told.

    Without a person first: that costs no passcode, and tells whether one is wanted.
    """
    aim, guard = dial_again(hop, pin)
    ended = _end_alone(hop, aim, guard)
    if ended and aim and may_enter_by_name(hop.host, ended):
        named = dial_again(hop, replace(pin, by="name"))
        first, ended = ended, _end_alone(hop, *named)
        if (first.kind, ended and ended.kind) != ("login", "login"):  # else the address leads to the right node
            aim, guard = named
    if ended is None or ended.kind not in WANTS_PERSON or not sys.stdin.isatty():
        return ended is None
    for _ in range(MOST_PASSCODES if guard else 1):
        status = run_in_terminal(_stop_command(hop, aim, guard), timeout_s=180)
        if status != ELSEWHERE:
            return status == ENDED
    return False


WANTS_PERSON = ("login", "refused", "hostkey-unknown")
"""Kinds of `hop.Ended`: a passcode, a key's passphrase, a yes."""


def _end_alone(hop: Hop, aim: tuple[str, ...], guard: str) -> Failure | None:
    """Tell the lab host without a person. None: it was told; else why not."""
    command = _stop_command(hop, aim, guard, "-o", "BatchMode=yes")
    for _ in range(MOST_NODES):
        try:
            run(command, timeout_s=STOPPING_S)
        except CommandFailed as exc:
            if exc.status == ENDED:
                return None
            if exc.status != ELSEWHERE:
                return explain_failure(exc.status or 255, exc.stderr, site="", host=hop.host, interactive=False)
        else:
            return before_gears(hop.host, "the session ended")
    return explain_failure(ELSEWHERE, "", site="", host=hop.host, interactive=False)


def _stop_command(hop: Hop, aim: tuple[str, ...], guard: str, *words: str) -> list[str]:
    options = [word for option in hop.options for word in ("-o", option)]
    return ["ssh", "-T", *words, *options, *aim, hop.host, f"{guard}{hop.remote} --stop"]
