"""The waiting page: HTML for a browser, JSON for programs. What is up, what is tried, what failed, what to run.

It contains no secret, loads nothing from other hosts, and refreshes itself until JupyterLab answers.
"""

from __future__ import annotations

import json

from gears.lab.status.model import Page, State, StepState
from gears.system.templates import render

RELOAD_S = 2
MARKS = {StepState.UP: "✓", StepState.TRYING: "…", StepState.WAITING: "·", StepState.FAILED: "✗"}
HEADINGS = {
    State.NEEDS_LOGIN: "login required",
    State.FAILED: "failed",
    State.UNKNOWN: "not reachable at the moment",
}


def as_json(page: Page) -> bytes:
    """Render the page for programs: a JSON object with the page under `gears`."""
    return json.dumps({"gears": page.as_values()}).encode()


def as_html(page: Page) -> bytes:
    """Render the page for a browser. Text in parentheses at the end of its `next` is a note, not a command."""
    command, _, note = (page.next or "").partition("   (")
    text = render(
        "waiting.html.j2",
        status=page,
        heading=_heading(page),
        marks=MARKS,
        command=command,
        note=note.removesuffix(")"),
        again=page.again or f"ssh {page.site}-jupyter",
        reload_s=RELOAD_S,
    )
    return text.encode()


def _heading(page: Page) -> str:
    if page.state == State.FAILED and page.job and not page.job.live:
        return "the job has ended"
    return HEADINGS.get(page.state, f"{page.state}…")
