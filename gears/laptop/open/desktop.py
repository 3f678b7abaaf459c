"""The user's terminal, browser and notifications; and whether the user can be asked.

The token is in the address on the screen, and in a private page, 0600, that redirects the browser: all users of a
machine can read the command line of a browser.
"""

from __future__ import annotations

import contextlib
import html
import os
import select
import shutil
import sys
import termios
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from gears.errors import CommandFailed, Interrupted
from gears.system import files
from gears.system.commands import run
from gears.system.progress import Progress

BROWSER_S = 3.0


@dataclass(frozen=True, slots=True)
class Desk:
    """Output: `say` for progress, `show` for results. `again`: the command that the user ran, without options.

    `browser`: whether to open one.
    """

    say: Progress
    show: Progress
    again: str
    browser: bool = True


APPLE_SCRIPT = ("on run argv", 'display notification (item 1 of argv) with title "gears"', "end run")
"""The text is an argument, so that no part of it is run as a script."""


def has_terminal() -> bool:
    """Return whether standard input is a terminal."""
    return sys.stdin.isatty()


def is_private() -> bool:
    """Return whether standard output is a terminal, not a log."""
    return sys.stdout.isatty()


def can_ask() -> bool:
    """Return whether there is a terminal, and this command is in its foreground."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return False


def discard_input() -> None:
    """Discard pending input: a key pressed before a question does not answer it."""
    with contextlib.suppress(termios.error, OSError):
        if can_ask():
            termios.tcflush(sys.stdin, termios.TCIFLUSH)


def pressed_enter(timeout_s: float = 0.0) -> bool:
    """Return whether a line was entered; wait for it at most `timeout_s`. Raises Interrupted at Ctrl-D."""
    if not can_ask():
        time.sleep(timeout_s)
        return False
    if not select.select([sys.stdin], [], [], timeout_s)[0]:
        return False
    if not os.read(sys.stdin.fileno(), 1024):
        raise Interrupted("end of input: nobody can log in here")
    return True


def notify(text: str) -> None:
    """Show a desktop notification, if this desktop has them."""
    for argv in (
        ["notify-send", "--app-name=gears", "--", "gears", text],
        ["osascript", *(word for line in APPLE_SCRIPT for word in ("-e", line)), text],
    ):
        if shutil.which(argv[0]):
            with contextlib.suppress(CommandFailed):
                run(argv, timeout_s=5)
                return


def write_page(path: Path, address: str) -> None:
    """Write a page that redirects to `address`, for `open_browser`."""
    link = html.escape(address)
    head = f'<meta charset="utf-8"><meta http-equiv="refresh" content="0;url={link}"><title>JupyterLab</title>'
    files.write_private(path, f'<!doctype html>{head}<a href="{link}">JupyterLab</a>\n')


def open_browser(target: str) -> bool:
    """Open an address or a page in a browser. Return False if there is none with a window of its own.

    Some, started by $BROWSER, return only when they are closed: wait for BROWSER_S at most.
    """
    if sys.platform != "darwin" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        return False  # otherwise a text browser would take over this terminal
    import webbrowser

    opened = [True]

    def call() -> None:
        """Open the target, and save whether a browser was found. An error counts as found."""
        with contextlib.suppress(webbrowser.Error, OSError):
            opened[0] = webbrowser.open(target)

    browser = threading.Thread(target=call, daemon=True)
    browser.start()
    browser.join(BROWSER_S)
    return opened[0]
