"""Content of the page at the laptop's port while there is no connection. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gears.sites.route import Route
from gears.system.records import parse


@dataclass(frozen=True, slots=True)
class Page:
    """What the front's waiting page says about the connection behind it: a state of `gears status`, and why."""

    state: str = "unknown"
    reason: str | None = None


def read_page(content: dict[str, Any]) -> Page:
    """Parse the JSON with which a waiting page answers."""
    return parse(Page, content.get("gears")) or Page()


def status(route: Route, state: str, reason: str | None, again: str) -> dict[str, Any]:
    """Return a status, as `gears.lab.status.status` does, of the one connection that is visible from here.

    `state`: connecting, needs-login or failed.
    """
    waits = state != "connecting"
    steps = [
        {"what": f"connection {route.here} → {route.front}", "state": "failed" if waits else "trying"},
        {"what": f"JupyterLab on {route.lab}", "state": "waiting"},
    ]
    return {
        "site": route.site.name,
        "title": route.site.title,
        "route": route.kind,
        "host": route.here,
        "state": state,
        "reason": reason,
        "next": f"Enter   (in the terminal in which `{again}` runs)" if waits else None,
        "job": None,
        "steps": steps,
        "again": again,
    }
