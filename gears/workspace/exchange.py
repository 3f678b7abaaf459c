"""Push and pull: code by git, and the objects of DVC that the commit needs, proven at both ends.

A push sends the data first: nobody gets a commit whose data is nowhere. A pull fetches the code first, since that says
which data is needed. Both may be repeated, also after kill -9: what is whole is not copied again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gears.data import caches
from gears.data.object_copies import Copied, copy_objects
from gears.data.objects import ObjectStore
from gears.errors import CommandFailed, ContentsDiffer, GearsError, Incomplete, NotReachable, UsageError
from gears.workspace import ledger
from gears.workspace.dvc import other_keeper, uses_dvc
from gears.workspace.git import branch, in_terminal, try_git
from gears.workspace.here import Here
from gears.workspace.ledger import Shipment
from gears.workspace.remote import ensure_remote
from gears.workspace.tracked import Tracked

MOST_ROUNDS = 3
"""Lists of directories come first: then it is known which files are in them."""


@dataclass(slots=True)
class Moved:
    """What was done about the data. Paths are those of the workspace, sorted.

    `place`: the remote place, "" for none; `objects`: how many the commit needs; `copied`, `size`: those that were
    copied now; `missing`: nobody has them; `damaged`: objects that are not what they are called, by their paths.
    """

    place: str = ""
    objects: int = 0
    copied: int = 0
    size: int = 0
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A push or a pull. `commit`: HEAD afterwards; `remote`: git's; `code`: whether git did its part, or had to."""

    top: str
    branch: str
    commit: str
    remote: str
    code: bool
    data: Moved | None
    problem: GearsError | None = None


# --- push ------------------------------------------------------------------------------------


def push(here: Here, *, verify: bool = False) -> Exchanged:
    """Push data, then the branch and what is known of shipments. `verify`: the remote's objects are read again.

    Without all of the data, the branch is not pushed. Raises UsageError without a branch or a commit, and what
    `find_remote` and `copy_objects` raise; what differs or is missing is in the result, as its problem.
    """
    name = branch(here.top)
    if not name or not try_git(here.top, "rev-parse", "--verify", "--quiet", "HEAD"):
        raise UsageError(f"{here.top} is on no branch with a commit", next=f"git -C {here.top} switch -c NAME")
    data = push_data(here, verify=verify) if has_data(here) else None
    problem = problem_of(data, f"gears workspace pull {here.top} --verify; or: gears workspace run") if data else None
    if problem is None:
        problem = push_code(here.top, name)
    return _exchanged(here, data, problem, code=problem is None)


def has_data(here: Here) -> bool:
    """Tell whether DVC keeps data here; that of others is said."""
    if other := other_keeper(here.top):
        here.say(f"the data is kept by {other}, and left to it")
        return False
    return uses_dvc(here.top)


def push_data(here: Here, *, verify: bool) -> Moved:
    """Copy to the remote place what the commit needs and that has not. Raises what `push` raises."""
    from gears.workspace import shipping

    remote, cache = here.remote(), here.cache
    if remote is None and not here.found.remote:
        here.say(f"the data is only in the cache, {cache.root}: gears.toml names no remote place")
    far = [remote.store] if remote and remote.store else []
    tracked = here.tracked([cache, *far])
    moved = Moved(remote.place if remote else "", len(tracked.paths))
    shipments = ledger.load_all(here.top)
    held = {name for shipment in shipments for name in shipment.objects}
    lost = {name for name in tracked.paths if cache.size(name) is None}
    if remote and remote.store:
        ensure_remote(remote, here.found, here.site, here.host)
        wanted = [name for name in tracked.paths if name not in lost and is_wanted(name, cache, remote.store, verify)]
        note(moved, copy_objects(wanted, [cache], remote.store), tracked)
        held |= {name for name in lost if remote.store.size(name) is not None}
    elif remote:
        there = {name for one in shipments if one.is_at(here.site.name, remote.place) for name in one.objects}
        note(moved, shipping.ship([name for name in tracked.paths if name not in lost | there], here, remote), tracked)
    moved.missing = sorted({*moved.missing, *(tracked.paths[name] for name in lost - held)})
    if here.found.team and not cache.root.is_relative_to(here.top):
        with contextlib.suppress(OSError):  # it only helps to see what a purge takes
            caches.add_tracked(cache.root.with_name(caches.TRACKED), tracked.outs)
    return moved


def is_wanted(name: str, source: ObjectStore, target: ObjectStore, verify: bool) -> bool:
    """Tell whether an object is to be copied: the target has not got it, not all of it, or by `verify` another one."""
    size = target.size(name)
    return size is None or (source.size(name) or size) != size or (verify and not target.is_whole(name))


def note(moved: Moved, copied: Copied, tracked: Tracked) -> None:
    """Add the outcome of a copy."""
    moved.copied += copied.files
    moved.size += copied.size
    moved.damaged += sorted({f"{tracked.paths.get(name, name)}: {path}" for name, path in copied.damaged})
    moved.missing = sorted({*moved.missing, *(tracked.paths.get(name, name) for name in copied.missing)})


def problem_of(moved: Moved, to_repair: str) -> GearsError | None:
    """Return what is wrong with the data: objects that differ, or that are missing. Pure."""
    if moved.damaged:
        return ContentsDiffer(f"objects are not what they are called: {few(moved.damaged)}", next=to_repair)
    if moved.missing:
        return Incomplete(f"nobody is known to have: {few(moved.missing)}", next="gears workspace run")
    return None


def few(paths: Sequence[str], most: int = 5) -> str:
    """Write the first paths, and how many more there are. Pure."""
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(paths[:most]) + more


def push_code(top: Path, name: str) -> GearsError | None:
    """Push the branch to the one of its name, never by force. Returns why that failed."""
    remote = remote_of(top, name)
    if not remote:
        return GearsError(f"{top} has no remote repository", next=f"git -C {top} remote add origin URL")
    known = try_git(top, "config", f"branch.{name}.merge")
    words = ["push", "--quiet", *["--set-upstream"] * (not known), remote, f"HEAD:refs/heads/{name}", ledger.REFSPEC]
    if status := in_terminal(top, *words):
        said = f"git could not push {name} to {remote}; it says why above"
        return CommandFailed(said, status=status, next=f"gears workspace pull {top}; gears workspace push {top}")
    return None


def remote_of(top: Path, name: str) -> str:
    """Return the name of the remote repository of a branch, else that of the first; "" if there is none."""
    return try_git(top, "config", f"branch.{name}.remote") or try_git(top, "remote").partition("\n")[0]


# --- pull ------------------------------------------------------------------------------------


def pull(here: Here, *, verify: bool = False) -> Exchanged:
    """Fetch and fast-forward the branch, bring back missing objects, and link them. `verify`: all are read again.

    If git can't do its part, that is the problem of the result, and the data of the present commit is brought back.
    Raises what `copy_objects` raises.
    """
    failed = pull_code(here.top, branch(here.top))
    data = pull_data(here, verify=verify) if has_data(here) else None
    problem = check_out(here, data) if data else None
    return _exchanged(here, data, problem or failed, code=failed is None)


def pull_code(top: Path, name: str) -> GearsError | None:
    """Fetch, and move the branch forward where nothing has to be merged. Returns why that failed."""
    remote = remote_of(top, name)
    if not remote:
        return None
    usual = try_git(top, "config", "--get-all", f"remote.{remote}.fetch").splitlines()
    if status := in_terminal(top, "fetch", "--quiet", remote, *usual, f"+{ledger.REFSPEC}"):
        said = f"git could not fetch from {remote}; it says why above"
        return CommandFailed(said, status=status, next=f"git -C {top} ls-remote {remote}")
    if not name or not try_git(top, "rev-parse", "--verify", "--quiet", "@{upstream}"):
        return None
    if int(try_git(top, "rev-list", "--count", "HEAD..@{upstream}") or 0) == 0:
        return None
    if in_terminal(top, "merge", "--quiet", "--ff-only", "@{upstream}"):
        said = f"{name} could not be moved forward to that of {remote}"
        return GearsError(said, next=f"git -C {top} status; git -C {top} pull --no-rebase; gears workspace pull {top}")
    return None


def pull_data(here: Here, *, verify: bool) -> Moved:
    """Bring missing objects into the cache. Raises what `copy_objects` raises."""
    cache, silent = here.cache, None
    try:
        remote = here.remote()
    except NotReachable as exc:
        remote, silent = None, exc
    far = [remote.store] if remote and remote.store else []
    moved, shipments = Moved(remote.place if remote else ""), ledger.load_all(here.top)
    for _ in range(MOST_ROUNDS):
        tracked = here.tracked([cache, *far])
        moved.objects, moved.missing = len(tracked.paths), []
        wanted = [name for name in tracked.paths if cache.size(name) is None or (verify and not cache.is_whole(name))]
        bring(wanted, here, far, shipments, moved, tracked)
        verify = False
        if not any(cache.size(name) is not None for name in tracked.unlisted):
            break
    if silent and moved.missing:
        raise silent
    return moved


def bring(
    wanted: list[str],
    here: Here,
    far: Sequence[ObjectStore],
    shipments: Sequence[Shipment],
    moved: Moved,
    tracked: Tracked,
) -> None:
    """Bring objects into the cache, from the remote place, then from shipments."""
    from gears.workspace import shipping

    copied = copy_objects(wanted, far, here.cache)
    left, copied.missing = copied.missing, []
    note(moved, copied, tracked)
    if left:
        note(moved, shipping.fetch(left, here, shipments), tracked)


def check_out(here: Here, moved: Moved) -> GearsError | None:
    """Link the data into the clone; returns why that failed."""
    lost: tuple[str, ...] = ()
    try:
        if not moved.objects:
            return None
        if moved.missing:
            lost = here.dvc.check_out()
        else:
            here.dvc.link()
    except CommandFailed as exc:
        said = f"the data is in the cache, and could not be linked: {exc.message}"
        return GearsError(said, next=f"cd {here.top} && dvc status")
    moved.missing = sorted({*moved.missing, *lost})
    return problem_of(moved, "gears workspace push --verify, by who has them whole; or: gears workspace run")


def _exchanged(here: Here, data: Moved | None, problem: GearsError | None, *, code: bool) -> Exchanged:
    top, name = here.top, branch(here.top)
    commit = try_git(top, "rev-parse", "HEAD")
    return Exchanged(str(top), name, commit, remote_of(top, name), code, data, problem)
