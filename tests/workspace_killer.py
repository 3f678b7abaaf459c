"""Push or pull a workspace in a process that kills itself at a chosen point, then again in one that does not.

It is run by a Python of its own: `python -m tests.workspace_killer TOP REMOTE POINTS`.
"""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from gears.data.objects import ObjectStore
from gears.sites.load import default_site, load_site
from gears.system.host import this_host
from gears.workspace import exchange, settings
from gears.workspace.here import Here

EVENTS = {"open", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.utime"}
EVENTS |= {"shutil.rmtree", "subprocess.Popen"}


def in_child(act: Callable[[], object], kill_at: int) -> tuple[int, bool]:
    """Act in a process that is killed at an event; return how many there were, and whether it came to its end."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        count = 0

        def hook(event: str, _arguments: object) -> None:
            nonlocal count
            if event in EVENTS:
                count += 1
                if count == kill_at:
                    os.killpg(0, signal.SIGKILL)

        sys.addaudithook(hook)
        act()
        os.write(write, str(count).encode())
        os._exit(0)
    os.close(write)
    ended = os.waitpid(child, 0)[1] == 0
    with open(read, "rb") as pipe:
        return int(pipe.read() or 0), ended


def whole(store: Path) -> set[str]:
    """Return the objects of a store; each has to be what it is called."""
    found = {path.parent.name + path.name: path for path in store.glob("files/md5/*/*") if path.parent.name[0] != "."}
    for name, path in found.items():
        assert hashlib.md5(path.read_bytes()).hexdigest() == name.removesuffix(".dir"), path
    for path in store.rglob("*.dir"):
        assert {line[8:40] for line in path.read_text().split("{")[1:]} <= {*found}, path  # its files are there
    return {*found}


def fsck(repository: Path) -> None:
    subprocess.run(["git", "-C", repository, "fsck", "--strict"], check=True, capture_output=True)


def empty(store: Path) -> None:
    for path in store.glob("files/md5/*/*"):
        path.unlink()


def try_all(act: Callable[[], object], target: Path, top: Path, everything: set[str], points: int) -> None:
    """Kill at points that are spread over all there are; check what is there, and that the same again completes it."""
    empty(target)
    total, ended = in_child(act, 0)
    assert ended
    killed = 0
    for number in range(points):
        empty(target)
        count, ended = in_child(act, 1 + total * number // points)
        killed += not ended
        whole(target)
        fsck(top)
        count, ended = in_child(act, 0)
        assert ended, count
        assert whole(target) == everything
        assert not list(target.rglob(".gears-part-*"))
    print(f"{act.__name__}: killed {killed} times of {points}, {total} events")


def main(top: Path, remote: Path, points: int) -> None:
    _, found = settings.find(top)
    here = Here(top, found, load_site(default_site()), this_host(), lambda _: None)
    everything = whole(here.cache.root)

    def push() -> None:
        assert exchange.push(here).problem is None

    def pull() -> None:
        assert not exchange.pull_data(here, verify=False).missing

    push()
    try_all(push, remote, top, everything, points)
    try_all(pull, here.cache.root, top, everything, points)
    assert isinstance(here.cache, ObjectStore)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
