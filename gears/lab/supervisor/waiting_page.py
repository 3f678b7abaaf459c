"""The waiting page: HTML for a browser, JSON for programs. What is up, what is tried, what failed, what to type.

It holds no secret, loads nothing from anywhere, and asks again by itself: the next answer may already be JupyterLab.
"""

from __future__ import annotations

import json
from typing import Any

from gears.lab.job.records import from_values
from gears.system.templates import render

RELOAD_S = 2
MARKS = {"up": "✓", "trying": "…", "waiting": "·", "failed": "✗"}
HEADINGS = {
    "needs-login": "a person has to log in",
    "failed": "this did not work",
    "unknown": "not reachable at the moment",
}


def as_json(status: dict[str, Any]) -> bytes:
    """Render the page for programs: a JSON object with the status under `gears`."""
    return json.dumps({"gears": status}).encode()


def as_html(status: dict[str, Any]) -> bytes:
    """Render the page for a browser. `status`: a Status as a record.

    What stands in parentheses at the end of its `next` is not to be typed. `again` in it: what opens the way from the
    laptop, if not the stanza's ssh.
    """
    command, _, note = (status["next"] or "").partition("   (")
    text = render(
        "waiting.html.j2",
        status=status,
        heading=_heading(status),
        marks=MARKS,
        command=command,
        note=note.removesuffix(")"),
        again=status.get("again", f"ssh {status['site']}-jupyter"),
        reload_s=RELOAD_S,
    )
    return text.encode()


def _heading(status: dict[str, Any]) -> str:
    job = from_values(status["job"])
    if status["state"] == "failed" and job and not job.live:
        return "the job is over"
    return HEADINGS.get(status["state"], f"{status['state']}…")
