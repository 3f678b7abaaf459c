"""Directories, records, links and locks on disk: created safely, replaced atomically, checked at every use.

Modes are 0700 and 0600. A record that can't be read counts as absent, so it never blocks a start.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gears.errors import NothingRunning, NotReachable, UnsafePath

Record = dict[str, Any]


def random_hex(size: int) -> str:
    """Return `size` random bytes in hexadecimal, as secrets.token_hex does, whose import takes a tenth of a command."""
    return os.urandom(size).hex()


def ensure_private(directory: Path, *, first_use: bool = False) -> None:
    """Create a private directory, 0700, or check the existing one. Raises what `check_private` raises.

    Removes others' read permission, and on `first_use` also the group's write permission, which every clone by git with
    a umask of 002 has. Raises UnsafePath if the directory can't be created or is not writable.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        fix = f"ls -ld {directory.parent}   (check its owner and the free space)"
        raise UnsafePath(f"{directory}: cannot create directory: {exc.strerror}", next=fix) from exc
    mode = check_private(directory, refused=0o002 if first_use else 0o022, fix=f"ls -ld {directory}")
    if mode & 0o077:
        directory.chmod(0o700)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UnsafePath(f"{directory}: not writable", next=f"chmod u+rwx {directory}")


def check_private(directory: Path, *, refused: int = 0o022, fix: str) -> int:
    """Return the mode of a directory, not a link, that belongs to the user and is writable by nobody else.

    Raises UnsafePath for a link, a file or another user's directory (with `fix` as the next command), and for one with
    a bit of `refused` in its mode.
    """
    info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise UnsafePath(f"{directory}: belongs to someone else, or is not a directory", next=fix)
    if info.st_mode & refused:
        raise UnsafePath(f"{directory}: writable by other users", next=f"ls -la {directory}; chmod 700 {directory}")
    return stat.S_IMODE(info.st_mode)


def write_private(path: Path, text: str) -> None:
    """Replace `path` atomically, 0600: a reader sees the old text or the new one."""
    write_bytes(path, text.encode(), 0o600)


def write_bytes(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` atomically, with `mode` as the umask allows: a reader sees the old content or the new one."""
    temporary = path.parent / f".{path.name}.{os.getpid()}.{random_hex(3)}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        exc.filename = exc.filename or str(path)  # write(2) names none
        raise


def write_record(path: Path, record: Record) -> None:
    """Replace the record at `path` atomically, 0600, as JSON. Raises OSError."""
    write_private(path, json.dumps(record, indent=1) + "\n")


def read_record(path: Path) -> Record:
    """Read a record; an empty one if it is absent, truncated or not a JSON object."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_text(path: Path, *, last_bytes: int = 65536) -> str:
    """Read the last `last_bytes` of a text file; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - last_bytes))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def age_s(path: Path) -> float:
    """Return the seconds since the file was last written; 0 where there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _last_written(paths: Sequence[Path]) -> list[int]:
    """Return when each file was last written, in ns since 1970; 0 where there is none."""

    def written(path: Path) -> int:
        try:
            return path.stat().st_mtime_ns
        except OSError:
            return 0

    return [written(path) for path in paths]


def await_write(paths: Sequence[Path], before: list[int], *, timeout_s: float) -> list[int]:
    """Wait until one of the files was written since `before`; 0.1 s at least, `timeout_s` at most. Return when
    each was last written."""
    deadline = time.monotonic() + timeout_s
    while True:
        time.sleep(0.1)
        now = _last_written(paths)
        if now != before or time.monotonic() > deadline:
            return now


def ensure_secret(path: Path) -> str:
    """Return the token in `path`; if there is none, create one of 24 random bytes in hexadecimal, 0600.

    Without a newline: jupyter_server reads the file verbatim.
    """
    if found := read_text(path).strip():
        path.chmod(0o600)
        return found
    write_private(path, random_hex(24))
    return read_text(path)


# --- links, fifos, locks ---------------------------------------------------------------------


def ensure_link(link: Path, target: Path) -> None:
    """Make `link` point to `target`, replacing anything else but a directory. Idempotent. Raises UnsafePath."""
    with contextlib.suppress(OSError):
        if os.readlink(link) == str(target):
            return
    if link.is_dir() and not link.is_symlink():
        raise UnsafePath(f"{link}: is a directory", next=f"rmdir {link}")
    switch(link, target)


def switch(link: Path, target: Path) -> None:
    """Point `link` to `target` atomically (rename(2)): a client connects to the old target or the new one."""
    temporary = link.parent / f".{link.name}.{os.getpid()}.{random_hex(3)}"
    temporary.symlink_to(target)
    try:
        os.replace(temporary, link)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def ensure_fifo(path: Path) -> None:
    """Create a fifo, 0600, in place of any other file. Idempotent."""
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(path.lstat().st_mode):
            return
        path.unlink()
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)


def write_fifo(path: Path, line: str) -> bool:
    """Write `line` to the fifo; False if it has no reader. Never blocks."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        os.write(fd, line.encode() + b"\n")
    except (BrokenPipeError, BlockingIOError):  # its reader has just closed it, or does not read
        return False
    finally:
        os.close(fd)
    return True


def close_fifo(path: Path) -> None:
    """Let the readers of the fifo see its end, unless another process has it open for writing. Never blocks."""
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW))


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

    Raises NotReachable if another process holds it longer than `timeout_s`, NothingRunning if its directory is gone.
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
    """Return the user's umask, in octal, for what gears starts: their files get the modes that the user expects."""
    umask = os.umask(0o077)
    os.umask(umask)
    return f"{umask:03o}"
