"""Owners and modes of the files of gears, in the home and on this host's own disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gears.doctor.finding import Finding, failed, ok, warning
from gears.sites.context import Context
from gears.sites.directories import fix_for_taken
from gears.sites.paths import MAX_FORWARD_PATH, check_lengths


def check_path_lengths(context: Context) -> Iterator[Finding]:
    """Check that no path is too long for a socket. Raises UnsafePath."""
    paths = context.paths
    check_lengths(paths)
    longest = max(len(os.fsencode(path)) for path in (paths.fixed, paths.link))
    yield ok("paths", f"{longest} bytes at most; ssh's limit for forwards is {MAX_FORWARD_PATH}")


def check_home_modes(context: Context) -> Iterator[Finding]:
    """Check owners and modes in the home and of the directories above it, once the first start has set them."""
    paths = context.paths
    if not (paths.run / "id").exists():  # before the first start they are as git created them
        yield ok("modes in the home", f"the first start makes {paths.run} private")
        return
    wrong = [
        *_open_above(paths.run),
        *_open_directories(paths.run, paths.records),
        *_open_files(paths.records),
    ]
    yield from _judge("modes in the home", wrong, paths.run)


def check_local_modes(context: Context) -> Iterator[Finding]:
    """Check owners and modes on this host's own disk, once the first start has created the directory."""
    paths = context.paths
    if not os.path.lexists(paths.local):
        yield ok("modes on this host", "the first start creates the directory")
        return
    directories = _open_directories(paths.local, paths.here, paths.runtime, taken=fix_for_taken(paths))
    wrong = [*directories, *_open_files(paths.local)]
    yield from _judge("modes on this host", wrong, paths.local)


def check_ssh_modes(_context: Context) -> Iterator[Finding]:
    """Check what sshd(8), StrictModes, checks: it ignores keys in files that others could have written.

    Debian's sshd accepts files that are writable by a group without other members; most others do not.
    """
    home = Path.home()
    files = [path for path in (home, home / ".ssh", home / ".ssh/authorized_keys") if path.exists()]
    if by_all := _writable(files, stat.S_IWOTH):
        cause = f"{by_all}: writable by all users, so sshd ignores your keys"
        yield failed("modes of the keys", cause, f"chmod go-w {by_all}")
    elif by_group := _writable(files, stat.S_IWGRP):
        cause = f"{by_group}: writable by your group, and most versions of sshd ignore such keys"
        yield warning("modes of the keys", cause, f"chmod g-w {by_group}")
    else:
        yield ok("modes of the keys", f"{home / '.ssh'} is writable only by you")


def _writable(files: list[Path], by: int) -> str:
    return " ".join(str(path) for path in files if path.stat().st_mode & by)


def _judge(what: str, wrong: list[tuple[str, str]], top: Path) -> Iterator[Finding]:
    if not wrong:
        yield ok(what, f"{top} and its contents are private")
    for cause, fix in wrong:
        yield failed(what, cause, fix)


def _open_above(path: Path) -> Iterator[tuple[str, str]]:
    """Find parent directories that are writable by all users, and not sticky: anyone could replace what is in them."""
    for parent in path.parents:
        info = parent.stat()
        if info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX:
            yield f"{parent}: writable by all users, who can replace {path}", f"chmod o-w {parent}"


def _open_directories(*directories: Path, taken: str = "") -> Iterator[tuple[str, str]]:
    """Find directories that are not private. `taken`: the fix if one of them belongs to another user."""
    for directory in directories:
        if not os.path.lexists(directory):
            continue
        if directory.is_symlink() or not directory.is_dir() or not _is_ours(directory):
            yield f"{directory} belongs to someone else, or is not a directory", taken or f"ls -ld {directory}"
        elif mode := stat.S_IMODE(directory.stat().st_mode) & 0o077:
            access = "writable" if mode & 0o022 else "accessible"
            yield f"{directory}: {access} by others", f"chmod 700 {directory}"


def _open_files(directory: Path) -> Iterator[tuple[str, str]]:
    for path in _listed(directory):
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode) or stat.S_ISDIR(info.st_mode):
            continue
        if info.st_uid != os.getuid():
            yield f"{path} belongs to someone else", f"rm {path}"
        elif stat.S_IMODE(info.st_mode) & 0o077:
            yield f"{path}: accessible by others", f"chmod 600 {path}"


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []  # absent, or already reported as another user's


def _is_ours(path: Path) -> bool:
    return path.lstat().st_uid == os.getuid()
