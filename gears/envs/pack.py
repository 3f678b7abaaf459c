"""`gears env pack`: an environment as one archive that may be unpacked anywhere.

Importing some hundred packages means opening thousands of small files, which is what makes many nodes slow to start
from one file server; an archive is read at once. conda's environments are packed by conda-pack, which knows where
conda wrote the prefix into files; of the others only scripts name it (`relocate`).
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from gears.envs import base_python, relocate
from gears.envs.archive import Pack, archive_of, fingerprint, save_pack
from gears.errors import GearsError
from gears.system import timestamps
from gears.system.files import ensure_private

COMPRESSION = 3
"""Of gzip, since every Python and every tar reads it; more takes far longer and gains little."""

TELL_S = 2.0

Say = Callable[[str], None]


def pack(name: str, prefix: Path, packs: Path, *, output: Path | None = None, say: Say) -> Path:
    """Make the archive, or make it anew; at `output` it is for the person alone, and jobs know nothing of it.

    Takes about a minute for each gigabyte. Broken off it leaves nothing. Raises GearsError where the disk is full.
    """
    target = output or archive_of(packs, name)
    kind = "conda" if (prefix / "conda-meta").is_dir() else "venv"
    before = fingerprint(prefix)
    for directory in () if output else (packs.parent, packs):
        ensure_private(directory)
    with _at(target, name) as temporary:
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
def _at(target: Path, name: str) -> Iterator[Path]:
    """Yield a file beside `target` to write to, and remove it at the end. A full disk becomes a GearsError."""
    temporary = target.parent / f".{target.name}.{os.getpid()}"
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        yield temporary
    except OSError as exc:
        fix = f"gears env pack {name} --output FILE   (where there is room: df -h {target.parent})"
        raise GearsError(f"{target}: {exc.strerror or exc}; nothing was left there", next=fix) from exc
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _size(archive: Path) -> int:
    with tarfile.open(archive) as tar:
        return sum(member.size for member in tar)


def _base(prefix: Path) -> str:
    """Return the Python that must be where the archive is unpacked, for it is not in it; "" for none."""
    return "" if base_python.to_take(prefix, Path.home()) else base_python.outside(prefix)


# --- the archive -------------------------------------------------------------------------------------


class Archive:
    """A tar file that tells whose it was to nobody. Times stay as they are: by them Python knows its bytecode."""

    def __init__(self, path: Path, say: Say) -> None:
        self._file = path.open("wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w:gz", compresslevel=COMPRESSION)  # noqa: SIM115 closed below
        self._say, self._told = say, monotonic()

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
        """Add a file, a directory or a link, which stays as it is."""
        info = self._tar.gettarinfo(source, target)
        if info.isreg():
            with open(source, "rb") as file:
                self._tar.addfile(_anonymous(info), file)
        else:
            self._tar.addfile(_anonymous(info))
        self._tell()

    def add_link(self, source: str | Path, leads_to: str, target: str) -> None:
        """Add a link that leads to `leads_to` in the archive."""
        info = self._tar.gettarinfo(source, target)
        info.linkname = leads_to
        self._tar.addfile(_anonymous(info))

    def add_bytes(self, source: str | Path, content: bytes, target: str) -> None:
        """Add a file with this content. `source` tells its mode and time."""
        info = self._tar.gettarinfo(source, target)
        info.type, info.size = tarfile.REGTYPE, len(content)
        self._tar.addfile(_anonymous(info), io.BytesIO(content))

    def _tell(self) -> None:
        if monotonic() - self._told > TELL_S:
            self._told = monotonic()
            self._say(f"{self._file.tell() / 1e6:.0f} MB written")


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


# --- what is in it -----------------------------------------------------------------------------------


def _add_conda(archive: Archive, name: str, prefix: Path) -> None:
    """Add a conda environment by the parts of conda-pack.

    conda-pack's own `pack` gives all files one time, which makes all bytecode stale; its parts do not.
    """
    import warnings

    from conda_pack.core import CondaEnv, CondaPackException, Packer

    try:
        with warnings.catch_warnings(action="ignore"):  # that packages are not in conda's cache any more
            environment = CondaEnv.from_prefix(str(prefix), ignore_editable_packages=True)
    except CondaPackException as exc:
        raise GearsError(f"conda-pack: {exc}", next=f"gears env verify {name}") from exc
    packer = Packer(environment.prefix, archive)
    for file in environment:
        packer.add(file)
    packer.finish()


def _add_venv(archive: Archive, _name: str, prefix: Path) -> None:
    python, taken = base_python.outside(prefix), base_python.to_take(prefix, Path.home())
    for path, target in base_python.files(taken, python) if taken else ():
        archive.add(path, target)
    for path in _files(prefix):
        target = str(path.relative_to(prefix))
        if taken and (leads_to := base_python.link(path, python)):
            archive.add_link(path, leads_to, target)
        elif path.parent == prefix / "bin" and path.is_file() and not path.is_symlink():
            archive.add_bytes(path, relocate.relocate_script(path.read_bytes(), str(prefix)), target)
        else:
            archive.add(path, target)
    archive.add_bytes(prefix / "pyvenv.cfg", relocate.ACTIVATE.encode(), "bin/activate")


def _files(prefix: Path) -> Iterator[Path]:
    """Yield all but sockets and what names the environment's directory to a shell, always in the same order."""
    for directory, names, files in os.walk(prefix):
        names.sort()
        here = Path(directory)
        yield from (here / name for name in names)
        left_out = [name for name in files if here == prefix / "bin" and relocate.is_activation(name)]
        yield from (path for name in sorted(set(files) - set(left_out)) if not (path := here / name).is_socket())
