"""The worker: does what a transfer's task says, in a job, in tmux or in the foreground, and records how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gears.data import batch, holders, planning, records
from gears.data.crew import Crew
from gears.data.methods import Work, check_stop, count_bundles, help_move, move, reverify
from gears.data.pool import WorkerGone
from gears.data.records import Method, Step, Task, TaskState, Verb
from gears.data.reporter import Reporter
from gears.data.sizing import Sizing
from gears.data.tally import Tally
from gears.errors import ContentsDiffer, GearsError, Incomplete, Interrupted, LoginNeeded, NothingRunning, Paused
from gears.sites.context import Context
from gears.system import processes, timestamps
from gears.system.processes import this_located_process
from gears.system.progress import wait_for

MOST_FRUITLESS = 3
"""How often in a row a task is begun that then does nothing, before it is given up."""


SIGNAL_S = 2.0
"""A signal to all processes of a job has come to each of them within this time."""


@dataclass(slots=True)
class Stop:
    """Why a task has to stop soon: its job ends, or it got a signal."""

    at: float = 0.0  # seconds since 1970; 0: never
    ends: str = ""
    reason: str = ""

    def __call__(self) -> str:
        """Return the reason, "" as long as there is none."""
        if not self.reason and self.at and time.time() > self.at:
            self.reason = f"its job ends at {self.ends}"
        return self.reason

    def pause_s(self) -> float:
        """Return how long to wait before a job is submitted again: a tenth of what is left, 10 s to 5 min."""
        return min(300.0, max(10.0, (self.at - time.time()) / 10)) if self.at else 300.0


def execute(context: Context, name: str, job_name: str = "") -> int:
    """Carry out the task of a transfer as recorded, and return its exit status.

    `job_name`: of the job or session that this is; "": the foreground. Raises NotReachable if another process works on
    the transfer; all else is in the record.
    """
    paths = context.paths
    transfer, task = records.load_transfer(paths, name), records.load_task(paths, name)
    if transfer is None or task is None:
        raise NothingRunning(f"{paths.site} has no transfer {name}", next=f"gears data list --site {paths.site}")
    needed = job_name in (task.job_name, task.successor_name) and not batch.stop_path(paths, name).exists()
    if job_name and not (needed and task.state in records.UNDER_WAY):
        context.say("this job is no longer needed")
        return 0
    kind = context.site.scheduler.kind if context.site.scheduler and task.batch else ""
    id = batch.own_id(paths, name, job_name) if kind and job_name else ""
    me = holders.Holder(user=transfer.user, process=this_located_process(), job=id, job_name=job_name, scheduler=kind)
    with holders.held(paths.transfer(name) / "lock", me, before=task):
        stop = _stop_of_job()
        return _Execution(Work(transfer, context, task, stop), stop, _begun(task, job_name, id)).carry_out()


def help_execute(context: Context, name: str, job_name: str) -> int:
    """Help the job `job_name`, on another of its nodes, as long as it moves data. Raises what `methods` raises."""
    paths = context.paths

    def is_needed() -> bool:
        task = records.load_task(paths, name)
        ours = task is not None and job_name in (task.job_name, task.successor_name)
        return task is not None and ours and task.state in records.UNDER_WAY and task.step is Step.MOVE

    transfer, task = records.load_transfer(paths, name), records.load_task(paths, name)
    if transfer and task and is_needed():
        help_move(Work(transfer, context, task, _stop_of_job()), is_needed)
    return 0


def _begun(task: Task, job_name: str, id: str) -> Task:
    """Return the record of a task that begins, or begins again, in this process."""
    me = processes.this_process()
    promoted = bool(job_name) and job_name == task.successor_name
    return replace(
        task,
        state=TaskState.RUNNING,
        host=me.host,
        pid=me.pid,
        started_ticks=me.start,
        job=id,
        job_name=job_name,
        helpers=(),
        job_ends=None,
        successor="" if promoted else task.successor,
        successor_name="" if promoted else task.successor_name,
        fruitless=0 if task.mark != task.begun_mark else task.fruitless + 1,
        begun_mark=task.mark,
        started=task.started or timestamps.utc_now(),
        status=None,
        reason="",
        next="",
        note="",
    )


class _Execution:
    """A task under way."""

    def __init__(self, work: Work, stop: Stop, task: Task) -> None:
        self._context, self._transfer, self._stop, self._work = work.context, work.transfer, stop, work
        ends = timestamps.utc_time(float(os.environ["GEARS_JOB_ENDS"])) if task.batch and self._stop.at else None
        self._reporter = Reporter(work.context.paths, work.transfer.name, replace(task, job_ends=ends))

    def carry_out(self) -> int:
        """Do it, record the end, and return the exit status."""
        signal.signal(signal.SIGTERM, self._on_signal)
        with self._reporter:
            try:
                self._check_fruitless()
                with self._succeeded():
                    self._say_nodes()
                    planning.check_reachable(self._transfer, self._context.route)
                    with self._helped():
                        end = self._do()
            except KeyboardInterrupt:
                end = self._ended_by(Interrupted("interrupted; what is finished stays", next=self._again()))
            except GearsError as error:
                end = self._ended_by(self._cause_of(error))
            except OSError as error:
                what = f"{error.filename or self._transfer.source_path}: {error.strerror or error}"
                end = self._ended_by(Incomplete(what, next=self._again()))
        return self._finish(end)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._stop.reason = self._stop.reason or f"signal {signal.Signals(number).name}"

    def _cause_of(self, error: GearsError) -> GearsError:
        """Return the request to stop if that is what has killed a worker: schedulers signal all processes of a job."""
        if isinstance(error.__cause__, WorkerGone) and wait_for(lambda: bool(self._stop()), timeout_s=SIGNAL_S):
            return Paused(f"stopped: {self._stop()}", next=self._again())
        return error

    def _again(self) -> str:
        return planning.again(self._transfer, self._context.site.name, self._reporter.task.verb)

    def _check_fruitless(self) -> None:
        task = self._reporter.task
        if task.fruitless >= MOST_FRUITLESS:
            raise GearsError(f"begun {MOST_FRUITLESS} times without any progress", next=self._log())

    def _say_nodes(self) -> None:
        nodes = self._context.site.transfer.nodes
        if self._reporter.task.batch and nodes > 1 and (why := batch.why_one_node(self._context, self._transfer.name)):
            self._context.say(f"one node instead of {nodes}: {why}")

    @contextlib.contextmanager
    def _helped(self) -> Iterator[None]:
        """Work with helpers on the other nodes of the job, if it has any."""
        commands = batch.helper_commands(self._context, self._transfer.name, self._transfer.jobs)
        if not commands or not self._reporter.task.batch:
            yield
            return
        with Crew(commands, self._context.say, lambda hosts: self._reporter.change(helpers=tuple(hosts))) as crew:
            self._work = replace(self._work, crew=crew)
            yield

    def _log(self) -> str:
        return f"tail {batch.log_path(self._context.paths, self._transfer.name)}"

    # --- the work -----------------------------------------------------------------------------

    def _do(self) -> Task:
        task = self._reporter.task
        problems, first = task.problems, ""
        if task.verb is not Verb.VERIFY and task.step is Step.MOVE:
            self._reporter.begin(Step.MOVE)
            self._note_empty()
            tally = self._move()
            problems, first = tally.problems, _first(tally)
            self._print_problems(tally)
        check_stop(self._stop)
        if not self._transfer.patterns:  # a part has no manifest of its own; each file was compared as it was written
            self._prove(task.verb)
        if problems:
            named = f", such as {first}" if first else ""
            error = Incomplete(
                f"files that could not be copied: {problems}{named}", next=f"{self._log()}; then {self._again()}"
            )
            return self._ended_by(error)
        return replace(self._reporter.task, state=TaskState.DONE, status=0)

    def _prove(self, verb: Verb) -> None:
        """Read everything again. New bundles were read back before they were sealed, and older ones may be on tape."""
        task = self._reporter.task
        if verb is Verb.PUT and task.proven and self._transfer.method is Method.BUNDLES:
            self._reporter.change(verified=True, verified_at=task.verified_at or timestamps.utc_now())
            return
        self._reporter.begin(Step.VERIFY)
        reverify(self._work, self._reporter).require_whole(Path(self._transfer.target_path))
        self._reporter.change(verified=True, verified_at=timestamps.utc_now())

    def _note_empty(self) -> None:
        """Note that a put begins with an empty place: whatever is there later was read back."""
        task = self._reporter.task
        if task.verb is Verb.PUT and self._transfer.method is Method.BUNDLES and not count_bundles(self._work):
            self._reporter.record(proven=True, verified_at="")

    def _move(self) -> Tally:
        with Sizing(self._transfer.source_path) as sizing:

            def note(tally: Tally) -> None:
                self._reporter.note_moved(tally)
                if (found := sizing.result()) and found[0]:
                    self._reporter.change(total_files=found[0], total_size=found[1])

            tally = move(self._work, note)
        self._reporter.note_moved(tally)
        self._reporter.change(total_files=tally.files, total_size=tally.size)
        if self._transfer.method is Method.BUNDLES:
            self._reporter.change(bundles=count_bundles(self._work))
        return tally

    def _print_problems(self, tally: Tally) -> None:
        for path, reason in tally.named:
            self._context.say(f"{os.fsdecode(path)!r}: {reason}")

    # --- the end ------------------------------------------------------------------------------

    def _ended_by(self, error: GearsError) -> Task:
        task = self._reporter.task
        state = _state_of(error)
        if isinstance(error, ContentsDiffer):
            task = replace(task, verified=False, verified_at="")
        self._context.say(str(error))
        to_run = error.next or self._again()
        return replace(task, state=state, status=error.exit_code, reason=error.message, next=to_run)

    def _finish(self, end: Task) -> int:
        """Record the end; a job that is paused leaves the rest to its successor."""
        context, name = self._context, self._transfer.name
        goes_on = end.state is TaskState.PAUSED and end.batch and not batch.stop_path(context.paths, name).exists()
        if goes_on and not self._reporter.task.successor_name:
            self._submit()
        task = self._reporter.task
        end = replace(end, successor=task.successor, successor_name=task.successor_name, note=task.note)
        if goes_on and not end.successor_name:  # the user has to
            end = replace(end, reason=f"{end.reason}; {end.note}", next=self._again())
        if not (goes_on and end.successor_name):
            batch.cancel_successor(context.site, context.paths, name, end)
            end = replace(end, successor="", successor_name="", ended=timestamps.utc_now())
        self._reporter.end(end)
        return end.status or 0

    # --- the job that goes on -------------------------------------------------------------------

    @contextlib.contextmanager
    def _succeeded(self) -> Iterator[None]:
        """Submit the job that goes on after this one; where none is accepted, try again as long as the work lasts."""
        over = threading.Event()
        retrying = threading.Thread(target=self._retry, args=(over,))
        if self._reporter.task.batch and self._reporter.task.job_name:
            self._submit_successor()
            retrying.start()
        try:
            yield
        finally:
            over.set()
            if retrying.is_alive():
                retrying.join()

    def _submit_successor(self) -> None:
        """Submit the job that goes on after this one, unless an interrupted run of it has done so."""
        task, context = self._reporter.task, self._context
        if task.successor_name:
            id = batch.find(context.site, context.paths, self._transfer.name, task.successor_name)
            if id != "":
                self._reporter.change(successor=id or "")
                return
        self._submit()

    def _retry(self, over: threading.Event) -> None:
        """Submit it later, such as when other jobs of the user have left the queue. Runs in a thread."""
        while not over.wait(self._stop.pause_s()) and not self._reporter.task.successor_name:
            with contextlib.suppress(OSError):  # a full home
                self._submit()

    def _submit(self) -> None:
        """Submit a job that goes on after this one. Records it, or why there is none."""
        job_name = batch.new_name()
        self._reporter.record(successor="", successor_name=job_name, note="")
        try:
            id = batch.submit(self._context, self._transfer.name, job_name, after=self._reporter.task.job)
        except GearsError as error:
            self._reporter.record(successor_name="", note=f"no further job was accepted: {error.message}")
        else:
            self._reporter.record(successor=id)


def _state_of(error: GearsError) -> TaskState:
    pairs: list[tuple[type[GearsError], TaskState]] = [
        (LoginNeeded, TaskState.LOGIN),
        (ContentsDiffer, TaskState.DIFFERENT),
        (Paused, TaskState.PAUSED),
        (Interrupted, TaskState.PAUSED),
        (Incomplete, TaskState.INCOMPLETE),
    ]
    return next((state for kind, state in pairs if isinstance(error, kind)), TaskState.FAILED)


def _first(tally: Tally) -> str:
    return f"{os.fsdecode(tally.named[0][0])!r} ({tally.named[0][1]})" if tally.named else ""


def _stop_of_job(environ: dict[str, str] | None = None) -> Stop:
    """Return when this job has to stop: some time before its end, a tenth of what is left, 5 s to 5 min."""
    ends = (os.environ if environ is None else environ).get("GEARS_JOB_ENDS", "")
    if not ends.isdigit():
        return Stop()
    left_s = int(ends) - time.time()
    return Stop(int(ends) - min(300.0, max(5.0, left_s / 10)), timestamps.utc_time(int(ends)))
