"""`gears env pack`: an environment as one archive that can be unpacked anywhere.

Importing some hundred packages opens thousands of small files, so many nodes start slowly from one file server; an
archive is a single read. conda-pack packs conda environments, as it knows the files into which conda wrote the prefix;
in the others only scripts contain it (`relocate`).
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from gears.envs import base_python, relocate
from gears.envs.archive import Pack, archive_of, fingerprint, save_pack
from gears.errors import GearsError
from gears.system import timestamps
from gears.system.files import ensure_private
from gears.system.progress import Progress

COMPRESSION = 3
"""Level of gzip, which every Python and tar can read; a higher level takes far longer and gains little."""

REPORT_S = 2.0


def pack(name: str, prefix: Path, packs: Path, *, output: Path | None = None, say: Progress) -> Path:
    """Create or replace the archive. Jobs do not use an archive at `output`.

    Takes about a minute per gigabyte. If interrupted, it leaves nothing behind. Raises GearsError if the disk is full.
    """
    target = output or archive_of(packs, name)
    kind = "conda" if (prefix / "conda-meta").is_dir() else "venv"
    before = fingerprint(prefix)
    for directory in () if output else (packs.parent, packs):
        ensure_private(directory)
    with _temporary_beside(target, name) as temporary:
        with Archive(temporary, say) as archive:
            (_add_conda if kind == "conda" else _add_venv)(archive, name, prefix)
        size = temporary.stat().st_size
        os.replace(temporary, target)
    if not output:
        save_pack(
            packs, Pack(name, str(prefix), kind, before, size, _size(target), _base(prefix), timestamps.utc_now())
        )
    return target


@contextlib.contextmanager
def _temporary_beside(target: Path, name: str) -> Iterator[Path]:
    """Yield a temporary file beside `target`, and remove it at the end. Translate an OSError into a GearsError."""
    temporary = target.parent / f".{target.name}.{os.getpid()}"
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        yield temporary
    except OSError as exc:
        fix = f"gears env pack {name} --output FILE   (on a disk with free space: df -h {target.parent})"
        raise GearsError(f"{target}: {exc.strerror or exc}; the incomplete archive was removed", next=fix) from exc
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _size(archive: Path) -> int:
    with tarfile.open(archive) as tar:
        return sum(member.size for member in tar)


def _base(prefix: Path) -> str:
    """Return the Python that the archive needs and does not include; "" for none."""
    return "" if base_python.root_to_bundle(prefix, Path.home()) else base_python.external(prefix)


# --- the archive -------------------------------------------------------------------------------------


class Archive:
    """A tar file without owners. Modification times are kept: Python checks its bytecode by them."""

    def __init__(self, path: Path, say: Progress) -> None:
        self._file = path.open("wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w:gz", compresslevel=COMPRESSION)  # noqa: SIM115 closed below
        self._say, self._reported = say, monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._tar.close()
        finally:
            self._file.close()

    def add(self, source: str | Path, target: str) -> None:
        """Add a file, a directory or a link, unchanged."""
        info = self._tar.gettarinfo(source, target)
        if info.isreg():
            with open(source, "rb") as file:
                self._tar.addfile(_anonymous(info), file)
        else:
            self._tar.addfile(_anonymous(info))
        self._report()

    def add_link(self, source: str | Path, link_to: str, target: str) -> None:
        """Add a link to `link_to`."""
        info = self._tar.gettarinfo(source, target)
        info.linkname = link_to
        self._tar.addfile(_anonymous(info))

    def add_bytes(self, source: str | Path, content: bytes, target: str) -> None:
        """Add a file with this content, and the mode and time of `source`."""
        info = self._tar.gettarinfo(source, target)
        info.type, info.size = tarfile.REGTYPE, len(content)
        self._tar.addfile(_anonymous(info), io.BytesIO(content))

    def _report(self) -> None:
        if monotonic() - self._reported > REPORT_S:
            self._reported = monotonic()
            self._say(f"{self._file.tell() / 1e6:.0f} MB written")


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


# --- what is in it -----------------------------------------------------------------------------------


def _add_conda(archive: Archive, name: str, prefix: Path) -> None:
    """Add a conda environment with the components of conda-pack.

    conda-pack's own `pack` gives all files the same time, which makes all bytecode stale; its components do not.
    """
    import warnings

    from conda_pack.core import CondaEnv, CondaPackException, Packer

    try:
        with warnings.catch_warnings(action="ignore"):  # about packages that are no longer in conda's cache
            environment = CondaEnv.from_prefix(str(prefix), ignore_editable_packages=True)
    except CondaPackException as exc:
        raise GearsError(f"conda-pack: {exc}", next=f"gears env verify {name}") from exc
    packer = Packer(environment.prefix, archive)
    for file in environment:
        packer.add(file)
    packer.finish()


def _add_venv(archive: Archive, _name: str, prefix: Path) -> None:
    python, bundled = base_python.external(prefix), base_python.root_to_bundle(prefix, Path.home())
    for path, target in base_python.files(bundled, python) if bundled else ():
        archive.add(path, target)
    for path in _files(prefix):
        target = str(path.relative_to(prefix))
        if bundled and (link_to := base_python.link(path, python)):
            archive.add_link(path, link_to, target)
        elif path.parent == prefix / "bin" and path.is_file() and not path.is_symlink():
            archive.add_bytes(path, relocate.relocate_script(path.read_bytes(), str(prefix)), target)
        else:
            archive.add(path, target)
    archive.add_bytes(prefix / "pyvenv.cfg", relocate.ACTIVATE.encode(), "bin/activate")


def _files(prefix: Path) -> Iterator[Path]:
    """Yield all files except sockets and activation scripts, in a fixed order."""
    for directory, names, files in os.walk(prefix):
        names.sort()
        parent = Path(directory)
        yield from (parent / name for name in names)
        excluded = [name for name in files if parent == prefix / "bin" and relocate.is_activation(name)]
        yield from (path for name in sorted(set(files) - set(excluded)) if not (path := parent / name).is_socket())
