"""The keeper: take the lock, serve the waiting page at the fixed path, probe, switch, verify, leave.

At most one lives per host and site. It leaves when the loop has ended.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

from gears.errors import GearsError
from gears.lab.state import Plan, Turn, load_turn, loop_alive, note_up, save_given_up, save_lab
from gears.lab.status.facts import BEGINNING_S, Answer, leads_to, probe
from gears.lab.status.model import ShownJob, State, Status
from gears.lab.status.report import read_hop
from gears.lab.status.status import OBSERVE_EVERY_S, observe
from gears.lab.supervisor.held_socket import HELD_FD
from gears.lab.supervisor.waiting_page import WaitingServer
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.ssh.failures import Failure
from gears.ssh.pin import Pin, load_pin, redial_method, save_pin
from gears.system import files, processes, records

PROMPT_S = 100.0
"""Time limit for an answer to ssh's prompt: under sshd's LoginGraceTime of 120 s, whose end ssh does not notice.

$GEARS_PROMPT_S, where the loop was started, shortens it for a host with a shorter LoginGraceTime.
"""

NEWS_EVERY_S = 1.0
"""Interval for reading what a queued job has written: one small file, without asking the scheduler."""

MEETING_S = 60.0
"""After this time a tunnel that does not answer, and whose other end does not hold the fifo, counts as ended."""

CLOSED_S = 10.0
"""How long the forwards of a connected ssh must be refused without a break, before the remote sshd is blamed."""


def start_keeper(context: Context) -> None:
    """Fork a keeper, unless one lives; return at once. Its guard restarts it if it is killed."""
    paths = context.paths
    if (lock := files.try_lock(paths.keeper)) is None:
        return
    os.close(lock)
    sys.stdout.flush()
    sys.stderr.flush()
    if starter := os.fork():
        os.waitpid(starter, 0)
        return
    status = 0
    try:
        os.setsid()  # it lives as long as the loop, not as the terminal
        if os.fork() == 0:  # not our child: we may become a shell, which would not reap it
            status = 1
            listener = held_listener(paths)
            _redirect(paths.log("keeper"), listener)
            status = _guard(context, listener)
    finally:
        os._exit(status)


def held_listener(paths: RunDir) -> socket.socket | None:
    """Return the listening socket of the loop that started us (`hold`); None where a command did."""
    try:
        found = socket.socket(fileno=os.dup(HELD_FD))
    except OSError:
        return None
    if found.family == socket.AF_UNIX and found.getsockname() == str(paths.held):
        return found
    found.close()
    return None


def _redirect(log: Path, listener: socket.socket | None) -> None:
    """Send all output to the log, and close the caller's other files."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, fd in enumerate((nothing, output, output)):
        os.dup2(fd, number)
    listener_fd = listener.fileno() if listener else 64
    os.closerange(3, listener_fd)
    os.closerange(listener_fd + 1, 64)


def _guard(context: Context, listener: socket.socket | None) -> int:
    """Run keepers until one leaves on its own or by a signal, or its loop has ended."""
    while True:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                keep(context, listener)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) in (0, -signal.SIGTERM, -signal.SIGHUP):
            return 0
        time.sleep(0.2)
        if not loop_alive(context.paths):
            return 1


def keep(context: Context, listener: socket.socket | None) -> None:
    """Serve and probe until the newest turn has reached the lab. Returns at once where another keeper lives.

    A turn or a loop that begins while this keeper leaves finds the lock taken and starts no keeper; so after releasing
    the lock, check that there is none.
    """
    while (lock := files.try_lock(context.paths.keeper)) is not None:
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, processes.line(processes.this_process()).encode(), 0)
            number = _keep_turn(context, listener)
        finally:
            os.close(lock)
        if not loop_alive(context.paths) or load_turn(context.paths).number == number:
            return


def _keep_turn(context: Context, listener: socket.socket | None) -> int | None:
    """Serve until a turn has reached the lab, and return its number; None where the loop has ended."""
    paths = context.paths
    own = paths.held if listener else paths.socket("wait", os.getpid())
    for stale in set(paths.local.glob(f"{paths.site}.wait.*.sck")) - {paths.held}:
        stale.unlink(missing_ok=True)
    server: WaitingServer[Status] = WaitingServer(own, observe(context, answer=Answer("refused")), listener)
    if not (leads_to(paths) == "hop" and probe(paths.link).kind == "jupyter"):  # else the loop has switched it
        files.switch(paths.link, own)
    number = _watch(context, server)
    server.leave()
    return number


def _watch(context: Context, server: WaitingServer[Status]) -> int | None:
    paths, times = context.paths, Times()
    while loop_alive(paths) or (times.age_s < BEGINNING_S and paths.here.exists()):
        turn = load_turn(paths)
        candidate = paths.socket(turn.what, turn.socket or turn.number)
        answer = probe(candidate)
        if answer.kind == "jupyter" and _switch_over(context, candidate, turn.number):
            return turn.number
        files.ensure_link(paths.link, server.path)
        if times.is_page_due(turn, answer):
            _show(context, server, answer)
        times.note(turn, answer)
        if turn.plan == Plan.QUEUE:
            _notify_loop(paths, turn, tunnel=answer.kind != "refused")
        gone = answer.kind == "refused" or (answer.kind != "jupyter" and times.turn_s > MEETING_S)
        if turn.plan == Plan.MEET and gone and load_turn(paths) == turn:
            files.close_fifo(paths.meet_fifo(turn.job or 0))  # the tunnel ended before the loop waited for that
        if why := _is_hopeless(context, turn, answer, server.page, times):
            _give_up(paths, why)
        time.sleep(times.pause_s(turn, answer))
    return None


class Times:
    """When a keeper began, and its turn, and since when a connection that is up leads nowhere. In seconds."""

    def __init__(self) -> None:
        self.born = self.turn_began = time.monotonic()
        self.number = -1
        self.closed_since = math.inf
        self.shown: tuple[Turn, Answer] | None = None
        self.shown_at = -math.inf

    def is_page_due(self, turn: Turn, answer: Answer) -> bool:
        """Return whether to conclude the page anew: from another turn or answer, or after OBSERVE_EVERY_S."""
        if (turn, answer) == self.shown and time.monotonic() - self.shown_at < OBSERVE_EVERY_S:
            return False
        self.shown, self.shown_at = (turn, answer), time.monotonic()
        return True

    def note(self, turn: Turn, answer: Answer) -> None:
        """Note what was found behind the turn's socket."""
        now = time.monotonic()
        if turn.number != self.number:
            self.number, self.turn_began = turn.number, now
        self.closed_since = min(self.closed_since, now) if answer.kind == "closed" else math.inf

    @property
    def age_s(self) -> float:
        """Return for how long the keeper has lived."""
        return time.monotonic() - self.born

    @property
    def turn_s(self) -> float:
        """Return for how long the turn has lasted."""
        return time.monotonic() - self.turn_began

    @property
    def closed_s(self) -> float:
        """Return for how long every probe has been cut off; below 0 where the last one was not."""
        return time.monotonic() - self.closed_since

    def pause_s(self, turn: Turn, answer: Answer) -> float:
        """Return the pause before the next probe: short where a lab is about to answer, longer while nothing changes.

        At most NEWS_EVERY_S for a job, whose file is read as often.
        """
        pause_s = 0.5 if self.turn_s < 600 else 2.0
        if self.age_s < 15 or (answer.kind != "refused" and self.turn_s < 60):
            pause_s = 0.1
        return min(pause_s, NEWS_EVERY_S) if turn.what == "job" else pause_s


def _is_hopeless(context: Context, turn: Turn, answer: Answer, page: Status, times: Times) -> Failure | None:
    """Explain why this turn's ssh can't reach the lab: nobody answers its prompt, or its forwards are refused."""
    site, lab = context.site.name, context.route.lab
    if turn.how == "person" and answer.kind == "refused" and times.turn_s > prompt_s():
        return Failure("login", f"nobody typed the passcode for {lab} in time", f"gears lab {site}   (in a terminal)")
    if page.state == State.FAILED and times.closed_s > CLOSED_S:
        return Failure("forward", page.reason or "", page.next)
    return None


def _notify_loop(paths: RunDir, turn: Turn, *, tunnel: bool) -> None:
    """Wake the loop that waits for a job, once that has written something (`records.Life`) or its tunnel is up."""
    if tunnel or files.read_text(paths.job_life(turn.job or 0)).count("\n") != turn.lines:
        files.write_fifo(paths.ask, "news")


def _switch_over(context: Context, candidate: Path, number: int) -> bool:
    """Switch the fixed path to the lab, and record that, if the lab answers there too."""
    paths = context.paths
    files.switch(paths.link, candidate)
    if probe(paths.link).kind != "jupyter":
        return False
    note_up(paths, number)
    _note_report(context)
    _note_state(context, observe(context))
    _prepare_redial(context, number)
    return True


def _prepare_redial(context: Context, number: int) -> None:
    turn = load_turn(context.paths)
    if turn.what == "hop" and turn.number == number:
        from gears.lab.supervisor.step import prepare_redial

        prepare_redial(context, turn)


def _show(context: Context, server: WaitingServer[Status], answer: Answer) -> None:
    status = observe(context, answer=answer)
    if status != server.page:
        server.page = status
        _note_report(context)
        _note_job(context, status.job)
        _note_state(context, status)


def _note_state(context: Context, status: Status) -> None:
    """Write the status: the home has the front's; a relay's lab host keeps its own beside its sockets."""
    behind_front = context.route.kind == "relay" and context.route.role == "lab"
    file = context.paths.here / "state.json" if behind_front else context.paths.state
    with contextlib.suppress(OSError):
        files.write_record(file, status.as_values())


def _note_report(context: Context) -> None:
    """Save what the lab host has reported.

    That is which host of an alias answered, to be dialled from now on; and, where the homes are separate, its records.
    """
    paths = context.paths
    report = read_hop(paths)
    if report is None:
        return
    with contextlib.suppress(OSError):  # a full home must not keep the lab unreachable
        if report.token:
            files.write_private(paths.token, report.token)
        if report.lab and context.site.lab.home == "separate":
            save_lab(paths.lab_record, report.lab)
        if report.address:
            _note_pin(context, Pin(report.host, report.address, report.port))


def _note_pin(context: Context, pin: Pin) -> None:
    """Save which host of an alias answered, and whether to dial it by address or by name.

    This is determined here, where nothing waits for it.
    """
    paths = context.paths
    turn, saved = load_turn(paths), load_pin(paths)
    if turn.forced:
        pin = replace(pin, by="name")
    elif saved.by and replace(saved, by=None) == pin:
        return
    else:
        with contextlib.suppress(GearsError):
            pin = replace(pin, by=redial_method(str(context.site.lab.host), pin))
    if saved != pin:
        save_pin(paths, pin)


def _note_job(context: Context, job: ShownJob | None) -> None:
    """Save the job as the lab host's page shows it, for the time when JupyterLab answers instead."""
    if job and context.route.role == "front" and context.site.lab.home == "separate":
        with contextlib.suppress(OSError):
            records.save(context.paths.job_record, job)


def prompt_s() -> float:
    """Return the seconds for ssh's prompt: PROMPT_S, or $GEARS_PROMPT_S where that is less."""
    try:
        return min(PROMPT_S, float(os.environ.get("GEARS_PROMPT_S", PROMPT_S)))
    except ValueError:
        return PROMPT_S


def _give_up(paths: RunDir, ended: Failure) -> None:
    """End an ssh that can't reach the lab, and save why, for the loop's next turn."""
    loop = processes.read(paths.loop)
    for child in processes.children(loop) if loop else []:
        if processes.name(child.pid) == "ssh":
            save_given_up(paths, ended)
            child.signal(signal.SIGTERM)
