"""What is printed: answers on standard output, progress and complaints on standard error."""

from __future__ import annotations

import sys


def show(words: str) -> None:
    """Print an answer, in which commands are as they can be typed here."""
    from gears.system.installation import with_gears_path

    print(with_gears_path(words))


def show_now(line: str) -> None:
    """Print a line of an answer that goes on."""
    print(line, flush=True)


def show_part(text: str) -> None:
    """Print a part of another program's output, as it is."""
    print(text, end="", flush=True)


def say(words: str) -> None:
    """Print progress and complaints: what is no answer goes to standard error."""
    from gears.system.installation import with_gears_path

    print(f"gears: {with_gears_path(words)}", file=sys.stderr, flush=True)
