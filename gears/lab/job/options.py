"""What a person asks of a job on the command line, laid over the profile. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gears.errors import UsageError
from gears.sites.profile import CHECKS, Scheduler, Site

OPTIONS = {
    "account": "-A",
    "nodes": "-N",
    "walltime": "-t",
    "queue": "-p",
    "renew": "--renew",
    "reach": "--reach",
    "directives": "--directive",
}
"""Each key of [scheduler] that the command line may set, and the option that does."""


def with_request(site: Site, request: Mapping[str, Any]) -> Site:
    """Return the site with the keys of `request` in its scheduler; what is None there is as the profile has it.

    Directives are added to the profile's. Raises UsageError where the profile has no scheduler, or a value can't be
    one.
    """
    scheduler = check_scheduler(site)
    given = {key: value for key, value in request.items() if value is not None}
    for key, value in given.items():
        try:
            given[key] = CHECKS[f"scheduler.{key}"](value)
        except ValueError as exc:
            raise UsageError(f"{OPTIONS[key]}: {exc}", next=f"gears lab {site.name} --help") from exc
    given["directives"] = (*scheduler.directives, *given.get("directives", ()))
    return replace(site, scheduler=replace(scheduler, **given))


def check_scheduler(site: Site) -> Scheduler:
    """Return the site's scheduler. Raises UsageError where it has none."""
    if site.scheduler is None:
        fix = f"gears sites show {site.name}   (then add [scheduler] with kind = … to ~/.config/gears/sites/{site.name}.toml)"
        raise UsageError(f"{site.name} has no batch scheduler in its profile", next=fix)
    return site.scheduler
