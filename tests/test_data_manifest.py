"""Manifests: what is written is read again, whatever the names are; what is torn or damaged is noticed.

Seal and checksums are checked by coreutils.
"""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gears.data import entries, manifest
from gears.data.checksums import checksums_path, write_checksums
from gears.data.entries import Entry, Type
from gears.errors import BrokenSeal, Incomplete

HEADER = manifest.Header(b"/scratch/\xff", "dtn1", "2026-11-27T09:00:00Z")
NAMES = [
    b"plain",
    b"with space ",
    b"-",
    b"new\nline",
    b"carriage\rreturn",
    b"ends\r",
    b"back\\slash",
    b"\\n",
    b'"quoted","type":"directory"',
    b"\xff\xfe no UTF-8",
    b"\xed\xa0\x80",
    "é".encode(),
    "e\u0301".encode(),
    b"n" * 255,
    b"\x01\x1b[31m\x7f",
    "𝄞".encode(),
]


def write(path: Path, found: list[Entry], *, sealed: bool = True) -> None:
    with manifest.Writer(path, HEADER) as writer:
        for entry in found:
            writer.add(entry)
        if sealed:
            writer.seal()


def numbered(numbers: Iterator[int] | range, problem: str | None = None) -> list[Entry]:
    return [Entry(f"{n:06d}".encode(), Type.FILE, size=n, sha256=f"{n:064x}", problem=problem) for n in numbers]


def test_entries_are_read_as_they_were_written(tmp_path: Path) -> None:
    random.seed(12)
    names = {*NAMES, *(random.randbytes(9).replace(b"\0", b"x").replace(b"/", b"x") for _ in range(300))}
    times = (0, 1, -1, -(10**9) - 1, 2**62, 1795770795179603765)
    written = [
        Entry(b"d/" + name, Type.FILE, 2**60 + n, 0o6755, "team", times[n % 6], sha256="a" * 64)
        for n, name in enumerate(sorted(names))
    ]
    written += [Entry(name, Type.SYMLINK, target=name) for name in NAMES]
    written += [Entry(name, Type.FILE, same_as=name, extents=((0, 1), (2**50, 7))) for name in NAMES]
    written += [Entry(b"x", Type.DIRECTORY, xattrs=(("user.a", b""), ("user.b\udcff", bytes(range(256)))))]
    written += [Entry(b"y", kind, problem="Permission denied") for kind in Type]
    write(tmp_path / "m.jsonl", written)
    assert list(manifest.read(tmp_path / "m.jsonl")) == written
    assert manifest.read_header(tmp_path / "m.jsonl") == HEADER
    assert manifest.check(tmp_path / "m.jsonl").entries == len(written)


def test_it_can_be_read_without_gears(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write(path, [Entry(name, Type.FILE, mtime_ns=-1_500_000_000, mode=0o2750) for name in NAMES])
    header, *lines, seal = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    assert (header["manifest"], header["hash"], header["host"]) == (1, "sha256", "dtn1")
    assert [line.get("path") for line in lines[:4]] == ["plain", "with space ", "-", "new\nline"]
    assert (lines[0]["mode"], lines[0]["mtime"]) == ("2750", "-1.500000000")
    sealed = subprocess.run(f"head -n -1 {path} | sha256sum", shell=True, capture_output=True, text=True, check=True)
    assert (seal["seal"], seal["entries"]) == (sealed.stdout.split()[0], len(NAMES))


def test_times_are_those_of_touch(tmp_path: Path) -> None:
    for nanoseconds in (-1_500_000_000, -1, 0, 1, 1_795_770_795_179_603_765):
        subprocess.run(["touch", "-d", f"@{entries.format_time(nanoseconds)}", tmp_path / "f"], check=True)
        assert (tmp_path / "f").stat().st_mtime_ns == nanoseconds


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "a//b", "", "a/.", "./a", "a\0b"])
def test_a_path_that_leads_out_of_the_tree_is_no_entry(path: str) -> None:
    values = json.loads(entries.to_line(Entry(b"a", Type.FILE)))
    for changed in ({"path": path}, {"same_as": path}):
        with pytest.raises(ValueError, match="leads out"):
            entries.from_values(values | changed)


# --- torn and damaged ------------------------------------------------------------------------


def test_a_torn_line_ends_the_entries_and_the_next_run_goes_on_from_there(tmp_path: Path) -> None:
    path, found = tmp_path / "m.jsonl", numbered(range(5))
    new = manifest.new_path(path)
    write(new, found, sealed=False)
    whole = new.read_bytes()
    for length in range(len(whole) + 1):
        new.write_bytes(whole[:length])
        finished = max(0, whole[:length].count(b"\n") - 1)
        assert list(manifest.read(new)) == found[:finished]
        known = manifest.carry_over(path)
        assert (list(manifest.read(known)) if known else []) == found[:finished]
        manifest.old_path(path).unlink(missing_ok=True)


def test_zeros_at_the_end_after_a_power_failure_end_the_entries(tmp_path: Path) -> None:
    path, found = tmp_path / "m.jsonl.new", numbered(range(5))
    write(path, found, sealed=False)
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert list(manifest.read(path)) == found


def test_earlier_runs_are_merged_and_the_newest_entry_counts(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write(path, numbered(range(10)))
    write(manifest.new_path(path), numbered(range(3, 6), "new"), sealed=False)
    assert manifest.carry_over(path) == manifest.old_path(path)
    write(manifest.new_path(path), numbered(range(4, 12, 2), "newest"), sealed=False)
    known = manifest.carry_over(path)
    assert known
    merged = {int(entry.path): entry.problem for entry in manifest.read(known)}
    assert list(merged) == [*range(9), 9, 10]
    assert [merged[n] for n in (2, 3, 4, 5, 6, 7, 10)] == [None, "new", "newest", "new", "newest", None, "newest"]
    lookup = manifest.Known(known)
    assert [bool(lookup.find(f"{n:06d}".encode())) for n in (0, 4, 5, 9, 11)] == [True, True, True, True, False]


def test_every_damage_to_a_sealed_manifest_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write(path, numbered(range(20)))
    whole = path.read_bytes()
    random.seed(1)
    for _ in range(300):
        place, bit = random.randrange(len(whole)), 1 << random.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        with pytest.raises((BrokenSeal, Incomplete)):
            manifest.check(path)
    lines = whole.splitlines(keepends=True)
    for changed in (lines[:3] + lines[4:], [*lines, lines[3]], [lines[0], lines[2], lines[1], *lines[3:]]):
        path.write_bytes(b"".join(changed))
        with pytest.raises((BrokenSeal, Incomplete)):
            manifest.check(path)
    path.write_bytes(whole)
    assert manifest.check(path).entries == 20


def test_a_manifest_without_its_seal_is_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    for found in ([], numbered(range(3))):
        write(path, found, sealed=False)
        for text in (path.read_bytes(), path.read_bytes()[:-5], b""):
            path.write_bytes(text)
            with pytest.raises(Incomplete) as raised:
                manifest.check(path)
            assert raised.value.exit_code == 7
    with pytest.raises(Incomplete):
        manifest.carry_over(path)
    assert BrokenSeal("").exit_code == 6


# --- checksums -------------------------------------------------------------------------------


def test_sha256sum_accepts_the_checksums_of_all_names(tmp_path: Path) -> None:
    found, copy = [], tmp_path / "copy"
    copy.mkdir()
    for name in NAMES:
        Path(copy, name.decode(errors="surrogateescape")).write_bytes(name)
        digest = subprocess.run(["sha256sum"], input=name, capture_output=True, check=True).stdout[:64].decode()
        found.append(Entry(name, Type.FILE, sha256=digest))
    found.append(Entry(b"unreadable", Type.FILE, problem="Permission denied"))
    sums = checksums_path(tmp_path / "run7.jsonl")
    assert sums.name == "run7.SHA256SUMS"
    write_checksums(sums, iter(found))
    check = ["sha256sum", "--check", "--strict", "--quiet", sums]
    done = subprocess.run(check, cwd=copy, capture_output=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(sums.read_bytes().splitlines()) >= len(NAMES)
    (copy / "plain").write_bytes(b"plaim")
    assert b"plain: FAILED" in subprocess.run(check, cwd=copy, capture_output=True).stdout


# --- memory ----------------------------------------------------------------------------------

MEMORY = """
import resource, sys
from pathlib import Path
from gears.data import manifest
from gears.data.checksums import write_checksums
from gears.data.entries import Entry, Type
path, number = Path(sys.argv[1]), int(sys.argv[2])
def entries():
    for n in range(number):
        yield Entry(b"directory/%09d" % n, Type.FILE, n, 0o644, "team", n, sha256="0" * 64)
header = manifest.Header(b"/x", "x", "x")
with manifest.Writer(manifest.new_path(path), header) as writer:
    for entry in entries():
        writer.add(entry)
known = manifest.carry_over(path)
sums = path.with_name(f"{path.name}.sums")
write_checksums(sums, manifest.read(known))
assert sum(1 for _ in sums.open()) == number
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_entries(tmp_path: Path) -> None:
    peaks = []
    for number in (20_000, 200_000):
        argv = [sys.executable, "-c", MEMORY, tmp_path / f"m{number}.jsonl", str(number)]
        peaks.append(int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] < 1.1 * peaks[0], f"{peaks} KiB"
