"""Copies of objects from stores into another one (`objects`).

An object gets its name after its bytes were written to the disk, read from there again and found to have its MD5. So
whatever ends a copy, a name stands for the whole object, and the same copy again does what is left. Several copies may
run at once: each writes in a directory of its own, and any of them may give the object its name.

What is made has the modes and the group of the store's own directory, whatever the umask of its maker.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gears.data.objects import CHUNK_BYTES, LAYOUT, LIST, ObjectStore, digest_of, md5_of, new_md5
from gears.errors import Incomplete, NotReachable
from gears.system.processes import LocatedProcess, start_time, this_located_process

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

READ_ONLY = 0o444
"""Of objects, as DVC makes them. Who is to read them is up to the store's directories."""

DRAFTS = ".gears-part-"
ABANDONED_S = 7 * 86_400.0
"""When the drafts of a process are removed that this host can't ask for."""

BATCH_OBJECTS, BATCH_BYTES = 256, 1 << 30
MOST_JOBS = 8


@dataclass(slots=True)
class Copied:
    """What came of a copy. `damaged`: objects of a source that are not what they are called, with their paths.

    `missing`: the names that no source could give.
    """

    files: int = 0
    size: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Draft:
    """An object on its way. `path`: None if no source has it."""

    name: str
    path: Path | None = None
    size: int = 0
    damaged: list[str] = field(default_factory=list)


def copy_objects(
    names: Collection[str],
    sources: Sequence[ObjectStore],
    target: ObjectStore,
    *,
    on_progress: Callable[[Copied], None] = lambda _copied: None,
) -> Copied:
    """Copy objects into a store, each from the first source that has it whole. What is there is replaced.

    Lists come last: where one is, its files are. Raises Incomplete if there is no room, NotReachable if the target
    can't be written.
    """
    from concurrent.futures import ThreadPoolExecutor

    copied = Copied()
    if not names:
        return copied
    try:
        with _drafts(target.root) as directory, ThreadPoolExecutor(_jobs()) as threads:
            for batch in _batches(sorted(names, key=lambda name: (name.endswith(LIST), name)), sources):
                _copy_batch(batch, sources, target, directory, threads, copied)
                on_progress(copied)
    except OSError as exc:
        raise _translated(exc, target.root) from exc
    return copied


def _jobs() -> int:
    return max(2, min(MOST_JOBS, len(os.sched_getaffinity(0))))


def _translated(exc: OSError, root: Path) -> Incomplete | NotReachable:
    from gears.data.contents import is_full

    if is_full(exc):
        return Incomplete(f"{root}: {exc.strerror}; what was copied is kept", next=f"df -h {root}")
    path = exc.filename2 or exc.filename or root
    return NotReachable(f"{path}: {exc.strerror}", next=f"ls -ld {path}; id")


def _batches(names: Iterable[str], sources: Sequence[ObjectStore]) -> Iterator[list[str]]:
    """Group objects, lists apart from files."""
    batch, size = list[str](), 0
    for name in names:
        first_list = bool(batch) and name.endswith(LIST) and not batch[-1].endswith(LIST)
        if first_list or len(batch) >= BATCH_OBJECTS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += next((found for source in sources if (found := source.size(name))), 0)
    if batch:
        yield batch


def _copy_batch(
    batch: list[str],
    sources: Sequence[ObjectStore],
    target: ObjectStore,
    directory: Path,
    threads: ThreadPoolExecutor,
    copied: Copied,
) -> None:
    from gears.data import durable

    root = os.open(target.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # before anything is written
    try:
        drafts = list(threads.map(lambda name: _draft(name, sources, directory), batch))
        at_once = durable.syncs_all_at_once(root)
        if at_once:
            durable.sync_all(root)
        list(threads.map(lambda draft: _prove(draft, sync=not at_once), drafts))
        parents = {_publish(draft, target) for draft in drafts if draft.path}
        _sync_directories(root, parents, at_once)
    finally:
        os.close(root)
    for draft in drafts:
        copied.damaged += [(draft.name, path) for path in draft.damaged]
        copied.missing += [draft.name] * (draft.path is None)
        copied.files += draft.path is not None
        copied.size += draft.size


def _draft(name: str, sources: Sequence[ObjectStore], directory: Path) -> _Draft:
    """Write an object under a name of its own, from the first source that has it whole."""
    draft = _Draft(name)
    for path in (source.path(name) for source in sources if source.size(name) is not None):
        try:
            source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            draft.damaged.append(f"{path}: can't be read")
            continue
        try:
            digest, draft.size = _write(source, directory / name)
        finally:
            os.close(source)
        if digest == digest_of(name):
            draft.path = directory / name
            return draft
        draft.damaged.append(str(path))
        (directory / name).unlink()
    draft.size = 0
    return draft


def _write(source: int, path: Path) -> tuple[str, int]:
    """Copy an open file; return MD5 and size. A source that can't be read any further has another MD5."""
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        digest, size = new_md5(), 0
        while chunk := _read(source):
            digest.update(chunk)
            size += len(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(target, view) :]
        os.fchmod(target, READ_ONLY)
        os.utime(target, ns=(time.time_ns(), os.fstat(source).st_mtime_ns))
        return digest.hexdigest(), size
    finally:
        os.close(target)


def _read(source: int) -> bytes:
    try:
        return os.read(source, CHUNK_BYTES)
    except OSError:
        return b""


def _prove(draft: _Draft, *, sync: bool) -> None:
    """Read a draft again, from the disk. Raises OSError if it is not what was written."""
    if draft.path is None:
        return
    if sync:
        fd = os.open(draft.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    if md5_of(draft.path) != digest_of(draft.name):
        raise OSError(5, "what was written is not what is read", str(draft.path))


def _publish(draft: _Draft, target: ObjectStore) -> Path:
    """Give a draft its name, and return the directory of that."""
    path = target.path(draft.name)
    assert draft.path is not None
    ensure_like(path.parent, target.root)
    draft.path.rename(path)
    return path.parent


def _sync_directories(root: int, parents: set[Path], at_once: bool) -> None:
    from gears.data import durable

    if at_once:
        durable.sync_all(root)
        return
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in parents]
    try:
        durable.sync_each(fds)
    finally:
        for fd in fds:
            os.close(fd)


# --- directories -----------------------------------------------------------------------------


def ensure_like(path: Path, root: Path) -> None:
    """Create a directory below `root`, with its mode and group: at no time it is there without them. Raises OSError."""
    if path == root or path.is_dir():
        return
    ensure_like(path.parent, root)
    draft = path.parent / _new_name()
    draft.mkdir(0o700)
    try:
        draft.chmod(stat.S_IMODE(root.stat().st_mode))  # the group comes from the set-group-ID bit of the one above
        with contextlib.suppress(FileExistsError):
            draft.rename(path)
    except OSError:
        if not path.is_dir():  # somebody else's, which is not empty
            raise
    finally:
        with contextlib.suppress(OSError):
            draft.rmdir()


@contextlib.contextmanager
def _drafts(root: Path) -> Iterator[Path]:
    """Give a directory for objects on their way, which is removed at the end; remove what others have left."""
    _remove_abandoned(root)
    directory = root / _new_name()
    ensure_like(directory, root)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _new_name() -> str:
    """Return a name (`tree.TEMPORARY`) that says whose it is: the host, the start and the id of this process."""
    me = this_located_process()
    return f"{DRAFTS}{_host_of(me)}{_start_of(me.start)}-{me.pid}{next(_numbers) % 10**6:06d}"


def _host_of(process: LocatedProcess) -> str:
    return hashlib.sha256(f"{process.host}/{process.namespace}".encode()).hexdigest()[:8]


def _start_of(start: str | None) -> str:
    return f"{int(start or 0) & 0xFFFFFFFF:08x}"


_numbers = itertools.count()


def _is_over(name: str) -> bool | None:
    """Tell whether the process of a draft has ended; None if it is not one of this host."""
    words, _, number = name.removeprefix(DRAFTS).partition("-")
    if words[:8] != _host_of(this_located_process()):
        return None
    return _start_of(start_time(int(number[:-6] or 0))) != words[8:]


def _remove_abandoned(root: Path) -> None:
    """Remove the drafts of processes that are over; those of unknown ones once nothing was written for long."""
    from gears.data.tree import TEMPORARY

    for above in (root, root / LAYOUT.parent, root / LAYOUT):
        for directory in above.glob(f"{DRAFTS}*"):
            with contextlib.suppress(OSError):
                old = time.time() - directory.stat().st_mtime > ABANDONED_S
                over = _is_over(directory.name) if TEMPORARY.fullmatch(os.fsencode(directory.name)) else False
                if over or (over is None and old):
                    shutil.rmtree(directory, ignore_errors=True)
