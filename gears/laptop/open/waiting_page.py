"""Content of the page at the laptop's port while there is no connection. Pure."""

from __future__ import annotations

from typing import Any

from gears.sites.route import Route


def status(route: Route, state: str, reason: str | None, again: str) -> dict[str, Any]:
    """Make a status, as `gears.lab.status.status` does, of the one connection that is seen from here.

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
