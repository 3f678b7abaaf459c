"""Places of every kind for tests of stores, each fresh, and the fixtures that make them.

rclone is the real one, at servers that it serves itself: S3 (`rclone serve s3`), WebDAV, and a directory. hsi is a
stand-in (`standins/hpss.py`); so is Globus (`standins/globus.py`), but its SDK is real.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from globus_sdk.token_storage import TokenStorageData

from gears.data.stores import globus, open_store
from gears.data.stores.base import CHUNK_BYTES, Near, Store
from tests.places import PROGRAMS, Proxy, processes_with, rclone_server
from tests.standins import install_hsi
from tests.standins.globus import Transfers

NEAR, FAR, CLIENT = (f"{digit * 8}-0000-4000-8000-{digit * 12}" for digit in "123")
IDENTITY = "44444444-0000-4000-8000-444444444444"
LARGE = hashlib.sha256(b"x").digest() * 156_250 + b"x"  # 5 MB and a byte


@dataclass
class Place:
    """A place of a kind; `directory`: where its files really are; `between`: what is on the way to it."""

    kind: Any
    path: str
    directory: Path
    between: Any = None
    near: Near | None = None

    def open(self, name: str = "run7") -> Store:
        return open_store(self.kind, f"{self.path}/{name}", near=self.near)

    def found(self, name: str = "run7") -> list[str]:
        directory = self.directory / name
        return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of whoever runs the tests; no repetitions, which take minutes."""
    monkeypatch.setenv("PATH", f"{PROGRAMS}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "rclone.conf").touch()
    monkeypatch.setenv("RCLONE_CONFIG", str(tmp_path / "rclone.conf"))
    monkeypatch.setenv("RCLONE_LOW_LEVEL_RETRIES", "1")
    monkeypatch.setattr(globus, "RETRIES", 0)
    monkeypatch.setattr(globus, "POLL_S", 0.01)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[int, Path]]]:
    root = tmp_path_factory.mktemp("served")
    for name in ("s3", "webdav"):
        (root / name / "bucket").mkdir(parents=True)
    with (
        rclone_server("s3", root / "s3", "--auth-key", "accesskey1,secretkey1") as s3,
        rclone_server("webdav", root / "webdav") as webdav,
    ):
        yield {"s3": (s3, root / "s3"), "webdav": (webdav, root / "webdav")}


def set_remote(settings: dict[str, str], set_variable: Callable[[str, str], None]) -> None:
    for key, value in settings.items():
        set_variable(f"RCLONE_CONFIG_FAR_{key}".upper(), value)


def make_served(kind: str, port: int, directory: Path, name: str, set_variable: Callable[[str, str], None]) -> Place:
    place = Place("rclone", f"far:bucket/{name}", directory / "bucket" / name, Proxy(port))
    url = f"http://127.0.0.1:{place.between.port}"
    settings = {"type": "webdav", "url": url, "vendor": "rclone"}
    if kind == "s3":
        settings = {"type": "s3", "provider": "Rclone", "endpoint": url}
        settings |= {"access_key_id": "accesskey1", "secret_access_key": "secretkey1"}
    set_remote(settings, set_variable)
    return place


def make_directory(directory: Path, set_variable: Callable[[str, str], None]) -> Place:
    set_remote({"type": "alias", "remote": str(directory)}, set_variable)
    return Place("rclone", "far:sub", directory / "sub")


def log_in(near: Near) -> None:
    """Store tokens as a login does, that are valid for an hour."""
    app = globus.user_app(near.client, near.tokens)
    scope = "urn:globus:auth:scope:transfer.api.globus.org:all"
    token = {"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "identity_id": IDENTITY}
    server = "transfer.api.globus.org"
    data = TokenStorageData(
        resource_server=server,
        scope=scope,
        expires_at_seconds=int(time.time()) + 3600,
        **token,  # type: ignore[arg-type]
    )
    app.token_storage.token_storage.store_token_data_by_resource_server({server: data})


def make_globus(directory: Path, set_variable: Callable[[str, str], None]) -> Place:
    """Two collections: `near`, where files are staged, and `far`."""
    for name in ("near", "far"):
        (directory / name).mkdir()
    service = Transfers({NEAR: directory / "near", FAR: directory / "far"})
    near = Near(NEAR, "/stage", directory / "near/stage", CLIENT, directory / "globus.json")
    for name in ("TRANSFER", "AUTH"):
        set_variable(f"GLOBUS_SDK_SERVICE_URL_{name}", service.url)
    log_in(near)
    return Place("globus", f"{FAR}:", directory / "far", service, near)


def make_hpss(directory: Path, set_variable: Callable[[str, str], None]) -> Place:
    for name in ("hpss", "bin"):
        (directory / name).mkdir()
    install_hsi(directory / "bin", root=f"{directory}/hpss")
    set_variable("PATH", f"{directory}/bin:{os.environ['PATH']}")
    return Place("hpss", "/home/alice", directory / "hpss/home/alice")


@pytest.fixture(name="make")
def make_fixture(
    tmp_path: Path, served: dict[str, tuple[int, Path]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Place]]:
    places: list[Place] = []

    makers = {"globus": make_globus, "hpss": make_hpss, "directory": make_directory}

    def make(kind: str) -> Place:
        if kind == "posix":
            place = Place("posix", f"{tmp_path}/place", tmp_path / "place")
        elif kind in makers:
            place = makers[kind](tmp_path, monkeypatch.setenv)
        else:
            place = make_served(kind, *served[kind], tmp_path.name, monkeypatch.setenv)
        places.append(place)
        return place

    yield make
    for place in places:
        if place.between:
            place.between.close()


def pieces(data: bytes) -> Iterator[bytes]:
    for begin in range(0, len(data), CHUNK_BYTES):
        yield data[begin : begin + CHUNK_BYTES]


def read(store: Store, name: str, *part: int) -> bytes:
    return b"".join(store.read(name, *part))


def programs() -> list[int]:
    """Programs that this test has started: those in its own home. Others may run the same commands meanwhile."""
    return processes_with(f"HOME={os.environ['HOME']}\0")
