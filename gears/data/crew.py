"""Helpers on other nodes of a job: they do batches of a run, which stays the one that plans and records.

Each is started by a command of the scheduler, and is connected by its standard input and output: nothing is polled on a
shared file system, no port is opened, and helper and run notice each other's end at once. A batch is done when its
result has come. If its helper ends before, it is done by another one, and in the end by the run itself. What a helper
has found to be wrong is looked at once more by the run: its node may lack a file system.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import secrets
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Self

from gears.data.messages import Answer, Beat, Begin, Channel, End, Hello, Moved, Stop, Task
from gears.data.pulse import Pulse
from gears.data.tree import MARK_BYTES
from gears.errors import MissingProgram, Paused
from gears.system.commands import end_group, start_connected, wait_for_end

MOST_LOST = 3
"""How often a batch is lost with its helper before the run does it itself."""
MOST_FRUITLESS = 3
"""How often in a row a helper is started that does nothing, before it is given up."""
MOST_WAITING = 256
"""Batches under way on all nodes; more where there are so many processes that they need it."""
AGAIN_S = 1.0
BEAT_S = 1.0
WAIT_S = 1.0
END_S = 10.0

Say = Callable[[str], None]


class Crew:
    """Helpers, one for each command that starts one. They are started with the first run, and end with the block.

    `say`: what a user should find in the log; `on_change`: the hosts that have helped, as they become more.
    """

    def __init__(self, commands: Sequence[Sequence[str]], say: Say, on_change: Callable[[list[str]], None]) -> None:
        # one lock for all: results, losses and what is handed out change the same lists
        self.guard, self.numbers = threading.RLock(), itertools.count(1)
        self._answered = threading.Condition(self.guard)
        self._shift: Shift | None = None
        self.members = [_Member(number, argv, self, say) for number, argv in enumerate(commands, 1)]
        self._say, self._on_change, self._hosts = say, on_change, list[str]()
        self.closing = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the helpers; what they have under way is lost."""
        self.closing.set()
        for member in self.members:
            member.close()
        for member in self.members:
            member.join()

    def begin(self, shift: Shift) -> None:
        """Begin a run."""
        with self.guard:
            self._shift = shift
            for member in self.members:
                member.start()
                member.begin(shift)

    def end(self, shift: Shift) -> None:
        """End the run: say who did how much, and wait for batches under way, END_S at most."""
        with self.guard:
            self._shift = None
            for member in self.members:
                member.send(End())
            # those of a run that was cut short
            self._answered.wait_for(lambda: not any(member.in_hand for member in self.members), END_S)
        if shift.done:
            parts = ", ".join(f"{host} {count}" for host, count in sorted(shift.done.items()))
            self._say(f"batches that were done on other nodes: {parts} of {shift.submitted}")

    def take(self, member: _Member, message: object) -> None:
        """Act on what a helper says. Called in its thread."""
        with self.guard:
            if isinstance(message, Hello):
                member.host, member.jobs = message.host, message.jobs
                if message.host not in self._hosts:
                    self._hosts.append(message.host)
                    self._on_change(list(self._hosts))
                self._say(f"{message.host} helps with {message.jobs} processes")
                if self._shift:
                    member.begin(self._shift)
            elif isinstance(message, Answer):
                ticket = member.in_hand.pop((message.run, message.number), None)
                self._answered.notify_all()
                if self._shift and ticket and message.run == self._shift.number:
                    self._shift.take(member, ticket, message)
            elif isinstance(message, Moved) and self._shift and message.run == self._shift.number:
                self._shift.note_moved(member, message.size)

    def lose(self, member: _Member) -> None:
        """Give what an ended helper had in hand to the others. Called in its thread."""
        with self.guard:
            in_hand, member.in_hand, member.jobs = member.in_hand, {}, 0
            self._answered.notify_all()
            number = self._shift.number if self._shift else 0
            lost = [ticket for (run, _), ticket in in_hand.items() if run == number]
            if self._shift and lost:
                self._shift.lose(member, lost)


# --- a helper --------------------------------------------------------------------------------


class _Member:
    """A helper as the run has it. `jobs`: 0 as long as it is not ready; `in_hand`: batches it has not answered."""

    def __init__(self, number: int, argv: Sequence[str], crew: Crew, say: Say) -> None:
        self.number, self.host, self.jobs, self.in_hand = number, "", 0, dict[tuple[int, int], _Ticket]()
        self.mark, self.useful, self.refused = "", False, 0
        self._argv, self._crew, self._say = argv, crew, say
        self._outgoing = queue.SimpleQueue[Any]()
        self._kill: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Start it, unless that was done."""
        if self._thread.ident is None:
            self._thread.start()

    def begin(self, shift: Shift) -> None:
        """Tell it of a run, if it is ready."""
        if self.jobs:
            self.send(Begin(shift.number, shift.work, shift.begin))

    def send(self, message: object) -> None:
        """Send a message to it when it takes one; lost if it ends before."""
        self._outgoing.put(message)

    def refuse(self, why: str) -> None:
        """Count a batch that it could not do; give it no more after some in a row: its node may lack something."""
        self.refused += 1
        if self.refused >= MOST_FRUITLESS and self.jobs:
            self.jobs = 0
            self._say(f"{self.host} gets no more: {why}")

    @property
    def free(self) -> int:
        """How many batches it may be given: those under way, and as many again, so that it need not wait for them."""
        return 2 * self.jobs - len(self.in_hand)

    def close(self) -> None:
        """Close its input, by which it ends."""
        self._outgoing.put(None)

    def join(self) -> None:
        """Wait for its end; END_S at most, then it is killed."""
        if self._thread.ident is None:
            return
        self._thread.join(END_S if self.jobs else AGAIN_S)
        if self._kill and self._thread.is_alive():
            self._kill()
            self._thread.join(END_S)

    # --- in its thread --------------------------------------------------------------------------

    def _keep(self) -> None:
        """Start it, and again if it ends, unless it does nothing."""
        fruitless = 0
        while not self._crew.closing.is_set():
            self.useful = False
            how = self._serve()
            fruitless = 0 if self.useful else fruitless + 1
            if self._crew.closing.is_set():
                return
            name = self.host or f"the node {self.number + 1} of the job"
            if fruitless >= MOST_FRUITLESS:
                self._say(f"{name} does not help: its helper {how}; the other nodes go on")
                return
            self._say(f"the helper on {name} {how}; starting it again")
            self._crew.closing.wait(AGAIN_S)

    def _serve(self) -> str:
        """Start it, and listen to it until it ends. Return how it ended, in words."""
        self.mark, self._outgoing = secrets.token_hex(MARK_BYTES), queue.SimpleQueue[Any]()
        try:
            program = start_connected([*self._argv, self.mark])
        except MissingProgram as exc:
            return f"could not be started: {exc.message}"
        assert program.stdin is not None
        assert program.stdout is not None
        self._kill = functools.partial(end_group, program, timeout_s=1.0)
        channel = Channel(program.stdout.fileno(), program.stdin.fileno())
        writer = threading.Thread(target=_write, args=(self._outgoing, channel, program.stdin), daemon=True)
        writer.start()
        with contextlib.suppress(OSError, ValueError):  # ends like one that was killed
            while (message := channel.receive()) is not None:
                self._crew.take(self, message)
        self._outgoing.put(None)
        status = wait_for_end(program, timeout_s=END_S)
        self._kill()
        self._crew.lose(self)
        writer.join()
        program.stdout.close()
        return f"has ended with {status}"


def _write(outgoing: queue.SimpleQueue[Any], channel: Channel, into: IO[bytes]) -> None:
    """Send what there is to send, and a beat if there is nothing; close its input at the end."""
    with contextlib.suppress(OSError):
        while True:
            try:
                message = outgoing.get(timeout=BEAT_S)
            except queue.Empty:
                message = Beat()
            if message is None:
                break
            channel.send(message)
    with contextlib.suppress(OSError):
        into.close()


# --- a run -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Ticket:
    """A batch of a run. `lost`: how often its helper has ended; `here`: only the run itself may do it."""

    number: int
    batch: Any
    future: Future[Any] = field(default_factory=Future)
    lost: int = 0
    here: bool = False


@dataclass(slots=True)
class Helpers:
    """What a run needs for being helped. `is_doubtful`: a result that another node may have for reasons of its own.

    `pulse`: by which it is stopped, and its bytes are counted. `lost`: batches whose helper has ended, with its mark:
    it may have left temporary files.
    """

    crew: Crew
    is_doubtful: Callable[[Any], bool]
    pulse: Pulse | None = None
    lost: list[tuple[str, Any]] = field(default_factory=list)


class Shift:
    """A run with helpers. `do_here`: begins a batch in a process of this node, of which there are `jobs`."""

    def __init__(
        self,
        helpers: Helpers,
        work: Callable[[Any], Any],
        begin: Callable[[], object] | None,
        do_here: Callable[[Any], Future[Any]],
        jobs: int,
    ) -> None:
        self.work, self.begin, self.done, self.submitted = work, begin, Counter[str](), 0
        self.number, self.guard, self.members = next(helpers.crew.numbers), helpers.crew.guard, helpers.crew.members
        self._helpers, self._do_here, self._jobs = helpers, do_here, jobs
        self._waiting, self._here = deque[_Ticket](), list[tuple[_Ticket, Future[Any]]]()
        self._woken, self._told = threading.Event(), False

    @contextlib.contextmanager
    def opened(self) -> Iterator[Self]:
        """Be helped within the block."""
        self._helpers.crew.begin(self)
        try:
            yield self
        finally:
            self._waiting.clear()
            self._helpers.crew.end(self)

    def window(self, waiting: int) -> int:
        """Return how many batches may be under way: `waiting` for each process, but few enough for this one's memory.

        Each process on each node can always have two, and one in which others are ahead of it.
        """
        jobs = self._jobs + sum(member.jobs for member in self.members)
        return max(3 * jobs, min(jobs * waiting, MOST_WAITING))

    def submit(self, batch: Any) -> Future[Any]:
        """Have a batch done, by whoever is free first."""
        with self.guard:
            ticket = _Ticket(self.submitted, batch)
            self.submitted += 1
            self._waiting.append(ticket)
        self._hand_out()
        return ticket.future

    def result(self, future: Future[Any], on_wait: Callable[[], None] | None) -> Any:
        """Wait for a batch. Raises what it has raised."""
        while True:
            self._hand_out()
            if future.done():
                return future.result()
            self._woken.wait(WAIT_S)
            self._woken.clear()
            if on_wait:
                on_wait()

    def _hand_out(self) -> None:
        """Give waiting batches to those who are free. Only in the thread of the run: a pool's own takes none."""
        self._reap()
        with self.guard:
            if self._is_stopped and not self._told:
                self._told = True
                for member in self.members:
                    member.send(Stop())
            while self._waiting and len(self._here) < 2 * self._jobs:
                ticket = self._waiting.popleft()
                begun = self._do_here(ticket.batch)
                self._here.append((ticket, begun))
                begun.add_done_callback(lambda _: self._woken.set())
            for member in self.members:
                while member.free > 0 and (found := self._next_far()):
                    member.in_hand[self.number, found.number] = found
                    member.send(Task(self.number, found.number, found.batch))

    def _reap(self) -> None:
        """Take the results of the processes here."""
        for ticket, begun in [pair for pair in self._here if pair[1].done()]:
            self._here.remove((ticket, begun))
            if error := begun.exception():
                ticket.future.set_exception(error)
            else:
                ticket.future.set_result(begun.result())

    def _next_far(self) -> _Ticket | None:
        found = next((ticket for ticket in self._waiting if not ticket.here), None)
        if found:
            self._waiting.remove(found)
        return found

    @property
    def _is_stopped(self) -> bool:
        return bool(self._helpers.pulse and self._helpers.pulse.stopped)

    # --- what helpers have done -----------------------------------------------------------------

    def take(self, member: _Member, ticket: _Ticket, answer: Answer) -> None:
        """Take a result, or have its batch done once more, here."""
        error = answer.error
        if isinstance(error, Paused):
            ticket.future.set_exception(error)
        elif error or (not self._is_stopped and self._helpers.is_doubtful(answer.result)):
            ticket.here = True
            self._waiting.appendleft(ticket)
            member.refuse(str(error or "it could not do files that are looked at again here"))
        else:
            member.useful, member.refused = True, 0
            self.done[member.host] += 1
            ticket.future.set_result(answer.result)
        self._woken.set()

    def lose(self, member: _Member, tickets: list[_Ticket]) -> None:
        """Have the batches of an ended helper done by others."""
        for ticket in reversed(tickets):
            ticket.lost += 1
            ticket.here = ticket.here or ticket.lost >= MOST_LOST
            self._waiting.appendleft(ticket)
            self._helpers.lost.append((member.mark, ticket.batch))
        self._woken.set()

    def note_moved(self, member: _Member, size: int) -> None:
        """Count the bytes that a helper has moved in this run."""
        if self._helpers.pulse:
            self._helpers.pulse.far[member.mark] = size
