"""What is done once in each clone of a workspace: git's hooks, and the team's cache of DVC. Idempotent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gears.data.objects import CACHE as CACHE_NAME
from gears.data.objects import IN_PLACE, ObjectStore
from gears.errors import GearsError, MissingProgram
from gears.sites.profile import Place, Site
from gears.system.host import Host
from gears.system.installation import this_gears
from gears.workspace.dvc import CACHE, INDEXES, Dvc, find_dvc, other_keeper, uses_dvc
from gears.workspace.git import git
from gears.workspace.settings import Settings

Say = Callable[[str], None]

HOOKS = "hooks"


def set_up(top: Path, settings: Settings, site: Site, host: Host, say: Say) -> None:
    """Set up a clone. What can't be done, since a program or a place is missing, is said with the next command."""
    git(top, "config", "gears.command", this_gears())  # for the Makefile and jobs, which have no path
    if (top / HOOKS / "pre-commit").is_file():
        git(top, "config", "core.hooksPath", HOOKS)
    if other := other_keeper(top):
        say(f"{top}: its data is kept by {other}, which is left as it is")
    elif uses_dvc(top):
        try:
            set_up_dvc(find_dvc(top, settings), settings, site, host, say)
        except MissingProgram as exc:
            say(str(exc))


def ensure_dvc(dvc: Dvc, settings: Settings, site: Site, host: Host, say: Say) -> None:
    """Set up a clone to which DVC came later, or which is set up for what is gone, such as a place that has moved."""
    later = settings.team and not dvc.get_local(INDEXES)
    if later or not all(path.is_dir() for path in dvc.local_directories()):
        set_up_dvc(dvc, settings, site, host, say)


def set_up_dvc(dvc: Dvc, settings: Settings, site: Site, host: Host, say: Say) -> None:
    """Write the clone's own configuration of DVC: its cache, and then the directory of its indexes."""
    if settings.team:
        try:
            use_team_cache(dvc, settings, site, host, say)
        except (GearsError, OSError) as exc:
            say(f"the team's cache is not used, and data stays in this clone: {exc}")
    indexes = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gears" / "dvc"
    indexes.mkdir(mode=0o700, parents=True, exist_ok=True)
    dvc.set_local(INDEXES, str(indexes))


def use_team_cache(dvc: Dvc, settings: Settings, site: Site, host: Host, say: Say) -> None:
    """Let the clone use the cache in the team's place. What it has in its own goes there first, and stays as well.

    Raises GearsError, OSError if the place is not there, not writable, or full.
    """
    from gears.data.object_copies import copy_objects

    cache = team_directory(settings, site, host) / CACHE_NAME
    ensure_shared(cache, site.filesystem[settings.team], place_path(settings.team, settings, site, host))
    own = ObjectStore(dvc.top / ".dvc" / "cache")
    if not dvc.get_local(CACHE) and (names := own.names()):
        copied = copy_objects(names, [own], ObjectStore(cache))
        say(f"copied to the team's cache: {copied.files} object{'s' * (copied.files != 1)}")
        for name, path in copied.damaged:
            say(f"{name} is not what it is called, and stays: {path}")
    dvc.set_local(CACHE, str(cache))


def place_path(name: str, settings: Settings, site: Site, host: Host, *, look: bool = True) -> Path:
    """Return the path of a place on this host. Raises GearsError if this site has none, or it is not there (`look`)."""
    to_see = f"gears data places {site.name}"
    place = site.filesystem.get(name)
    if place is None or not place.path or place.kind != "posix":
        raise GearsError(f"{site.name} has no directory as place {name!r}", next=to_see)
    filled = place.filled(place.path, user=site.front.user or host.user, project=site.project or settings.project)
    if not filled:
        raise GearsError(f"the place {name} of {site.name} needs a project", next="set it in gears.toml")
    path = Path(filled).expanduser()
    if look and not path.is_dir():
        raise GearsError(f"the place {name} is not on this host: {path}", next=to_see)
    return path


def team_directory(settings: Settings, site: Site, host: Host) -> Path:
    """Return where the team keeps what is not in git: PLACE/workspaces/NAME. Raises what `place_path` raises."""
    return place_path(settings.team, settings, site, host) / IN_PLACE / settings.name


def ensure_shared(directory: Path, place: Place, top: Path) -> None:
    """Create a directory below a place, for the place's group whatever the umask. Raises GearsError, OSError."""
    from gears.data.sharing import share

    if place.shared == "no":
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    else:
        share(directory / "any", top, place.shared)
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise GearsError(f"{directory} is not writable for you", next=f"ls -ld {directory}; id")
