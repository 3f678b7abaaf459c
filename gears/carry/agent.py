"""The kernel's side of carried variables: save them when asked, between two cells, and load them before the first one.

The lab asks over a UNIX socket beside the kernel's connection file: one line of JSON for a request, one for the answer.
A request waits until no cell runs, and is served on the thread that runs cells. Signals that warn of a job's end save
as well; after SIGTERM the kernel ends as it would without this. Nothing of the variables is read or changed meanwhile.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

from . import kernel_state, saved
from .protocol import ASKED, CRASHED, LAB, START, STATES, socket_of
from .report import Report

SESSION = "JPY_SESSION_NAME"
"""Set by jupyter_server: the file of the notebook."""

SIGNAL_LIMIT_S = 25.0
"""Most seconds for a save that a signal has asked for: Slurm's KillWait is 30 s."""
SHARE = 0.02
"""Most of a kernel's time that periodic saves may take."""
REPLY_S = 2.0
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")

IDLE, RUNNING, NO_NOTEBOOK = "no cell has run since", "a cell was running", "the kernel belongs to no notebook"
TOO_SOON = "the last save was so long that the next one waits"


class Request:
    """A save that was asked for. `started`: it is being served; `done`: it has its answer; `told`: that was sent."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self.wait_s, self.limit_s = wanted.get("wait_s"), wanted.get("limit_s")
        self.periodic, self.notebook = bool(wanted.get("periodic")), wanted.get("notebook")
        self.started, self.done, self.told = threading.Event(), threading.Event(), threading.Event()
        self.answer: dict[str, Any] = {}


class Agent:
    """Carries the variables of one kernel. `start`: how it was started, "" for the first time."""

    def __init__(self, app: Any, root: str, lab: str, start: str) -> None:
        self._app, self._shell, self._root, self._lab, self._start = app, app.shell, root, lab, start
        self._notebook = os.path.abspath(os.environ[SESSION]) if os.environ.get(SESSION) else ""
        self._lock = threading.RLock()
        self._requests: list[Request] = []
        self._cells, self._first, self._changed, self._ending = 0, True, False, False
        self._words, self._whole = "", False
        self._report: Report | None = None
        self._ended, self._took_s = 0.0, 0.0
        self._pid, self._masks = os.getpid(), threading.local()

    def begin(self) -> None:
        """Take part in the kernel's work. Called once, before its loop starts."""
        for event, callback in (
            ("pre_execute", self._before_cell), ("pre_run_cell", self._tell), ("post_execute", self._after_cell),
        ):  # fmt: skip
            self._shell.events.register(event, callback)
        for number in SIGNALS:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, self._on_signal)
        os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._leave_child)
        path = socket_of(self._app.abs_connection_file)
        listener = _listen(path)
        atexit.register(self._remove, path)
        threading.Thread(target=self._accept, args=(listener,), name="gears-carry", daemon=True).start()

    # --- cells -------------------------------------------------------------------------------

    def _before_cell(self) -> None:
        with self._lock:
            self._cells += 1
            self._changed, first, self._first = True, self._first, False
        if first:
            self._load()

    def _after_cell(self) -> None:
        with self._lock:
            self._cells = max(0, self._cells - 1)
        self._serve()

    def _load(self) -> None:
        found = saved.find(self._root, self._notebook) if self._notebook else None
        if found is None or self._start == ASKED:
            return
        if self._start != CRASHED and self._lab in (found.lab, saved.read_seen(found.directory)):
            return
        saved.write_seen(found.directory, self._lab)
        report = kernel_state.load(found.directory, self._shell.user_ns)
        self._words, self._whole = describe(report, found.origin), not (report.problem or report.missing)

    def _tell(self, info: Any) -> None:
        """Say what is back: on standard error, which notebooks show in red, only if something is not."""
        if not self._words or info.silent:
            return
        if self._whole:
            self._shell.display_pub.publish({"text/plain": self._words})
        else:
            sys.stderr.write(self._words + "\n")
        self._words = ""

    # --- saves -------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Serve all requests with one save, unless a cell runs: then the end of that cell calls this again."""
        with self._lock:
            if self._cells or not self._requests:
                return
            requests, self._requests = self._requests, []
            for request in requests:
                request.started.set()
        answer = self._answer(requests)
        with self._lock:
            requests += self._requests  # those that came meanwhile
            self._requests = []
        for request in requests:
            request.answer = answer
            request.started.set()
            request.done.set()
        if self._ending:
            self._end([request for request in requests if request.wait_s is not None])

    def _answer(self, requests: list[Request]) -> dict[str, Any]:
        self._notebook = next((request.notebook for request in requests if request.notebook), self._notebook)
        if not os.path.isfile(self._notebook):
            return {"problem": NO_NOTEBOOK}
        if not self._changed:
            return self._as_answer(IDLE)
        busy_s = time.monotonic() - self._ended
        if all(request.periodic for request in requests) and self._ended and busy_s * SHARE < self._took_s:
            return self._as_answer(TOO_SOON)
        limits = [request.limit_s for request in requests if request.limit_s]
        try:
            self._save(min(limits) if limits else None)
        except BaseException as error:  # noqa: BLE001  as an interrupt: the kernel goes on
            self._report = Report(problem=f"the save failed ({type(error).__name__}: {error})")
        return self._as_answer("")

    def _save(self, limit_s: float | None) -> None:
        began = time.monotonic()
        about = {"notebook": self._notebook, "lab": self._lab, "job": job_of(os.environ), "host": os.uname().nodename}
        directory = saved.directory_of(self._root, self._notebook)
        self._report = kernel_state.save(self._shell.user_ns, directory, limit_s=limit_s, about=about)
        self._changed = bool(self._report.problem)
        self._ended = time.monotonic()
        self._took_s = self._ended - began

    def _as_answer(self, unchanged: str) -> dict[str, Any]:
        report = self._report
        if report is None:
            return {"notebook": self._notebook, "problem": unchanged}
        return {
            "notebook": self._notebook, "problem": report.problem, "unchanged": unchanged, "names": report.names,
            "missing": report.missing, "saved_at": report.saved_at, "seconds": report.seconds,
            "bytes": report.bytes_written + report.bytes_reused,
        }  # fmt: skip

    def _end(self, requests: list[Request]) -> None:
        """End as SIGTERM ends a process, after the answers were sent."""
        deadline = time.monotonic() + REPLY_S
        for request in requests:
            request.told.wait(max(0.0, deadline - time.monotonic()))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    # --- who asks ----------------------------------------------------------------------------

    def _on_signal(self, number: int, _frame: Any) -> None:
        self._ending = self._ending or number == signal.SIGTERM
        self._ask(Request({"limit_s": SIGNAL_LIMIT_S}))

    def _ask(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)
        loop = getattr(self._app.kernel, "io_loop", None)
        if loop is not None:  # not `add_callback`: from a signal's handler that does not wake the loop
            loop.asyncio_loop.call_soon_threadsafe(self._serve)
        elif self._ending:  # the kernel has not begun
            self._end([])

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as file:
            request = Request(json.loads(file.readline() or b"{}"))
            self._ask(request)
            if not request.started.wait(request.wait_s) and self._withdraw(request):
                request.answer = {"notebook": self._notebook, "unchanged" if request.periodic else "problem": RUNNING}
            else:
                request.done.wait()
            try:
                file.write(json.dumps(request.answer).encode() + b"\n")
                file.flush()
            except OSError:  # who asked has gone
                pass
            request.told.set()

    def _withdraw(self, request: Request) -> bool:
        with self._lock:
            waiting = request in self._requests
            if waiting:
                self._requests.remove(request)
            return waiting

    # --- this process and its children -------------------------------------------------------

    def _hold(self) -> None:
        """Keep signals off while this thread forks: Python would lose those that a new child gets."""
        self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def _release(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def _leave_child(self) -> None:
        """Let signals end a forked process as usual: it is no kernel."""
        try:
            for number in SIGNALS:
                if signal.getsignal(number) == self._on_signal:
                    signal.signal(number, signal.SIG_DFL)
        except ValueError:  # forked in an interpreter of its own
            pass
        self._release()

    def _remove(self, path: str) -> None:
        if os.getpid() == self._pid:
            _unlink(path)


def begin(app: Any) -> None:
    """Carry the variables of this kernel, where its lab asks for that. `app`: the initialized kernel application."""
    root = os.environ.get(STATES, "")
    if root:
        Agent(app, root, os.environ.get(LAB, ""), os.environ.get(START, "")).begin()


def job_of(environ: Any) -> str:
    """Return the scheduler's id of the job that this process belongs to, or ""."""
    return next((environ[name] for name in JOBS if environ.get(name)), "") if environ.get("GEARS_JOB_ENDS") else ""


def describe(report: Report, origin: str) -> str:
    """Return what a load did, in one or a few lines."""
    if report.problem:
        return f"gears: the variables from {origin} are not back: {report.problem}"
    when = time.strftime("%H:%M" if time.time() - report.saved_at < 43200 else "%Y-%m-%d %H:%M", _local(report))
    names = [name for name in report.missing if name not in saved.SETTINGS]
    total = len(report.names) + len(names)
    words = f"gears: {len(report.names)} of {total} variables are back, from {origin} at {when}"
    lines = [f"`{name}` was not: {report.missing[name]}" for name in names[: saved.MOST_SHOWN]]
    lines += [f"{name}: {report.missing[name]}" for name in report.missing if name in saved.SETTINGS]
    more = len(names) - saved.MOST_SHOWN
    lines += [f"and {more} more were not: gears state show"] if more > 0 else []
    return "; ".join([words, *lines])


def _local(report: Report) -> time.struct_time:
    return time.localtime(report.saved_at)


def _listen(path: str) -> socket.socket:
    _unlink(path)  # of a kernel of this id that was killed
    listener = socket.socket(socket.AF_UNIX)
    umask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(umask)
    listener.listen()
    return listener


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
