"""Shipments: objects that go to a place, and come back, as transfers of `gears data`.

So they go as any data of the place does: as bundles where it wants them, in a batch job or on the host for transfers,
each read again. What is shipped is staged beside the cache under a name that follows from the objects: the same push
again finds the transfer that is under way, or goes on with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from gears.data.caches import OUT
from gears.data.object_copies import Copied, copy_objects, ensure_like
from gears.data.objects import IN_PLACE, LAYOUT, ObjectStore
from gears.errors import (
    CommandFailed,
    ContentsDiffer,
    GearsError,
    Incomplete,
    Interrupted,
    LoginNeeded,
    NotReachable,
    UsageError,
)
from gears.system import commands, timestamps
from gears.system.installation import gears_argv
from gears.workspace import ledger
from gears.workspace.ledger import Shipment
from gears.workspace.setup import place_path

if TYPE_CHECKING:
    from gears.workspace.here import Here
    from gears.workspace.remote import Remote

BACK = ".gears-pull"
"""The directory in the cache for what comes back."""

MOST_PATTERNS = 200
"""Of more objects all of a shipment is brought back: each pattern is compared with each file."""

FORGET_S = 60.0
ABANDONED_S = 7 * 86_400.0
"""When what was staged for a push that never came to its end is removed."""

ON_STDERR = ["/bin/sh", "-c", 'exec "$@" >&2', "sh"]
ERRORS: tuple[type[GearsError], ...] = (
    UsageError,
    LoginNeeded,
    NotReachable,
    ContentsDiffer,
    Incomplete,
    Interrupted,
)


def ship(names: Collection[str], here: Here, remote: Remote) -> Copied:
    """Ship objects of the cache to the remote place, and wait for the end. Returns as `copy_objects`.

    Raises what `gears data put` ends with, Incomplete if there is no room for staging.
    """
    if not names:
        return Copied()
    name = name_of(names, f"{here.host.user}@{here.site.name}:{remote.place}", here.found.name)
    staged = here.cache.root / OUT / name
    remove_abandoned(staged)
    copied = stage(names, here.cache, staged)
    if copied.damaged or copied.missing:
        return copied
    target = f"{remote.place}:{IN_PLACE}"
    transfer(["put", address_of(staged, here), target, "--name", name, "--wait"], here)
    shipment = Shipment(
        name=name,
        site=here.site.name,
        address=f"{target}/{name}",
        bundles=remote.bundles,
        user=here.host.user,
        host=here.host.hostname,
        created=timestamps.utc_now(),
        objects=tuple(sorted(names)),
        size=copied.size,
    )
    ledger.save(here.top, shipment)
    shutil.rmtree(staged, ignore_errors=True)
    return copied


def remove_abandoned(staged: Path) -> None:
    """Remove what was staged long ago for other pushes of this user."""
    for other in staged.parent.glob("*"):
        info = other.lstat()
        if other != staged and info.st_uid == os.getuid() and time.time() - info.st_mtime > ABANDONED_S:
            shutil.rmtree(other, ignore_errors=True)


def name_of(names: Iterable[str], who: str, workspace: str) -> str:
    """Return the name of a transfer: the same one for the same objects. Pure."""
    text = "\n".join([who, *sorted(names)])
    return f"{workspace}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def stage(names: Collection[str], cache: ObjectStore, directory: Path) -> Copied:
    """Put objects into a directory: as hard links where that is permitted, else as copies. Each is read, and proven."""
    ensure_like(directory, cache.root)
    staged, copied = ObjectStore(directory), Copied()
    with ThreadPoolExecutor() as threads:
        linked = list(threads.map(lambda name: _link(name, cache, staged), names))
    copied.files = sum(size is not None for size in linked)
    copied.size = sum(filter(None, linked))
    more = copy_objects([name for name, size in zip(names, linked, strict=True) if size is None], [cache], staged)
    copied.files += more.files
    copied.size += more.size
    copied.damaged, copied.missing = more.damaged, more.missing
    return copied


def _link(name: str, cache: ObjectStore, staged: ObjectStore) -> int | None:
    """Link a whole object, and return its size; None if it is not whole, or may not be linked."""
    if not cache.is_whole(name):
        return None
    path = staged.path(name)
    ensure_like(path.parent, staged.root)
    try:
        os.link(cache.path(name), path)
    except FileExistsError:
        if not staged.is_whole(name):
            return None
    except OSError:
        return None  # of somebody else (protected_hardlinks in proc(5)), or a file system without links
    return cache.size(name)


def fetch(names: Collection[str], here: Here, shipments: Sequence[Shipment]) -> Copied:
    """Bring objects back from the shipments of this site, the newest first. Returns as `copy_objects`.

    Raises what `gears data get` ends with, if no other shipment has the objects.
    """
    left, copied, failed = {*names}, Copied(), None
    for shipment in shipments:
        wanted = sorted(left.intersection(shipment.objects))
        if shipment.site != here.site.name or not wanted:
            continue
        try:
            one = _fetch(wanted, here, shipment)
        except (CommandFailed, ContentsDiffer, Incomplete, NotReachable, UsageError) as exc:
            failed = failed or exc
            continue
        left -= {*wanted} - {*one.missing}
        copied.files += one.files
        copied.size += one.size
        copied.damaged += one.damaged
    if failed and left:
        raise failed
    elsewhere = {one.site for one in shipments if left.intersection(one.objects)} - {here.site.name}
    for site in sorted(elsewhere):
        here.say(f"the place is one of the site {site}: gears workspace pull --site {site}, there")
    copied.missing = sorted(left)
    return copied


def _fetch(wanted: list[str], here: Here, shipment: Shipment) -> Copied:
    name = f"get-{name_of(wanted, shipment.name, here.found.name)}"
    back = here.cache.root / BACK / name
    ensure_like(back, here.cache.root)
    some = shipment.bundles and len(wanted) <= MOST_PATTERNS
    patterns = [str(LAYOUT / one[:2] / one[2:]) for one in wanted] if some else []
    words = ["get", shipment.address, *patterns, "--to", address_of(back, here), "--name", name, "--wait"]
    transfer(words, here)
    copied = copy_objects(wanted, [ObjectStore(back / shipment.name)], here.cache)
    shutil.rmtree(back, ignore_errors=True)
    with contextlib.suppress(GearsError):
        commands.run([*gears_argv(), "data", "forget", name, "--site", here.site.name], timeout_s=FORGET_S)
    return copied


def address_of(directory: Path, here: Here) -> str:
    """Return the address of a directory in the cache: in the team's place by its name, since other hosts know that."""
    try:
        top = place_path(here.found.team, here.found, here.site, here.host) if here.found.team else None
        return f"{here.found.team}:{directory.relative_to(top)}" if top else str(directory)
    except (GearsError, ValueError):
        return str(directory)


def transfer(words: list[str], here: Here) -> None:
    """Run `gears data` in the terminal, all of its output on standard error. Raises an error with its exit status."""
    argv = [*gears_argv(), "data", *words, "--site", here.site.name]
    status = commands.run_in_terminal([*ON_STDERR, *argv], timeout_s=None)
    if not status:
        return
    said, again = (
        f"gears data {words[0]} ended with status {status}; it says why above",
        f"gears data list --site {here.site.name}",
    )
    kind = next((one for one in ERRORS if one.exit_code == status), None)
    raise kind(said, next=again) if kind else CommandFailed(said, status=status, next=again)
