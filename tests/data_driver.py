"""python -m tests.data_driver VERB PATH…: one act of gears' data part in a process of its own, with its status.

    copy SOURCE PLACE RECORDS       a tree; `restore PLACE RECORDS TARGET` back, `verify PLACE RECORDS`
    put SOURCE PLACE RECORDS        bundles of BUNDLE bytes in a store of KIND; `get` and `check` as above

JOBS processes do it. QUOTA=BYTES: as if the user had no more room in PLACE than that. This is a stand-in, in Python's
own calls and for one process: a system call that would go beyond it fails with EDQUOT, a write after it has written
what still fits (write(2)).
"""

import errno
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from gears.data import bundles, engine, verification
from gears.data.stores import Store, open_store
from gears.data.tally import Tally
from gears.errors import GearsError
from gears.sites.profile import PlaceKind

JOBS = int(os.environ.get("JOBS", "1"))


def copy(source: Path, place: Path, records: Path) -> int:
    return report(engine.copy_tree(source, place, records / "manifest", jobs=JOBS))


def restore(place: Path, records: Path, target: Path) -> int:
    return report(engine.restore(records / "manifest", place, target, jobs=JOBS))


def verify(place: Path, records: Path) -> int:
    return report_verified(verification.verify(records / "manifest", place, jobs=JOBS), place)


def put(source: Path, place: Path, records: Path) -> int:
    size = int(os.environ.get("BUNDLE", str(5 << 20)))
    return report(bundles.put(source, store(place), records, bundle_size=size, jobs=JOBS))


def get(place: Path, records: Path, target: Path) -> int:
    return report(bundles.get(store(place), target, records, patterns=(), jobs=JOBS))


def check(place: Path, records: Path) -> int:
    return report_verified(bundles.verify(store(place), records, jobs=JOBS), place)


def store(place: Path) -> Store:
    return open_store(cast(PlaceKind, os.environ.get("KIND", "posix")), str(place))


def report_verified(verified: verification.Verified, place: Path) -> int:
    for one in verified.named:
        print(f"{os.fsdecode(one.path)!r}: {one.kind}: {one.what}", file=sys.stderr)
    verified.require_whole(place)
    return 0


def report(tally: Tally) -> int:
    for path, reason in tally.named:
        print(f"{os.fsdecode(path)!r}: {reason}", file=sys.stderr)
    print(f"files {tally.files}, copied {tally.copied}, reused {tally.reused}, lost {dict(tally.lost)}")
    return 0 if tally.complete else 7


ACTS: dict[str, Callable[..., int]] = {"copy": copy, "restore": restore, "verify": verify}
ACTS |= {"put": put, "get": get, "check": check}


def limit_room(place: Path, room: int) -> None:
    """Stand in for a quota in `place`."""
    left, pwrite, write = room, os.pwrite, os.write

    def take(fd: int, data: Any, put: Callable[[Any], int]) -> int:
        nonlocal left
        if not Path(os.readlink(f"/proc/self/fd/{fd}")).is_relative_to(place):
            return put(data)
        view = memoryview(data)[: max(left, 0)]
        if not view and len(data):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        written = put(view)
        left -= written
        return written

    os.pwrite = lambda fd, data, at: take(fd, data, lambda view: pwrite(fd, view, at))
    os.write = lambda fd, data: take(fd, data, lambda view: write(fd, view))


def main() -> int:
    verb, *paths = sys.argv[1:]
    if quota := os.environ.get("QUOTA"):
        limit_room(Path(paths[1]).resolve(), int(quota))
    try:
        status = ACTS[verb](*map(Path, paths))
    except GearsError as exc:
        print(exc, file=sys.stderr)
        status = exc.exit_code
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"peak {peak} KB")
    return status


if __name__ == "__main__":
    sys.exit(main())
