"""What each failure of rclone, hsi and Globus becomes, with the command to type; nothing is stored by halves."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gears.data.stores import globus, hpss, near_end, open_store, rclone
from gears.data.stores.base import Near, Store
from gears.errors import CommandFailed, Incomplete, LoginNeeded, NotReachable, UsageError
from gears.sites import profile
from gears.sites.paths import RunDir
from gears.system.host import Host
from tests.places import CLOSED
from tests.store_places import (  # noqa: F401  fixtures
    CLIENT,
    FAR,
    LARGE,
    NEAR,
    Place,
    make_fixture,
    own_settings,
    pieces,
    programs,
    read,
    served,
)

# --- failures: rclone ------------------------------------------------------------------------


def test_a_server_without_hashes_or_times(make: Callable[[str], Place]) -> None:
    """WebDAV renames, and knows neither: without --ignore-times a file of the same size would stay the old one."""
    store = make("webdav").open()
    for data in (b"one", b"two"):
        store.write("file", [data])
        assert (read(store, "file"), store.sizes()) == (data, {"file": 3})


@pytest.mark.parametrize(
    ("settings", "error", "to_do"),
    [
        ({"RCLONE_CONFIG_FAR_SECRET_ACCESS_KEY": "wrong"}, LoginNeeded, "rclone config reconnect far: "),
        ({"RCLONE_CONFIG_FAR_ENDPOINT": "http://127.0.0.1:{closed}"}, NotReachable, "rclone lsf --max-depth 1 far:bu"),
        ({"RCLONE_CONFIG_FAR_TYPE": ""}, LoginNeeded, "rclone config "),
        ({"RCLONE_CONFIG_FAR_TYPE": "nonsense"}, CommandFailed, "rclone lsf --max-depth 1 far:bucket/"),
    ],
)
def test_what_rclone_refuses(
    make: Callable[[str], Place], settings: dict[str, str], error: Any, to_do: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make("s3").open()
    for name, value in settings.items():
        if value:
            monkeypatch.setenv(name, value.format(closed=CLOSED))
        else:
            monkeypatch.delenv(name)
    for attempt in (store.sizes, lambda: store.write("file", [b"x"])):
        with pytest.raises(error) as raised:
            attempt()
        assert raised.value.next.startswith(to_do)
        assert "secretkey1" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (1, "Failed to copy: googleapi: Error 403: The user's Drive storage quota has been exceeded", Incomplete),
        (1, "couldn't fetch token: invalid_grant: maybe token expired? - try refreshing", LoginNeeded),
        (1, "write /mnt/x: no space left on device", Incomplete),
        (1, "Insufficient Storage: 507 Insufficient Storage", Incomplete),
        (1, "dial tcp: lookup s3.example.org: no such host", NotReachable),
        (5, "unexpected EOF", Incomplete),
        (7, "fatal error: account suspended", CommandFailed),
        (8, "max transfer limit reached as set by --max-transfer", Incomplete),
        (-9, "", Incomplete),
    ],
)
def test_what_exit_codes_of_rclone_mean(status: int, said: str, error: Any) -> None:
    failure = CommandFailed("rclone: x", stderr=f"2026/11/27 11:03:51 NOTICE: Failed to rcat: {said}", status=status)
    found = rclone.RcloneStore("far:b").explain(failure)
    assert type(found) is error
    assert "NOTICE" not in str(found)


def test_a_cut_connection(make: Callable[[str], Place]) -> None:
    place = make("s3")
    store = place.open()
    store.write("file", pieces(LARGE))
    place.between.cut_after = place.between.sent + 1_000_000
    with pytest.raises((Incomplete, NotReachable)):
        store.write("file", pieces(b"y" * len(LARGE)))
    place.between.cut_after = place.between.sent + 1_000_000
    with pytest.raises((Incomplete, NotReachable)):
        read(store, "file")
    place.between.cut_after = -1
    assert (store.sizes(), read(store, "file") == LARGE) == ({"file": len(LARGE)}, True)


def test_a_server_that_does_not_answer(make: Callable[[str], Place], monkeypatch: pytest.MonkeyPatch) -> None:
    place = make("s3")
    store = place.open()
    store.write("file", pieces(LARGE))
    monkeypatch.setattr(rclone, "ANSWER_S", 1.0)
    monkeypatch.setattr(rclone, "SILENCE_S", 1.0)
    place.between.silent = True
    for attempt in (store.sizes, lambda: store.write("new", pieces(LARGE)), lambda: read(store, "file")):
        with pytest.raises(NotReachable) as raised:
            attempt()
        assert raised.value.next
        assert raised.value.next.startswith("rclone lsf --max-depth 1 far:bucket/")
    assert not programs()


# --- failures: hsi ---------------------------------------------------------------------------

NO_KEYTAB = (
    "*** HSI: (KEYTAB auth method) - keytab file missing or inaccessible: /home/alice/.hpss/.ktb_alice",
    "Error - authentication/initialization failed",
)


@pytest.fixture
def fault(make: Callable[[str], Place], tmp_path: Path) -> Callable[..., Store]:
    """Open a store where hsi has these faults; without any, it has none again."""
    store = make("hpss").open()

    def set_faults(**faults: Any) -> Store:
        (tmp_path / "bin/faults.json").write_text(json.dumps(faults))
        return store

    return set_faults


@pytest.mark.parametrize(
    ("code", "words", "error", "to_do"),
    [
        (77, NO_KEYTAB, LoginNeeded, "hsi "),
        (70, NO_KEYTAB, LoginNeeded, "hsi "),
        (67, ("*** HSI: unknown user",), LoginNeeded, "hsi "),
        (77, ("*** hpss_Opendir: Access denied [-13: HPSS_EACCES]",), CommandFailed, "hsi ls -l /home/alice/run7"),
        (68, ("*** HSI: unknown host",), NotReachable, "hsi ls -l /home/alice/run7"),
        (69, ("Unable to setup communication to HPSS...",), NotReachable, "hsi ls -l /home/alice/run7"),
        (76, ("*** HSI: protocol error",), Incomplete, "hsi ls -l /home/alice/run7"),
        (64, ("*** HSI: unknown option",), CommandFailed, "hsi ls -l /home/alice/run7"),
        (1, ("crashed: No such file or directory",), CommandFailed, "hsi ls -l /home/alice/run7"),
    ],
)
def test_what_exit_codes_of_hsi_mean(
    fault: Callable[..., Store], code: int, words: tuple[str, ...], error: Any, to_do: str
) -> None:
    store = fault(code=code, words=words)
    for attempt in (store.sizes, lambda: store.write("file", [b"x"]), lambda: read(store, "file")):
        with pytest.raises(error) as raised:
            attempt()
        assert type(raised.value) is error
        assert raised.value.next.startswith(to_do)
        assert str(code) in raised.value.message


@pytest.mark.parametrize("faults", [{"room": 3_000_000}, {"cut": 3_000_000}, {"hangs": ["put"]}, {"hangs": ["mv"]}])
def test_a_put_that_fails_half_way(
    fault: Callable[..., Store], faults: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """hsi leaves under the name that it was given what has arrived."""
    fault().write("other", [b"before"])
    store = fault(**faults)
    with monkeypatch.context() as patched:
        if "hangs" in faults:
            patched.setattr(hpss, "SILENCE_S", 0.5)
            patched.setattr(hpss, "ANSWER_S", 0.5)
        with pytest.raises(NotReachable if "hangs" in faults else Incomplete):
            store.write("file", pieces(LARGE))
    assert fault().sizes() == {"other": 6}


def test_a_get_that_fails_half_way(fault: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    fault().write("file", pieces(LARGE))
    with pytest.raises(Incomplete, match=r"read 4900001 of 5000001 bytes"):
        read(fault(short=100_000), "file")
    monkeypatch.setattr(hpss, "SILENCE_S", 0.3)
    monkeypatch.setattr(hpss, "MOUNT_S", 0.3)
    with pytest.raises(NotReachable):
        read(fault(hangs=["get"]), "file")
    monkeypatch.setattr(hpss, "SILENCE_S", 2.0)
    monkeypatch.setattr(hpss, "MOUNT_S", 20.0)
    assert read(fault(slow_s=3), "file") == LARGE  # a tape is mounted for longer than data may stand still


def test_a_busy_hpss_is_asked_again(fault: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpss, "BUSY_PAUSES_S", (0.0, 0.0))
    assert fault(busy=2).sizes() == {}
    with pytest.raises(Incomplete, match="exit code 75"):
        fault(busy=3).sizes()
    fault(busy=2).write("file", [b"x"])
    assert fault().sizes() == {"file": 1}


def test_paths_that_hsi_would_split(make: Callable[[str], Place]) -> None:
    make("hpss")
    for path in ("/a b", "/a;rm x", "/a*"):
        with pytest.raises(UsageError):
            open_store("hpss", path)


# --- failures: Globus ------------------------------------------------------------------------


@pytest.fixture
def far(make: Callable[[str], Place]) -> Place:
    return make("globus")


@pytest.mark.parametrize(
    ("status", "document", "error", "to_do"),
    [
        (401, {"code": "AuthenticationFailed", "message": "not logged in"}, LoginNeeded, sys.executable),
        (
            403,
            {"code": "ConsentRequired", "message": "Missing required data_access consent", "required_scopes": ["x"]},
            LoginNeeded,
            sys.executable,
        ),
        (
            403,
            {"code": "EndpointPermissionDenied", "message": "Denied by endpoint"},
            CommandFailed,
            f"globus ls {FAR}:/run7",
        ),
        (503, {"code": "ServiceUnavailable", "message": "maintenance"}, NotReachable, f"globus ls {FAR}:/run7"),
        (409, {"code": "Conflict", "message": "no"}, CommandFailed, f"globus ls {FAR}:/run7"),
    ],
)
def test_what_globus_refuses(far: Place, status: int, document: dict[str, Any], error: Any, to_do: str) -> None:
    assert far.near
    store = far.open()
    far.between.refuse = (status, document | {"request_id": "x", "resource": "/"})
    for attempt in (store.sizes, lambda: store.write("file", [b"x"]), lambda: read(store, "file")):
        with pytest.raises(error) as raised:
            attempt()
        assert type(raised.value) is error
        assert raised.value.next.startswith(to_do)
        assert document["message"] in raised.value.message
    assert list(far.near.directory.iterdir()) == []


@pytest.mark.parametrize(("status", "error"), [("FAILED", Incomplete), ("INACTIVE", LoginNeeded)])
def test_a_transfer_that_ends_half_way(far: Place, status: str, error: Any) -> None:
    assert far.near
    store = far.open()
    store.write("other", [b"before"])
    far.between.fails = status
    with pytest.raises(error):
        store.write("file", [LARGE])
    with pytest.raises(error):
        read(store, "other")
    far.between.fails = ""
    assert store.sizes() == {"other": 6}
    store.write("file", [b"x"])
    assert far.found() == ["file", "other"]
    assert list(far.near.directory.iterdir()) == []


def test_a_transfer_that_stands_still_is_cancelled(far: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = far.open()
    monkeypatch.setattr(globus, "STANDSTILL_S", 0.2)
    far.between.stuck = True
    with pytest.raises(NotReachable, match="CONNECT_FAILED") as raised:
        store.write("file", [b"x"])
    assert raised.value.next
    assert raised.value.next.startswith("https://app.globus.org/activity/")
    assert far.between.requests[-1].endswith("/cancel")


def test_globus_without_a_login_or_an_answer(far: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert far.near
    assert far.near.tokens.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", f"http://127.0.0.1:{CLOSED}/")
    with pytest.raises(NotReachable):
        far.open().sizes()
    far.near.tokens.unlink()
    with pytest.raises(LoginNeeded) as raised:
        far.open().sizes()
    assert raised.value.next
    assert f"-m gears.data.stores.globus {CLIENT} {far.near.tokens} {FAR} {NEAR}" in raised.value.next


def test_where_files_are_staged_for_globus(tmp_path: Path) -> None:
    host = Host("dtn1", ("dtn1",), "alice", str(tmp_path))
    elsewhere = profile.Place("/other", hosts=("login*",), collection=FAR)
    scratch = profile.Place(f"{tmp_path}/{{user}}", collection=f"{NEAR}:/lustre/alice/")
    site = profile.Site("x", filesystem={"other": elsewhere, "scratch": scratch})
    paths = RunDir(tmp_path, "x", tmp_path)
    near = near_end(site, host, paths)
    assert near == Near(
        NEAR, "/lustre/alice/.gears-globus", tmp_path / "alice/.gears-globus", "", tmp_path / "run/globus.json"
    )
    with pytest.raises(UsageError, match="globus_client"):
        open_store("globus", f"{FAR}:/x", near=near)
    with pytest.raises(UsageError, match="`collection`"):
        open_store("globus", f"{FAR}:/x")
