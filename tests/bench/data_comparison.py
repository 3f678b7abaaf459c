"""python -m tests.bench.data_comparison [--only WORD]…: the tables of docs/data-comparison.md. As root; ten minutes.

Each program copies the same trees, and the same faults are done to it; what it lost is found by tests/trees.py. What is
not installed is in the table as that; `data_peers.find` says where they are looked for.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests import trees
from tests.bench.data_peers import PEERS, Argv, Peer, records_of

CHECKOUT = Path(__file__).parents[2]
LIMIT_S = 240
DIRECTORY = os.environ.get("GEARS_BENCH_DIRECTORY", "/var/tmp")
NOBODY = 65534


@dataclass
class Setting:
    """Where one program works on one tree. A tree under `source`, `place`, and what is got back in `back`."""

    peer: Peer
    root: Path
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source, self.place, self.back = (self.root / name for name in ("source", "place", "back"))
        self.source.mkdir()

    def put(self) -> int:
        return self.run(self.peer.put(self.source, self.place))

    def check(self) -> str:
        return str(self.run(self.peer.check(self.source, self.place))) if self.peer.check else "–"

    def get(self) -> tuple[int | None, Path]:
        """Return the status of what gets the tree back, None for a copy, and where the tree is."""
        if self.peer.get is None:
            return None, self.place
        trees.remove(self.back)
        return self.run(self.peer.get(self.place, self.back)), self.back

    def run(self, argv: Argv) -> int:
        done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, timeout=LIMIT_S, env=environment(self.root))
        self.said.append((done.stdout + done.stderr).decode(errors="replace"))
        return done.returncode

    def wrong(self, *, leftovers: bool = False) -> list[trees.Difference]:
        """Return whose contents are wrong or missing; or the leftovers: what is there and in no source."""
        _, there = self.get()
        if not there.exists():
            return [trees.Difference(b".", "missing", "directory")]
        found = trees.differences(trees.picture(self.source), trees.picture(there))
        kinds = ("extra",) if leftovers else ("missing", "contents", "size")
        return [one for one in found if one.what in kinds]

    def said_of(self, *words: str) -> bool:
        return any(word in said for said in self.said for word in words)


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(home), "TMPDIR": "/tmp", "LC_ALL": "C.UTF-8"}


@contextlib.contextmanager
def setting(peer: Peer) -> Iterator[Setting]:
    with tempfile.TemporaryDirectory(dir=DIRECTORY, prefix="data-") as name:
        root = Path(name) / "all"
        root.mkdir()
        Path(name).chmod(0o755)
        try:
            yield Setting(peer, root)
        finally:
            trees.remove(root)


# --- what is lost ----------------------------------------------------------------------------

WORDS = {
    "links": "hard links",
    "holes": "holes",
    "acl": "ACLs",
    "mode": "modes",
    "group": "groups",
    "target": "targets of links",
}
SPECIAL = {"fifo": "FIFO", "socket": "socket", "device": "device"}
PLURALS = {"symlink": "symbolic links", "directory": "directories", "file": "files"}


def fidelity(peer: Peer) -> list[str]:
    with setting(peer) as its:
        trees.make(its.source, without=("deep",))
        status, checked = its.put(), its.check()
        got, there = its.get()
        lost = in_words(trees.differences(trees.picture(its.source), trees.picture(there)))
    statuses = str(status) if got is None else f"{status}, back {got}"
    return [lost, statuses, checked, beyond_path_max(peer)]


def in_words(found: list[trees.Difference]) -> str:
    counts: Counter[str] = Counter()
    for one in found:
        counts[in_word(one)] += 1
    return (
        ", ".join(word if word in SPECIAL.values() else f"{word} ({count})" for word, count in sorted(counts.items()))
        or "nothing"
    )


def in_word(one: trees.Difference) -> str:
    if one.what == "missing":
        if one.kind in SPECIAL:
            return SPECIAL[one.kind]
        return "empty directories" if one.path.startswith(b"empty") else f"**{PLURALS[one.kind]} missing**"
    if one.what == "mtime":
        if one.kind in ("symlink", "directory"):
            return f"times of {PLURALS[one.kind]}"
        return "nanoseconds" if abs(one.wanted - one.found) < 10**9 else "times"
    if one.what == "holes" and not one.wanted:
        return "zeros become holes"
    return WORDS.get(one.what, "**contents**" if one.what in ("contents", "size", "kind") else one.what)


def beyond_path_max(peer: Peer) -> str:
    with setting(peer) as its:
        trees.make(its.source, without=[name for name in trees.FILLS if name != "deep"])
        status = its.put()
        got, there = its.get()
        lost = trees.differences(trees.picture(its.source), trees.picture(there)) if there.exists() else [None]
    return f"{'lost' if lost else 'kept'}, {status}{'' if got is None else f', back {got}'}"


# --- what goes wrong -------------------------------------------------------------------------


def fill_plain(root: Path, files: int = 4000, large: int = 150 << 20) -> None:
    chance = random.Random(1)
    for number in range(files):
        directory = root / f"d{number % 40:02d}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number}").write_bytes(chance.randbytes(chance.choice([100, 4_000, 40_000])))
    with (root / "d07/large").open("wb") as file:
        for _ in range(large >> 20):
            file.write(chance.randbytes(1 << 20))


def kill_9(peer: Peer) -> list[str]:
    """Kill it in the middle, look, and do the same again."""
    worst, left, statuses, after = 0, 0, set[int](), 0
    for part in (0.3, 0.5, 0.7):
        with setting(peer) as its:
            fill_plain(its.source)
            began = time.monotonic()
            its.put()
            lasts = time.monotonic() - began
            for there in (its.place, records_of(its.place)):
                trees.remove(there)
            kill_after(peer.put(its.source, its.place), part * lasts)
            worst = max(worst, truncated(its))
            statuses.add(its.put())
            after += len(its.wrong())
            left += len(its.wrong(leftovers=True)) if peer.get is None else 0
    end = "right" if not after else f"**{after} wrong**"
    return [
        str(worst) if peer.get is None else "the archive" if worst else "0",
        f"{end}, {listed(statuses)}",
        str(left),
    ]


def truncated(its: Setting) -> int:
    """Count what is wrong under final names; of an archive, whether it is not whole under its final name."""
    if its.peer.get is not None:
        return int(its.place.exists() and any(its.place.iterdir()))
    return sum(one.what != "missing" for one in its.wrong()) if its.place.exists() else 0


def listed(statuses: set[int]) -> str:
    return "/".join(map(str, sorted(statuses)))


def kill_after(argv: Argv, seconds: float) -> None:
    """Start a program and kill it with all that it has started, stopped first so that nothing escapes."""
    process = subprocess.Popen(
        argv, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(Path("/tmp"))
    )
    with process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
        family: list[int] = []
        while more := [pid for pid in descendants(process.pid) if pid not in family]:
            family += more
            for pid in more:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                found += map(int, Path(f"/proc/{parent}/task/{task}/children").read_text().split())
    return found


def stale(peer: Peer) -> list[str]:
    """Change a file that was copied, and keep its size and time: in the place, and in the source."""
    with setting(peer) as its:
        fill_plain(its.source, 50, 0)
        its.put()
        with_time_kept(its.source / "d03/3")
        status = its.put()
        return [f"{'not noticed' if its.wrong() else 'copied'}, {status}"]


def with_time_kept(path: Path) -> None:
    info = path.stat()
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, info.st_size // 2)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1]), info.st_size // 2)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def damaged(peer: Peer) -> list[str]:
    """Flip a bit of what lies at the place: does its check, and does what gets it back, say so?"""
    with setting(peer) as its:
        fill_plain(its.source, 50, 1)
        its.put()
        largest = max((path for path in its.place.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        with_time_kept(largest)
        checked = its.check()
        back, _ = its.get()
        wrong = len(its.wrong())
        return [checked, "–" if back is None else f"{back}, {wrong} wrong under final names"]


def unreadable(peer: Peer) -> list[str]:
    """A file and a directory that the user may not read, in a tree that is otherwise all right."""
    with setting(peer) as its:
        fill_plain(its.source, 50, 0)
        (its.source / "d03/3").chmod(0)
        (its.source / "d04").chmod(0)
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", its.root], check=True)
        argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *peer.put(its.source, its.place)]
        status = its.run(argv)
        named = "named" if its.said_of("d03/3", "d04") else "**not named**"
        return [f"{status}, {named}"]


def full(peer: Peer) -> list[str]:
    """Put 60 MB to a file system of 20 MB, then make it larger and do the same again."""
    with setting(peer) as its:
        fill_plain(its.source, 1000, 40 << 20)
        its.place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", its.place], check=True)
        try:
            status, worst = its.put(), truncated(its)
            subprocess.run(["mount", "-o", "remount,size=300m", its.place], check=True)
            again, wrong = its.put(), len(its.wrong())
        finally:
            subprocess.run(["umount", "-l", its.place], check=True)
        end = "right" if not wrong else f"**{wrong} wrong**"
        under = str(worst) if peer.get is None else "the archive" if worst else "0"
        return [str(status), under, f"{end}, {again}"]


# --- tables ----------------------------------------------------------------------------------

FIDELITY = ["program", "loses (how many of them)", "status", "its own check", "a path of 4.5 kB"]
FAULTS = ["program", "killed: wrong under final names", "the same again", "leftovers then"]
FAULTS += ["other bytes, same size and time", "unreadable: status", "a bit flipped there: its check", "getting it back"]
FAULTS += ["disk full: status", "wrong under final names", "with room again"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.data_comparison", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="programs with this in their name")
    parser.add_argument("--table", choices=["fidelity", "faults"])
    options = parser.parse_args()
    if os.getuid() != 0:
        parser.error("needs root: it mounts small file systems, and becomes another user")
    wanted = [peer for peer in PEERS if not options.only or any(word in peer.name for word in options.only)]
    print(versions(wanted), end="\n\n")
    if options.table != "faults":
        table(FIDELITY, wanted, [fidelity])
    if options.table != "fidelity":
        table(FAULTS, wanted, [kill_9, stale, unreadable, damaged, full])
    return 0


def versions(peers: list[Peer]) -> str:
    found = {peer.program: peer for peer in peers if peer.path}
    texts = []
    for program, peer in found.items():
        done = subprocess.run([str(peer.path), *peer.version], capture_output=True, text=True)
        texts.append(f"{program}: {(done.stdout + done.stderr).strip().partition(chr(10))[0].strip()}")
    return "\n".join(texts)


def table(head: list[str], peers: list[Peer], columns: list) -> None:
    print(row(head), row(["---"] * len(head)), sep="\n")
    for peer in peers:
        if peer.path is None:
            print(row([peer.name, "not installed", *[""] * (len(head) - 2)]), flush=True)
            continue
        print(row([peer.name, *(cell for column in columns for cell in cells_of(column, peer))]), flush=True)
    print()


def cells_of(column, peer: Peer) -> list[str]:
    try:
        return column(peer)
    except subprocess.TimeoutExpired:
        return [f"**hangs** ({LIMIT_S} s)"]


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
