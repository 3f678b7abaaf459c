"""On a compute node: unpack environments from the home to the node's own disk, each once for all jobs there.

python -m gears.envs.unpack PACKS LOCAL [NAME…]     all packed environments, unless some are named

LOCAL/NAME is a link to the copy, made last. An incomplete copy has no link, and the next run removes it. Without a link
the environment itself is used, so nothing here has to succeed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from time import monotonic

from gears.envs import base_python
from gears.envs.archive import MARK, Pack, archive_of, is_fresh, load_pack, pack_names
from gears.errors import GearsError
from gears.system import commands, files

UNPACK_S = 1800.0

ROOM = 1.1
"""The free space that is required, as a multiple of the size of the files."""


def main() -> int:
    """Unpack all packed environments, or those that are named, and print a line for each. Returns 1 if one failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # also ends a running tar
    packs, local, *names = sys.argv[1:]
    status = 0
    for name in names or pack_names(Path(packs)):
        try:
            outcome = unpack(Path(packs), Path(local), name)
        except (GearsError, OSError) as exc:
            outcome, status = f"not unpacked: {exc}", 1
        sys.stdout.write(f"gears: environment {name} on {os.uname().nodename}: {outcome}\n")
    return status


def unpack(packs: Path, local: Path, name: str) -> str:
    """Unpack an environment unless its copy exists, and return a description of what was done.

    Waits for another process that does the same. Raises GearsError if it fails.
    """
    files.ensure_private(local.parent)
    files.ensure_private(local)
    pack = load_pack(packs, name)
    if not pack:
        raise GearsError("no archive", next=f"gears env pack {name}")
    if not is_fresh(pack):
        (local / name).unlink(missing_ok=True)
        raise GearsError("it has changed since it was packed", next=f"gears env pack {name}")
    with files.locked(local / f".{name}.lock", UNPACK_S):
        copy = local / f"{name}-{pack.of}"
        if _leads_to(local / name, copy):
            return "already unpacked"
        began = monotonic()
        _unpack(pack, archive_of(packs, name), copy)
        files.switch(local / name, Path(copy.name))
        return f"unpacked in {monotonic() - began:.1f} s"


def _unpack(pack: Pack, archive: Path, copy: Path) -> None:
    """Unpack an archive. Leaves a working copy, or none."""
    shutil.rmtree(copy, ignore_errors=True)
    _check_room(pack, copy.parent)
    copy.mkdir(mode=0o700)
    try:
        commands.run(["tar", "-xzf", str(archive), "--no-same-owner", "-C", str(copy)], timeout_s=UNPACK_S)
        base_python.update_home(copy)
        python = str(copy / "bin" / "python")
        if pack.kind == "conda":
            commands.run([python, str(copy / "bin" / "conda-unpack")], timeout_s=UNPACK_S)
        commands.run([python, "-I", "-c", "pass"], timeout_s=60.0)
        _finish(copy, Path(pack.prefix))
    except (GearsError, OSError):
        shutil.rmtree(copy, ignore_errors=True)
        raise


def _finish(copy: Path, prefix: Path) -> None:
    """Write a mark with the environment's modification time, and make the packages read-only.

    By the mark `templates/env-activate.sh.j2` tells whether the environment has changed. Packages that pip installed
    into the copy would be lost with the job.
    """
    mark, when = copy / MARK, max(path.stat().st_mtime_ns for path in prefix.glob("lib/python3*/site-packages"))
    mark.touch(mode=0o600)
    os.utime(mark, ns=(when, when))
    for site in copy.glob("lib/python3*/site-packages"):
        site.chmod(0o500)


def _leads_to(link: Path, copy: Path) -> bool:
    try:
        return os.readlink(link) == copy.name
    except OSError:
        return False


def _check_room(pack: Pack, local: Path) -> None:
    free, needed = shutil.disk_usage(local).free, int(pack.unpacked_bytes * ROOM)
    if free < needed:
        raise GearsError(f"{local} has {free / 1e6:.0f} MB left, but {needed / 1e6:.0f} MB are needed")


if __name__ == "__main__":
    sys.exit(main())
