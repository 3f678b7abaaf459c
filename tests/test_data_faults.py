"""Whatever ends a copy at whatever point: the same call ends with every byte right, and no call before it said so.

Each fault is done at GEARS_FAULT_POINTS random points (3); the network is cut at a third as many, in puts and in gets.
The checker, tests/trees.py, shares no code with gears.
"""

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import trees
from tests.places import PROGRAMS, Proxy, rclone_server, until

POINTS = int(os.environ.get("GEARS_FAULT_POINTS", "3"))
CHECKOUT = Path(__file__).parents[1]
ROOT = os.getuid() == 0
chance = random.Random(os.environ.get("GEARS_FAULT_SEED", "12"))


def fill(root: Path) -> None:
    """Every kind of file, and so many ordinary ones that there is time for a fault: 24 MB."""
    trees.make(root)
    for number in range(400):
        directory = root / f"many/d{number % 9}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{number}").write_bytes(chance.randbytes(chance.choice([10, 3_000, 60_000])))
    (root / "many/d5/big").write_bytes(chance.randbytes(15_000_000))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("faults") / "source"
    fill(root)
    yield root
    trees.remove(root)


@pytest.fixture(scope="module")
def wanted(source: Path) -> trees.Picture:
    return trees.picture(source)


@dataclass
class Transfer:
    """A copy of a tree, there and back; each call is a process. `inside`: a command that enters a namespace.

    `beside`: where records and what comes back are, if not below `root`.
    """

    source: Path
    root: Path
    jobs: int = 1
    inside: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    beside: Path | None = None
    verbs = ("copy", "restore", "verify")

    @property
    def place(self) -> Path:
        return self.root / "place"

    @property
    def address(self) -> str | Path:
        """The place, as gears is given it."""
        return self.place

    @property
    def records(self) -> Path:
        return (self.beside or self.root) / "records"

    @property
    def back(self) -> Path:
        return (self.beside or self.root) / "back"

    @property
    def puts(self) -> list[str | Path]:
        return [self.verbs[0], self.source, self.address, self.records]

    @property
    def gets(self) -> list[str | Path]:
        return [self.verbs[1], self.address, self.records, self.back]

    @property
    def verifies(self) -> list[str | Path]:
        return [self.verbs[2], self.address, self.records]

    def check_nothing_half(self, wanted: trees.Picture) -> None:
        """What has a final name in the place is what it has to be."""
        assert_nothing_half(wanted, self.place)

    def sealed(self) -> dict[Path, int]:
        """Return the inodes of files that the manifest has as copied, by reading its lines as what they are."""
        found: dict[Path, int] = {}
        lines = (self.records / "manifest.new").read_bytes() if (self.records / "manifest.new").exists() else b""
        for line in lines.split(b"\n"):
            with contextlib.suppress(ValueError):
                values = json.loads(line)
                copied = "sha256" in values and "problem" not in values and "same_as" not in values
                if copied and len(path := str(self.place / values.get("path", "x" * 4096))) < 4096:
                    found[Path(path)] = os.stat(path).st_ino
        return found

    def check_right(self, wanted: trees.Picture) -> None:
        """The place has everything."""
        assert_right(wanted, self.place)

    def start(self, words: list[str | Path], **environment: str) -> subprocess.Popen[bytes]:
        argv = [*self.inside, sys.executable, "-m", "tests.data_driver", *words]
        variables = {**os.environ, "JOBS": str(self.jobs), **self.environment, **environment}
        return subprocess.Popen(
            argv, cwd=CHECKOUT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def call(self, words: list[str | Path], **environment: str) -> tuple[int, str]:
        with self.start(words, **environment) as process:
            out, err = process.communicate(timeout=240)
        return process.returncode, (out + err).decode()

    def succeeds(self, words: list[str | Path]) -> str:
        status, said = self.call(words)
        assert status == 0, said
        return said


class Bundles(Transfer):
    """The same by bundles, of which 24 MB are five."""

    verbs = ("put", "get", "check")

    def check_nothing_half(self, wanted: trees.Picture) -> None:
        """A bundle that has its name is whole for GNU tar, and an index is whole for a reader of lines."""
        for path in self.place.glob("*"):
            if path.suffix == ".tar":
                subprocess.run(["tar", "-tf", path], check=True, capture_output=True)
            elif path.suffix == ".index" or path.name.startswith("manifest-"):
                lines = path.read_bytes().split(b"\n")
                assert lines.pop() == b""
                assert all(json.loads(line) for line in lines)

    def sealed(self) -> dict[Path, int]:
        """Return the inodes of bundles that have an index."""
        tars = [path.with_suffix(".tar") for path in self.place.glob("*.index")]
        return {path: path.stat().st_ino for path in tars}

    def check_right(self, wanted: trees.Picture) -> None:
        """What is brought back is everything."""
        trees.remove(self.back)
        self.succeeds(self.gets)
        assert_right(wanted, self.back)
        trees.remove(self.back)


class Remote(Bundles):
    """Bundles on an object store: rclone to an S3 server, whose files are in `root`."""

    @property
    def address(self) -> str | Path:
        return f"far:bucket/{self.root.name}/place"


KINDS = {"tree": Transfer, "bundles": Bundles}
both = pytest.mark.parametrize("kind", KINDS)


def written(directory: Path) -> int:
    """Return how many bytes are below a directory that others write into."""
    total = 0
    for top, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(top, name)).st_blocks * 512
    return total


def interrupt(transfer: Transfer, words: list[str | Path], into: Path, stop: Callable[[int], object]) -> bool:
    """Start a call, and `stop` it at a random point of its writing, of 24 MB in all; False if it was faster."""
    before, point = written(into), chance.uniform(0, 18e6)
    with transfer.start(words) as process:
        try:
            while process.poll() is None:
                if written(into) - before >= point:
                    stop(process.pid)
                    process.wait(60)
                    return process.returncode != 0
                time.sleep(0.002)
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def kill_process(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_group(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)


ENDS = (kill_group, kill_process, kill_process, kill_group)
"""One after the other, with one process and with two in turn: those of a killed one may go on for a moment."""


# --- what has to be so -----------------------------------------------------------------------


def assert_nothing_half(wanted: trees.Picture, copy: Path) -> None:
    """What has a final name is what it has to be, whatever has happened; directories may have other modes."""
    if not copy.exists():
        return
    whole = ("contents", "size", "target", "mode", "xattrs", "acl", "mtime", "holes")
    found = trees.differences(wanted, trees.picture(copy))
    wrong = [one for one in found if one.what in whole and one.kind != "directory"]
    wrong += [one for one in found if one.what == "extra" and b".gears-part-" not in one.path]
    assert [str(one) for one in wrong] == []


def assert_right(wanted: trees.Picture, copy: Path) -> None:
    lost = trees.differences(wanted, trees.picture(copy))
    not_made = {"fifo", "socket", "device"}
    assert [str(one) for one in lost if not (one.what == "missing" and one.kind in not_made)] == []


def inodes(paths: dict[Path, int]) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in paths}


def carry_on(transfer: Transfer, wanted: trees.Picture) -> None:
    """After a fault in a put: nothing is half, what is recorded stays, the same call completes it."""
    transfer.check_nothing_half(wanted)
    before = transfer.sealed()
    transfer.succeeds(transfer.puts)
    assert inodes(before) == before
    transfer.succeeds(transfer.verifies)
    transfer.check_right(wanted)


def start_again(transfer: Transfer) -> None:
    for directory in (transfer.place, transfer.records, transfer.back):
        trees.remove(directory)


# --- the end of processes --------------------------------------------------------------------


@both
def test_kill_9_of_a_put(source: Path, wanted: trees.Picture, tmp_path: Path, kind: str) -> None:
    killed = 0
    for number in range(4 * POINTS):
        transfer = KINDS[kind](source, tmp_path, jobs=1 + number % 2)
        killed += interrupt(transfer, transfer.puts, transfer.place, ENDS[number % 4])
        if chance.random() < 0.3:  # once more, in what goes on
            interrupt(transfer, transfer.puts, transfer.place, kill_group)
        carry_on(transfer, wanted)
        start_again(transfer)
        if killed >= POINTS:
            return
    pytest.fail(f"{killed} of {POINTS} were killed before they had ended")


@both
def test_kill_9_of_a_get(source: Path, wanted: trees.Picture, tmp_path: Path, kind: str) -> None:
    transfer, killed = KINDS[kind](source, tmp_path), 0
    transfer.succeeds(transfer.puts)
    for number in range(4 * POINTS):
        transfer.jobs = 1 + number % 2
        killed += interrupt(transfer, transfer.gets, transfer.back, ENDS[number % 4])
        assert_nothing_half(wanted, transfer.back)
        assert_restored(wanted, transfer.back, transfer.succeeds(transfer.gets))
        trees.remove(transfer.back)
        if killed >= POINTS:
            return
    pytest.fail(f"{killed} of {POINTS} were killed before they had ended")


def assert_restored(wanted: trees.Picture, back: Path, said: str) -> None:
    """As `assert_right`, but for what `engine.restore` says that it leaves: modes and times of directories that were
    being made; hard links to what was there already, which it counts.
    """
    lost = trees.differences(wanted, trees.picture(back))
    facts = ("mode", "mtime", "acl", "xattrs", "group")
    rest = [one for one in lost if not (one.kind == "directory" and one.what in facts)]
    rest = [one for one in rest if not (one.what == "missing" and one.kind in {"fifo", "socket", "device"})]
    assert [str(one) for one in rest if not (one.what == "links" and "hard link" in said)] == []


# --- no room ---------------------------------------------------------------------------------


@dataclass
class Mounts:
    """A mount namespace, which any user may have: what is mounted in it is nowhere else, and is gone with it."""

    pid: int

    @property
    def enter(self) -> list[str]:
        user = [] if ROOT else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.pid), "--mount", *user, f"--wdns={CHECKOUT}", "--"]

    def seen(self, path: Path) -> Path:
        """Return a path of the namespace as it can be reached from outside."""
        return Path(f"/proc/{self.pid}/root{path}")

    def run(self, *argv: str | Path) -> bool:
        return subprocess.run([*self.enter, *argv], capture_output=True).returncode == 0


@contextlib.contextmanager
def own_mounts() -> Iterator[Mounts]:
    enter = ["unshare", "--mount", *([] if ROOT else ["--user", "--map-root-user"])]
    with subprocess.Popen([*enter, "sh", "-c", "echo; exec sleep 3000"], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            yield Mounts(holder.pid)
        finally:
            holder.kill()


@pytest.fixture(scope="module")
def mapped(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A source for namespaces: in those of an ordinary user no other users exist that an ACL could name."""
    if ROOT:
        yield source
        return
    root = tmp_path_factory.mktemp("mapped") / "source"
    fill(root)
    trees.remove(root / "acls")
    yield root
    trees.remove(root)


@both
def test_a_full_disk(mapped: Path, tmp_path: Path, kind: str) -> None:
    wanted = trees.picture(mapped)
    for number in range(POINTS):
        root = tmp_path / str(number)
        root.mkdir()
        with own_mounts() as mounts:
            assert mounts.run("mount", "-t", "tmpfs", "-o", "size=100m,mode=700", "tmpfs", root)
            with (mounts.seen(root) / "ballast").open("wb") as ballast:
                os.posix_fallocate(ballast.fileno(), 0, (100 << 20) - chance.randrange(1 << 20, 20 << 20))
            transfer = KINDS[kind](mapped, mounts.seen(root), jobs=1 + number % 2, inside=mounts.enter)
            status, said = transfer.call(transfer.puts)
            assert (status, "No space left" in said) == (7, True), said
            assert [path for path in trees.picture(transfer.place) if b".gears-part-" in path] == []
            (mounts.seen(root) / "ballast").unlink()
            carry_on(transfer, wanted)


@both
def test_a_quota_by_a_stand_in(source: Path, wanted: trees.Picture, tmp_path: Path, kind: str) -> None:
    transfer = KINDS[kind](source, tmp_path)
    for _ in range(POINTS):
        status, said = transfer.call(transfer.puts, QUOTA=str(chance.randrange(18_000_000)))
        assert (status, "quota exceeded" in said) == (7, True), said
        carry_on(transfer, wanted)
        start_again(transfer)


@contextlib.contextmanager
def image(directory: Path, make: list[str]) -> Iterator[tuple[Mounts, Path]]:
    """Mount a file system in a file of 200 MB, at `directory/root` of a namespace."""
    (directory / "root").mkdir(parents=True)
    with (directory / "image").open("wb") as opened:
        opened.truncate(200 << 20)
    subprocess.run([*make, directory / "image"], check=True, capture_output=True)
    with own_mounts() as mounts:
        assert mounts.run("mount", "-o", "loop", directory / "image", directory / "root")
        yield mounts, mounts.seen(directory / "root")
    (directory / "image").unlink()


@both
def quota_of_btrfs(source: Path, wanted: trees.Picture, tmp_path: Path, kind: str) -> None:
    """A real quota; other file systems need a kernel with support for it, or tools that are rarely installed."""
    with image(tmp_path / "btrfs", ["mkfs.btrfs", "--force", "--quiet"]) as (mounts, root):
        subprocess.run(["btrfs", "quota", "enable", root], check=True, capture_output=True)
        for number in range(POINTS):
            transfer = KINDS[kind](source, root / str(number), inside=mounts.enter)
            subprocess.run(["btrfs", "subvolume", "create", transfer.root], check=True, capture_output=True)
            limit(transfer.root, str(chance.randrange(1 << 20, 15 << 20)))
            status, said = transfer.call(transfer.puts)
            assert (status, "quota exceeded" in said) == (7, True), said
            limit(transfer.root, "none")
            carry_on(transfer, wanted)
            start_again(transfer)


def limit(subvolume: Path, size: str) -> None:
    subprocess.run(["btrfs", "qgroup", "limit", size, subvolume], check=True, capture_output=True)


if ROOT and shutil.which("mkfs.btrfs"):
    test_a_quota_of_btrfs = quota_of_btrfs


# --- the network -----------------------------------------------------------------------------


def test_a_cut_network(source: Path, wanted: trees.Picture, tmp_path: Path) -> None:
    """Between rclone and its server, both on this host, connections are cut after a random number of bytes."""
    (tmp_path / "s3/bucket").mkdir(parents=True)
    server = rclone_server("s3", tmp_path / "s3", "--auth-key", "key,secret")
    with server as port, contextlib.closing(Proxy(port)) as proxy:
        settings = {"TYPE": "s3", "PROVIDER": "Rclone", "ENDPOINT": f"http://127.0.0.1:{proxy.port}"}
        settings |= {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}
        environment = {f"RCLONE_CONFIG_FAR_{name}": value for name, value in settings.items()}
        environment |= {"KIND": "rclone", "RCLONE_LOW_LEVEL_RETRIES": "1", "RCLONE_CONFIG": os.devnull}
        environment["PATH"] = f"{PROGRAMS}:{os.environ['PATH']}"
        for number in range(max(1, POINTS // 3)):
            root = tmp_path / f"s3/bucket/{number}"  # each its own: the server remembers what it has listed
            transfer = Remote(source, root, environment=environment, beside=tmp_path / str(number))
            for words in (transfer.puts, transfer.gets):
                proxy.cut_after = proxy.sent + chance.randrange(15_000_000)
                status, said = transfer.call(words)
                assert status in (5, 7), said
                proxy.cut_after = -1
                if words == transfer.puts:
                    carry_on(transfer, wanted)
                else:
                    assert_nothing_half(wanted, transfer.back)
                    assert_restored(wanted, transfer.back, transfer.succeeds(words))


# --- power off -------------------------------------------------------------------------------

SHUTDOWN, WITHOUT_LOG = 0x8004587D, struct.pack("I", 2)  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH


@both
def power_off(source: Path, wanted: trees.Picture, tmp_path: Path, kind: str) -> None:
    """ext4 stops as if the host had lost power: what has not reached the disk never will.

    A disk that lies about what has reached it is not part of this.
    """
    with image(tmp_path / "ext4", ["mkfs.ext4", "-q", "-b", "4096"]) as (mounts, root):
        for number in range(POINTS):
            transfer = KINDS[kind](source, root / str(number), jobs=1 + number % 2, inside=mounts.enter)

            def cut(pid: int) -> None:
                fd = os.open(root, os.O_RDONLY)
                fcntl.ioctl(fd, SHUTDOWN, WITHOUT_LOG)
                os.close(fd)
                kill_group(pid)

            transfer.root.mkdir()
            os.sync()
            interrupt(transfer, transfer.puts, transfer.place, cut)
            mount_again(mounts, tmp_path / "ext4")
            carry_on(transfer, wanted)
            start_again(transfer)


def mount_again(mounts: Mounts, directory: Path) -> None:
    """Unmount, which loses what is in memory, and mount: ext4 reads its journal."""
    until(lambda: mounts.run("umount", directory / "root"), "still in use", timeout_s=60)
    assert mounts.run("mount", "-o", "loop", directory / "image", directory / "root")


if ROOT:  # nobody else can mount ext4
    test_power_off = power_off
