"""A login that is lost midway: the transfer says so, with the command to type, and the same command goes on afterwards.

hsi, Globus and the expiry of S3's tokens are stand-ins; rclone, its S3 server and globus-sdk are real.
"""

import json
import os
import random
import shlex
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gears.data.stores import open_store
from gears.data.stores.base import Near
from gears.errors import LoginNeeded
from tests.helpers import wait_until
from tests.places import PROGRAMS, rclone_server, until
from tests.standins import install_hsi
from tests.standins.expiring import Expiring
from tests.standins.globus import Reply, Transfers
from tests.store_places import CLIENT, FAR, NEAR, log_in
from tests.test_data_commands import Desk, contents, desk_fixture, sessions  # noqa: F401  a fixture

BUNDLES = 5
CONSENT = (
    403,
    {
        "code": "ConsentRequired",
        "message": "Missing required data_access consent",
        "required_scopes": [
            f"urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.globus.org/scopes/{FAR}/x]"
        ],
        "request_id": "x",
        "resource": "/transfer",
    },
)
"""As the Transfer API documents it."""

SIGNED_OUT = (
    401,
    {
        "code": "AuthenticationFailed",
        "message": "Token is not active",
        "request_id": "x",
        "resource": "/transfer",
    },
)


def granted(service: Transfers) -> Reply:
    """What Globus Auth answers to a code, as recorded in `globus_sdk.testing`; with the identity of who logs in."""
    key = rsa.generate_private_key(65537, 2048)
    service.keys = [jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)]
    identity = {"sub": str(uuid.uuid4()), "aud": CLIENT, "iss": service.url, "exp": int(time.time()) + 600}
    token = {"refresh_token": "newer", "expires_in": 172800, "token_type": "Bearer", "state": "_default"}
    transfer = {
        "access_token": "new",
        "scope": "urn:globus:auth:scope:transfer.api.globus.org:all",
        "resource_server": "transfer.api.globus.org",
        "other_tokens": [token | {"access_token": "own", "scope": "openid", "resource_server": "auth.globus.org"}],
    }
    return 200, token | transfer | {"id_token": jwt.encode(identity, key, algorithm="RS512")}


@dataclass
class Lost:
    """A place whose login can be lost. `directory`: where its files really are; `command`: begins what is to be typed.

    `log_out` lets some requests more pass, and is undone by `log_in`. `gets`: whether the way back is tried, too.
    `words`: how the command goes.
    """

    directory: Path
    command: str
    log_out: Callable[[int], None]
    log_in: Callable[[], None]
    gets: bool = True
    words: tuple[str, ...] = ("--foreground",)

    def sealed(self) -> dict[str, int]:
        """The inodes of bundles that have an index, by name."""
        return {path.name: path.with_suffix(".tar").stat().st_ino for path in self.directory.rglob("*.index")}

    def log_out_midway(self) -> None:
        """Take the login away once a bundle is sealed."""
        until(lambda: bool(self.sealed()), "a bundle is sealed", timeout_s=60)
        self.log_out(0)


def fill(desk: Desk) -> Path:
    """A directory for some bundles of 100 kB."""
    root = desk.top / "scratch/run7"
    root.mkdir()
    for number in range(BUNDLES):
        (root / f"f{number}").write_bytes(random.Random(number).randbytes(80_000))
    return root


def add_place(desk: Desk, lines: str) -> None:
    profile = desk.top / ".config/gears/sites/local.toml"
    profile.write_text(profile.read_text() + lines)


def hpss(desk: Desk) -> Iterator[Lost]:
    """Its transfers are in tmux."""
    binaries = desk.top / "bin"
    binaries.mkdir()
    (desk.top / "hpss/home/alice").mkdir(parents=True)
    install_hsi(binaries, root=f"{desk.top}/hpss")
    desk.env["PATH"] = f"{binaries}:{os.environ['PATH']}"
    add_place(desk, '[filesystem.far]\nkind = "hpss"\npath = "/home/alice"\nbundle_size = "100kB"\n')
    login = binaries / "login"

    def set_left(left: int) -> None:
        (binaries / "new").write_text(str(left))
        (binaries / "new").rename(login)  # never half of it: hsi may look at any time

    yield Lost(desk.top / "hpss", "hsi", set_left, login.unlink, words=())


def s3(desk: Desk) -> Iterator[Lost]:
    directory = desk.top / "s3"
    (directory / "bucket").mkdir(parents=True)
    with rclone_server("s3", directory, "--auth-key", "key,secret") as port, closing(Expiring(port)) as between:
        settings = {"TYPE": "s3", "PROVIDER": "Rclone", "ENDPOINT": between.url, "SESSION_TOKEN": "x"}
        settings |= {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}
        desk.env |= {f"RCLONE_CONFIG_FAR_{name}": value for name, value in settings.items()}
        desk.env |= {"RCLONE_LOW_LEVEL_RETRIES": "1", "RCLONE_CONFIG": os.devnull}
        desk.env["PATH"] = f"{PROGRAMS}:{os.environ['PATH']}"
        add_place(desk, '[filesystem.far]\nkind = "rclone"\npath = "far:bucket"\nbundle_size = "100kB"\n')

        def set_left(left: int) -> None:
            between.valid_for = left

        yield Lost(directory, "rclone config reconnect far:", set_left, lambda: set_left(-1), gets=False)


def globus_by(refusal: Reply) -> Callable[[Desk], Iterator[Lost]]:
    """A collection of Globus, which refuses in this way."""

    def place(desk: Desk) -> Iterator[Lost]:
        directory = desk.top / "collection"
        directory.mkdir()
        with closing(Transfers({NEAR: desk.top / "scratch", FAR: directory})) as service:
            service.at_once, service.refusal = True, refusal
            for name in ("TRANSFER", "AUTH"):
                desk.env[f"GLOBUS_SDK_SERVICE_URL_{name}"] = service.url
            profile = desk.top / ".config/gears/sites/local.toml"
            here = f'scratch = {{ path = "{desk.top}/scratch", collection = "{NEAR}:/" }}'
            profile.write_text(profile.read_text().replace(f'scratch = "{desk.top}/scratch"', here))
            add_place(desk, f'[filesystem.far]\nkind = "globus"\npath = "{FAR}:/"\nbundle_size = "100kB"\n')
            add_place(desk, f'[transfer]\nglobus_client = "{CLIENT}"\n')
            tokens = desk.top / "gears/run/globus.json"
            tokens.parent.mkdir(exist_ok=True)
            near = Near(NEAR, "/.gears-globus", desk.top / "scratch/.gears-globus", CLIENT, tokens)

            def set_left(left: int) -> None:
                service.valid_for = left

            def log_in_again() -> None:
                set_left(-1)
                log_in(near)

            log_in(near)
            yield Lost(
                directory,
                f"{sys.executable} -m gears.data.stores.globus ",
                set_left,
                log_in_again,
                gets=refusal is SIGNED_OUT,
            )

    return place


KINDS = {
    "hpss, no keytab": hpss,
    "s3, token expired": s3,
    "globus, refresh token expired": globus_by(SIGNED_OUT),
    "globus, consent expired": globus_by(CONSENT),
}


@pytest.fixture(params=KINDS)
def lost(request: pytest.FixtureRequest, desk: Desk) -> Iterator[Lost]:
    yield from KINDS[request.param](desk)


def check_lost(desk: Desk, lost: Lost, name: str = "run7") -> None:
    """The state, its exit status, and what to type."""
    found = desk.status(name)
    assert (found["state"], found["exit_status"], found["task"]["status"]) == ("login needed", 3, 3), json.dumps(found)
    assert found["next"].startswith(lost.command)
    shown = desk.run("status", name, status=3)
    assert "login needed" in shown
    assert f"next: {lost.command}" in shown
    assert "secret" not in shown


def await_ended(desk: Desk, lost: Lost, *words: str, name: str = "run7") -> int:
    """Type a command; return the exit status of its transfer when that has ended."""
    typed = desk.start(*words, *lost.words)
    out, err = typed.communicate(timeout=120)
    assert typed.returncode in (0, 3), out + err
    wait_until(lambda: desk.task(name).get("ended") and (lost.words or not sessions(desk)), 60, "it has ended")
    return int(desk.task(name)["status"])


def test_a_login_is_lost_midway(desk: Desk, lost: Lost) -> None:
    source, put = fill(desk), ("put", "scratch/run7", "far", "--jobs", "1")
    watch = threading.Thread(target=lost.log_out_midway)
    watch.start()
    assert await_ended(desk, lost, *put) == 3
    watch.join()
    check_lost(desk, lost)
    before = lost.sealed()
    assert 0 < len(before) < BUNDLES
    lost.log_in()
    assert await_ended(desk, lost, *put) == 0
    assert before.items() <= lost.sealed().items()
    assert len(lost.sealed()) == BUNDLES
    found = desk.status("run7")
    assert (found["state"], found["task"]["verified"]) == ("done", True)
    if not lost.gets:
        return
    get = ("get", "far:run7", "--to", "scratch/back", "--name", "back")
    lost.log_out(4)
    assert await_ended(desk, lost, *get, name="back") == 3
    check_lost(desk, lost, "back")
    lost.log_in()
    assert await_ended(desk, lost, *get, name="back") == 0
    assert contents(desk.top / "scratch/back/run7") == contents(source)


def test_without_a_login_nothing_begins(desk: Desk) -> None:
    """What the trial of the place says before is not that it can't be reached."""
    fill(desk)
    with contextmanager(hpss)(desk) as lost:
        lost.log_out(0)
        said = desk.run("put", "scratch/run7", "far", status=3)
        assert "keytab file missing" in said or "authentication/initialization failed" in said
        assert "next: hsi" in said
        assert "no transfers yet" in desk.run("list")


# --- rclone ----------------------------------------------------------------------------------


def test_a_refresh_token_of_a_drive_has_expired(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The words are those of the real rclone; the answer is that of RFC 6749, 5.2."""
    with closing(Transfers({})) as service:
        token = {"access_token": "x", "refresh_token": "y", "token_type": "Bearer", "expiry": "2020-01-01T00:00:00Z"}
        settings = {"TYPE": "drive", "TOKEN": json.dumps(token), "TOKEN_URL": f"{service.url}v2/oauth2/token"}
        for name, value in settings.items():
            monkeypatch.setenv(f"RCLONE_CONFIG_FAR_{name}", value)
        (tmp_path / "rclone.conf").touch()
        monkeypatch.setenv("RCLONE_CONFIG", str(tmp_path / "rclone.conf"))
        monkeypatch.setenv("RCLONE_LOW_LEVEL_RETRIES", "1")
        monkeypatch.setenv("PATH", f"{PROGRAMS}:{os.environ['PATH']}")
        store = open_store("rclone", "far:runs")
        for attempt in (store.sizes, lambda: store.write("file", [b"x"])):
            with pytest.raises(LoginNeeded) as raised:
                attempt()
            assert str(raised.value.next).startswith("rclone config reconnect far:")


# --- Globus ----------------------------------------------------------------------------------


def test_the_command_to_type_logs_in_to_globus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a user does: the command, then the code from the page that it names. The stand-in grants the tokens."""
    with closing(Transfers({NEAR: tmp_path, FAR: tmp_path})) as service:
        for name in ("TRANSFER", "AUTH"):
            monkeypatch.setenv(f"GLOBUS_SDK_SERVICE_URL_{name}", service.url)
        near = Near(NEAR, "/", tmp_path, CLIENT, tmp_path / "globus.json")
        with pytest.raises(LoginNeeded) as raised:
            open_store("globus", f"{FAR}:/", near=near).sizes()
        words = shlex.split(str(raised.value.next))
        refused = subprocess.run(words, input="wrong\n", capture_output=True, text=True, timeout=60)
        assert (refused.returncode, "not logged in: " in refused.stderr) == (1, True)
        assert "Traceback" not in refused.stderr
        service.granted = granted(service)
        done = subprocess.run(words, input="the-code\n", capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "oauth2/authorize?" in done.stdout
        assert f"{FAR}" in done.stdout
        assert near.tokens.stat().st_mode & 0o777 == 0o600
        assert open_store("globus", f"{FAR}:/", near=near).sizes() == {"globus.json": near.tokens.stat().st_size}
