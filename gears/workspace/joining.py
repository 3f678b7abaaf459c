"""A colleague's clone of a workspace, with its environment, its hooks and the team's data."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from gears.errors import CommandFailed, GearsError, UsageError
from gears.sites.profile import Site
from gears.system import commands
from gears.system.host import Host
from gears.workspace import settings
from gears.workspace.dvc import find_dvc, other_keeper, uses_dvc
from gears.workspace.git import branch, git, of_another_user, try_git
from gears.workspace.settings import Settings
from gears.workspace.setup import Say, set_up

SPECIFICATION = "requirements.txt"


@dataclass(frozen=True, slots=True)
class Joined:
    """A clone that is set up. `missing`: what could not be done; each was said with its next command."""

    top: Path
    environment: str
    missing: tuple[str, ...]


def join(url: str, directory: Path | None, site: Site, host: Host, say: Say, *, environment: bool) -> Joined:
    """Clone a workspace, unless the clone is there, and set it up. May be repeated: what is done is kept.

    A `url` that is a clone already, without `directory`, is set up where it is. `environment`: create that too, which
    takes minutes. Raises UsageError, CommandFailed if there is no clone afterwards.
    """
    top = ensure_clone(url, directory)
    found = settings.load(top)
    if not (top / settings.FILE).is_file():
        say(f"{top} has no {settings.FILE}: no environment and no place of a team are known")
    missing = []
    if environment and found.environment and (top / SPECIFICATION).is_file():
        missing += ["environment"] * (not ensure_environment(top, found, site, say))
    set_up(top, found, site, host, say)
    missing += ["data"] * (not ensure_data(top, found, say))
    return Joined(top, found.environment, tuple(missing))


def ensure_clone(url: str, directory: Path | None) -> Path:
    """Return the clone of `url`; make it if it is not there. Until it is complete, its path does not exist."""
    if directory is None and (Path(url).expanduser() / settings.FILE).is_file():
        return Path(git(Path(url).expanduser(), "rev-parse", "--show-toplevel"))
    target = (directory or Path(name_of(url))).expanduser().absolute()
    if (target / ".git").exists():
        check_same(target, url)
    elif os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists, and is no clone", next=f"gears workspace join {url} DIR")
    else:
        clone(url, target)
    return target


def name_of(url: str) -> str:
    """Return the directory that git would make for a URL. Pure. Raises UsageError."""
    name = re.split(r"[/:]", url.rstrip("/").removesuffix("/.git"))[-1].removesuffix(".git")
    if not name.strip("."):
        raise UsageError(f"{url!r} gives no name for a directory", next="gears workspace join URL DIR")
    return name


def check_same(target: Path, url: str) -> None:
    """Raise UsageError if the clone is one of another repository."""
    origin = try_git(target, "config", "remote.origin.url")
    if origin not in (url, str(Path(url).expanduser().absolute())):
        raise UsageError(
            f"{target} is a clone of {origin or 'nothing'}, not of {url}", next=f"gears workspace join {url} DIR"
        )


def clone(url: str, target: Path) -> None:
    """Clone into a directory beside the target, then rename that. git may ask for a password in the terminal."""
    source = Path(url).expanduser()
    if source.is_dir():
        check_trusted(source)
        url = str(source.absolute())
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f".{target.name}.new-{os.getpid()}"
    try:
        status = commands.run_in_terminal(["git", "clone", "--quiet", "--", url, str(draft)], timeout_s=None)
        if status:
            raise CommandFailed(f"git could not clone {url}", status=status, next=f"git ls-remote {url}")
        check_filled(draft, url)
        os.rename(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_filled(draft: Path, url: str) -> None:
    """Raise UsageError if the repository is empty, or its HEAD is a branch that nobody has pushed."""
    if not try_git(draft, "rev-parse", "--verify", "--quiet", "HEAD"):
        said = f"{url} has nothing on {branch(draft) or 'its main branch'}, which its HEAD names"
        raise UsageError(said, next=f"git --git-dir={url} symbolic-ref HEAD refs/heads/main   (if main was pushed)")


def check_trusted(source: Path) -> None:
    """Raise UsageError if git refuses a repository on this host, since another user owns it."""
    try:
        git(source, "rev-parse", "--git-dir")
    except CommandFailed as exc:
        if "dubious ownership" in exc.stderr:
            raise of_another_user(source.absolute()) from exc
        raise UsageError(f"{source} is no git repository", next=f"ls -la {source}") from exc


def ensure_environment(top: Path, found: Settings, site: Site, say: Say) -> bool:
    """Create the workspace's environment and kernel if there are none. Failures are said, and return False."""
    from gears.envs import lifecycle
    from gears.envs.spec import read_spec

    try:
        lifecycle.create(lifecycle.Request(found.environment, read_spec(str(top / SPECIFICATION), [])), site, say)
    except GearsError as exc:
        say(f"there is no environment {found.environment}: {exc}")
        return False
    return True


def ensure_data(top: Path, found: Settings, say: Say) -> bool:
    """Link the committed data from the cache. What the cache has lost is said, and returns False."""
    if other_keeper(top) or not uses_dvc(top) or not git(top, "ls-files", "dvc.lock", "**/dvc.lock", "*.dvc"):
        return True
    try:
        lost = find_dvc(top, found).check_out()
    except GearsError as exc:
        say(str(exc))
        return False
    if lost:
        say(f"not in the cache: {', '.join(lost)}\n  next: gears workspace pull {top}   (or: gears workspace run)")
    return not lost
