"""The machine room: the private namespaces that hold a centre's bridges, home trees and hosts.

Its life hangs on a pipe of this process: when the process ends, however it ends, the room's pid 1 ends,
and with it every host, mount and link. So nothing has to be cleaned up after a crash, and two centres never meet.
"""

import os
import stat
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.centre.requirements import CentreUnavailable

HERE = Path(__file__).parent


class Room:
    """Use `close()` to end it; hosts still running end at once, without goodbye to their peers."""

    def __init__(self) -> None:
        self.directory = cache_directory() / "room"  # only a mount point: each room mounts its own memory there
        self.directory.mkdir(exist_ok=True)
        private = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._shell = subprocess.Popen(
            [*private, "--propagation", "private", "sh", str(HERE / "room.sh"), str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,
        )
        expect_line(self._shell, "up")
        self.pid = only_child(self._shell.pid)

    def path(self, *parts: str) -> Path:
        """A path in the room's own memory, as seen from outside."""
        return Path(f"/proc/{self.pid}/root{self.directory}", *parts)

    def mount_overlay(self, lower: Path, name: str) -> None:
        """A writable view of `lower` at `<room>/name/home`; what is written goes when the room does."""
        for part in ("upper", "work", "home"):
            self.path(name, part).mkdir(parents=True)
        upper, work, home = (self.directory / name / part for part in ("upper", "work", "home"))
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        self._enter(["--mount"], ["mount", "-t", "overlay", "-o", options, "home", str(home)])

    def popen_host(self, argv: Sequence[str]) -> subprocess.Popen[str]:
        """Start `argv` as pid 1 of fresh namespaces that end no later than the room's."""
        fresh = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        return subprocess.Popen(
            ["nsenter", "--target", str(self.pid), "--mount", "--pid", *fresh, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,
        )

    def ip(self, lines: Sequence[str]) -> None:
        """`ip -batch` beside the bridges."""
        self._enter(["--net"], ["ip", "-batch", "-"], "\n".join(lines))

    def remove_links(self, names: Iterable[str]) -> None:
        """Take away the links of a host that has died; the kernel may have, but takes its time."""
        for name in names:
            self._enter(["--net"], ["sh", "-c", 'ip link del "$0" || ! ip link show "$0"', name])

    def close(self) -> None:
        end_process(self._shell)

    def _enter(self, namespaces: Sequence[str], argv: Sequence[str], text: str = "") -> None:
        enter_namespaces(self.pid, namespaces, argv, text)


def cache_directory() -> Path:
    """What is kept between centres: `$GEARS_CENTRE_CACHE`, else a directory in /var/tmp; root's alone."""
    cache = Path(os.environ.get("GEARS_CENTRE_CACHE", "/var/tmp/gears-centre"))
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = cache.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o077:
        raise CentreUnavailable(f"{cache} is not a directory of root alone: remove it")
    return cache


def enter_namespaces(pid: int, namespaces: Sequence[str], argv: Sequence[str], text: str = "") -> None:
    """Run `argv` as root in some namespaces of `pid`; raise RuntimeError with its own words if it fails."""
    command = ["nsenter", "--target", str(pid), *namespaces, "--", *argv]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, cwd="/")
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}\n{text}")


def expect_line(process: subprocess.Popen[str], line: str) -> None:
    """Read one line of a starting process; raise RuntimeError with its errors if it is not the one awaited."""
    assert process.stdout is not None
    got = process.stdout.readline().strip()
    if got != line:
        process.kill()
        raise RuntimeError(f"did not start: {process.communicate(timeout=10)[1].strip()}")


def end_process(process: subprocess.Popen[str]) -> None:
    """Kill, reap and close the pipes; what it started is left to itself."""
    process.kill()
    process.wait(60)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
