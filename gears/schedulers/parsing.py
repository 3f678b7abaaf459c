"""Shared by the scheduler modules: submission, failed queries, and explanations of schedulers' messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gears.errors import CommandFailed, CommandTimeout, MissingProgram, SubmissionRefused
from gears.schedulers.base import SUBMIT_S, Job, JobState
from gears.schedulers.environment import run

Explanations = tuple[tuple[str, str], ...]
"""Pairs of a pattern for a scheduler's whole message, and its meaning. The first match counts."""

_NO_MESSAGE = r": exit -?\d+$"
"""The message of `commands.run` for a program that failed without output."""


def run_submission(
    argv: Sequence[str],
    blame: Mapping[str, str],
    *,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
) -> str:
    """Run a submission command and return its output.

    `blame`: patterns for its error message. If that matches `scheduler`, or is empty, the request failed: raises
    CommandFailed. Otherwise the job was rejected: raises SubmissionRefused, with a fix if the message matches `account`
    or `queue`. Raises CommandTimeout after SUBMIT_S, MissingProgram.
    """
    try:
        return run(argv, timeout_s=SUBMIT_S, env=env, input=input)
    except CommandTimeout:
        raise
    except CommandFailed as failure:
        if re.search(f"{blame['scheduler']}|{_NO_MESSAGE}", failure.message, re.IGNORECASE):
            raise
        message = failure.stderr.strip() or failure.message
        raise SubmissionRefused(message, stderr=failure.stderr, next=_fix(message, blame)) from failure


def _fix(message: str, blame: Mapping[str, str]) -> str | None:
    if re.search(blame["account"], message, re.IGNORECASE):
        return "gears lab SITE --job -A ACCOUNT   (or scheduler.account in the profile)"
    if re.search(blame["queue"], message, re.IGNORECASE):
        return "gears lab SITE --job -p QUEUE   (or scheduler.queue in the profile)"
    return None


def failed_query(job: str, failure: CommandFailed | MissingProgram, gone: str) -> Job:
    """Return the job after a failed query: GONE if the message matches the pattern `gone`, else UNKNOWN."""
    if re.search(gone, failure.message):
        return Job(job, JobState.GONE)
    return Job(job, JobState.UNKNOWN, reason=failure.message)


def explain(message: str, table: Explanations) -> str:
    """Return the meaning of a scheduler's message, with the message in parentheses; if unknown, the message."""
    meaning = next((meaning for pattern, meaning in table if re.fullmatch(pattern, message, re.DOTALL)), "")
    return f"{meaning} ({message})" if meaning and message else meaning or message
