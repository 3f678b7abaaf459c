"""Places: what is tried of each, on this machine's file systems, and what is said of those that can't be reached."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gears.cli import main
from gears.cli.data.places import as_lines, quota_lines, row, size
from gears.data import places
from gears.data.places import FoundPlace, Quota, find_places, plan_trials
from gears.sites import load
from gears.sites.profile import Place, Site, Transfer
from gears.system import commands
from gears.system.host import Host
from tests.conftest import skip_or_fail
from tests.helpers import PATIENCE, wait_until
from tests.standins import install_hsi
from tests.wheelhouse import SYSTEM_PYTHON

HOST = Host("login1", ("login1", "login1.example.org"), "alice", "/home/alice")


@pytest.fixture
def here(tmp_path: Path) -> Host:
    return replace(HOST, home=str(tmp_path))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "TIMEOUT_S", 3.0)


def site(project: str = "", **found: Place) -> Site:
    return Site("x", project=project, filesystem={name.replace("_", "-"): place for name, place in found.items()})


def found_by_name(asked: Site, host: Host) -> dict[str, FoundPlace]:
    return {place.name: place for place in find_places(asked, host)}


# --- plans -----------------------------------------------------------------------------------


def test_home_is_always_a_place_and_the_first() -> None:
    assert [trial.place.path for trial in plan_trials(site(), HOST)] == ["/home/alice"]
    asked = site(scratch=Place("/s/{user}"), home=Place("~/data"), gone=Place(""))
    assert [(trial.place.name, trial.place.path) for trial in plan_trials(asked, HOST)] == [
        ("home", "/home/alice/data"),
        ("scratch", "/s/alice"),
    ]


def test_the_account_is_that_at_the_site() -> None:
    asked = site(scratch=Place("/s/{user}"))
    asked = replace(asked, front=replace(asked.front, user="asmith"))
    assert plan_trials(asked, HOST)[1].place.path == "/s/asmith"
    at_the_lab = replace(asked, lab=replace(asked.lab, match=("login*",)))
    assert plan_trials(at_the_lab, HOST)[1].place.path == "/s/alice"


def test_without_a_project_nothing_is_tried() -> None:
    [_, trial] = plan_trials(site(team=Place("/p/{project}", quota="true")), HOST)
    assert (trial.probe, trial.quota) == (None, None)
    assert (trial.place.path, trial.place.reachable) == ("/p/{project}", None)
    assert trial.place.reason == "`project` is not set"
    assert trial.place.next == 'set project = "…" in ~/.config/gears/sites/x.toml'


@pytest.mark.parametrize(
    ("patterns", "mounted"), [(("dtn*",), False), (("dtn*", "LOGIN?"), True), (("*.example.org",), True)]
)
def test_a_place_is_tried_only_on_hosts_that_mount_it(patterns: tuple[str, ...], mounted: bool) -> None:
    """Another machine may have another directory of that name."""
    [_, trial] = plan_trials(site(archive=Place("/tmp", hosts=patterns, quota="true")), HOST)
    assert bool(trial.probe) == bool(trial.quota) == mounted
    if not mounted:
        assert (trial.place.reachable, trial.place.reason) == (False, "on dtn* only")
        assert trial.place.next == "there: gears data places x"


def test_a_quota_command_is_words_without_a_shell() -> None:
    [_, trial] = plan_trials(site("abc", team=Place("/p", quota="quota -g '{project} x' $(id)")), HOST)
    assert trial.quota == ("quota", "-g", "abc x", "$(id)")


# --- on this machine -------------------------------------------------------------------------


def test_a_directory_of_mine_is_writable_and_nothing_remains(tmp_path: Path, here: Host) -> None:
    place = find_places(site(), here)[0]
    room = os.statvfs(tmp_path)
    assert (place.path, place.reachable, place.writable, place.reason) == (str(tmp_path), True, True, "")
    assert place.total_bytes == room.f_blocks * room.f_frsize
    assert place.free_bytes is not None
    assert place.free_bytes <= place.total_bytes
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_or_no_directory_is_told(tmp_path: Path, here: Host) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    names = {name: Place(f"{tmp_path}/{name}", quota="false") for name in ("gone", "file", "link")}
    found = found_by_name(site(**names), here)
    reasons = {name: (found[name].reachable, found[name].reason, found[name].quota) for name in names}
    assert reasons == {
        "gone": (False, "no such file or directory", None),
        "file": (False, "not a directory", None),
        "link": (False, "no such file or directory", None),
    }
    assert found["gone"].next.startswith("gears sites show x ")


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that any user can reach."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@pytest.mark.parametrize(
    ("mode", "reachable", "reason"),
    [(0o555, True, "can't write: permission denied"), (0o311, False, "permission denied"), (0o777, True, "")],
)
def test_a_directory_of_others_is_told_from_mine(open_directory: Path, mode: int, reachable: bool, reason: str) -> None:
    open_directory.chmod(mode)
    source = Path(places.PROBE[-1]).read_text()  # another user may not read the checkout
    argv = [str(SYSTEM_PYTHON), "-I", "-S", "-c", source, "directory", str(open_directory)]
    other: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    if not other and mode == 0o311:
        open_directory.chmod(0o000)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=True, cwd="/", **other)
    reply = json.loads(done.stdout)
    assert (reply["reachable"], reply["writable"], reply["reason"]) == (reachable, not reason, reason)
    open_directory.chmod(0o700)
    assert list(open_directory.iterdir()) == []


HANG = """
import ctypes, json, os, sys, time
from gears.data import places
from gears.system.records import as_values
from tests.test_data_places import HOST, Place, site
path, beside = sys.argv[1:]
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
if ctypes.CDLL(None, use_errno=True).mount(b"none", path.encode(), b"fuse", 0, options):
    raise OSError(ctypes.get_errno(), "mount")
places.TIMEOUT_S = 3.0
began = time.monotonic()
found = places.find_places(site(dead=Place(path), alive=Place(beside)), HOST)
print(json.dumps({"took_s": time.monotonic() - began, "places": [as_values(place) for place in found]}))
"""


def test_a_dead_file_server_makes_one_place_unreachable_and_no_other(tmp_path: Path) -> None:
    """A FUSE file system whose server never answers blocks as a dead NFS mount does. It has its own mount namespace."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        skip_or_fail("needs root and /dev/fuse")
    for name in ("dead", "alive"):
        (tmp_path / name).mkdir()
    argv = ["unshare", "--mount", sys.executable, "-c", HANG, str(tmp_path / "dead"), str(tmp_path / "alive")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    _, dead, alive = reply["places"]
    assert (dead["reachable"], dead["reason"]) == (False, "no answer within 3 s")
    assert dead["next"].startswith(f"timeout 10 ls {tmp_path}/dead ")
    assert alive["writable"] is True
    assert reply["took_s"] < 3 + 1 + PATIENCE * 0.5
    assert not [argv for argv in command_lines() if str(tmp_path) in argv]


def command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


# --- quotas ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_quota_commands_that_hang_fail_or_are_missing_harm_no_other(tmp_path: Path, here: Host) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    asked = {
        "hangs": f"sh -c 'cat {fifo} & cat {fifo}'",
        "fails": "sh -c 'echo no such project >&2; exit 3'",
        "over": "sh -c 'echo 51G of 50G; exit 1'",
        "missing": "no-such-quota -s",
        "works": "echo 1 of 2",
    }
    began = time.monotonic()
    found = found_by_name(site(**{name: Place(str(tmp_path), quota=quota) for name, quota in asked.items()}), here)
    assert time.monotonic() - began < 3 + 1 + PATIENCE * 0.5
    quotas = {name: found[name].quota for name in asked}
    assert all(quotas.values())
    assert {name: (quota.output, quota.status, quota.failure) for name, quota in quotas.items() if quota} == {
        "hangs": ("", None, "sh did not finish within 3 s"),
        "fails": ("no such project\n", 3, ""),
        "over": ("51G of 50G\n", 1, ""),
        "missing": ("", None, "no-such-quota: no such file or directory"),
        "works": ("1 of 2\n", 0, ""),
    }
    assert all(found[name].writable for name in asked)
    wait_until(lambda: not [one for one in command_lines() if one.startswith(f"cat {fifo}")], 10, "both have ended")


def test_one_quota_command_runs_once_for_all_its_places(tmp_path: Path, here: Host) -> None:
    log = tmp_path / "log"
    quota = f"sh -c {shlex.quote(f'echo ran >> {log}; echo none')}"
    found = find_places(site(a=Place(str(tmp_path), quota=quota), b=Place(str(tmp_path), quota=quota)), here)
    assert log.read_text() == "ran\n"
    assert len([line for line in as_lines(Transfer(), found) if line.startswith("quota: ")]) == 1


def test_a_program_that_prints_without_end_is_killed() -> None:
    [outcome] = commands.run_each([["yes"]], timeout_s=20)
    assert (outcome.status, outcome.failure) == (None, "yes printed too much output and was killed")


# --- what is no directory --------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with the system's programs and what a test puts in front."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("RCLONE_CONFIG", "/dev/null")
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def found_archive(kind: Any, path: str) -> tuple[bool | None, bool | None, str, str]:
    place = find_places(site("abc", archive=Place(path, kind=kind)), HOST)[1]
    return place.reachable, place.writable, place.reason, place.next


def test_an_archive_without_its_program(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(programs))
    for kind, program in (("hpss", "hsi"), ("rclone", "rclone")):
        found = found_archive(kind, "/x")
        assert found == (False, None, f"{program} not found on this host", places.TO_INSTALL[kind])


def test_a_remote_of_rclone_is_listed(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (programs / "rclone").symlink_to(Path(sys.executable).parent / "rclone")
    monkeypatch.setenv("RCLONE_CONFIG_CLOUD_TYPE", "alias")
    monkeypatch.setenv("RCLONE_CONFIG_CLOUD_REMOTE", str(tmp_path))
    (tmp_path / "abc").mkdir()
    assert found_archive("rclone", "cloud:{project}") == (True, None, "listed; writing was not tried", "")
    assert found_archive("rclone", "cloud:none")[:3] == (True, None, "answers; this directory does not exist yet")
    reachable, _, reason, to_try = found_archive("rclone", "unknown:x")
    assert (reachable, to_try) == (False, "rclone lsf --max-depth 1 unknown:x")
    assert "didn't find section in config file" in reason


def test_an_archive_in_hpss_is_listed(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the stand-in of `standins/hpss.py`."""
    (tmp_path / "home/alice").mkdir(parents=True)
    install_hsi(programs, root=str(tmp_path))
    assert found_archive("hpss", "/home/{user}") == (True, None, "listed; writing was not tried", "")
    words = ["*** HSI: (KEYTAB auth method) - keytab file missing", "Error - authentication/initialization failed"]
    (programs / "faults.json").write_text(json.dumps({"code": 77, "words": words}))
    assert found_archive("hpss", "/home/{user}") == (False, None, words[-1], "hsi ls /home/alice")
    (programs / "faults.json").write_text(json.dumps({"hangs": ["ls"]}))
    monkeypatch.setattr(places, "TIMEOUT_S", 1.0)
    assert found_archive("hpss", "/home/{user}") == (False, None, "no answer within 1 s", "hsi ls /home/alice")


def test_a_collection_of_globus_is_not_tried(programs: Path) -> None:
    assert found_archive("globus", "6b7-x:/~/a") == (None, None, "not tried", "globus ls '6b7-x:/~/a'")


# --- the command -----------------------------------------------------------------------------

FOUND = FoundPlace(name="scratch", path="/s/alice", kind="posix", shared="no")


@pytest.mark.parametrize(
    ("changes", "cells"),
    [
        ({}, ("none known", "")),
        ({"purge_days": 21}, ("21 days", "")),
        ({"purge_days": 90, "purge_by": "either"}, ("90 days neither read nor changed", "")),
        (
            {"reachable": True, "writable": True, "free_bytes": 1_234_000_000, "total_bytes": 2_000_000_000_000},
            ("none known", "writable, 1.23 GB of 2 TB free"),
        ),
        (
            {"reachable": True, "reason": "can't write: x", "free_bytes": 0, "total_bytes": 5, "free_files": 7},
            ("none known", "can't write: x; 0 B of 5 B free, and room for 7 files"),
        ),
        ({"reachable": False, "reason": "gone", "free_bytes": 1, "total_bytes": 2}, ("none known", "gone")),
    ],
)
def test_a_row_of_the_table(changes: dict[str, Any], cells: tuple[str, str]) -> None:
    assert row(replace(FOUND, **changes)) == ("scratch", "no", cells[0], "/s/alice", cells[1])


def test_sizes_are_in_powers_of_ten() -> None:
    assert [size(10**n) for n in (0, 3, 8, 14, 18)] == ["1 B", "1 kB", "100 MB", "100 TB", "1000 PB"]


def test_control_characters_of_a_quota_do_not_reach_the_terminal() -> None:
    quota = Quota("q", "a\x1b[2J\tb\n\n" + "line\n" * 20, 1)
    lines = quota_lines(quota, ["home", "team"])
    assert lines[:2] == ["quota: q   [home, team]: exit status 1", "  a?[2J   b"]
    assert lines[-1] == "  … 9 more lines"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(load, "SYSTEM", tmp_path / "etc")
    directory = tmp_path / ".config/gears/sites"
    directory.mkdir(parents=True)
    return directory


PROFILE = """
project = "abc"
[filesystem]
tmp = "/tmp"
[filesystem.scratch]
path = "/nowhere/{project}"
purge_days = 30
purge_by = "atime"
[transfer]
host = "dtn.example.org"
"""


def test_the_listing_in_a_terminal(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "x.toml").write_text(PROFILE)
    assert main(["data", "places", "x"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["place", "shared", "purge", "path", "from", "here"]
    assert [line.split()[0] for line in lines[1:4]] == ["home", "tmp", "scratch"]
    assert len({line.index("/") for line in lines[1:4]}) == 1
    assert re.split(" {2,}", lines[3])[-1] == "no such file or directory"
    assert f"purge rule: {own / 'x.toml'}   [scratch]" in lines
    assert lines[-1] == "transfers: on dtn.example.org; at most: jobs 1, nodes of a job 1"


def test_the_listing_for_programs(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "x.toml").write_text(PROFILE)
    assert main(["data", "places", "x", "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert (reply["site"], reply["project"], reply["transfer"]["host"]) == ("x", "abc", "dtn.example.org")
    scratch = reply["places"][2]
    assert (scratch["path"], scratch["reachable"], scratch["purge_days"]) == ("/nowhere/abc", False, 30)


def test_an_unknown_site_is_the_only_failure(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "places", "no-such-site"]) == 2
    assert "unknown site: no-such-site" in capsys.readouterr().err
    for name in ("andes", "frontier", "pegasus"):
        assert main(["data", "places", name]) == 0
