"""What the four schedulers have in common once they have answered: times, refusals, their words in plain ones."""

from __future__ import annotations

import re
import time

from gears.errors import CommandFailed, SubmissionRefused

Plain = tuple[tuple[str, str], ...]
"""Pairs of a pattern for the whole of a scheduler's reason, and what a person understands; the first that fits."""


def utc(epoch: float) -> str:
    """Seconds since 1970 as ISO 8601, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def explain(words: str, table: Plain) -> str:
    """A scheduler's reason in plain words, with its own after them; just its own where the table has none."""
    plain = next((plain for pattern, plain in table if re.fullmatch(pattern, words, re.DOTALL)), "")
    return f"{plain} ({words})" if plain else words


def refused(failure: CommandFailed, account: str, queue: str) -> SubmissionRefused:
    """The refusal that `failure` is. `account`, `queue`: patterns for the words that lay the blame on one of them."""
    cure, words = None, failure.stderr.strip() or failure.message
    if re.search(account, words, re.IGNORECASE):
        cure = "gears lab SITE --job -A ACCOUNT   (or scheduler.account in the profile)"
    elif re.search(queue, words, re.IGNORECASE):
        cure = "gears lab SITE --job -p QUEUE   (or scheduler.queue in the profile)"
    return SubmissionRefused(words, stderr=failure.stderr, next=cure)


def quoted(path: object) -> str:
    """A path for a directive: in quotes where it would else be two words."""
    return f'"{path}"' if re.search(r"\s", str(path)) else str(path)
