"""Bring back what a directory has lost, from the copies that transfers have made of it, or have made it from.

The newest verified copy is used, else the newest one; an older one only for what that could not give: it may have
files that were removed on purpose since. What is there under a name stays as it is, whatever it is.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from gears.data import manifest, records
from gears.data.copies import End, ends, is_seen, place_name, relation
from gears.data.due import command_there
from gears.data.entries import COPIED, Entry, Type
from gears.data.places import declared
from gears.data.records import Method, Transfer
from gears.data.stores import open_store
from gears.data.tally import MOST_NAMED, Tally
from gears.data.tree import Tree
from gears.errors import BrokenSeal, ContentsDiffer, NotReachable, UsageError
from gears.sites.paths import RunDir
from gears.sites.profile import Site
from gears.system import files
from gears.system.host import Host

OnProgress = Callable[[Tally], None]


@dataclass(frozen=True, slots=True)
class Here:
    """A site with its records, as seen from a host."""

    site: Site
    paths: RunDir
    host: Host


@dataclass(frozen=True, slots=True)
class Source:
    """A copy of a directory, or of a part of it.

    `here`: the end of the transfer that has lost something; `part`: what of it is wanted, "" for all; `copy`: the other
    end. `sealed`: when the manifest was, in seconds since 1970.
    """

    transfer: Transfer
    verified: bool
    record: Path
    here: Path
    part: bytes
    copy: End
    sealed: float

    @property
    def area(self) -> str:
        """Return the directory that can be brought back."""
        return os.path.join(os.path.realpath(self.here), os.fsdecode(self.part)).rstrip("/")


@dataclass(slots=True)
class Restored:
    """What was done from one copy. `tally`: what was brought back, and what could not be.

    `different`: what is there, but is not what was copied, and was left alone; `never_held`: what is missing, and that
    the copy never had, with the reason. Of both the first MOST_NAMED are named.
    """

    source: Source
    lost: int = 0
    tally: Tally = field(default_factory=Tally)
    different: int = 0
    named_different: list[bytes] = field(default_factory=list)
    never_held: int = 0
    named_never_held: list[tuple[bytes, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing any more that the copy should have had."""
        return self.tally.complete and not self.never_held

    def left_alone(self, entry: Entry) -> None:
        """Count what is there and different."""
        self.different += 1
        if len(self.named_different) < MOST_NAMED:
            self.named_different.append(entry.path)

    def without_copy(self, entry: Entry) -> None:
        """Count what is missing and could not be copied then."""
        self.never_held += 1
        if len(self.named_never_held) < MOST_NAMED:
            self.named_never_held.append((entry.path, entry.problem or ""))


def find_sources(directory: Path, at: Here, name: str = "") -> list[Source]:
    """Return the copies of a directory, of what is above it, and of what is in it: the one to use first is first.

    `name`: of the only transfer to use. Raises UsageError if there is none.
    """
    found = [one for transfer in records.all_transfers(at.paths) for one in _sources(transfer, directory, at.paths)]
    chosen = [one for one in found if name in ("", one.transfer.name)]
    if not chosen:
        known = ", ".join(dict.fromkeys(one.transfer.name for one in found))
        what = f"; those that hold it: {known}" if known else ""
        said = f"the transfer {name} does not hold {directory}" if name else f"no transfer holds {directory}"
        raise UsageError(f"{said}{what}", next=f"gears data list --site {at.site.name}")
    return sorted(chosen, key=lambda one: (not one.verified, -one.sealed))


def _sources(transfer: Transfer, directory: Path, paths: RunDir) -> Iterator[Source]:
    record, task = records.manifest_path(paths, transfer.name), records.load_task(paths, transfer.name)
    if not record.exists():
        return
    source, target = ends(transfer)
    for here, copy in ((source, target), (target, source)):
        if here.is_tree and (where := relation(str(directory), here.path)):
            verified = bool(task and task.verified)
            yield Source(transfer, verified, record, Path(here.path), where[1], copy, record.stat().st_mtime)


def restore(
    directory: Path,
    at: Here,
    *,
    name: str = "",
    jobs: int = 1,
    on_progress: OnProgress = lambda _tally: None,
) -> list[Restored]:
    """Bring back what `directory` has lost, and return what was done, by copy. Repeatable.

    Raises UsageError if no transfer holds it, NotReachable if the copy to use can't be reached from this host: an older
    one is not used in its place unless `name` says so; and what `engine.restore` raises.
    """
    sources, results = find_sources(directory, at, name), list[Restored]()
    for source in sources:
        before = [one for one in results if _is_in(source.area, one.source.area)]
        if before and all(one.tally.complete for one in before):
            continue
        only = {_absolute(one.source, path) for one in before for path, _ in one.tally.named} if before else None
        check_reachable(source, at)
        results.append(_restore_from(source, at, only, jobs, on_progress))
        for one in before:
            _forget_solved(one)
    return results


def _forget_solved(one: Restored) -> None:
    """Forget problems with files that another copy has given."""
    left = [(path, reason) for path, reason in one.tally.named if not os.path.lexists(_absolute(one.source, path))]
    solved = len(one.tally.named) - len(left)
    one.tally = replace(one.tally, problems=one.tally.problems - solved, named=left)


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


def _absolute(source: Source, path: bytes) -> bytes:
    return os.path.join(os.fsencode(os.path.realpath(source.here)), path)


def check_reachable(source: Source, at: Here) -> None:
    """Raise NotReachable if a copy can't be read from this host."""
    copy, site, host = source.copy, at.site, at.host
    place = place_name(copy, site, host)
    if place and declared(site)[place].kind != "posix":
        return  # its program says so
    if (is_seen(place, site, host) if place else True) and os.path.isdir(copy.path):
        return
    words = ["restore", source.area, "--from", source.transfer.name]
    again = f"on {source.transfer.host}: gears data {shlex.join([*words, '--site', site.name])}"
    again = command_there(site, declared(site)[place], words) if place else again
    raise NotReachable(f"{copy.address}, the newest copy of it, can't be seen on {host.hostname}", next=again)


def _restore_from(source: Source, at: Here, only: set[bytes] | None, jobs: int, on_progress: OnProgress) -> Restored:
    """Restore a part of a tree: by a manifest of that part, in a directory that is removed afterwards."""
    state, result = at.paths.transfer(source.transfer.name) / "restore", Restored(source)
    manifest.check(source.record)
    with files.locked(state.with_name("restore.lock"), timeout_s=1.0):
        shutil.rmtree(state, ignore_errors=True)
        files.ensure_private(state)
        try:
            write_part(source, state / "manifest", only, result)
            if result.lost:
                result.tally = _bring_back(source, at.site, state, jobs, on_progress)
        finally:
            shutil.rmtree(state, ignore_errors=True)
    return result


def _bring_back(source: Source, site: Site, state: Path, jobs: int, on_progress: OnProgress) -> Tally:
    if source.transfer.method is not Method.BUNDLES:
        from gears.data import engine

        return engine.restore(
            state / "manifest", Path(source.copy.path), source.here, jobs=jobs, on_progress=on_progress
        )
    from gears.data import bundles

    place = declared(site).get(source.copy.address.partition(":")[0])
    store, tally = open_store(place.kind if place else "posix", source.copy.path), Tally()
    try:
        tally = bundles.restore(store, state, source.here, jobs=jobs, on_progress=on_progress)
    except BrokenSeal:
        raise
    except ContentsDiffer as exc:  # what is damaged was not brought back; all else was
        _count_missing(source, state / "manifest", exc.message, tally)
    return tally


def _count_missing(source: Source, part: Path, reason: str, tally: Tally) -> None:
    """Count what of a part is still missing."""
    with Tree(source.here) as tree:
        for entry in manifest.read(part):
            try:
                tree.lstat(entry.path)
            except OSError:
                if entry.held:
                    tally.fail(entry.path, reason)


# --- the part of a manifest --------------------------------------------------------------------


def write_part(source: Source, path: Path, only: set[bytes] | None, result: Restored) -> None:
    """Write a sealed manifest of the wanted part, with the directories above it; count in `result` what is lost.

    `only`: absolute paths, if no others are wanted. Of a get only what it was asked for.
    """
    from gears.data.bundles.selection import Selection

    header = manifest.read_header(source.record)
    assert header is not None  # the manifest was checked
    selection, above = Selection(source.transfer.patterns), list[Entry]()
    with manifest.Writer(path, header) as writer, Tree(source.here) as tree:
        for entry in manifest.read(source.record):
            while above and not _is_below(entry.path, above[-1].path):
                above.pop()
            if not (selection.takes(entry) and _is_wanted(entry, source, only)):
                above += [entry] if entry.type is Type.DIRECTORY else []
                continue
            for directory in above:
                writer.add(directory)
            above.clear()
            writer.add(entry if _has_first(entry, source, only) else replace(entry, same_as=None))
            _compare(entry, tree, result)
        writer.seal()


def _is_below(path: bytes, directory: bytes) -> bool:
    return directory == b"." or path.startswith(directory + b"/")


def _is_wanted(entry: Entry, source: Source, only: set[bytes] | None) -> bool:
    inside = not source.part or entry.path == source.part or entry.path.startswith(source.part + b"/")
    return inside and (only is None or _absolute(source, entry.path) in only)


def _has_first(entry: Entry, source: Source, only: set[bytes] | None) -> bool:
    """Tell whether the file that a hard link is made to is in the part as well."""
    return entry.same_as is None or _is_wanted(replace(entry, path=entry.same_as), source, only)


def _compare(entry: Entry, tree: Tree, result: Restored) -> None:
    """Count an entry of the part as lost, or as different from what is there."""
    try:
        info = tree.lstat(entry.path)
    except (FileNotFoundError, NotADirectoryError):
        if entry.held:
            result.lost += 1
        elif entry.type in COPIED:  # a FIFO, a socket, a device has no data
            result.without_copy(entry)
        return
    except OSError:
        result.lost += 1  # the engine says why that is not known
        return
    if entry.type is Type.FILE and entry.held and (info.st_size, info.st_mtime_ns) != (entry.size, entry.mtime_ns):
        result.left_alone(entry)
