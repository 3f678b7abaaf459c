"""What the four schedulers' files have in common: asking, refusals, times, a scheduler's words in plain ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gears.errors import CommandFailed, CommandTimeout, MissingProgram, SubmissionRefused
from gears.schedulers.base import SUBMIT_S, Job, JobState
from gears.schedulers.environment import run

Plain = tuple[tuple[str, str], ...]
"""Pairs of a pattern for the whole of a scheduler's reason, and what a person understands; the first that fits."""

_SAID_NOTHING = r": exit -?\d+$"
"""What `commands.run` says of a program that failed without a word."""


def run_submission(
    argv: Sequence[str],
    blame: Mapping[str, str],
    *,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
) -> str:
    """Run a submitting program and return what it prints.

    `blame` has patterns for its words. Where they match `scheduler`, or it failed without a word, it could not be
    asked: raises CommandFailed. Else it refused the job: raises SubmissionRefused, with the fix where the words lay
    the blame on `account` or `queue`. Raises CommandTimeout after SUBMIT_S, MissingProgram.
    """
    try:
        return run(argv, timeout_s=SUBMIT_S, env=env, input=input)
    except CommandTimeout:
        raise
    except CommandFailed as failure:
        if re.search(f"{blame['scheduler']}|{_SAID_NOTHING}", failure.message, re.IGNORECASE):
            raise
        words = failure.stderr.strip() or failure.message
        raise SubmissionRefused(words, stderr=failure.stderr, next=_cure(words, blame)) from failure


def _cure(words: str, blame: Mapping[str, str]) -> str | None:
    if re.search(blame["account"], words, re.IGNORECASE):
        return "gears lab SITE --job -A ACCOUNT   (or scheduler.account in the profile)"
    if re.search(blame["queue"], words, re.IGNORECASE):
        return "gears lab SITE --job -p QUEUE   (or scheduler.queue in the profile)"
    return None


def failed_query(job: str, failure: CommandFailed | MissingProgram, gone: str) -> Job:
    """Return the job after a query that failed: GONE where the words match the pattern `gone`, else UNKNOWN."""
    if re.search(gone, failure.message):
        return Job(job, JobState.GONE)
    return Job(job, JobState.UNKNOWN, reason=failure.message)


def explain(words: str, table: Plain) -> str:
    """Return a scheduler's reason in plain words, with its own after them; just its own where the table has none."""
    plain = next((plain for pattern, plain in table if re.fullmatch(pattern, words, re.DOTALL)), "")
    return f"{plain} ({words})" if plain and words else plain or words
