"""Content of the page at the laptop's port while there is no connection. Pure."""

from __future__ import annotations

from gears.lab.status.model import Page, State, Step, StepState
from gears.sites.route import Route


def plan_page(route: Route, state: State, reason: str | None, again: str) -> Page:
    """Describe the one connection that can be seen from the laptop.

    `state`: connecting, needs-login or failed.
    """
    waits = state != State.CONNECTING
    return Page(
        site=route.site.name,
        title=route.site.title,
        route=route.kind,
        host=route.here,
        state=state,
        reason=reason,
        next=f"Enter   (in the terminal in which `{again}` runs)" if waits else None,
        steps=(
            Step(f"connection {route.here} → {route.front}", StepState.FAILED if waits else StepState.TRYING),
            Step(f"JupyterLab on {route.lab}", StepState.WAITING),
        ),
        again=again,
    )
