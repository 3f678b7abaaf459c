"""A directory of HPSS as a store, through hsi: one session for each request.

Syntax, listings and exit codes are those of the HSI Reference Manual (versions 5 to 8): `put - : NAME` reads standard
input, `get - : NAME` writes standard output, `-P` sends listings there, and `ls -P` prints `FILE`, path, size and more.
Whether a request has failed is said by the exit code alone; the words after it only tell why.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator
from threading import BoundedSemaphore

from gears.data.stores.base import Source, is_part, part_name, part_stem
from gears.errors import CommandFailed, CommandTimeout, GearsError, Incomplete, LoginNeeded, NotReachable, UsageError
from gears.system import commands, streams

SESSIONS = BoundedSemaphore(8)
"""Sessions of this process at once. NERSC allows a user 15."""

ANSWER_S = 300.0
"""How long a request without data may take."""

SILENCE_S = 900.0
"""How long a transfer may stand still."""

MOUNT_S = 6 * 3600.0
"""How long the first byte of a file may take: it may be on a tape, and other people's tapes before it."""

BUSY_PAUSES_S = (2.0, 8.0, 30.0)
"""Pauses before a request is repeated that HPSS had no session or no time for."""

TEMPORARY_FAILURE, NO_PERMISSION = 75, 77
"""Exit codes of hsi, which are those of sysexits(3)."""

UNKNOWN_USER, NO_SERVICE, CUT = 67, (68, 69), (74, 75, 76)
NOT_FOUND = (64, 66)
"""64, that of wrong usage, is also that of most other failures: the words have to name a missing file, too."""

PATH = re.compile(r"[A-Za-z0-9._/+@,=~-]+")
"""hsi splits at spaces, `;` and `:` between spaces, and expands `*?[]{}`."""

REFUSED = re.compile(
    r"authentication/initialization failed|unable to authenticate|keytab|credential|ticket expired", re.IGNORECASE
)
MISSING = re.compile(r"HPSS_ENOENT|no such file|no matching names", re.IGNORECASE)
FULL = re.compile(r"HPSS_ENOSPC|HPSS_EDQUOT|no space|quota", re.IGNORECASE)
UNREACHABLE = re.compile(
    r"unable to set ?up communication|connection refused|unable to open remote gateway|no route to host", re.IGNORECASE
)


def open_store(path: str) -> HpssStore:
    """Return the directory `path` of HPSS as a store. It need not exist. Raises MissingProgram, UsageError."""
    commands.find_program("hsi")
    if not PATH.fullmatch(path):
        raise UsageError(
            f"{path}: hsi can't take a path with such characters", next="choose a plain path for the place"
        )
    return HpssStore(path.rstrip("/"))


class HpssStore:
    """Files in a directory of HPSS.

    A file is sent to a temporary name, and renamed when its size is right: if this process is killed, hsi takes what it
    has got for the whole. The manual does not say that `mv` replaces a file; so one of this name is removed before it.
    """

    ranged = False

    def __init__(self, path: str) -> None:
        self.path = path

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store a file (`base.Store.write`)."""
        self._request(f"mkdir -p {self.path}")
        part = part_name(name)
        try:
            sent = self._send(part, chunks)
            found = self._all_sizes()
            if found.get(part) != sent:
                arrived = found.get(part, 0)
                raise Incomplete(f"{self.path}/{name}: sent {sent} bytes, {arrived} arrived", next=self._to_try())
            for other in found.keys() - {part}:
                if other == name or other.startswith(part_stem(name)):
                    self.remove(other)
            self._move(part, name)
        except BaseException:
            with contextlib.suppress(GearsError):
                self.remove(part)
            raise

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read a file (`base.Store.read`). hsi gives files from their beginning: what is before `offset` is dropped."""
        size = self._all_sizes().get(name)
        if size is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.path}/{name}")
        end = size if length is None else min(size, offset + length)
        if end <= offset:
            return
        position = 0
        for chunk in self._receive(name):
            wanted = chunk[max(0, offset - position) : end - position]
            position += len(chunk)
            if wanted:
                yield wanted
            if position >= end and end < size:
                return
        if position != size:
            raise Incomplete(f"{self.path}/{name}: read {position} of {size} bytes", next=self._to_try())

    def sizes(self) -> dict[str, int]:
        """Return the files (`base.Store.sizes`)."""
        return {name: size for name, size in self._all_sizes().items() if not is_part(name)}

    def remove(self, name: str) -> None:
        """Remove a file (`base.Store.remove`)."""
        with contextlib.suppress(FileNotFoundError):
            self._request(f"rm {self.path}/{name}")

    def explain(self, exc: CommandFailed) -> Exception:
        """Return what a failure of hsi means."""
        status, said = exc.status or 0, exc.stderr
        if isinstance(exc, CommandTimeout):
            return NotReachable(f"{self.path}: {exc.message}", next=self._to_try())
        if status in NOT_FOUND and MISSING.search(said):
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        message = f"{self.path}: {exc.message} (exit code {status})"
        if REFUSED.search(said) or status == UNKNOWN_USER or (status == NO_PERMISSION and "HPSS_E" not in said):
            return LoginNeeded(message, next="hsi   (logs you in, or says what is missing, such as a keytab)")
        if FULL.search(said):
            return Incomplete(message, next="ask the centre for your quota in HPSS")
        if status in NO_SERVICE or UNREACHABLE.search(said):
            return NotReachable(message, next=self._to_try())
        if status in CUT or status < 0:
            return Incomplete(message, next=self._to_try())
        return CommandFailed(message, stderr=said, status=status, next=self._to_try())

    def _send(self, name: str, chunks: Iterable[bytes]) -> int:
        source = Source(chunks)
        try:
            with SESSIONS:
                return streams.send(_argv(f"put - : {self.path}/{name}"), source, silence_s=SILENCE_S)
        except CommandFailed as exc:
            raise exc if exc is source.error else self.explain(exc) from exc

    def _move(self, part: str, name: str) -> None:
        try:
            self._request(f"mv {self.path}/{part} {self.path}/{name}")
        except FileNotFoundError as exc:
            raise Incomplete(f"{self.path}/{part} has vanished", next=self._to_try()) from exc

    def _receive(self, name: str) -> Iterator[bytes]:
        try:
            with SESSIONS:
                yield from streams.receive(
                    _argv(f"get - : {self.path}/{name}"), silence_s=SILENCE_S, first_s=max(SILENCE_S, MOUNT_S)
                )
        except CommandFailed as exc:
            raise self.explain(exc) from exc

    def _all_sizes(self) -> dict[str, int]:
        try:
            listing = self._request(f"ls -a -P {self.path}")
        except FileNotFoundError:
            return {}
        found = (line.split() for line in listing.splitlines() if line.startswith("FILE"))
        return {os.path.basename(words[1]): int(words[2]) for words in found}

    def _request(self, command: str) -> str:
        """Run one command of hsi in a session, and return what it lists. A busy HPSS is asked again."""
        for pause_s in (*BUSY_PAUSES_S, None):
            try:
                with SESSIONS:
                    return b"".join(streams.receive(_argv(command), silence_s=ANSWER_S)).decode(errors="replace")
            except CommandFailed as exc:
                if exc.status != TEMPORARY_FAILURE or pause_s is None:
                    raise self.explain(exc) from exc
                time.sleep(pause_s)
        raise AssertionError

    def _to_try(self) -> str:
        return f"hsi ls -l {shlex.quote(self.path)}"


def _argv(command: str) -> list[str]:
    return ["hsi", "-q", "-P", command]
