"""`gears lab` until the lab is up: report what changes, and show ssh's prompt."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from gears.errors import GearsError, LoginNeeded, NotReachable, StartFailed
from gears.lab.state import Plan, load_turn
from gears.lab.status.model import ShownJob, State, Status, StepState
from gears.lab.status.status import OBSERVE_EVERY_S, observe
from gears.lab.supervisor.keeper import CLOSED_S
from gears.schedulers.base import JobState
from gears.sites.context import Context
from gears.ssh.pin import load_pin
from gears.ssh.remote_gears import encode_profile
from gears.system import files
from gears.system.progress import wait_for
from gears.system.unix_http import connects

UP_TIMEOUT_S = 180.0

STILL_EVERY_S = 60.0
"""Between two lines about a queued job whose state has not changed."""

MOVE_AFTER_S = 15.0
"""How long a recorded login node can be unreachable before `gears lab` tries others behind the alias."""

REQUEST_AFTER_S = 3.0
"""How long a hop can be up and lead nowhere before its remote end is asked to start the lab."""


@dataclass(frozen=True, slots=True)
class Requester:
    """Who requests a lab. `may_ask`: whether ssh may prompt for a passcode, where there is a terminal.

    `at_prompt` is entered while a prompt is on the screen; `begun` is called once the fixed path is served.
    """

    may_ask: bool = True
    at_prompt: Callable[[], AbstractContextManager[None]] = nullcontext
    begun: Callable[[], None] = lambda: None


ANY_REQUESTER = Requester()


class JobWasOver(GearsError):
    """The job that was there when another one was requested had ended, as turned out later."""


def request(context: Context) -> bool:
    """Ask the remote end of a hop that is up for a lab, or for a job. False where no hop listens."""
    word = f"job {encode_profile(context.site)}" if context.route.job else "again"
    return files.write_fifo(context.paths.hop_in, word)


class Waiting:
    """`gears lab` waiting for the lab: reports what changes, and shows ssh's prompt."""

    def __init__(self, context: Context, requester: Requester, *, ask: bool, job: ShownJob | None = None) -> None:
        """`ask`: the loop was there before; `job`: so was this one, by the scheduler's last answer."""
        self.context, self.site = context, context.site.name
        self.route, self.paths, self.say = context.route, context.paths, context.say
        self.on_this_host = (self.paths.turn, self.paths.up, self.paths.hop_out, self.paths.lab_here)
        self.requester, self.may_ask = requester, requester.may_ask
        self.wake = ask
        self.started_at = self.began = self.shown_at = time.monotonic()
        self.shown = ""
        self.failed: str | None = None
        self.failed_at = 0.0
        self.astray_since = math.inf
        self.doubtful = job

    def until_up(self) -> Status:
        """Wait until the lab is up. Raises LoginNeeded, StartFailed, GearsError; NotReachable after UP_TIMEOUT_S;
        JobWasOver.

        Time spent in a queue does not count.
        """
        status = observe(self.context)
        if self.wake and status.state == State.FAILED and not self.route.job:
            self._retry(status)
        written: list[int] = []
        while time.monotonic() - self.began < UP_TIMEOUT_S:
            status = observe(self.context)
            if status.state == State.QUEUED:
                self.began = time.monotonic()
            if self._lives(status):
                self.doubtful = None
            if status.state == State.UP:
                return status
            self._report(status)
            if status.state == State.NEEDS_LOGIN or self._at_prompt():
                self._log_in(status)
            else:
                self._check_failure(status)
            self._request_lab(status)
            self._move_on(status)
            written = files.await_write(self.on_this_host, written, timeout_s=OBSERVE_EVERY_S)
        reason = f"{self.site} is {status.state} after {UP_TIMEOUT_S:.0f} s: {status.reason or 'no answer yet'}"
        raise NotReachable(reason, next=f"gears status {self.site}; gears logs {self.site}")

    def _lives(self, status: Status) -> bool:
        """Return whether the job that was there waits or runs, by an answer of the scheduler that is newer."""
        job, before = status.job, self.doubtful
        if not job or not before or (job.id == before.id and job.asked == before.asked):
            return False
        return status.state in (State.QUEUED, State.STARTING) and job.live and job.state != JobState.ENDING

    def _report(self, status: Status) -> None:
        reason = f": {status.reason}" if status.reason else ""
        words = f"{status.state}{reason}"
        if status.state == State.QUEUED and time.monotonic() - self.shown_at > STILL_EVERY_S:
            self.shown = ""
            reason += (
                f" (waiting for {(time.monotonic() - self.started_at) / 60:.0f} min; Ctrl-C leaves it in the queue)"
            )
        if words != self.shown:
            self.shown, self.shown_at = words, time.monotonic()
            trying = next((step.what for step in status.steps if step.state == StepState.TRYING), "")
            self.say(f"{status.state}{reason}" if reason else f"{status.state}: {trying}")

    def _persists(self, status: Status) -> bool:
        """Return whether a failure has lasted for a second: while the path is switched it can look like one."""
        if self.failed != status.reason:
            self.failed, self.failed_at = status.reason, time.monotonic()
        return time.monotonic() - self.failed_at > 1.0

    def _check_failure(self, status: Status) -> None:
        """Raise where further waiting can't help."""
        if status.state == State.FAILED and self._persists(status):
            if self.doubtful and status.job and status.job.id == self.doubtful.id and not status.job.live:
                raise JobWasOver(status.reason or f"job {status.job.id} has ended", next=status.next)
            no_way = bool(status.hops) and status.hops[0].state == State.FAILED
            raise (StartFailed if no_way else GearsError)(status.reason or "failed", next=status.next)
        if status.state == State.STOPPED:
            raise GearsError("the lab ended before it was up", next=f"gears logs {self.site}")
        elsewhere = self.route.role == "lab" and status.job and status.job.host != self.route.here
        if status.state == State.UNKNOWN and elsewhere:  # it was requested on another login node meanwhile
            raise GearsError(status.reason or "the job is monitored from another host", next=status.next)

    def _retry(self, status: Status) -> None:
        """Retry what had failed, on request of the user: on this host, or behind a hop that is up."""

        def asks() -> bool:
            return load_turn(self.paths).plan == Plan.ASK

        hop = status.hops[0].state if status.hops else None
        if hop == State.UP and files.write_fifo(self.paths.hop_in, "again"):
            wait_for(
                lambda: asks() or observe(self.context).state != State.FAILED,
                timeout_s=15,
                every_s=0.2,
            )
        if hop == State.FAILED:
            wait_for(asks, timeout_s=CLOSED_S + 5)
        if asks():
            self._wake("again")

    def _request_lab(self, status: Status) -> None:
        """Ask the remote end once to start the lab, where the hop is up and leads nowhere.

        On the lab host everything was removed then, including its loop.
        """
        astray = status.state == State.UNKNOWN and self.route.role == "front" and status.hops[0].state == State.UP
        self.astray_since = min(self.astray_since, time.monotonic()) if astray else math.inf
        may_replace = self.route.job or status.job is None  # no job by a lab on the login node
        if self.wake and may_replace and time.monotonic() - self.astray_since > REQUEST_AFTER_S:
            self.wake = not request(self.context)

    def _wake(self, word: str) -> bool:
        """Wake the loop that waits for the user, and let the new turn begin before looking again."""
        number = load_turn(self.paths).number

        def turned() -> bool:
            return load_turn(self.paths).number != number

        wait_for(lambda: turned() or files.write_fifo(self.paths.ask, word), timeout_s=5)  # it is about to listen
        return wait_for(turned, timeout_s=10)

    def _log_in(self, status: Status) -> None:
        """Attach the user's terminal to the pane of ssh's prompt, until ssh is connected or has failed. Once."""
        can_ask = self.may_ask and sys.stdin.isatty() and sys.stdout.isatty()
        if status.state == State.NEEDS_LOGIN and not (can_ask and self._wake("person")):
            raise LoginNeeded(status.reason or "login required", next=status.next)
        if not can_ask:
            return  # another terminal shows the prompt
        from gears.system import tmux

        self.may_ask = False
        with self.requester.at_prompt():
            client = tmux.attach(self.site)
            try:
                wait_for(lambda: client.poll() is not None or not self._at_prompt(), timeout_s=150, every_s=0.1)
            finally:
                tmux.detach(self.site)
                client.wait(timeout=10)

    def _at_prompt(self) -> bool:
        """Return whether an ssh that can prompt is dialling now."""
        turn = load_turn(self.paths)
        return turn.is_interactive and not connects(self.paths.socket("hop", turn.number))

    def _move_on(self, status: Status) -> None:
        """Let the alias lead to another login node, where the recorded one stays unreachable."""
        if self.route.role == "front" and status.hops[0].state == State.CONNECTING and status.reason:
            waited_s = time.monotonic() - self.began
            if waited_s > MOVE_AFTER_S and self.paths.pin.exists():
                host = load_pin(self.paths).host
                self.say(f"{host} can't be reached: trying other hosts behind {self.route.lab}")
                self.paths.pin.unlink(missing_ok=True)
