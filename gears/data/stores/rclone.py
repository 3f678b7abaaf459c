"""A directory of a remote of rclone as a store: object stores, WebDAV, sftp and what else rclone reaches.

What rclone does is as its documentation and version 1.75 say. Its configuration is the user's: nothing of it is on a
command line. `rclone cat` of a file that is not there prints nothing and exits with 0, so each read asks for the size
first, and counts.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator

from gears.data.stores.base import Expected, Source, is_part, part_name, part_stem
from gears.errors import CommandFailed, CommandTimeout, GearsError, Incomplete, LoginNeeded, NotReachable
from gears.system import commands, streams

SILENCE_S = 600.0
"""How long rclone may neither take nor give a byte. It repeats by itself what fails, for some minutes."""

ANSWER_S = 120.0
"""How long a listing, or another request without data, may take."""

SLOWEST_COPY = 20_000_000
"""Bytes a second at which a store must at least copy within itself, where renaming is copying (S3)."""

OPTIONS = ("--ask-password=false", "--contimeout=30s", "--retries=1", "--log-level=NOTICE", "--stats=0")

PARTS = ("--azureblob-chunk-size=16Mi", "--streaming-upload-cutoff=16Mi")
"""A stream is uploaded in parts whose size is fixed before its length is known. Azure has 50,000, S3 10,000. Four parts
are in memory at a time."""

S3_PARTS, S3_PART_MIB, S3_LARGEST_MIB = 10_000, 64, 5 * 1024
"""rclone's default of 5 MiB ends at 49 GB."""

MARGIN = 1.25
"""How much larger than expected a file may become: what changes while it is read is read again."""

MISSING = (3, 4)
"""Exit statuses of rclone: directory not found, file not found."""
CUT = (5, 8, 10)
"""Exit statuses of rclone: a temporary error, a limit of bytes or of time that the user has set."""

REFUSED = re.compile(
    r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|NoCredentialProviders"
    r"|\b40[13]\b|unauthori[sz]ed|forbidden|invalid_grant|token expired|empty token|couldn't fetch token"
    r"|failed to decrypt|configuration password|unable to authenticate",
    re.IGNORECASE,
)
UNSAID = re.compile(r"HeadObject.*StatusCode: 400")
"""An answer of S3 without a body, and so without the reason."""
UNKNOWN = re.compile(r"didn't find section in config file")
UNREACHABLE = re.compile(
    r"connection refused|no such host|no route to host|network is unreachable|i/o timeout|deadline exceeded"
    r"|TLS handshake|server misbehaving",
    re.IGNORECASE,
)
FULL = re.compile(r"no space left|quota|insufficient ?storage|\b507\b|EntityTooLarge|disk full", re.IGNORECASE)


def part_mib(size: int) -> int:
    """Return how large the parts of an upload of about `size` bytes are, in MiB: S3 takes S3_PARTS of them. Pure."""
    needed = math.ceil(size * MARGIN / S3_PARTS / (1 << 20))
    return min(max(S3_PART_MIB, needed), S3_LARGEST_MIB)


def open_store(path: str) -> RcloneStore:
    """Return the directory `REMOTE:PATH` as a store. It need not exist. Raises MissingProgram."""
    commands.find_program("rclone")
    return RcloneStore(path)


class RcloneStore:
    """Files below a path of a remote.

    A file is sent to a temporary name, and moved when its size is right: if this process is killed, rclone takes what
    it has got for the whole. Where a store can't rename, as S3, that is a copy within the store.
    """

    ranged = True

    def __init__(self, path: str) -> None:
        self.path = path if path.endswith(":") else path.rstrip("/")

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store a file (`base.Store.write`)."""
        part = part_name(name)
        try:
            sent = self._send(part, chunks, part_mib(chunks.size if isinstance(chunks, Expected) else 0))
            self._check(part, name, sent)
            self._move(part, name, sent)
        except BaseException:
            with contextlib.suppress(GearsError):
                self.remove(part)
            raise

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read a file (`base.Store.read`)."""
        left = self._size(name) - offset
        wanted = max(0, left if length is None else min(left, length))
        if not wanted:
            return
        argv = self._argv("cat", f"--offset={offset}", f"--count={wanted}", self._at(name))
        got = 0
        try:
            for chunk in streams.receive(argv, silence_s=SILENCE_S):
                got += len(chunk)
                yield chunk
        except CommandFailed as exc:
            raise self.explain(exc) from exc
        if got != wanted:
            raise Incomplete(f"{self._at(name)}: read {got} of {wanted} bytes", next=self._to_try())

    def sizes(self) -> dict[str, int]:
        """Return the files (`base.Store.sizes`)."""
        return {name: size for name, size in self._all_sizes().items() if not is_part(name)}

    def remove(self, name: str) -> None:
        """Remove a file (`base.Store.remove`)."""
        with contextlib.suppress(FileNotFoundError):
            self._run("deletefile", self._at(name))

    def explain(self, exc: CommandFailed) -> Exception:
        """Return what a failure of rclone means. Only its exit status says that it has failed, its words say why.

        Where they do not, it lists the directory, for ANSWER_S at most: that answer has a reason.
        """
        if isinstance(exc, CommandTimeout):
            return NotReachable(f"{self.path}: {exc.message}", next=self._to_try())
        if exc.status in MISSING:
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        message = f"{self.path}: {_last_words(exc)}"
        if error := self._by_words(exc.stderr, message):
            return error
        if UNSAID.search(exc.stderr) and (refused := self._refused()):
            return refused
        if exc.status in CUT or (exc.status or 0) < 0:
            return Incomplete(message, next=self._to_try())
        return CommandFailed(message, stderr=exc.stderr, status=exc.status, next=self._to_try())

    def _by_words(self, said: str, message: str) -> GearsError | None:
        """Return the error that rclone's words say; None if they say none of those."""
        if FULL.search(said):
            return Incomplete(message, next=f"rclone about {shlex.quote(self.path)}")
        if UNKNOWN.search(said):
            return LoginNeeded(message, next="rclone config   (adds the remote, and logs you in)")
        if REFUSED.search(said):
            remote = shlex.quote(self.path.partition(":")[0])
            return LoginNeeded(message, next=f"rclone config reconnect {remote}:   (or: rclone config update {remote})")
        if UNREACHABLE.search(said):
            return NotReachable(message, next=self._to_try())
        return None

    def _refused(self) -> LoginNeeded | None:
        """Return why a listing is refused. Its path ends with a slash: rclone then asks for no file of this name."""
        try:
            commands.run(self._argv("lsf", "--max-depth=1", self._at("")), timeout_s=ANSWER_S)
        except CommandFailed as exc:
            error = self._by_words(exc.stderr, f"{self.path}: {_last_words(exc)}")
            return error if isinstance(error, LoginNeeded) else None
        return None

    def _send(self, part: str, chunks: Iterable[bytes], mib: int) -> int:
        source = Source(chunks)
        try:
            argv = self._argv("rcat", f"--s3-chunk-size={mib}Mi", *PARTS, self._at(part))
            return streams.send(argv, source, silence_s=SILENCE_S)
        except CommandFailed as exc:
            raise exc if exc is source.error else self.explain(exc) from exc

    def _check(self, part: str, name: str, sent: int) -> None:
        """Compare the size of what has arrived, and remove what killed attempts at the same file have left."""
        found = self._all_sizes()
        if found.get(part) != sent:
            raise Incomplete(f"{self._at(name)}: sent {sent} bytes, {found.get(part, 0)} arrived", next=self._to_try())
        for other in found.keys() - {part}:
            if other.startswith(part_stem(name)):
                self.remove(other)

    def _move(self, part: str, name: str, size: int) -> None:
        """Rename, even if what is there has the same size, and the store knows neither times nor hashes."""
        try:
            self._run("moveto", "--ignore-times", self._at(part), self._at(name), timeout_s=_time_to_move(size))
        except FileNotFoundError as exc:
            raise Incomplete(f"{self._at(part)} has vanished", next=self._to_try()) from exc

    def _size(self, name: str) -> int:
        found = json.loads(self._run("lsjson", "--stat", "--no-mimetype", "--no-modtime", self._at(name)))
        if not found or found["IsDir"]:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._at(name))
        return int(found["Size"])

    def _all_sizes(self) -> dict[str, int]:
        try:
            found = json.loads(self._run("lsjson", "--files-only", "--no-mimetype", "--no-modtime", self.path))
        except FileNotFoundError:
            return {}
        return {one["Name"]: one["Size"] for one in found}

    def _run(self, *words: str, timeout_s: float | None = None) -> str:
        try:
            return commands.run(self._argv(*words), timeout_s=ANSWER_S if timeout_s is None else timeout_s)
        except CommandFailed as exc:
            raise self.explain(exc) from exc

    def _argv(self, *words: str) -> list[str]:
        return ["rclone", *OPTIONS, *words]

    def _at(self, name: str) -> str:
        return f"{self.path}{name}" if self.path.endswith(":") else f"{self.path}/{name}"

    def _to_try(self) -> str:
        return f"rclone lsf --max-depth 1 {shlex.quote(self.path)}"


def _last_words(exc: CommandFailed) -> str:
    """Return rclone's last line without its date, level, and count of errors."""
    line = (exc.stderr.strip().splitlines() or [exc.message])[-1]
    return re.sub(r"^[0-9/]+ [0-9:]+ \w+ *: (Failed to \w+( with \d+ errors: last error was)?: )?", "", line)


def _time_to_move(size: int) -> float:
    return ANSWER_S + size / SLOWEST_COPY
