"""python -m tests.bench.data_scale DIRECTORY [--files N] [--gigabytes N]: seconds and memory of copies of a large tree.

DIRECTORY is on the file system to measure; it holds the tree and one copy at a time, and is emptied at the end. All
programs take turns on the same tree. Peak memory is that of the largest process. As root the page cache is emptied
before each (proc_sys_vm(5)): else the first one finds what the tree's making has left there, and later ones do not.
What a program has written counts once it is on the disk: a `sync` is part of its time.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.data_peers import PEERS, Argv, records_of

CHECKOUT = Path(__file__).parents[2]
BLOCK = 1 << 20
MANIFEST = """
import resource, sys, time
from pathlib import Path
from gears.data import manifest
from gears.data.entries import Entry, Type
path, entries = Path(sys.argv[1]), int(sys.argv[2])
began = time.monotonic()
with manifest.Writer(path, manifest.Header(b"/source", "host", "2026-01-01T00:00:00Z")) as writer:
    for number in range(entries):
        name = b"d%05d/f%08d" % (number // 1000, number)
        writer.add(Entry(name, Type.FILE, 4096, 0o644, "group", 10**18 + number, sha256="%064x" % number))
    writer.seal()
written = time.monotonic()
assert manifest.check(path).entries == entries
assert sum(1 for _ in manifest.read(path)) == entries
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"{written - began:.0f} {time.monotonic() - written:.0f} {peak / 1000:.0f} {path.stat().st_size / 1e9:.1f}")
"""


DUE = """
import os, sys, time
from datetime import date
from gears.data import listing
found = listing.Listing()
search = listing.Search(sys.argv[1], "either", 90, time.time_ns() + 14 * listing.DAY_NS, date.today().toordinal())
listing.walk(search, "", found, jobs=2)
sys.exit(found.seen < int(sys.argv[2]))
"""


@dataclass(frozen=True)
class Act:
    """Something to measure. `needs`: the act whose result it works on, which is kept for it; " " if any is."""

    name: str
    argv: Argv
    needs: str = ""


def fill(root: Path, files: int, gigabytes: float) -> None:
    """Small files, of 3.5 kB in the middle, a thousand in a directory; and what is missing in large ones of 1 GB."""
    noise, size = os.urandom(2 * BLOCK), 0
    for number in range(files):
        directory = root / f"small/{number // 100_000:02d}/{number // 1000:05d}"
        if number % 1000 == 0:
            directory.mkdir(parents=True)
        begin, length = number * 37 % BLOCK, 500 + number * 7919 % 6000
        (directory / f"f{number:07d}").write_bytes(noise[begin : begin + length])
        size += length
    (root / "large").mkdir()
    for number in range(max(0, int(gigabytes - size / 1e9))):
        with (root / f"large/{number:02d}").open("wb") as file:
            for block in range(1000):
                file.write(noise[block : block + BLOCK])
    os.sync()


def acts(source: Path, place: Path, files: int) -> Iterator[Act]:
    driver, records = [sys.executable, "-m", "tests.data_driver"], records_of(place)
    puts = {peer.name: peer.put(source, place) for peer in PEERS if peer.path}
    checks = {peer.name: peer.check(source, place) for peer in PEERS if peer.path and peer.check}
    yield Act("`rsync -a`", puts["`rsync -a`"])
    yield Act("`rsync -anc`, to check it", checks["`rsync -a`"], "`rsync -a`")
    yield Act("gears, a tree: copy, with SHA-256", [*driver, "copy", source, place, records])
    yield Act("gears, a tree: verify", [*driver, "verify", place, records], "gears, a tree: copy, with SHA-256")
    yield Act("gears, what is due: the listing", [sys.executable, "-c", DUE, source, str(files)], " ")
    yield Act("gears, bundles of 2 GB: put, with SHA-256", [*driver, "put", source, place, records])
    bundles = "gears, bundles of 2 GB: put, with SHA-256"
    yield Act("gears, bundles: verify", [*driver, "check", place, records], bundles)
    yield Act("gears, bundles: get", [*driver, "get", place, records, place.with_name("place-back")], bundles)
    for name in ("`cp -a`", "`fpsync -n 2`", "`dsync --sparse`", "`tar`"):
        if name in puts:
            yield Act(name, puts[name])
    packed = 'mkdir -p "$1" && tar -C "$0" -cf - . | tee "$1/a.tar" | sha256sum > "$1/sum"'
    yield Act("`tar` through `tee` to a file and `sha256sum`", ["sh", "-c", packed, source, place])


def empty_cache() -> None:
    os.sync()
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3")


def measure(act: Act) -> tuple[float, float, float, int]:
    """Return seconds, those of processors, peak memory in MB, and status."""
    began = time.monotonic()
    environment = {**os.environ, "JOBS": "2", "BUNDLE": str(2 * 10**9)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(act.argv, cwd=CHECKOUT, env=environment, **quiet)
    _, status, usage = os.wait4(process.pid, 0)
    os.sync()
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    return time.monotonic() - began, cpu, usage.ru_maxrss / 1000, process.returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.data_scale", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--entries", type=int, default=10_000_000, help="of a manifest; 0: none")
    parser.add_argument("--only", action="append", default=[], metavar="WORD")
    parser.add_argument("--keep", action="store_true", help="the tree, for another run")
    options = parser.parse_args()
    root = options.directory / "data-scale"
    root.mkdir(exist_ok=True)
    try:
        if options.entries:
            manifest_of(options.entries, root / "manifest")
        if options.files or options.gigabytes:
            compare(options, root)
    finally:
        subprocess.run(["rm", "-rf", *root.glob("place*"), *([] if options.keep else [root])], check=True)
    return 0


def manifest_of(entries: int, path: Path) -> None:
    argv = [sys.executable, "-c", MANIFEST, path, str(entries)]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    wrote, read, peak, size = done.stdout.split()
    print(
        f"A manifest of {entries:,} entries, {size} GB: written in {wrote} s, checked and read in {read} s, {peak} MB\n"
    )
    path.unlink()


def compare(options: argparse.Namespace, root: Path) -> None:
    source, place = root / "source", root / "place"
    if not source.exists():
        source.mkdir()
        fill(source, options.files, options.gigabytes)
    free = shutil.disk_usage(root).free
    if free < (options.gigabytes + 10) * 1e9:
        sys.exit(f"{root}: {free / 1e9:.0f} GB are free, a copy needs {options.gigabytes + 10:.0f}")
    print("\n| what | seconds | to `rsync -a` | of processors | to `rsync -a` | peak MB | status |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    base = base_cpu = 0.0
    for act in acts(source, place, options.files):
        if options.only and not any(word in act.name for word in options.only):
            continue
        if not act.needs:
            subprocess.run(["rm", "-rf", *root.glob("place*")], check=True)
        empty_cache()
        seconds, cpu, peak, status = measure(act)
        base, base_cpu = base or seconds, base_cpu or cpu
        figures = f"{seconds:.0f} | {seconds / base:.2f} | {cpu:.0f} | {cpu / base_cpu:.2f} | {peak:.0f}"
        print(f"| {act.name} | {figures} | {status} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
