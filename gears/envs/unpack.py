"""On a compute node: packed environments, from the home to the node's own disk, each once however many ask.

python -m gears.envs.unpack PACKS LOCAL [NAME…]     all that are packed, unless some are named

LOCAL/NAME is a link to the copy, made last: whoever finds it may use it. A copy that was broken off has none, and is
removed by the next. Who finds no link uses the environment itself, so nothing here need succeed.
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
"""How much more room than the files themselves there must be."""


def main() -> int:
    """Unpack all that are packed, or those that are named, and print a line for each. Returns 1 if one could not be."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # takes along the tar that is at work
    packs, local, *names = sys.argv[1:]
    status = 0
    for name in names or pack_names(Path(packs)):
        try:
            said = unpack(Path(packs), Path(local), name)
        except (GearsError, OSError) as exc:
            said, status = f"not unpacked: {exc}", 1
        sys.stdout.write(f"gears: environment {name} on {os.uname().nodename}: {said}\n")
    return status


def unpack(packs: Path, local: Path, name: str) -> str:
    """Unpack an environment unless its copy is there, and return in words what was done.

    Waits while another does the same. Raises GearsError if it can't be done.
    """
    files.ensure_private(local.parent)
    files.ensure_private(local)
    pack = load_pack(packs, name)
    if not pack:
        raise GearsError("there is no archive", next=f"gears env pack {name}")
    if not is_fresh(pack):
        (local / name).unlink(missing_ok=True)
        raise GearsError("it has changed since it was packed", next=f"gears env pack {name}")
    with files.locked(local / f".{name}.lock", UNPACK_S):
        copy = local / f"{name}-{pack.of}"
        if _leads_to(local / name, copy):
            return "is there"
        began = monotonic()
        _unpack(pack, archive_of(packs, name), copy)
        files.switch(local / name, Path(copy.name))
        return f"unpacked in {monotonic() - began:.1f} s"


def _unpack(pack: Pack, archive: Path, copy: Path) -> None:
    """Unpack an archive. Leaves a copy that starts, or none."""
    shutil.rmtree(copy, ignore_errors=True)
    _check_room(pack, copy.parent)
    copy.mkdir(mode=0o700)
    try:
        commands.run(["tar", "-xzf", str(archive), "--no-same-owner", "-C", str(copy)], timeout_s=UNPACK_S)
        base_python.settle(copy)
        python = str(copy / "bin" / "python")
        if pack.kind == "conda":
            commands.run([python, str(copy / "bin" / "conda-unpack")], timeout_s=UNPACK_S)
        commands.run([python, "-I", "-c", "pass"], timeout_s=60.0)
        _finish(copy, Path(pack.prefix))
    except (GearsError, OSError):
        shutil.rmtree(copy, ignore_errors=True)
        raise


def _finish(copy: Path, prefix: Path) -> None:
    """Make a mark as old as the environment: by it a shell sees that it has changed since.

    That is tested in `templates/env-activate.sh.j2`. What is installed here would be lost with the job: pip and its
    like are refused the directory of packages.
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
        raise GearsError(f"{local} has {free / 1e6:.0f} MB left, and {needed / 1e6:.0f} MB are needed")


if __name__ == "__main__":
    sys.exit(main())
