"""`gears open` while it runs: dial, follow the connection, and decide what to do after ssh has ended.

If no login is needed it redials automatically, with pauses that grow to about 5 s. If the user has to log in it says so
once and waits for Enter: it never tries to log in while the user is away.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence

from gears.errors import CommandFailed, GearsError, LoginNeeded
from gears.lab.status.facts import probe
from gears.lab.status.model import Page, State
from gears.lab.supervisor.keeper import prompt_s
from gears.lab.supervisor.policy import NETWORK_PAUSES_S
from gears.laptop.open import desktop
from gears.laptop.open.connection import Connection
from gears.laptop.open.desktop import Desk
from gears.laptop.open.dial import first_host, forward_command, plan_dial
from gears.laptop.open.failures import why_connection_ended, why_front_failed
from gears.laptop.open.port import LaptopPort
from gears.laptop.open.report import FrontFailed, LabUp, Listening, LoginRequired, Progress, Prompt, Report
from gears.laptop.open.waiting_page import plan_page
from gears.sites import validators
from gears.sites.paths import MAX_FORWARD_PATH, RunDir
from gears.sites.route import Route
from gears.ssh.failures import Failure
from gears.system import files
from gears.system.commands import run
from gears.system.host import Source, find_source

TICK_S = 0.5
LOOK_EVERY_S = 5.0
"""Between two requests through the port, for what the front reports about the connection behind it."""

AGAIN_S = 1.0
"""The same, after a request without an answer."""

MOST_MISSES = 3
"""Requests without an answer before the front is asked again."""

PRESENT_S = 30.0
"""For this long after the start the user is taken to be present, and ssh may prompt at once."""


class Session:
    """One `gears open`, from its first dial. `words`: options for the lab, if it is started."""

    def __init__(
        self, route: Route, paths: RunDir, port: LaptopPort, desk: Desk, *, user: str, words: Sequence[str]
    ) -> None:
        self.route, self.paths, self.port, self.desk, self.user = route, paths, port, desk, user
        self.site = route.site.name
        self.words = ["--start", *words]
        self.began = time.monotonic()
        self.connected_once = False  # whether the port has reached the front
        self.address_shown = False  # whether the address was shown
        self.waiting_for: str | None = None  # why the user has to act, once that was shown
        self.trouble: str | None = None  # the last reason shown for a broken connection
        self.was_down = False  # whether any was shown since it was last up
        self.failures = 0
        self._settle(False)

    def run(self) -> None:
        """Run until interrupted, or until there is nothing to wait for. Raises GearsError."""
        number, interactive = 0, False
        while True:
            number += 1
            ended = self._dial(number, interactive)
            self.port.take_back()
            interactive = self._after(ended, interactive)

    # --- one connection ----------------------------------------------------------------------

    def _dial(self, number: int, interactive: bool) -> Failure:
        prompt = ["--ask"] if interactive or (desktop.can_ask() and self._present()) else []
        dial = plan_dial(
            self.route, self.paths, number, user=self.user, interactive=interactive, words=[*self.words, *prompt]
        )
        files.ensure_private(self.paths.local)
        files.write_private(self.paths.open_config, dial.config)
        self._settle(False)
        self.source = find_source(first_host(self.route))
        self.address_seen = self.source.address if self.source else ""
        connection = Connection(dial)
        try:
            return self._follow(connection, number)
        finally:
            connection.end()
            self.paths.open_control(number).unlink(missing_ok=True)

    def _follow(self, connection: Connection, number: int) -> Failure:
        failed: FrontFailed | None = None
        while connection.running():
            for report in connection.read(TICK_S):
                self._take(report, connection, number)
                failed = report if isinstance(report, FrontFailed) else failed
            if connection.interactive and not connection.reported and time.monotonic() - connection.began > prompt_s():
                return Failure("login", f"no passcode entered for {self.route.front} in time")
            if self.waiting_for and desktop.pressed_enter():
                self.waiting_for = None
                self._settle(False)
                connection.say("again")
            self._check_address(connection)
            self._look(connection)
        if failed:
            return why_front_failed(failed, self.route, self.desk.again, shown=self.address_shown)
        return why_connection_ended(connection, self.route, self.user, self.desk.again)

    def _take(self, report: Report, connection: Connection, number: int) -> None:
        match report:
            case Progress(said):
                self.desk.say(said)
            case Listening(socket):
                self._hand_over(number, socket)
            case Prompt(login):
                connection.show_login(login)
            case LoginRequired(reason):
                self._settle(True)
                self._want(reason)
            case LabUp():
                self._settle(True)
                self._up(report)

    def _settle(self, settled: bool) -> None:
        """Set whether the front's gears has reported the state, so that this end polls it from now on."""
        self.settled, self.looked_at, self.misses = settled, time.monotonic(), 0

    def _hand_over(self, number: int, socket: str) -> None:
        try:
            validators.path(socket)
        except ValueError as exc:
            raise GearsError(f"{self.route.front}: {exc}", next=f"ssh {self.route.front}") from exc
        if len(socket) > MAX_FORWARD_PATH:
            raise GearsError(
                f"{socket}: path too long for an ssh forward", next="move gears on the front to a shorter path"
            )

        def forward() -> bool:
            """Tell ssh to listen at the port, and return whether it does."""
            try:
                run(forward_command(self.paths, number, self.port.number, socket), timeout_s=10)
            except CommandFailed:
                return False
            return True

        if not any(self.port.hand_over(forward) for _ in range(3)):
            raise GearsError(f"ssh can't listen on port {self.port.number}", next=f"{self.desk.again} --port N")
        self.words, self.connected_once, self.failures = [], True, 0

    def _up(self, lab: LabUp) -> None:
        self._back()
        if self.address_shown:
            return
        self.address_shown = True
        address = f"http://localhost:{self.port.number}/lab"
        with_token = f"{address}?token={lab.token}" if lab.token else address
        desktop.write_page(self.paths.open_page, with_token)
        self.desk.show(
            f"JupyterLab of {self.site} is up on {lab.host or self.route.lab}.\n"
            f"  open     {with_token if desktop.is_private() else address}\n"
            f"  leave    Ctrl-C   (the lab keeps running; {self.desk.again} reconnects)"
        )
        if self.desk.browser and not desktop.open_browser(self.paths.open_page.as_uri()):
            self.desk.say("no browser found: open the address yourself")

    def _back(self) -> None:
        if self.address_shown and self.was_down:
            self.desk.say(f"{self.site} is back")
        self.trouble, self.waiting_for, self.was_down = None, None, False

    def _check_address(self, connection: Connection) -> None:
        """Reconnect if the address that the connection has here is gone, as with another Wi-Fi.

        If only the route has changed, as with a VPN, look at once whether anything answers.
        """
        now = self.source.now() if self.source else ""
        if not self.source or now in ("", self.address_seen):
            return
        self.address_seen = now
        if self.source.is_gone():
            self._leave_address(self.source, connection)
        else:
            self.looked_at = -math.inf

    def _leave_address(self, source: Source, connection: Connection) -> None:
        self._tell(f"this machine's address is {self.address_seen} now, was {source.address}: reconnecting")
        connection.end()

    def _look(self, connection: Connection) -> None:
        """Check what answers at the port. The front's waiting page reports the state there."""
        every_s = AGAIN_S if self.misses else LOOK_EVERY_S
        if not self.settled or time.monotonic() - self.looked_at < every_s:
            return
        answer = probe(self.port.number)
        self.looked_at = time.monotonic()
        if answer.kind == "jupyter":
            self.misses = 0
            self._back()
        elif answer.kind == "waiting":
            self.misses = 0
            page = answer.page or Page()
            if page.state == State.NEEDS_LOGIN:
                self._want(str(page.reason))
            else:
                self._tell(page.reason or page.state)
        else:
            self._miss(connection)

    def _miss(self, connection: Connection) -> None:
        """Count a request without an answer: the connection hangs, or nothing is behind it."""
        self.misses += 1
        if self.source and self.address_seen != self.source.address:
            self._leave_address(self.source, connection)
        elif self.misses == MOST_MISSES:
            self._tell(f"{self.route.front} does not answer")
            self._settle(True)
            connection.say("look")

    # --- what comes next ---------------------------------------------------------------------

    def _after(self, ended: Failure, interactive: bool) -> bool:
        """Wait for what is missing. Return whether the user is present for the next dial."""
        if ended.kind == "network" or (ended.kind == "unknown-host" and self.connected_once):
            self._tell(f"{ended.reason}; reconnecting")
            self.failures += 1
            pause_s = NETWORK_PAUSES_S[min(self.failures - 1, len(NETWORK_PAUSES_S) - 1)]
            time.sleep(pause_s * random.uniform(0.8, 1.2))
            return False
        needs_login = ended.kind in ("login", "hostkey-unknown")
        if not needs_login and not self.connected_once:
            raise GearsError(ended.reason, next=ended.next)
        if not interactive and needs_login and self._present() and desktop.can_ask():
            return True
        self._want(ended.reason, needs_login, ended.next)
        while not desktop.pressed_enter(1.0):
            pass
        self.waiting_for = None
        return True

    def _present(self) -> bool:
        return not self.connected_once and time.monotonic() - self.began < PRESENT_S

    def _tell(self, reason: str) -> None:
        """Show why the connection is down, once for each reason."""
        if reason != self.trouble:
            self.trouble, self.was_down = reason, True
            self.desk.say(f"{self.site}: {reason}")
        self.port.show(plan_page(self.route, State.CONNECTING, reason, self.desk.again))

    def _want(self, reason: str, login: bool = True, following: str | None = None) -> None:
        """Ask the user to act, once for each reason. Raises LoginNeeded if there is no terminal."""
        if reason == self.waiting_for:
            return
        if not desktop.has_terminal():
            raise LoginNeeded(reason, next=f"{self.desk.again}   (in a terminal)")
        self.waiting_for, self.was_down = reason, True
        desktop.discard_input()
        self.port.show(plan_page(self.route, State.NEEDS_LOGIN if login else State.FAILED, reason, self.desk.again))
        first = f"{following}; then " if following and not login else ""
        self.desk.say(f"{self.site}: {reason}\n  next: {first}press Enter here to {'log in' if login else 'try again'}")
        desktop.notify(f"{self.site}: {reason}")
