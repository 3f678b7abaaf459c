"""The files of a saved state: parts named by their hash, and a manifest that is replaced last.

Whatever moment a save ends at, the manifest names only files that are whole. The manifest begins with a keyed hash of
the rest (HMAC, RFC 2104, with SHA-256), and has the hash of each part: nothing is unpickled before both are checked.
The key is in the person's home. Files are 0600 in a directory 0700; another user's file, or one open to others, is
refused.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Any

MANIFEST = "manifest"
LOCK = "lock"
PART = ".part"
NEW = ".new"
CHUNK = 8 << 20
"""Bytes copied, hashed and written at a time. The copy makes the hash that of what was written, whatever other threads
do to an array meanwhile."""
ROOM_LEFT = 64 << 20
"""Bytes that a save leaves free on the file system."""


class Unsafe(Exception):
    """A file of a state is not the person's own, or not as it was written. The text says which and why."""


def default_key() -> str:
    """Return where the key is: in the home, wherever the states are."""
    return os.path.join(os.path.expanduser("~"), ".config", "gears", "carry.key")


def read_key(path: str, *, make: bool = False) -> bytes:
    """Return the key, 32 bytes. With `make`, write one first if there is none. Raises Unsafe, OSError."""
    if make and not os.path.lexists(path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        new = f"{path}.{secrets.token_hex(8)}"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(new, path)
        except FileExistsError:  # another kernel was first
            pass
        finally:
            os.unlink(new)
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        _check_own(os.fstat(file.fileno()), path)
        key = file.read()
    if len(key) != 32:
        raise Unsafe(f"{path} is not a key of gears: it has {len(key)} bytes")
    return key


class Directory:
    """An open directory of one state. Use as a context. Raises Unsafe if it is another user's or open to others."""

    def __init__(self, path: str, key: bytes, *, make: bool = False) -> None:
        self._key = key
        if make:
            os.makedirs(path, mode=0o700, exist_ok=True)
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _check_own(os.fstat(self._fd), path)
        except Unsafe:
            os.close(self._fd)
            raise
        self._lock: int | None = None

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._lock, self._fd):
            if fd is not None:
                os.close(fd)

    def lock(self) -> None:
        """Keep other saves out until the directory is closed. Raises BlockingIOError. Not all file systems can."""
        self._lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=self._fd)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise

    def room(self) -> int:
        """Return the bytes that a save may still use here."""
        found = os.fstatvfs(self._fd)
        return int(found.f_bavail * found.f_frsize) - ROOM_LEFT

    def read_manifest(self) -> dict[str, Any]:
        """Return the manifest of the last whole save. Raises FileNotFoundError if there is none, Unsafe."""
        with self._open(MANIFEST) as file:
            signature, _, body = file.read().partition(b"\n")
        if not hmac.compare_digest(signature, self._sign(body)):
            raise Unsafe("the manifest is not as gears wrote it with your key")
        found: dict[str, Any] = json.loads(body)
        return found

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Make this the last good save. What it names must be written."""
        body = json.dumps(manifest, sort_keys=True).encode()
        with self.new_part(lambda: None) as part:
            part.write(self._sign(body) + b"\n" + body)
            os.fsync(self._fd)  # the parts' names, before the name that makes them count
            part.rename(MANIFEST)
        os.fsync(self._fd)

    def clean(self, keep: set[str]) -> None:
        """Remove parts that the manifest does not name, and what ended saves have left."""
        for name in os.listdir(self._fd):
            if name.endswith(NEW) or (name.endswith(PART) and name not in keep):
                os.unlink(name, dir_fd=self._fd)

    def has(self, name: str) -> bool:
        """Tell whether a part is there."""
        try:
            return stat.S_ISREG(os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def new_part(self, check: Callable[[], None]) -> Part:
        """Begin a part. `check` is called for each chunk, and may raise to end it."""
        return Part(self._fd, check)

    def read_part(self, name: str, sizes: list[int]) -> list[bytearray]:
        """Return a part's content in pieces of these sizes, after its hash was checked. Raises Unsafe, OSError."""
        pieces = [bytearray(size) for size in sizes]
        hasher = _Hasher()
        try:
            with self._open(name) as file:
                if os.fstat(file.fileno()).st_size != sum(sizes):
                    raise Unsafe(f"{name} has another size than when it was saved")
                for chunk in (chunk for piece in pieces for chunk in _chunks(memoryview(piece))):
                    _fill(file, chunk, name)
                    hasher.add(chunk)
        finally:
            digest = hasher.end()
        if name != digest + PART:
            raise Unsafe(f"{name} is not as it was saved")
        return pieces

    def _open(self, name: str) -> Any:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._fd)
        file = open(fd, "rb", buffering=0)  # noqa: SIM115  the caller's `with` closes it
        try:
            _check_own(os.fstat(file.fileno()), name)
        except Unsafe:
            file.close()
            raise
        return file

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).hexdigest().encode()


class Part:
    """A part that is being written. Use as a context: without `keep` or `rename`, nothing of it stays."""

    def __init__(self, directory: int, check: Callable[[], None]) -> None:
        self._directory, self._check = directory, check
        self._name = secrets.token_hex(16) + NEW
        self._fd = os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        self._hasher = _Hasher()
        self.size = 0

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        self._hasher.end()
        os.close(self._fd)
        if self._name:
            os.unlink(self._name, dir_fd=self._directory)

    def write(self, data: Any) -> int:
        """Append bytes. Called by pickle."""
        view = memoryview(data).cast("B")
        for chunk in _chunks(view):
            self._check()
            copy = bytes(chunk)
            self._hasher.add(copy)
            written = 0
            while written < len(copy):
                written += os.write(self._fd, memoryview(copy)[written:])
            self.size += len(copy)
        return len(view)

    def keep(self) -> str:
        """Give the part its name, its hash, and return it."""
        name = self._hasher.end() + PART
        self.rename(name)
        return name

    def rename(self, name: str) -> None:
        """Give the part a name, once its content is on the disk."""
        os.fsync(self._fd)
        os.rename(self._name, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._name = ""


class _Hasher:
    """SHA-256, of a chunk while the caller writes or reads the next: hashlib lets other threads run."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._thread: threading.Thread | None = None

    def add(self, chunk: Any) -> None:
        self._wait()
        if len(chunk) < CHUNK:
            self._hash.update(chunk)
            return
        self._thread = threading.Thread(target=self._hash.update, args=(chunk,), daemon=True)
        self._thread.start()

    def end(self) -> str:
        self._wait()
        return self._hash.hexdigest()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def digest_of(data: Any, check: Callable[[], None]) -> str:
    """Return the hash of bytes, as a part of them would be named."""
    hasher = hashlib.sha256()
    for chunk in _chunks(memoryview(data).cast("B")):
        check()
        hasher.update(chunk)
    return hasher.hexdigest() + PART


def _chunks(view: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(view), CHUNK):
        yield view[start : start + CHUNK]


def _fill(file: Any, chunk: memoryview, name: str) -> None:
    done = 0
    while done < len(chunk):
        count = file.readinto(chunk[done:])
        if not count:
            raise Unsafe(f"{name} is shorter than when it was saved")
        done += count


def _check_own(found: os.stat_result, name: str) -> None:
    if found.st_uid != os.geteuid():
        raise Unsafe(f"{name} belongs to another user")
    if found.st_mode & 0o077:
        raise Unsafe(f"{name} is open to others (mode {stat.S_IMODE(found.st_mode):04o})")
