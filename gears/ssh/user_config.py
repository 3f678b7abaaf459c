"""The stanza in the laptop's ~/.ssh/config: a block between two marks.

In ssh's configuration the first value wins, so the block goes to the top of the file, before any `Host *`. It ends
with `Host *`, so that the lines after it apply to every host as before. Nothing outside the marks is changed.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gears.errors import CommandFailed, GearsError, MissingProgram
from gears.system.commands import run

SSH_TIMEOUT_S = 10.0
LOCK_TIMEOUT_S = 10.0

INCLUDED = "gears.config"

INCLUDED_HEAD = "# Written by `gears ssh-config --all --write`, again and again: what you change here is lost."
INCLUDE_MARK = "Include"
"""Not a valid site name."""

Effective = dict[
    str, list[str]
]  # keyword in lower case → its values by `ssh -G`; several for LocalForward and the like


@dataclass(frozen=True, slots=True)
class Written:
    """The result. `backup`: a copy of the previous file, if there was one and it was changed."""

    config: Path
    changed: bool
    backup: Path | None = None


def write_stanza(stanza: str, site_name: str, config: Path | None = None) -> Written:
    """Write `stanza` to `config` (~/.ssh/config) as the block of `site_name`, in place of an earlier one. Idempotent.

    ssh itself checks the new file, which then atomically replaces the old one. Raises GearsError, with the file
    unchanged, if ssh rejects it, another line overrides the block, the marks are damaged, or it can't be written.
    """
    config = config or Path("~/.ssh/config").expanduser()
    with _changing(config, site_name):
        return _write_lines(config, lambda text: _with_block(text, stanza, site_name, config), stanza)


def write_include(stanzas: str, site_names: list[str], config: Path | None = None) -> Written:
    """Write `stanzas` to a file beside `config`, and a line that includes it to the top of `config`.

    ssh_config(5): Include, since OpenSSH 7.3. Removes the blocks that `write_stanza` made for these sites. Raises as
    `write_stanza` does.
    """
    config = config or Path("~/.ssh/config").expanduser()
    with _changing(config, "--all"):
        return _write_include(stanzas, site_names, config)


@contextmanager
def _changing(config: Path, what: str) -> Iterator[None]:
    """Hold the lock, and translate errors of the file system. `what`: the argument of `gears ssh-config`."""
    try:
        with _locked(config.parent):
            yield
    except OSError as exc:
        raise GearsError(
            f"{exc.filename or config}: {exc.strerror or exc}; the file is unchanged",
            next=f"gears ssh-config {what}   (and paste what it prints)",
        ) from exc


def _write_include(stanzas: str, site_names: list[str], config: Path) -> Written:
    included = config.with_name(INCLUDED)
    was = included.read_text() if included.exists() else None
    if was is not None and not was.startswith(INCLUDED_HEAD):
        raise GearsError(
            f"{included}: was not written by gears",
            next=f"mv {included} {included}.mine; gears ssh-config --all --write",
        )
    content = f"{INCLUDED_HEAD}\n{stanzas}"
    with _draft(content.encode(), included) as draft:
        draft.replace(included)
    try:
        written = _write_lines(config, lambda text: _with_include(text, site_names, config), stanzas)
    except (GearsError, OSError):
        if was is None:
            included.unlink(missing_ok=True)
        else:
            included.write_text(was)
        raise
    return Written(config, written.changed or content != was, written.backup)


def _with_include(text: str, site_names: list[str], config: Path) -> str:
    """Return `text` with the Include at its top, and without these sites' blocks, which it would shadow."""
    lines = text.splitlines(keepends=True)
    for name in site_names:
        first, after = _find_block(lines, name, config)
        if first != after and lines[after : after + 1] and not lines[after].strip():
            after += 1
        del lines[first:after]
    first, after = _find_block(lines, INCLUDE_MARK, config)
    newline = "\r\n" if "\r\n" in text else "\n"
    opening, closing = _marks(INCLUDE_MARK)
    block = [opening, f"Include {_included(config)}", closing, *([""] if first == after and lines else [])]
    return "".join([*lines[:first], *(line + newline for line in block), *lines[after:]])


def _included(config: Path) -> str:
    """Return the included file as `config` names it: a shared home can have a different path on each machine."""
    usual = config == Path("~/.ssh/config").expanduser()
    return f"~/.ssh/{INCLUDED}" if usual else f'"{config.with_name(INCLUDED)}"'


def _write_lines(config: Path, change: Callable[[str], str], stanza: str) -> Written:
    target = Path(os.path.realpath(config))  # if it is a link (dotfiles), change its target
    before = target.read_bytes() if target.exists() else None
    text = (before or b"").decode(errors="surrogateescape")
    after = change(text).encode(errors="surrogateescape")
    if after == before:
        return Written(config, changed=False)
    with _draft(after, target) as draft:
        _check_effect(stanza, draft, config)
        if (target.read_bytes() if target.exists() else None) != before:
            raise GearsError(f"{config}: another program has changed it meanwhile", next="run the command again")
        backup = _back_up(config, before) if before is not None else None
        draft.replace(target)
    return Written(config, changed=True, backup=backup)


def _with_block(text: str, stanza: str, site_name: str, config: Path) -> str:
    """Return `text` with the block of this site replaced, or added at the top. Keeps the line ends of `text`."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    first, after = _find_block(lines, site_name, config)
    opening, closing = _marks(site_name)
    block = [
        opening,
        *stanza.splitlines(),
        "# The lines below apply to every host again, as before this block.",
        "Host *",
        closing,
    ]
    if first == after and lines:
        block.append("")
    return "".join([*lines[:first], *(line + newline for line in block), *lines[after:]])


def _find_block(lines: list[str], site_name: str, config: Path) -> tuple[int, int]:
    """Find the first line of the block and the line after it; (0, 0) without one. GearsError for bad marks."""
    any_mark = re.compile(r"# (?:>>> gears \S+ >>>|<<< gears \S+ <<<)")
    marks = [(number, line.strip()) for number, line in enumerate(lines) if any_mark.fullmatch(line.strip())]
    own = [place for place, (_, mark) in enumerate(marks) if mark in _marks(site_name)]
    if not own:
        return 0, 0
    if [marks[place][1] for place in own] != list(_marks(site_name)) or own[1] != own[0] + 1:
        opening, closing = _marks(site_name)
        raise GearsError(
            f"{config}: line {marks[own[0]][0] + 1}: `{opening}` and `{closing}` do not form a pair",
            next=f"remove the rest of that block from {config}, then gears ssh-config {site_name} --write",
        )
    return marks[own[0]][0], marks[own[1]][0] + 1


def _marks(site_name: str) -> tuple[str, str]:
    return f"# >>> gears {site_name} >>>", f"# <<< gears {site_name} <<<"


def _check_effect(stanza: str, draft: Path, config: Path) -> None:
    """Check that ssh accepts `draft` and that each setting of the stanza is effective there.

    Raises GearsError if not. Skipped with an ssh without -G (before 6.8).
    """
    if config.exists():
        _effective(config, "any", config)  # existing errors are reported with the file's own line numbers
    with tempfile.NamedTemporaryFile("w", prefix="gears-stanza-") as alone:
        alone.write(stanza)
        alone.flush()
        for alias, keywords in _sections(stanza).items():
            wanted = _effective(Path(alone.name), alias, config)
            found = _effective(draft, alias, config)
            for keyword in keywords:
                _check_keyword(keyword, wanted.get(keyword, []), found.get(keyword, []), alias, config)


def _check_keyword(keyword: str, wanted: list[str], found: list[str], alias: str, config: Path) -> None:
    ports = {value.split()[0] for value in wanted} if keyword == "localforward" else set()
    rivals = [value for value in found if value not in wanted and value.split()[0].rpartition(":")[2] in ports]
    if rivals or not set(wanted) <= set(found):
        instead = ", ".join(rivals or found) or "nothing"
        raise GearsError(
            f"{config}: another line sets {keyword} {instead} for {alias}, but gears needs {', '.join(wanted)}",
            next=f"remove that line, or your own `Host {alias}`, from {config}, and try again",
        )


def _sections(stanza: str) -> dict[str, list[str]]:
    """Return the keywords of each `Host`, in lower case as `ssh -G` prints them."""
    sections: dict[str, list[str]] = {}
    for line in stanza.splitlines():
        if line.startswith("Host "):
            keywords = sections.setdefault(line.removeprefix("Host "), [])
        elif line.startswith("  "):
            keywords.append(line.split()[0].lower())
    return sections


def _effective(file: Path, alias: str, config: Path) -> Effective:
    settings: Effective = {}
    try:
        printed = run(["ssh", "-G", "-F", str(file), alias], timeout_s=SSH_TIMEOUT_S)
    except MissingProgram:
        return settings
    except CommandFailed as exc:
        if "unknown option" in exc.stderr:
            return settings
        words = exc.stderr.strip().replace(str(file), str(config)) or exc.message
        raise GearsError(
            f"ssh can't read {config}; it is unchanged: {words}", next=f"ssh -G -F {config} {alias}"
        ) from exc
    for line in printed.splitlines():
        keyword, _, value = line.partition(" ")
        settings.setdefault(keyword, []).append(value)
    return settings


def _back_up(config: Path, content: bytes) -> Path:
    """Write the old content to a new file each time: the first backup is the state before gears."""
    for suffix in itertools.chain([""], (f".{number}" for number in itertools.count(2))):
        backup = config.with_name(f"{config.name}.gears-backup{suffix}")
        try:
            descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with open(descriptor, "wb") as file:
            file.write(content)
        break
    return backup


@contextmanager
def _draft(content: bytes, target: Path) -> Iterator[Path]:
    """Write `content` to a temporary file beside `target`, with its mode and owner (else 0600).

    It is removed afterwards unless it has been renamed.
    """
    descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.gears-", dir=target.parent)
    draft = Path(name)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            if target.exists():
                was = target.stat()
                os.fchmod(file.fileno(), stat.S_IMODE(was.st_mode))
                if (was.st_uid, was.st_gid) != (os.fstat(file.fileno()).st_uid, os.fstat(file.fileno()).st_gid):
                    os.fchown(file.fileno(), was.st_uid, was.st_gid)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a lock on the directory itself: a lock file would be left behind. Waits LOCK_TIMEOUT_S at most."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        _lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise GearsError(
                    f"{directory} is locked by another gears", next="wait until it has finished, then try again"
                ) from None
            time.sleep(0.05)
        except OSError:  # no locks on this file system; the file is compared before it is replaced
            return None
