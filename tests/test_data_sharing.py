"""A copy in a shared place is one that colleagues can read, whatever the umask; two writers don't mix."""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gears.data import locks
from gears.data.attributes import group_name
from gears.data.engine import copy_tree
from gears.data.entries import Entry, Type
from gears.data.sharing import Rule, Shared, unreadable
from gears.data.verification import verify
from gears.errors import NotReachable
from gears.system import processes
from tests.conftest import skip_or_fail
from tests.test_data_engine import ACL, fill

TEAM, ALICE, BOB = 4301, 4302, 4303
"""Numbers of a group and of two users, each with a group of that number."""


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A directory that others can reach."""
    root = Path(tempfile.mkdtemp(prefix="gears-test-", dir="/var/tmp"))
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


def mode_of(path: Path) -> str:
    return oct(stat.S_IMODE(path.lstat().st_mode))


@pytest.mark.parametrize(
    ("shared", "kind", "before", "after"),
    [
        ("group", Type.FILE, 0o600, 0o660),
        ("group", Type.FILE, 0o400, 0o440),
        ("group", Type.FILE, 0o700, 0o770),
        ("group", Type.FILE, 0o6755, 0o775),
        ("group", Type.FILE, 0o000, 0o440),
        ("group", Type.DIRECTORY, 0o700, 0o2770),
        ("group", Type.DIRECTORY, 0o500, 0o2770),
        ("world", Type.FILE, 0o500, 0o555),
        ("world", Type.DIRECTORY, 0o700, 0o2775),
    ],
)
def test_the_modes_of_a_shared_target(shared: str, kind: Type, before: int, after: int) -> None:
    rule, entry = Rule(shared, "team"), Entry(b"x", kind, mode=before, group="own")
    assert oct(rule.applied(entry).mode) == oct(after)
    assert rule.applied(entry).group == "team"
    assert rule.applied(rule.applied(entry)) == rule.applied(entry)


def test_a_shared_copy_is_verified_by_its_rule_and_recorded_as_the_source_is(tmp_path: Path) -> None:
    source, copy, record = tmp_path / "source", tmp_path / "copy", tmp_path / "record/manifest"
    source.mkdir()
    fill(source)
    for name, mode in ((".", 0o700), ("d", 0o700), ("big", 0o600)):
        (source / name).chmod(mode)
    shared = Shared(copy, Rule("group", group_name(os.getegid())))
    for jobs in (1, 2):
        tally = copy_tree(source, shared, record, jobs=jobs)
        assert (tally.complete, tally.lost.total()) == (True, 0)
    assert (mode_of(copy), mode_of(copy / "d"), mode_of(copy / "big")) == ("0o2770", "0o2770", "0o660")
    assert verify(record, copy).differences.total() == 0
    (copy / "big").chmod(0o600)
    assert [(one.path, one.what) for one in verify(record, copy).named] == [(b"big", "mode")]
    assert b'"mode":"0600"' in next(line for line in record.read_bytes().splitlines() if b'"path":"big"' in line)


def test_what_a_colleague_can_not_read_is_found(open_root: Path) -> None:
    tree = open_root / "tree"
    (tree / "closed").mkdir(parents=True)
    for name in ("open", "secret", "masked", "closed/inside"):
        (tree / name).write_text(name)
        (tree / name).chmod(0o640)
    for directory in (tree, tree / "closed"):
        directory.chmod(0o2750)
    (tree / "secret").chmod(0o600)
    (tree / "closed").chmod(0o2710)
    try:
        os.setxattr(tree / "masked", "system.posix_acl_access", ACL)  # group::r-x, mask::rwx
        shared = Shared(tree, Rule("group", group_name(tree.stat().st_gid)))
        assert [path for path, _ in unreadable(shared)] == [b"closed", b"secret"]
        (tree / "masked").chmod(0o700)  # chmod(2) sets the mask
    except OSError as exc:
        skip_or_fail(f"no ACLs in {tree}: {exc}")
    assert [path for path, _ in unreadable(shared)] == [b"closed", b"masked", b"secret"]
    open_root.chmod(0o700)
    if os.getegid() == open_root.stat().st_gid:
        assert os.fsencode(open_root) in [path for path, _ in unreadable(shared)]


# --- alice and bob ---------------------------------------------------------------------------

AS_USER = """
import json, os, sys
from pathlib import Path
from gears.data import copying, locks, records
from gears.data.records import Transfer
from gears.errors import GearsError
from gears.sites.profile import Place, Site
from gears.system import records as kept
number, values, state = int(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
os.setgroups([int(sys.argv[4])]); os.setgid(number); os.setuid(number); os.umask(0o077)
transfer = kept.parse(Transfer, values)
site = Site("test", filesystem={"team": Place(sys.argv[5], shared="group")})
try:
    tally = copying.copy(transfer, site, state, jobs=1, must_stop=lambda: "", on_progress=lambda tally: None)
    print(tally.problems, sorted(tally.named), dict(tally.lost))
except GearsError as error:
    print(error.exit_code, error.message)
"""


def copy_as(user: int, team: Path, source: Path, name: str, path: str) -> str:
    """Copy as a user of the team under umask 077: what it printed."""
    state = team.parent / f"state-{user}-{name}"
    state.mkdir(exist_ok=True)
    os.chown(state, user, user)
    argv = [sys.executable, "-c", AS_USER, str(user), json.dumps(values(source, name, team / path, f"team:{path}"))]
    argv += [str(state), str(TEAM), str(team)]
    environment = os.environ | {"GEARS_HOME": str(state)}  # this checkout may be closed to the user
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.stdout.strip()


def values(source: Path, name: str, target: Path, address: str) -> dict[str, object]:
    return {
        "name": name,
        "verb": "copy",
        "method": "tree",
        "source": str(source),
        "target": address,
        "source_path": str(source),
        "target_path": str(target),
        "host": "here",
        "user": "somebody",
        "created": "2026-11-27T12:00:00Z",
    }


def read_as(user: int, path: Path) -> bool:
    """Read a whole tree as a user of the team, and write into each of its directories."""
    script = (
        "import os, sys; os.setgroups([int(sys.argv[3])]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))\n"
    )
    script += "for at, _, names in os.walk(sys.argv[2], onerror=lambda e: sys.exit(str(e))):\n"
    script += "    open(at + '/mine', 'x').close(); os.unlink(at + '/mine')\n"
    script += "    for name in names: open(at + '/' + name, 'rb').read()\n"
    argv = [sys.executable, "-c", script, str(user), str(path), str(TEAM)]
    return subprocess.run(argv, capture_output=True).returncode == 0


@pytest.fixture
def team(open_root: Path) -> Path:
    if os.getuid() != 0:
        skip_or_fail("only root can become two other users")
    team = open_root / "team"
    team.mkdir()
    os.chown(team, 0, TEAM)
    team.chmod(0o2770)
    return team


def source_of(user: int, root: Path) -> Path:
    source = root / f"source-{user}"
    (source / "d/e").mkdir(parents=True)
    for name, mode in (("file", 0o600), ("d/script", 0o700), ("d/e/read-only", 0o400)):
        (source / name).write_text(f"{name} of {user}")
        (source / name).chmod(mode)
    for path in [source, *source.rglob("*")]:
        os.chown(path, user, user)
        if path.is_dir():
            path.chmod(0o700)
    return source


def test_alice_and_bob_read_what_the_other_has_put(team: Path) -> None:
    for user, other in ((ALICE, BOB), (BOB, ALICE)):
        source = source_of(user, team.parent)
        assert copy_as(user, team, source, "run7", f"data/{user}/run7") == "0 [] {}"
        copy = team / f"data/{user}/run7"
        assert verify(team.parent / f"state-{user}-run7/manifest", copy).differences.total() == 0
        assert read_as(other, copy)
        assert {path.lstat().st_gid for path in [team / "data", *copy.parent.rglob("*")]} == {TEAM}
        modes = [mode_of(copy / name) for name in (".", "d/e", "file", "d/script", "d/e/read-only")]
        assert modes == ["0o2770", "0o2770", "0o660", "0o770", "0o440"]
    outsider = subprocess.run(["setpriv", "--reuid=4399", "--regid=4399", "--clear-groups", "ls", team / "data"])
    assert outsider.returncode != 0


def test_a_second_person_is_refused_by_name_as_long_as_the_first_one_copies(team: Path) -> None:
    alices, bobs = source_of(ALICE, team.parent), source_of(BOB, team.parent)
    me = processes.this_process()
    with locks.held(team / "run7", "first"):
        holder = locks.lock_path(team / "run7")
        assert mode_of(holder) == "0o644"
        said = copy_as(BOB, team, bobs, "second", "run7")
        assert said.startswith("5 ")
        assert f"on {me.host} (process {me.pid})" in said
        assert "transfer first" in said
    assert not holder.exists()
    assert copy_as(ALICE, team, alices, "first", "run7") == "0 [] {}"
    assert not holder.exists()


# --- locks -----------------------------------------------------------------------------------


def other(path: Path, **changes: object) -> None:
    """Write the lock of another user's transfer."""
    mine = json.loads(path.read_text())
    process = mine["process"] | {name: changes.pop(name) for name in list(changes) if name in mine["process"]}
    path.write_text(json.dumps(mine | {"user": "bob", "transfer": "theirs", "process": process} | changes))


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock that nobody holds any more, of a process that has ended."""
    stack = contextlib.ExitStack()
    stack.enter_context(locks.held(tmp_path / "run7", "ours"))
    path = locks.lock_path(tmp_path / "run7")
    kept = path.read_text()
    stack.close()
    path.write_text(kept)
    return path


@pytest.mark.parametrize(
    "changes", [{"start": "1"}, {"boot": "an earlier one"}, {"user": None}], ids=["ended", "before boot", "damaged"]
)
def test_a_lock_is_taken_over_if_its_process_is_gone(tmp_path: Path, lock: Path, changes: dict[str, object]) -> None:
    other(lock, **changes)
    with locks.held(tmp_path / "run7", "ours"):
        assert json.loads(lock.read_text())["transfer"] == "ours"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [{}, {"host": "c1", "start": "1"}, {"namespace": "pid:[1]", "start": "1"}],
    ids=["alive", "host", "container"],
)
def test_a_lock_stays_as_long_as_its_end_is_not_proven(tmp_path: Path, lock: Path, changes: dict[str, object]) -> None:
    other(lock, job="4711", **changes)
    with (
        pytest.raises(NotReachable, match=r"bob on .*job 4711.*theirs") as raised,
        locks.held(tmp_path / "run7", "ours"),
    ):
        pytest.fail("both write")
    assert raised.value.exit_code == 5
    assert json.loads(lock.read_text())["user"] == "bob"
    assert list(tmp_path.iterdir()) == [lock]


def test_the_same_transfer_goes_on_from_another_host(tmp_path: Path, lock: Path) -> None:
    """The lock in its record, in the home, lets only one of its runs begin."""
    mine = json.loads(lock.read_text())
    lock.write_text(json.dumps(mine | {"process": mine["process"] | {"host": "c1"}, "job": "4711"}))
    with locks.held(tmp_path / "run7", "ours"):
        pass
    assert not lock.exists()
