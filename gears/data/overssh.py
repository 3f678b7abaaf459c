"""Copies between this host and a place that only the far end of the ssh route mounts: rsync, then a proof of our own.

Source and target are listed where they are (`catalog`), with the hashes of their contents, and the lists are compared
here. No file comes back over the line. What rsync took for unchanged by size and time, and is not, is sent again.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import shutil
import socket
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gears.data import attributes, catalog, manifest, rsync
from gears.data.checksums import Checksums, checksums_path, to_lines
from gears.data.entries import Entry, Type, from_values, load, order
from gears.data.pulse import MustStop
from gears.data.run import OnProgress
from gears.data.sharing import GROUP, READ, SEARCH, Rule
from gears.data.tally import Tally
from gears.data.verification import DIFFERENT, EXTRA, METADATA, MISSING, Difference, Verified
from gears.errors import CommandFailed, CommandTimeout, Incomplete, Paused
from gears.ssh.failures import explain_failure
from gears.ssh.login_shell import for_login_shell
from gears.ssh.target import Target
from gears.system import commands, timestamps

SHARE_S = 60
"""How long the connection stays after each use: a login serves the whole copy."""

EVERY_S = 1.0


class News:
    """What is called while programs run: reports what rsync has sent, and asks whether to stop."""

    def __init__(self, state: Path, must_stop: MustStop, on_progress: OnProgress) -> None:
        self.tally, self._log = Tally(), state / "rsync.log"
        self._must_stop, self._on_progress, self._due, self._read = must_stop, on_progress, 0.0, 0

    def __call__(self) -> None:
        """Do what is due, about once a second. Raises Paused."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + EVERY_S
        self.tally.moved += self._sent()
        self._on_progress(self.tally)
        if reason := self._must_stop():
            raise Paused(f"{reason}; what has arrived stays, and the same command goes on", next="gears data status")

    def rewind(self) -> None:
        """Begin with a new log."""
        self._log.unlink(missing_ok=True)
        self._read = 0

    def _sent(self) -> int:
        try:
            with self._log.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return 0
        self._read += len(whole)
        return sum(int(line) for line in whole.split() if line.isdigit())


@dataclass(frozen=True, slots=True)
class End:
    """One end of a copy. `host`: "" if it is this one. `shared`: by whom its place is shared; `place`: its path."""

    host: str
    path: str
    shared: str = "no"
    place: str = ""


class Far:
    """The connection to the far end. `mark`: NAME=VALUE, of each rsync there; `again`: the command that goes on."""

    def __init__(self, site: str, target: Target, mark: str, again: str, news: News) -> None:
        self.mark, self.again, self.news, self._site, self._target = mark, again, news, site, target
        self._directory = tempfile.mkdtemp(prefix="gears-")  # short: a socket's path is limited

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(CommandTimeout):
            commands.run(self.ssh("-Oexit"), timeout_s=5, check=False)
        shutil.rmtree(self._directory, ignore_errors=True)

    def ssh(self, *more: str) -> list[str]:
        """Return ssh's command line, the host last."""
        shared = ("-oControlMaster=auto", f"-oControlPath={self._directory}/%C", f"-oControlPersist={SHARE_S}")
        batch = () if sys.stdin.isatty() else ("-oBatchMode=yes",)
        return self._target.command("-T", *shared, *batch, *more)

    @property
    def host(self) -> str:
        """The name by which ssh knows the far end."""
        return self._target.host

    def catalog(self, end: End, word: str, into: Path, *more: str) -> None:
        """Run the catalog at an end, its output into a file. `more`: words after the path."""
        script = base64.b64encode(zlib.compress(Path(catalog.__file__).read_bytes())).decode()
        code = f"import base64,zlib;exec(zlib.decompress(base64.b64decode('{script}')))"
        if end.host:
            argv = [*self.ssh(), for_login_shell(shlex.join(["python3", "-c", code, word, end.path, *more]))]
        else:
            argv = [sys.executable, "-I", "-c", code, word, end.path, *more]
        status, said = self.run(argv, into)
        if status:
            raise self._failed(status, said, end)

    def run(self, argv: list[str], into: Path) -> tuple[int, str]:
        """Run a program with its output in a file; return its exit status and the end of what it said."""
        log = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            status = commands.run_logged(argv, log, watch=self.news, env=os.environ)
        finally:
            os.close(log)
        lines = into.read_bytes()[-65536:].decode(errors="replace").splitlines()
        return status, "\n".join(line for line in lines if not line.startswith("{"))

    def _failed(self, status: int, said: str, end: End) -> Exception:
        last = (said.strip().splitlines() or [f"exit status {status}"])[-1]
        if not end.host or status != 255:
            return CommandFailed(f"{end.host or 'this host'}: {end.path} can't be listed: {last}", stderr=said)
        why = explain_failure(status, said, site=self._site, host=end.host, interactive=False, again=self.again)
        return Incomplete(f"{why.reason}; what has arrived stays", next=why.next or self.again)


# --- the copy --------------------------------------------------------------------------------


def copy(far: Far, source: End, target: End, state: Path) -> Tally:
    """Copy the tree and write its manifest in `state`. Goes on where an interrupted copy was.

    Raises Incomplete if the connection was cut or the source can't be read to its end, ContentsDiffer if the target has
    other contents than the source after all.
    """
    lists = state / "source.list", state / "target.list"
    _make(far, target, lists[1])
    verified, rule, closed = Verified(), None, list[str]()
    for checksum in (False, True):
        far.catalog(source, "list", lists[0])
        far.news.tally = _tally(lists[0], far.news.tally.moved)
        _send(far, source, target, state, checksum=checksum)
        if target.shared != "no":
            rule, closed = _make(far, target, lists[1])
        far.catalog(target, "list", lists[1])
        verified = compare(_as_shared(read(lists[0]), rule), lists[1])
        if verified.whole:
            break
    verified.require_whole(Path(target.path))
    tally = far.news.tally
    tally.lost.update(one.what for one in verified.named if one.kind == METADATA)
    for name, reason in _unreadable(lists[1], rule, closed) if rule else ():
        tally.fail(name, reason)
    _write_manifest(state / "manifest", source, lists[0], rule)
    for path in (*lists, state / "rsync.log"):
        path.unlink()
    return tally


def _make(far: Far, target: End, into: Path) -> tuple[Rule | None, list[str]]:
    """Make the target, where nothing of an earlier run is at work; in a shared place with its group and modes. Returns
    its rule, and which directories on the way to it others can't enter."""
    if target.shared == "no":
        far.catalog(target, "make", into, far.mark)
        return None, []
    far.catalog(target, "share", into, far.mark, target.place, target.shared)
    told = [load(line) for line in into.read_bytes().splitlines(keepends=True) if line.startswith(b"{")]
    group = next((str(one["group"]) for one in told if "group" in one), "")
    return Rule(target.shared, group), [str(one["closed"]) for one in told if "closed" in one]


def _as_shared(entries: Iterator[Entry], rule: Rule | None) -> Iterator[Entry]:
    return map(rule.applied, entries) if rule else entries


def _unreadable(listed: Path, rule: Rule, closed: list[str]) -> Iterator[tuple[bytes, str]]:
    """Yield what others can't reach or read, by what was listed: path, and why."""
    yield from ((os.fsencode(path), "others can't enter this directory") for path in closed)
    for entry in read(listed):
        permitted = entry.mode >> 3 if rule.shared == GROUP and entry.group == rule.group else entry.mode
        wanted = READ | SEARCH if entry.type is Type.DIRECTORY else READ
        if entry.type in (Type.FILE, Type.DIRECTORY) and wanted & ~permitted:
            yield entry.path, "others can't read it"


def _send(far: Far, source: End, target: End, state: Path, *, checksum: bool) -> None:
    program, log = rsync.find_rsync(), state / "rsync.log"

    def named(end: End) -> str:
        return program.far_path(far.host, end.path) if end.host else f"{end.path.rstrip('/')}/"

    ends = named(source), named(target)
    for with_attributes in (True, False):  # the far end's rsync may have been built without them
        ssh = far.ssh()[:-1]
        far.news.rewind()
        argv = program.command(
            ssh, ends, mark=far.mark, attributes=with_attributes, checksum=checksum, shared=target.shared
        )
        status, said = far.run(argv, log)
        if status not in rsync.UNSUPPORTED or not program.full:
            break
    if error := rsync.failure(status, said, far.host, far.again):
        raise error


def verify(far: Far, target: End, state: Path) -> Verified:
    """List the target again and compare it with the manifest in `state`."""
    manifest.check(state / "manifest")
    listed = state / "target.list"
    far.catalog(target, "list", listed)
    header = manifest.read_header(state / "manifest")
    rule = Rule(header.shared, header.group) if header and header.shared else None
    verified = compare(_as_shared(manifest.read(state / "manifest"), rule), listed)
    listed.unlink()
    return verified


# --- lists -----------------------------------------------------------------------------------


def read(path: Path) -> Iterator[Entry]:
    """Read a list of the catalog. Raises Incomplete if it does not say that it is whole."""
    count = 0
    with path.open("rb") as file:
        for line in file:
            if not line.startswith(b"{"):  # a message of ssh, or of the login shell
                continue
            try:
                values = load(line)
                if "listed" in values:
                    if values["listed"] == count:
                        return
                    break
                yield from_values(values)
            except ValueError:
                break
            count += 1
    raise Incomplete(f"{path}: the list is not whole: the connection was cut", next="the same command again")


def _tally(path: Path, moved: int) -> Tally:
    tally = Tally(moved=moved)
    for entry in read(path):
        tally.count(entry)
    return tally


def compare(wanted: Iterator[Entry], listed: Path) -> Verified:
    """Compare entries with a list of the catalog, both in order."""
    verified, found = Verified(), read(listed)
    there = next(found, None)
    for entry in wanted:
        while there and order(there.path) < order(entry.path):
            verified.add(_extra(there))
            there = next(found, None)
        match = there if there and there.path == entry.path else None
        if not entry.held:
            verified.not_held += 1
        else:
            _add(verified, entry, match)
        there = next(found, None) if match else there
    while there:
        verified.add(_extra(there))
        there = next(found, None)
    return verified


def _extra(found: Entry) -> list[Difference]:
    return [Difference(found.path, EXTRA, "not in the manifest")]


def _add(verified: Verified, entry: Entry, found: Entry | None) -> None:
    differences = _differences(entry, found)
    verified.add(differences)
    if all(one.kind == METADATA for one in differences):
        verified.entries += 1
        verified.size += entry.size


def _differences(entry: Entry, found: Entry | None) -> list[Difference]:
    if found is None:
        return [Difference(entry.path, MISSING, "not there")]
    if found.type is not entry.type:
        return [Difference(entry.path, DIFFERENT, f"a {found.type} instead of a {entry.type}")]
    if found.problem:
        return [Difference(entry.path, DIFFERENT, found.problem)]
    if entry.type is Type.SYMLINK and entry.target != found.target:
        return [Difference(entry.path, DIFFERENT, "another target")]
    if (entry.size, entry.sha256) != (found.size, found.sha256):
        return [Difference(entry.path, DIFFERENT, "other contents")]
    names = attributes.differences(entry, found) + ["hard link"] * (entry.same_as != found.same_as)
    return [Difference(entry.path, METADATA, name) for name in names]


def _write_manifest(path: Path, source: End, listed: Path, rule: Rule | None) -> None:
    """Write the manifest and its SHA256SUMS. Raises OSError."""
    shared, group = (rule.shared, rule.group) if rule else ("", "")
    host, now = source.host or socket.gethostname(), timestamps.utc_now()
    header = manifest.Header(os.fsencode(source.path), host, now, shared=shared, group=group)
    new, sums = manifest.new_path(path), Checksums(checksums_path(path))
    with sums, manifest.Writer(new, header) as writer:
        for entry in read(listed):
            writer.add(entry)
            sums.add(to_lines((entry,)))
        writer.seal()
        sums.finish()
    os.replace(new, path)
