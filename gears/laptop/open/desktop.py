"""The person's own screen: lines, the browser, a notification; and whether she is there to be asked.

The token stands in the address on her screen, and in a page of hers, 0600, that leads the browser there: a browser's
command line can be read by all users of a machine.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gears.errors import CommandFailed, Interrupted
from gears.system import files
from gears.system.commands import run

BROWSER_S = 3.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where words go: `say` progress, `show` what was asked for. `again`: the command that was typed, without options.

    `browser`: whether one is to be opened.
    """

    say: Say
    show: Say
    again: str
    browser: bool = True


APPLE_SCRIPT = ("on run argv", 'display notification (item 1 of argv) with title "gears"', "end run")
"""The words come as an argument: nothing of them is read as a script."""


def has_terminal() -> bool:
    """Tell whether standard input is a terminal."""
    return sys.stdin.isatty()


def is_private() -> bool:
    """Tell whether what is shown goes to a screen, and not into a log."""
    return sys.stdout.isatty()


def can_ask() -> bool:
    """Tell whether there is a terminal, and this command is in its foreground."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return False


def forget_typed() -> None:
    """Drop what was typed: whoever pressed a key before a question was asked has not answered it."""
    with contextlib.suppress(termios.error, OSError):
        if can_ask():
            termios.tcflush(sys.stdin, termios.TCIFLUSH)


def pressed_enter(timeout_s: float = 0.0) -> bool:
    """Tell whether a line was typed. Waits for it at most that long. Raises Interrupted at Ctrl-D."""
    if not can_ask():
        time.sleep(timeout_s)
        return False
    if not select.select([sys.stdin], [], [], timeout_s)[0]:
        return False
    if not os.read(sys.stdin.fileno(), 1024):
        raise Interrupted("nobody logs in here")
    return True


def notify(words: str) -> None:
    """Notify the person on the desktop, where there is one that takes notifications."""
    for argv in (
        ["notify-send", "--app-name=gears", "--", "gears", words],
        ["osascript", *(word for line in APPLE_SCRIPT for word in ("-e", line)), words],
    ):
        if shutil.which(argv[0]):
            with contextlib.suppress(CommandFailed):
                run(argv, timeout_s=5)
                return


def write_page(path: Path, address: str) -> None:
    """Write a page that leads to `address`, for `open_browser`."""
    there = html.escape(address)
    head = f'<meta charset="utf-8"><meta http-equiv="refresh" content="0;url={there}"><title>JupyterLab</title>'
    files.write_private(path, f'<!doctype html>{head}<a href="{there}">JupyterLab</a>\n')


def open_browser(target: str) -> bool:
    """Show an address, or a page. False where there is no browser with a window of its own.

    Some, called by $BROWSER, return only when they are closed, and are not waited for longer than BROWSER_S.
    """
    if sys.platform != "darwin" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        return False  # else a browser for terminals would take this one
    import webbrowser

    opened = [True]

    def call() -> None:
        """Open the target, and note whether a browser was found. An error counts as found."""
        with contextlib.suppress(webbrowser.Error, OSError):
            opened[0] = webbrowser.open(target)

    browser = threading.Thread(target=call, daemon=True)
    browser.start()
    browser.join(BROWSER_S)
    return opened[0]
