"""Output: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import sys


def show(text: str) -> None:
    """Print a result, with commands in a form that can be run here."""
    from gears.system.installation import with_gears_path

    print(with_gears_path(text))


def show_now(line: str) -> None:
    """Print one line of a result that continues, at once."""
    print(line, flush=True)


def show_part(text: str) -> None:
    """Print a part of another program's output unchanged."""
    print(text, end="", flush=True)


def say(text: str) -> None:
    """Print progress or an error on standard error."""
    from gears.system.installation import with_gears_path

    print(f"gears: {with_gears_path(text)}", file=sys.stderr, flush=True)
