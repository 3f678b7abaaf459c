"""`gears open` while it runs: dial, follow, and decide what comes next once ssh has ended.

Where no person is needed it dials again by itself, with pauses that grow to some 5 s. Where one is needed it says so
once, and waits for Enter: no login is tried before somebody is there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from gears.errors import CommandFailed, GearsError, LoginNeeded
from gears.lab.status.probe import probe
from gears.lab.supervisor.keeper import prompt_s
from gears.lab.supervisor.policy import NETWORK_PAUSES_S
from gears.laptop.open import desktop
from gears.laptop.open.connection import Connection
from gears.laptop.open.desktop import Desk
from gears.laptop.open.dial import first_host, forward_command, plan_dial
from gears.laptop.open.failures import why_connection_ended, why_front_failed
from gears.laptop.open.port import LaptopPort
from gears.laptop.open.report import FrontFailed, LabUp, Listening, LoginRequired, Progress, Prompt, Report
from gears.laptop.open.waiting_page import read_page, status
from gears.sites import validators
from gears.sites.paths import MAX_FORWARD_PATH, RunDir
from gears.sites.route import Route
from gears.ssh.failures import Failure
from gears.system import files
from gears.system.commands import run
from gears.system.host import source_towards

TICK_S = 0.5
LOOK_EVERY_S = 5.0
"""Between two looks through the port at what the front says of the way behind it."""

AGAIN_S = 1.0
"""The same, after a look that found nobody."""

MOST_MISSES = 3
"""Looks that find nobody, before the front is asked anew."""

PRESENT_S = 30.0
"""Who has typed `gears open` is there for so long, and can be asked without more ado."""


class Session:
    """One `gears open`, from its first dial on. `words`: options for a lab that is to be started."""

    def __init__(
        self, route: Route, paths: RunDir, port: LaptopPort, desk: Desk, *, user: str, words: Sequence[str]
    ) -> None:
        self.route, self.paths, self.port, self.desk, self.user = route, paths, port, desk, user
        self.site = route.site.name
        self.words = ["--start", *words]
        self.began = time.monotonic()
        self.ever = False  # whether the port has led to the front
        self.shown = False  # whether the person has the address
        self.wanted: str | None = None  # why a person is, once she was told
        self.trouble: str | None = None  # what she was told last of a way that is down
        self.away = False  # whether she was told so at all
        self.failures = 0
        self._settle(False)

    def run(self) -> None:
        """Run until the person interrupts, or nothing is left to wait for. Raises GearsError."""
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
        self.source = source_towards(first_host(self.route))
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
                return Failure("login", f"nobody typed the passcode for {self.route.front} in time")
            if self.wanted and desktop.pressed_enter():
                self.wanted = None
                self._settle(False)
                connection.say("again")
            self._look(connection)
        if failed:
            return why_front_failed(failed, self.route, self.desk.again, shown=self.shown)
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
        """Note whether the front's gears has said how it stands, and leaves it to us to look."""
        self.settled, self.looked_at, self.misses = settled, time.monotonic(), 0

    def _hand_over(self, number: int, socket: str) -> None:
        try:
            validators.path(socket)
        except ValueError as exc:
            raise GearsError(f"{self.route.front}: {exc}", next=f"ssh {self.route.front}") from exc
        if len(socket) > MAX_FORWARD_PATH:
            raise GearsError(f"{socket}: too long for ssh", next="move gears on the front to a shorter path")

        def forward() -> bool:
            """Ask ssh to listen at the port, and tell whether it does."""
            try:
                run(forward_command(self.paths, number, self.port.number, socket), timeout_s=10)
            except CommandFailed:
                return False
            return True

        if not any(self.port.hand_over(forward) for _ in range(3)):
            raise GearsError(f"ssh can't listen at port {self.port.number}", next=f"{self.desk.again} --port N")
        self.words, self.ever, self.failures = [], True, 0

    def _up(self, lab: LabUp) -> None:
        self._back()
        if self.shown:
            return
        self.shown = True
        address = f"http://localhost:{self.port.number}/lab"
        with_token = f"{address}?token={lab.token}" if lab.token else address
        desktop.write_page(self.paths.open_page, with_token)
        self.desk.show(
            f"JupyterLab of {self.site} is up on {lab.host or self.route.lab}.\n"
            f"  open     {with_token if desktop.is_private() else address}\n"
            f"  leave    Ctrl-C   (the lab goes on; {self.desk.again} comes back to it)"
        )
        if self.desk.browser and not desktop.open_browser(self.paths.open_page.as_uri()):
            self.desk.say("no browser was found here: open the address by hand")

    def _back(self) -> None:
        if self.shown and self.away:
            self.desk.say(f"{self.site} is back")
        self.trouble, self.wanted, self.away = None, None, False

    def _look(self, connection: Connection) -> None:
        """Look what is behind the port. The front's own page tells what the front lacks."""
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
            page = read_page(answer.content)
            if page.state == "needs-login":
                self._want(page.reason or page.state)
            else:
                self._tell(page.reason or page.state)
        else:
            self._miss(connection)

    def _miss(self, connection: Connection) -> None:
        """Count a look that met nobody at the port: the connection hangs, or what is behind it has gone."""
        self.misses += 1
        now = source_towards(first_host(self.route))
        if now and self.source and now != self.source:
            self._tell(f"this machine's address is {now} now, and was {self.source}: dialling anew")
            connection.end()
        elif self.misses == MOST_MISSES:
            self._tell(f"{self.route.front} does not answer")
            self._settle(True)
            connection.say("look")

    # --- what comes next ---------------------------------------------------------------------

    def _after(self, ended: Failure, interactive: bool) -> bool:
        """Wait for what is missing. Tell whether a person is there for the next dial."""
        if ended.kind == "network" or (ended.kind == "unknown-host" and self.ever):
            self._tell(f"{ended.reason}; trying again")
            self.failures += 1
            pause_s = NETWORK_PAUSES_S[min(self.failures - 1, len(NETWORK_PAUSES_S) - 1)]
            time.sleep(pause_s * random.uniform(0.8, 1.2))
            return False
        for_person = ended.kind in ("login", "hostkey-unknown")
        if not for_person and not self.ever:
            raise GearsError(ended.reason, next=ended.next)
        if not interactive and for_person and self._present() and desktop.can_ask():
            return True
        self._want(ended.reason, for_person, ended.next)
        while not desktop.pressed_enter(1.0):
            pass
        self.wanted = None
        return True

    def _present(self) -> bool:
        return not self.ever and time.monotonic() - self.began < PRESENT_S

    def _tell(self, reason: str) -> None:
        """Tell of a way that is down: once for each reason."""
        if reason != self.trouble:
            self.trouble, self.away = reason, True
            self.desk.say(f"{self.site}: {reason}")
        self.port.show(status(self.route, "connecting", reason, self.desk.again))

    def _want(self, reason: str, login: bool = True, following: str | None = None) -> None:
        """Ask for a person: once for each reason. Raises LoginNeeded where there can be none."""
        if reason == self.wanted:
            return
        if not desktop.has_terminal():
            raise LoginNeeded(reason, next=f"{self.desk.again}   (in a terminal)")
        self.wanted, self.away = reason, True
        desktop.forget_typed()
        self.port.show(status(self.route, "needs-login" if login else "failed", reason, self.desk.again))
        first = f"{following}; then " if following and not login else ""
        self.desk.say(
            f"{self.site}: {reason}\n  next: {first}press Enter here, to {'log in' if login else 'try again'}"
        )
        desktop.notify(f"{self.site}: {reason}")
