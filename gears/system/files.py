"""Directories, records, links and locks on disk: made safely, written whole, checked at every use.

Everything is 0700 or 0600. A record that can't be read is a record that is not there: it never blocks a start.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gears.errors import NothingRunning, NotReachable, UnsafePath

Record = dict[str, Any]


def ensure_private(directory: Path, *, first_use: bool = False) -> None:
    """Make sure of a directory that is ours alone, 0700; made if need be. Raises what `check_private` raises.

    Rights to read are taken away silently; so is the group's right to write on the `first_use` of a directory that git
    made, since with a umask of 002 every clone has it. Raises UnsafePath, too, where it can't be made or written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        fix = f"ls -ld {directory.parent}   (check its owner and the free space)"
        raise UnsafePath(f"{directory}: cannot create directory: {exc.strerror}", next=fix) from exc
    mode = check_private(directory, refused=0o002 if first_use else 0o022, taken=f"ls -ld {directory}")
    if mode & 0o077:
        directory.chmod(0o700)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UnsafePath(f"{directory}: not writable", next=f"chmod u+rwx {directory}")


def check_private(directory: Path, *, refused: int = 0o022, taken: str) -> int:
    """Return the mode of a real directory of ours to which no others may write.

    Raises UnsafePath for a link, a file or somebody else's directory (`taken`: what to type then), and for one with a
    bit of `refused` in its mode.
    """
    info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise UnsafePath(f"{directory}: belongs to someone else, or is not a directory", next=taken)
    if info.st_mode & refused:
        raise UnsafePath(f"{directory}: writable by other users", next=f"ls -la {directory}; chmod 700 {directory}")
    return stat.S_IMODE(info.st_mode)


def write_private(path: Path, text: str) -> None:
    """Replace `path` whole, 0600: a reader sees the old text or the new, never half of it."""
    temporary = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(3)}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        exc.filename = exc.filename or str(path)  # write(2) names none
        raise


def write_record(path: Path, record: Record) -> None:
    """Replace the record at `path` whole, 0600, as JSON. Raises OSError."""
    write_private(path, json.dumps(record, indent=1) + "\n")


def read_record(path: Path) -> Record:
    """Read the record, or an empty one where it is absent, half-written or no JSON object."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_text(path: Path, *, last_bytes: int = 65536) -> str:
    """Read the end of a text file, its `last_bytes`; empty where there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - last_bytes))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def ensure_secret(path: Path) -> str:
    """Make a token of 24 random bytes, once, 0600, without a newline: jupyter_server reads the file as it stands.

    Returns it, in hexadecimal, or the one that is there.
    """
    if found := read_text(path).strip():
        path.chmod(0o600)
        return found
    write_private(path, secrets.token_hex(24))
    return read_text(path)


# --- links, fifos, locks ---------------------------------------------------------------------


def ensure_link(link: Path, target: Path) -> None:
    """Make sure that `link` leads to `target`. A link that already does is left alone; anything else there is replaced.

    Raises UnsafePath where a directory is in its place.
    """
    with contextlib.suppress(OSError):
        if os.readlink(link) == str(target):
            return
    if link.is_dir() and not link.is_symlink():
        raise UnsafePath(f"{link}: is a directory", next=f"rmdir {link}")
    switch(link, target)


def switch(link: Path, target: Path) -> None:
    """Point `link` at `target` in one step (rename(2)): whoever connects meets the old or the new, never nothing."""
    temporary = link.parent / f".{link.name}.{os.getpid()}.{secrets.token_hex(3)}"
    temporary.symlink_to(target)
    try:
        os.replace(temporary, link)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def ensure_fifo(path: Path) -> None:
    """Make a fifo, 0600, in place of any other file. One that is there stays. Safe to repeat."""
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(path.lstat().st_mode):
            return
        path.unlink()
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)


def write_fifo(path: Path, line: str) -> bool:
    """Say `line` to whoever reads the fifo now; False when nobody does. Never blocks."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        os.write(fd, line.encode() + b"\n")
    except (BrokenPipeError, BlockingIOError):  # its reader has just left, or has not read for long
        return False
    finally:
        os.close(fd)
    return True


def try_lock(path: Path) -> int | None:
    """Take an exclusive flock(2) on a host-local file: a descriptor to keep open; None where another has it.

    The file's existence means nothing, and a holder that dies releases it. Only its holder may remove it.
    """
    if path.is_symlink():
        path.unlink(missing_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == os.stat(path).st_ino:  # else its holder removed it meanwhile
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


@contextlib.contextmanager
def locked(path: Path, timeout_s: float = 30.0) -> Iterator[None]:
    """Hold the lock at `path`.

    Raises NotReachable when another holds it longer than `timeout_s`, NothingRunning when its directory is gone.
    """
    deadline = time.monotonic() + timeout_s
    try:
        while (fd := try_lock(path)) is None:
            if time.monotonic() > deadline:
                raise NotReachable(f"another gears command has held {path} for {timeout_s:.0f} s", next="gears status")
            time.sleep(0.05)
    except FileNotFoundError as exc:
        raise NothingRunning(
            f"{path.parent} no longer exists: what ran there has just ended", next="gears status"
        ) from exc
    try:
        yield
    finally:
        os.close(fd)


def current_umask() -> str:
    """Return the person's own umask, in octal.

    What JupyterLab and its kernels make is hers, and none of gears' business.
    """
    umask = os.umask(0o077)
    os.umask(umask)
    return f"{umask:03o}"
