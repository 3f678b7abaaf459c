"""How large the parts of an upload to S3 are: it takes 10,000, of a size that is fixed before the end is known."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gears.data import bundles
from gears.data.stores import base, rclone
from gears.data.stores.posix import PosixStore
from gears.system import streams

TB = 10**12


@pytest.mark.parametrize(
    ("size", "mib"), [(0, 64), (1, 64), (500 * 10**9, 64), (TB, 120), (5 * TB, 597), (50 * TB, 5120), (500 * TB, 5120)]
)
def test_a_file_a_quarter_larger_than_expected_fits(size: int, mib: int) -> None:
    assert rclone.part_mib(size) == mib
    assert size > 40 * TB or (mib << 20) * 10_000 >= 1.25 * size


@pytest.mark.parametrize(("size", "mib"), [(None, 64), (100 * 10**9, 64), (2 * TB, 239)])
def test_what_rclone_is_told(monkeypatch: pytest.MonkeyPatch, size: int | None, mib: int) -> None:
    """No machine for tests has room for such a file."""
    told: list[str] = []

    def send(argv: Any, chunks: Iterable[bytes], *, silence_s: float) -> int:
        assert silence_s
        told.extend(argv)
        return sum(map(len, chunks))

    monkeypatch.setattr(streams, "send", send)
    store = rclone.RcloneStore("far:bucket/run7")
    monkeypatch.setattr(store, "_check", lambda *_: None)
    monkeypatch.setattr(store, "_move", lambda *_: None)
    chunks = [b"some bytes"]
    store.write("000001.tar", chunks if size is None else base.Expected(chunks, size))
    assert next(word for word in told if "chunk-size" in word) == f"--s3-chunk-size={mib}Mi"


class Noting(PosixStore):
    """Notes in its directory what was expected of each bundle."""

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        if name.endswith(".tar"):
            assert isinstance(chunks, base.Expected)
            Path(f"{self.directory}-{name}").write_text(str(chunks.size))
        super().write(name, chunks)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_expected_of_a_bundle(tmp_path: Path, jobs: int) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(8):
        (source / f"f{number}").write_bytes(os.urandom(300_000))
    store = Noting(tmp_path / "store")
    assert bundles.put(source, store, tmp_path / "state", bundle_size=1_000_000, jobs=jobs).complete
    found = sorted((tmp_path / "store").glob("*.tar"))
    assert len(found) > 2
    for bundle in found:
        expected = int(Path(f"{tmp_path}/store-{bundle.name}").read_text())
        assert bundle.stat().st_size <= expected * rclone.MARGIN
        assert expected <= bundle.stat().st_size + 100_000
