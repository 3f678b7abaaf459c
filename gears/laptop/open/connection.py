"""One ssh to the front, with its session in a pseudo-terminal.

The reports of the front's gears, lines of JSON, are extracted (`split`). The rest is the output of a login there: it is
shown while a prompt is on the screen, and the user's input is passed on. The prompts of this ssh itself are not part of
it: ssh prompts at /dev/tty.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time
import tty
from typing import Any

from gears.laptop.open.dial import Dial
from gears.laptop.open.report import Report, read_report
from gears.ssh.report import BEGIN
from gears.system.commands import end_program, start_in_terminal

ENDING_S = 0.02

SAVED_BYTES = 8192
"""How much of ssh's own output is saved, to report why it ended."""


def split(text: bytes) -> tuple[bytes, list[dict[str, Any]], bytes]:
    """Split output into the text to show, the reports, and the beginning of a report that is not complete yet."""
    shown, mark = b"", BEGIN.encode()
    reports: list[dict[str, Any]] = []
    while (place := text.find(mark)) >= 0:
        line, end, rest = text[place:].partition(b"\n")
        if not end:
            return shown + text[:place], reports, text[place:]
        shown, text = shown + text[:place], rest
        with contextlib.suppress(ValueError):
            found = json.loads(line)["gears"]
            reports += [found] if isinstance(found, dict) else []
    begun = next((n for n in range(len(mark) - 1, 0, -1) if text.endswith(mark[:n])), 0)
    return shown + text[: len(text) - begun], reports, text[len(text) - begun :]


class Connection:
    """A running ssh. `interactive`: the user is at its prompts, and sees its messages until it is connected."""

    def __init__(self, dial: Dial) -> None:
        """Start ssh in a pseudo-terminal. Raises MissingProgram."""
        self.interactive = dial.interactive
        self.began = time.monotonic()
        self.reported = False
        self.errors = self.noise = b""
        self._rest = b""
        self._dialog: list[Any] | None = None
        self._terminal, inner = pty.openpty()
        _copy_size(inner)
        try:
            self._ssh = start_in_terminal(dial.argv, inner)
        except BaseException:
            os.close(self._terminal)
            raise
        finally:
            os.close(inner)
        assert self._ssh.stderr
        self._open = {self._terminal, self._ssh.stderr.fileno()}

    def read(self, timeout_s: float) -> list[Report]:
        """Return the front's reports; wait for any output, at most `timeout_s`. Show a login meanwhile."""
        typing = [sys.stdin.fileno()] if self._dialog else []
        if not self._open:
            time.sleep(min(timeout_s, ENDING_S))
            return []
        ready = select.select([*self._open, *typing], [], [], timeout_s)[0]
        reports: list[Report] = []
        for descriptor in ready:
            if descriptor in typing:
                self._pass(os.read(descriptor, 1024))
            elif not (text := _read(descriptor)):
                self._open.discard(descriptor)
            elif descriptor == self._terminal:
                reports += self._take(text)
            else:
                self._take_error(text)
        return reports

    def running(self) -> bool:
        """Return whether ssh runs, or not all of the front's output has been read."""
        return self._terminal in self._open or self._ssh.poll() is None

    def status(self) -> int:
        """Wait for ssh and return its exit status, as a shell would. Its last messages are in `errors` then.

        The ssh of a jump host may keep standard error open for longer, which is not waited for.
        """
        errors = self._ssh.stderr.fileno() if self._ssh.stderr and not self._ssh.stderr.closed else -1
        while errors in self._open and select.select([errors], [], [], 0)[0] and (text := _read(errors)):
            self._take_error(text)
        code = self._ssh.wait()
        return code if code >= 0 else 128 - code

    def say(self, word: str) -> None:
        """Send a line to the front's gears, which waits for one."""
        with contextlib.suppress(OSError):
            os.write(self._terminal, word.encode() + b"\n")

    def show_login(self, begins: bool) -> None:
        """Connect the user's terminal to the front, or give it back."""
        if begins and self._dialog is None and sys.stdin.isatty():
            self._dialog = termios.tcgetattr(sys.stdin)
            tty.setraw(sys.stdin)
        elif not begins and self._dialog is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._dialog)
            self._dialog = None

    def end(self) -> None:
        """End ssh, and give the user's terminal back. Can be repeated."""
        self.show_login(begins=False)
        end_program(self._ssh, timeout_s=3)
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1
        if self._ssh.stderr:
            self._ssh.stderr.close()
        self._open.clear()

    def _take(self, text: bytes) -> list[Report]:
        shown, lines, self._rest = split(self._rest + text)
        self.noise = (self.noise + shown)[-SAVED_BYTES:]
        if self._dialog:
            _show(shown)
        self.reported = self.reported or bool(lines)
        return [report for values in lines if (report := read_report(values))]

    def _take_error(self, text: bytes) -> None:
        self.errors = (self.errors + text)[-SAVED_BYTES:]
        if self.interactive and not self.reported:  # the centre's banner, which may say which passcode it expects
            with contextlib.suppress(OSError):
                os.write(sys.stderr.fileno(), text)

    def _pass(self, typed: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._terminal, typed)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO: the terminal is no longer open at the other end
        return b""


def _show(text: bytes) -> None:
    with contextlib.suppress(OSError):
        while text:
            text = text[os.write(sys.stdout.fileno(), text) :]


def _copy_size(terminal: int) -> None:
    """Copy the size of the user's terminal, for tmux on the front."""
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(sys.stdin.fileno(), termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
