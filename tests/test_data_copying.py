"""Copies over ssh between a laptop and a place: listed at both ends, compared here, and nothing comes back."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from gears.data import catalog, copying, engine, manifest, overssh, rsync
from gears.data.records import Method, Transfer, Verb
from gears.data.verification import verify
from gears.errors import CommandFailed, Incomplete, MissingProgram, NotReachable
from gears.sites.profile import Place, Site
from tests.centre import Centre
from tests.conftest import OpenCentre, skip_or_fail
from tests.helpers import home, wait_until
from tests.test_data_engine import assert_same, fill, fill_attributes

# --- between places of one host --------------------------------------------------------------


def transfer(source: Path, target: Path, address: str = "") -> Transfer:
    return Transfer(
        name="run7",
        verb=Verb.COPY,
        method=Method.TREE,
        source=str(source),
        target=address or str(target),
        source_path=str(source),
        target_path=str(target),
        host="here",
        user="alice",
        created="2026-11-27T12:00:00Z",
    )


def test_a_copy_between_two_places_has_all_and_creates_what_leads_to_it(tmp_path: Path) -> None:
    source, scratch = tmp_path / "source", tmp_path / "scratch"
    source.mkdir()
    scratch.mkdir()
    fill(source)
    site = Site("test", filesystem={"scratch": Place(str(scratch))})
    planned = transfer(source, scratch / "a/b", "scratch:a/b")
    seen: list[int] = []
    for _ in range(2):
        tally = copying.copy(
            planned, site, tmp_path / "state", jobs=0, must_stop=str, on_progress=lambda tally: seen.append(tally.moved)
        )
        assert (tally.complete, tally.lost.total()) == (True, 0)
    assert max(seen) > 5_000_000
    assert_same(source, scratch / "a/b")
    assert verify(tmp_path / "state/manifest", scratch / "a/b").differences.total() == 0
    assert [path.name for path in (scratch / "a").iterdir()] == ["b"]
    assert copying.verify_far(planned, site, tmp_path / "state", must_stop=str, on_progress=seen.append) is None


def test_a_place_that_is_not_there_is_not_created(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    site = Site("test", filesystem={"team": Place(str(tmp_path / "no"), shared="group")})
    with pytest.raises(NotReachable):
        copying.copy(
            transfer(tmp_path / "source", tmp_path / "no/run7", "team:run7"),
            site,
            tmp_path / "state",
            jobs=1,
            must_stop=str,
            on_progress=lambda _tally: None,
        )
    assert not (tmp_path / "no").exists()


# --- the catalog -----------------------------------------------------------------------------


def listed(directory: Path, into: Path) -> Path:
    argv = [sys.executable, "-I", catalog.__file__, "list", str(directory)]
    into.write_bytes(subprocess.run(argv, capture_output=True, check=True).stdout)
    return into


def test_the_catalog_lists_what_the_engine_does(tmp_path: Path) -> None:
    source, record = tmp_path / "source", tmp_path / "record/manifest"
    source.mkdir()
    fill(source)
    try:
        fill_attributes(source)
    except OSError as exc:
        skip_or_fail(f"no extended attributes or ACLs in {source}: {exc}")
    engine.copy_tree(source, tmp_path / "copy", record)
    path = listed(source, tmp_path / "list")
    verified = overssh.compare(manifest.read(record), path)
    assert (verified.whole, verified.differences.total(), verified.not_held) == (True, 0, 2)
    assert [entry.path for entry in overssh.read(path)] == [entry.path for entry in manifest.read(record)]


def test_a_list_that_was_cut_is_not_taken_for_whole(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for name in ("a", "b"):
        (tmp_path / "source" / name).write_text(name)
    path = listed(tmp_path / "source", tmp_path / "list")
    lines = path.read_bytes().splitlines(keepends=True)
    for cut in (lines[:-1], lines[1:], [*lines[:2], lines[2][:20]], []):
        path.write_bytes(b"".join(cut))
        with pytest.raises(Incomplete):
            list(overssh.read(path))
    path.write_bytes(b"Welcome to the centre!\n" + b"".join(lines))
    assert len(list(overssh.read(path))) == 3


# --- rsync -----------------------------------------------------------------------------------

REAL = "rsync  version 3.4.1  protocol version 32\nCopyright (C) 1996-2025"
OLD = "rsync  version 2.6.9  protocol version 29\nCopyright (C) 1996-2006"
OPENRSYNC = "openrsync: protocol version 29\nrsync version 2.6.9 compatible\n"


@pytest.mark.parametrize(("version", "full"), [(REAL, True), (OLD, False), (OPENRSYNC, False), ("", False)])
def test_which_rsync_keeps_attributes(version: str, full: bool) -> None:
    assert rsync.is_full(version) is full
    program = rsync.Rsync("rsync", rsync.is_full(version))
    far = program.far_path("andes", "/scratch/a b")
    argv = program.command(
        ["ssh", "-l", "x y"], ("/here/", far), mark="GEARS_COPY=c0ffee", attributes=True, checksum=False
    )
    assert ("-AX" in argv, "-s" in argv) == (full, full)
    assert argv[-3:] == ["ssh -l 'x y'", "/here/", "andes:/scratch/a b/" if full else "andes:'/scratch/a b/'"]
    assert program.far_path("andes", "~/data") == "andes:./data/"
    assert program.far_path("andes", "~") == "andes:./"


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [(12, Incomplete, 7), (255, Incomplete, 7), (11, Incomplete, 7), (127, MissingProgram, 1), (3, CommandFailed, 1)],
)
def test_how_rsync_has_ended(status: int, kind: type[Exception], code: int) -> None:
    error = rsync.failure(status, "first\nthe last line\n", "andes", "gears data copy a b")
    assert isinstance(error, kind)
    assert error.exit_code == code
    assert "the last line" in str(error)
    assert rsync.failure(23, "", "andes", "") is None


# --- in the centre ---------------------------------------------------------------------------

PROFILE = """
[front]
jump = ["hub"]
[lab]
host = "login1"
match = ["login1"]
[filesystem]
scratch = "/tmp/{user}"
"""

COPY = """
import json, sys
from pathlib import Path
from gears.data import copying
from gears.data.records import Transfer
from gears.errors import GearsError
from gears.sites.load import load_site
from gears.system import records
transfer, verify = records.parse(Transfer, json.loads(sys.argv[1])), sys.argv[2:] == ["verify"]
site, state = load_site("matagorda"), Path.home() / "state" / transfer.name
def moved(tally): print("moved", tally.moved, flush=True)
try:
    if verify:
        found = copying.verify_far(transfer, site, state, must_stop=str, on_progress=moved)
        print("verified", found.entries, dict(found.differences))
    else:
        tally = copying.copy(transfer, site, state, jobs=0, must_stop=str, on_progress=moved)
        print("copied", tally.files, tally.problems, dict(tally.lost))
except GearsError as error:
    print("failed", error.exit_code, error.message)
"""


FUSE_S = 1.2
"""A little more than libfuse's attr_timeout: so long rsync may see fewer links of a file than it has."""


@pytest.fixture
def hosts(open_centre: OpenCentre) -> Centre:
    centre = open_centre(profiles={"matagorda": PROFILE})
    archive = centre.laptop.path("/home/alice/run7.tar")
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "run7")
        source.mkdir()
        fill(source)
        (source / "none").unlink()  # which only root can read
        subprocess.run(["tar", "-C", directory, "--format=pax", "-Scf", archive, "run7"], check=True)
    centre.laptop.run("tar xf run7.tar", check=True)
    made = time.time()
    wait_until(lambda: time.time() - made > FUSE_S, 5, "FUSE shows all names and times of what was just made")
    return centre


def words(source: str, target: str) -> str:
    values = {"name": "run7", "verb": "copy", "method": "tree", "source": source, "target": target}
    values |= {"source_path": source, "target_path": target, "host": "laptop", "user": "alice", "created": "now"}
    return json.dumps(values)


PUT = words("/home/alice/run7", "scratch:a b/run7")


def command(*words: str) -> list[str]:
    return [f"{home()}/.venv/bin/python", "-c", COPY, *words]


def copy(centre: Centre, *words: str) -> str:
    """Run a copy on the laptop, and return its last line."""
    done = centre.laptop.run(command(*words), cwd=home())
    assert done.returncode == 0, done.stderr
    return str(done.stdout.splitlines()[-1])


def test_a_laptops_tree_goes_to_a_place_and_back_and_every_byte_is_proven(hosts: Centre) -> None:
    source, there = hosts.laptop.path("/home/alice/run7"), hosts.login1.path("/tmp/alice/a b/run7")
    assert copy(hosts, PUT) == "copied 28 0 {}"
    assert_same(source, there)
    assert copy(hosts, PUT, "verify") == "verified 43 {}"
    info = (there / "big").stat()
    data = bytearray((there / "big").read_bytes())
    data[1000] ^= 1
    (there / "big").write_bytes(data)
    os.utime(there / "big", ns=(info.st_atime_ns, info.st_mtime_ns))
    assert copy(hosts, PUT, "verify") == "verified 42 {'different': 1}"
    assert copy(hosts, PUT) == "copied 28 0 {}"  # which rsync alone would not have noticed
    assert_same(source, there)
    assert copy(hosts, words("scratch:a b/run7", "/home/alice/back")) == "copied 28 0 {}"
    assert_same(source, hosts.laptop.path("/home/alice/back"))


def test_a_cut_connection_is_7_and_the_same_command_goes_on(hosts: Centre) -> None:
    large = hosts.laptop.path("/home/alice/run7/large")
    large.write_bytes(os.urandom(1 << 20) * 80)
    to_home = words("/home/alice/run7", "home:data/run7")
    slow = "mkdir slow; cat > slow/rsync; chmod 755 slow/rsync"
    limited = '#!/bin/sh\nexec /usr/bin/rsync --bwlimit=20000 "$@"\n'
    hosts.laptop.run(slow, input=limited, check=True)
    with_it = ["sh", "-c", 'PATH=~/slow:$PATH; exec "$@"', "sh"]
    process = hosts.laptop.popen([*with_it, *command(to_home)], cwd=home())
    try:
        part = hosts.login1.path("/home/alice/data/run7")
        wait_until(lambda: process.poll() is not None or list(part.glob(".large.*")), 60, "the file is sent")
        hosts.login1.kill_sessions("alice")
        said = process.communicate(timeout=180)[0].splitlines()[-1]
    finally:
        process.kill()
    assert said.startswith("failed 7 ")
    assert not (part / "large").exists()
    assert copy(hosts, to_home).startswith("copied 29 0 ")
    assert large.read_bytes() == (part / "large").read_bytes()
