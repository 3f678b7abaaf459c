"""Options for a job on the command line, merged with the profile. Pure."""

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
"""Keys of [scheduler] that the command line can set, with their options."""


def with_request(site: Site, request: Mapping[str, Any]) -> Site:
    """Return the site with the keys of `request` in its scheduler; None leaves the profile's value.

    Directives are added to the profile's. Raises UsageError where the profile has no scheduler, or a value is invalid.
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
        profile = f"~/.config/gears/sites/{site.name}.toml"
        fix = f"gears sites show {site.name}   (then add [scheduler] with kind = … to {profile})"
        raise UsageError(f"{site.name} has no batch scheduler in its profile", next=fix)
    return site.scheduler
