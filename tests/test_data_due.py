"""What the purge will take: counted right by each rule, told against the copies, and nothing is touched."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gears.cli import main
from gears.cli.data.due import exit_status, quoted
from gears.data import due, engine, listing, lustre, manifest, records
from gears.data.addresses import Address
from gears.data.due import Due, Look, find_due
from gears.data.listing import DAY_NS, Listing, Search, Spool, key_of, walk
from gears.data.records import Method, Task, TaskState, Transfer, Verb
from gears.data.sums import Sum, Sums
from gears.errors import NotReachable, UsageError
from gears.sites import load
from gears.sites.paths import RunDir
from gears.sites.profile import Place, PurgeBy, Site
from gears.sites.profile import Transfer as ProfileTransfer
from gears.system.host import Host
from tests.standins import lfs

STANDIN = Path(lfs.__file__)


def today() -> date:
    """Of this host, as in the answers."""
    return date.fromtimestamp(time.time())  # noqa: DTZ012


class Centre:
    """A scratch with a purge rule, an archive, a team's place that is purged too, and the records of transfers."""

    def __init__(self, root: Path) -> None:
        self.scratch, self.archive, self.team = root / "scratch", root / "archive", root / "team"
        for directory in (self.scratch, self.archive, self.team):
            directory.mkdir()
        self.paths = RunDir(root / "gears", "x", root / "local")
        self.host = Host("login1", ("login1",), "alice", str(root))
        self.by: PurgeBy = "either"
        self.said: list[str] = []

    @property
    def site(self) -> Site:
        purged = {"purge_days": 90, "purge_by": self.by}
        places = {"scratch": Place(str(self.scratch), **purged), "team": Place(str(self.team), **purged)}  # type: ignore[arg-type]
        return Site("x", filesystem={**places, "archive": Place(str(self.archive))})

    def write(self, name: str, size: int, *, read: float, changed: float) -> Path:
        """A file that was read and changed so many days ago."""
        path = self.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        self.age(path, read=read, changed=changed)
        return path

    def age(self, path: Path, *, read: float, changed: float) -> None:
        os.utime(path, ns=tuple(time.time_ns() - int(days * DAY_NS) for days in (read, changed)))  # type: ignore[arg-type]

    def put(self, name: str, target: Path, *, verb: Verb = Verb.PUT, **task: Any) -> Transfer:
        """Copy scratch/NAME, and record it as a put, or as what the verb says."""
        transfer = Transfer(
            name=name.replace("/", "-") or "all",
            verb=verb,
            method=Method.TREE,
            source=f"scratch:{name}",
            target=f"{target.parent.name}:{target.name}",
            source_path=str(self.scratch / name),
            target_path=str(target),
            host="login1",
            user="alice",
            created="2026-11-27T09:00:00Z",
        )
        self.paths.transfer(transfer.name).mkdir(parents=True)
        record = records.manifest_path(self.paths, transfer.name)
        engine.copy_tree(self.scratch / name, target, record)
        records.save_transfer(self.paths, transfer)
        records.save_task(self.paths, transfer.name, Task(verb=verb, state=TaskState.DONE, verified=True, **task))
        return transfer

    def due(self, within: int = 14, path: str = "", **changes: Any) -> Due:
        look = replace(Look(address=Address("scratch", path), within=within), **changes)
        return find_due(look, self.site, self.paths, self.host, self.said.append)


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


def pair(one: Sum) -> tuple[int, int]:
    return one.files, one.size


# --- rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "names"), [("atime", "ac"), ("mtime", "bc"), ("either", "c"), ("ctime", ""), ("", "abc")]
)
def test_each_rule_has_its_time(centre: Centre, by: PurgeBy, names: str) -> None:
    centre.by = by
    for name, read, changed in (("a", 80, 1), ("b", 1, 80), ("c", 80, 81), ("d", 1, 1)):
        centre.write(f"{name}/x", 7, read=read, changed=changed)
    assert "".join(sorted(centre.due().by_directory)) == names
    assert centre.due(within=90).total.files == 4  # by then all of them, by each rule


def test_the_change_of_attributes_counts_where_the_rule_says_so(centre: Centre) -> None:
    centre.by = "ctime"
    centre.write("old", 7, read=200, changed=200)
    assert centre.due(within=89).total.files == 0
    [day] = centre.due(within=91).by_day
    assert 89 <= (date.fromisoformat(day) - today()).days <= 90


def test_sums_by_day_and_by_directory(centre: Centre) -> None:
    for number, (name, size, read) in enumerate(
        [("run7/in/a", 5, 85), ("run7/b", 11, 88), ("c", 17, 85), ("d", 0, 300)]
    ):
        centre.write(name, size, read=read + 0.001 * number, changed=400)
    centre.write("run8/young", 9, read=3, changed=400)
    centre.write(".snapshots/hourly/run7/b", 11, read=95, changed=400)
    os.symlink("c", centre.scratch / "link")
    (centre.scratch / "empty").mkdir()
    found = centre.due()
    assert pair(found.total) == (4, 33)
    assert pair(found.by_day[today().isoformat()]) == (1, 0)  # an empty file is a file; what is late dies now
    assert [pair(one) for one in found.by_day.values()] == [(1, 0), (1, 11), (2, 22)]
    assert {name: pair(one) for name, one in found.by_directory.items()} == {"": (2, 17), "run7": (2, 16)}
    assert [*centre.due(path="run7").by_directory] == ["run7", "run7/in"]  # all is in one: those in it
    assert pair(centre.due(within=3).total) == (2, 11)


def test_only_the_files_of_the_user_unless_all_are_asked_for(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    centre.write("a", 5, read=100, changed=100)
    monkeypatch.setattr(due.os, "getuid", lambda: 54321)
    assert (centre.due().total.files, centre.due(everybody=True).total.files) == (0, 1)


def test_nothing_is_touched(centre: Centre) -> None:
    for name in ("a/b/c", "a/d", "e"):
        centre.write(name, 5, read=95, changed=95)
    centre.put("a", centre.archive / "a")
    every = [centre.scratch, *centre.scratch.rglob("*")]
    for path in every:
        centre.age(path, read=99, changed=98)  # older than the change: relatime would set it anew
    before = [path.lstat() for path in every]
    assert centre.due().total.files == 3
    for path, info in zip(every, before, strict=True):
        assert path.lstat() == info, path


def test_a_directory_that_cant_be_read_is_named(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced: opening a directory, since root may read every one."""
    centre.write("closed/a", 5, read=95, changed=95)
    centre.write("open/b", 5, read=95, changed=95)
    real = listing.open_directory

    def refuse(path: str) -> int:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(listing, "open_directory", refuse)
    found = centre.due()
    assert (found.problems, found.named) == (1, [("closed", "Permission denied")])
    assert (found.total.files, exit_status([found], [])) == (1, 7)


def test_a_name_of_any_bytes_is_counted(centre: Centre) -> None:
    name = os.fsdecode(b"new\nline \xff")
    centre.write(f"{name}/{name}", 5, read=95, changed=95)
    assert [*centre.due().by_directory] == [name]
    word = quoted(f"scratch:{name}")
    assert subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True).stdout == b"scratch:new\nline \xff"


# --- what else holds it ----------------------------------------------------------------------


def test_a_file_with_a_verified_copy_is_not_alone(centre: Centre) -> None:
    for name in ("run7/a", "run7/in/b", "run8/c", "run7-x/d"):
        centre.write(name, 10, read=95, changed=95)
    centre.put("run7", centre.archive / "run7")
    centre.write("run7/new", 3, read=95, changed=95)
    found = centre.due()
    assert pair(found.total) == (5, 43)
    assert (found.total.alone_files, found.total.alone_size, found.total.unproven_files) == (3, 23, 0)
    assert {name: one.alone_files for name, one in found.by_directory.items()} == {"run7-x": 1, "run8": 1, "run7": 1}
    assert exit_status([found], []) == 0
    assert exit_status([centre.due(path="run7/in")], []) == 0


@pytest.mark.parametrize("change", ["size", "mtime", "copy removed", "copy changed", "differs"])
def test_a_file_that_is_not_what_was_copied_is_alone(centre: Centre, change: str) -> None:
    path = centre.write("run7/a", 10, read=95, changed=95)
    transfer = centre.put("run7", centre.archive / "run7")
    copy = centre.archive / "run7/a"
    match change:
        case "size":
            centre.write("run7/a", 11, read=95, changed=95)
        case "mtime":
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
        case "copy removed":
            copy.unlink()
        case "copy changed":
            copy.write_text("other")
        case "differs":
            found = Task(verb=Verb.VERIFY, state=TaskState.DIFFERENT)
            records.save_task(centre.paths, transfer.name, found)
    assert centre.due().total.alone_files == 1


def test_a_copy_at_a_place_that_is_purged_itself_does_not_count(centre: Centre) -> None:
    centre.write("run7/a", 10, read=95, changed=95)
    centre.put("run7", centre.team / "run7")
    assert centre.due().total.alone_files == 1


def test_a_copy_that_nobody_verified_is_told_apart(centre: Centre) -> None:
    centre.write("run7/a", 10, read=95, changed=95)
    transfer = centre.put("run7", centre.archive / "run7")
    records.save_task(centre.paths, transfer.name, Task(verb=Verb.PUT, state=TaskState.DONE))
    total = centre.due().total
    assert (total.alone_files, total.unproven_files, total.unproven_size) == (0, 1, 10)


def test_what_a_get_has_brought_is_held_by_its_source(centre: Centre) -> None:
    centre.write("run7/a", 10, read=95, changed=95)
    moved = centre.put("run7", centre.archive / "run7")
    back = replace(moved, verb=Verb.GET, source=moved.target, target=moved.source)
    records.save_transfer(centre.paths, replace(back, source_path=moved.target_path, target_path=moved.source_path))
    assert centre.due().total.alone_files == 0
    (centre.archive / "run7/a").unlink()
    assert centre.due().total.alone_files == 1


def test_a_bundle_that_was_removed_holds_nothing(centre: Centre) -> None:
    for name in ("run7/a", "run7/b"):
        centre.write(name, 10, read=95, changed=95)
    transfer = centre.put("run7", centre.archive / "run7")
    records.save_transfer(centre.paths, replace(transfer, method=Method.BUNDLES))
    record = records.manifest_path(centre.paths, "run7")
    header, entries = manifest.read_header(record), list(manifest.read(record))
    assert header
    bundles = tuple(manifest.Bundle(f"{name}.tar", 3, "0" * 64) for name in "ab")
    with manifest.Writer(record, replace(header, number=1, bundles=bundles)) as writer:
        for entry in entries:
            writer.add(replace(entry, bundle=f"{entry.path.decode()}.tar") if entry.sha256 else entry)
        writer.seal()
    shutil.rmtree(centre.archive / "run7")
    (centre.archive / "run7").mkdir()
    for name in "ab":
        (centre.archive / "run7" / f"{name}.tar").write_text("tar")
    assert centre.due().total.alone_files == 0
    (centre.archive / "run7/a.tar").write_text("cut off")
    assert centre.due().total.alone_files == 1


def test_copies_of_what_is_above_and_below_are_found(centre: Centre) -> None:
    for name in ("a/b/one", "a/b/c/two", "a/three", "four"):
        centre.write(name, 1, read=95, changed=95)
    centre.put("a/b", centre.archive / "b")
    assert centre.due().total.alone_files == 2
    centre.put("", centre.archive / "everything", verb=Verb.COPY)
    (centre.archive / "b/one").unlink()
    assert centre.due().total.alone_files == 0


def test_many_candidates_come_sorted_from_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "RUN_FILES", 50)
    monkeypatch.setattr(listing, "BLOCK_FILES", 7)
    names = [f"{a}{sep}{b}" for a in "ab" for sep in ("/", "-", "") for b in range(100)]
    with Spool() as spool:
        for start in range(0, len(names), 30):
            spool.add([(key_of(name), 1, 2, 3) for name in names[start : start + 30]])
        assert [one[0] for one in spool] == sorted(map(key_of, names))


def test_sums_of_very_many_directories_are_kept_by_the_upper_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gears.data.sums.MOST_DIRECTORY_SUMS", 10)
    sums = Sums()
    for number in range(20):
        for one in sums.of(1, f"top/{number}/below"):
            one.add(1)
        sums.bound()
    assert {name: one.files for name, one in sums.by_directory.items()} == {"top": 20}


# --- Lustre ----------------------------------------------------------------------------------


@pytest.fixture
def on_lustre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced: what statfs(2) says; and `lfs`, by a stand-in."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/lfs"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(STANDIN))} "$@"\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(lustre, "is_lustre", lambda _path: True)


def test_this_machine_has_no_lustre(tmp_path: Path) -> None:
    assert not lustre.is_lustre(str(tmp_path))
    assert not lustre.is_lustre(str(tmp_path / "missing"))


@pytest.mark.usefixtures("on_lustre")
@pytest.mark.parametrize("by", ["atime", "mtime", "either", "ctime", ""])
def test_lfs_find_finds_what_a_walk_finds(centre: Centre, monkeypatch: pytest.MonkeyPatch, by: PurgeBy) -> None:
    centre.by = by
    for number, (read, changed) in enumerate([(1, 1), (76, 75), (77, 100), (100, 77), (300, 300), (1, 200)]):
        centre.write(f"run{number}/new\nline", number, read=read, changed=changed)
    centre.put("run4", centre.archive / "run4")
    for within in (0, 14, 100):
        by_lfs = centre.due(within)
        with monkeypatch.context() as patch:
            patch.setattr(lustre, "is_lustre", lambda _path: False)
            assert replace(centre.due(within), seen=by_lfs.seen) == by_lfs


@pytest.mark.usefixtures("on_lustre")
def test_what_lfs_find_complains_of_is_not_silent(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    centre.write("a", 5, read=95, changed=95)
    monkeypatch.setenv("LFS_BROKEN", "1")
    assert centre.due().total.files == 1  # by a walk
    with monkeypatch.context() as patch:
        patch.setattr(lustre, "plan_find", lambda *_: ["sh", "-c", f"printf '{centre.scratch}/a\\0'; echo no MDT2 >&2"])
        found = centre.due()
    assert (found.total.files, found.named) == (1, [("no MDT2", "")])


# --- speed -----------------------------------------------------------------------------------

FILES = 50_000


@pytest.fixture
def many() -> Iterator[Path]:
    """A tree in memory, where making it takes a second."""
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    try:
        for number in range(FILES // 500):
            directory = root / f"{number % 10}/{number}"
            directory.mkdir(parents=True)
            fd = os.open(directory, os.O_RDONLY)
            for name in range(500):
                os.close(os.open(f"file{name:05d}", os.O_CREAT, dir_fd=fd))
            os.close(fd)
        yield root
    finally:
        shutil.rmtree(root)


def cpu_s(work: Callable[[], object]) -> float:
    before = os.times()
    work()
    return sum(after - at for after, at in zip(os.times()[:4], before[:4], strict=True))


def test_a_walk_takes_little_more_than_find(many: Path) -> None:
    """In processor time, which other load changes least."""
    now = time.time_ns()
    search = Search(str(many), "either", 0, now + DAY_NS, today().toordinal(), os.getuid())
    found = Listing()
    walk(search, "", found)
    assert (found.seen, sum(one.files for one in found.sums.by_day.values())) == (FILES + 110, FILES)
    find = ["find", str(many), "-type", "f", "-printf", r"%A@ %T@ %s %p\0"]
    ours = min(cpu_s(lambda: walk(search, "", Listing())) for _ in range(3))
    theirs = min(cpu_s(lambda: subprocess.run(find, stdout=subprocess.DEVNULL, check=True)) for _ in range(3))
    assert ours < 4 * theirs, f"{ours:.2f} s, find {theirs:.2f} s"


def test_several_processes_find_the_same(many: Path) -> None:
    search = Search(str(many), "either", 0, time.time_ns() + DAY_NS, today().toordinal(), os.getuid(), (b"3",))
    found = Listing()
    with found.spool as spool:
        walk(search, "", found, jobs=2)
        keys = [candidate[0] for candidate in spool]
    assert len(keys) == FILES // 10
    assert keys == sorted(keys)
    assert sum(one.files for one in found.sums.by_day.values()) == FILES - FILES // 10


# --- the command -----------------------------------------------------------------------------

PROFILE = """
[filesystem.scratch]
path = "{root}/scratch"
purge_days = 90
purge_by = "either"
[filesystem.archive]
path = "tape:runs"
kind = "rclone"
[filesystem.other]
path = "/nowhere"
purge_days = 10
hosts = ["dtn*"]
"""


@pytest.fixture
def own(centre: Centre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Centre:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GEARS_HOME", str(tmp_path / "gears"))
    monkeypatch.setattr(load, "SYSTEM", tmp_path / "etc")
    (tmp_path / ".config/gears/sites").mkdir(parents=True)
    (tmp_path / ".config/gears/sites/x.toml").write_text(PROFILE.format(root=tmp_path))
    return centre


def test_in_a_terminal(own: Centre, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "due", "scratch", "--site", "x"]) == 0
    assert "nothing dies within 14 days (1 files" not in capsys.readouterr().err
    own.write("run 7/a", 1_500, read=85, changed=85)
    own.write("run8/b", 500, read=95, changed=95)
    assert main(["data", "due", "scratch", "--site", "x"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"scratch, {own.scratch}: purged after 90 days neither read nor changed"
    assert lines[1] == "  due now: 1 file, 500 B, all of it nowhere else"
    assert lines[2].startswith("  dies on 20")
    assert lines[3] == "  within 14 days: 2 files, 2 kB, all of it nowhere else"
    assert lines[5] == "    run 7: 1 file, 1.5 kB, all of it nowhere else"
    assert lines[6].endswith("gears data put 'scratch:run 7' archive --site x")


def test_for_programs_and_what_cant_be_seen_from_here(own: Centre, capsys: pytest.CaptureFixture[str]) -> None:
    own.write("run7/a", 1_500, read=85, changed=85)
    assert main(["data", "due", "--site", "x", "--json"]) == 5
    out = capsys.readouterr()
    reply = json.loads(out.out)
    [place] = reply["places"]
    assert (place["place"], place["total"]["alone_size"], [*place["by_directory"]]) == ("scratch", 1_500, ["run7"])
    assert reply["missing"][0]["next"] == "on dtn*: gears data due other --site x"
    assert "the place other, /nowhere, is not mounted on" in out.err


def test_what_cant_be_seen_from_here_is_looked_at_on_the_host_for_transfers(
    own: Centre, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Replaced: the connection to that host, which finds something due there."""
    asked: list[tuple[str, list[str]]] = []

    def passed(_route: object, host: str, words: list[str]) -> int:
        asked.append((host, words))
        return 8

    profile = own.host.home + "/.config/gears/sites/x.toml"
    Path(profile).write_text(f'{Path(profile).read_text()}\n[transfer]\nhost = "dtn.invalid"\n')
    monkeypatch.setattr("gears.cli.data.due.pass_to_transfer_host", passed)
    assert main(["data", "due", "--site", "x", "--within", "3"]) == 8
    assert asked == [("dtn.invalid", ["due", "other", "--within", "3"])]
    assert "nothing dies within 3 days" in capsys.readouterr().out
    assert main(["_data", "due", "--site", "x"]) == 5  # on that host itself
    assert main(["data", "due", "--site", "x", "--json"]) == 5  # there can be only one answer
    assert len(asked) == 1


@pytest.mark.parametrize("word", ["archive", "nowhere:a", "/tmp", "scratch:no/such"])
def test_what_is_no_place_with_a_purge_rule(own: Centre, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "due", word, "--site", "x"]) == 2
    assert "next:" in capsys.readouterr().err


def test_the_line_for_cron_prints_only_what_needs_attention(own: Centre, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "due", "scratch", "--site", "x", "--cron"]) == 0
    *_, command = capsys.readouterr().out.strip().split(" ", 5)
    command = command.replace(r"\%", "%")
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    gears = shlex.split(command)[0]
    command = command.replace(gears, f"{shlex.quote(sys.executable)} -m gears", 1)
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment)
    assert (ran.stdout, ran.stderr) == ("", "")
    own.write("run7/a", 5, read=95, changed=95)
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment)
    assert "due now: 1 file" in ran.stdout


def test_the_host_for_transfers_is_named_if_it_mounts_the_place() -> None:
    site = Site("x", transfer=ProfileTransfer(host="dtn.example.org"))
    place = Place("/a", hosts=("DTN*",))
    assert due.command_there(site, place, ["due", "a b"]).startswith("ssh dtn.example.org ")
    assert due.command_there(site, place, ["due", "a b"]).endswith("/gears data due 'a b' --site x")
    place = Place("/a", hosts=("node*", "n2*"))
    assert due.command_there(site, place, ["due", "a"]) == "on node*, n2*: gears data due a --site x"


def test_progress_comes_once_it_takes_long(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    centre.write("run7/a", 10, read=95, changed=95)
    centre.put("run7", centre.archive / "run7")
    monkeypatch.setattr(due, "FIRST_WORD_S", 3600)
    centre.due()
    assert centre.said == []
    monkeypatch.setattr(due, "FIRST_WORD_S", 0)
    monkeypatch.setattr(due, "WORD_EVERY_S", 0)
    centre.due()
    assert centre.said[0] == "scratch: 2 files and directories looked at …"
    assert centre.said[-1] == "scratch: 0 files compared with the manifests of their copies …"


def test_a_place_that_is_not_mounted_says_where_it_is(centre: Centre) -> None:
    centre.scratch.rmdir()
    with pytest.raises(NotReachable, match="not mounted on login1"):
        centre.due()
    site = Site("x", filesystem={"scratch": Place("/s/{project}", purge_days=3)})
    with pytest.raises(UsageError, match="needs a project"):
        find_due(Look(address=Address("scratch", ""), within=1), site, None, centre.host, centre.said.append)
