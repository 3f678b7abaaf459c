"""Who else could reach what is ours: owners and modes, in the home and on this host's own disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gears.doctor.finding import Finding, failed, ok, warning
from gears.sites.directories import fix_for_taken
from gears.sites.paths import MAX_FORWARD_PATH, RunDir, check_lengths
from gears.sites.route import Route


def check_path_lengths(_route: Route, paths: RunDir) -> Iterator[Finding]:
    """Check that no path is too long for a socket. Raises UnsafePath."""
    check_lengths(paths)
    longest = max(len(os.fsencode(path)) for path in (paths.fixed, paths.link))
    yield ok("paths", f"{longest} bytes at most, of the {MAX_FORWARD_PATH} that ssh forwards to")


def check_home_modes(_route: Route, paths: RunDir) -> Iterator[Finding]:
    """Check owners and modes in the home, and those of the directories above; nothing before the first start."""
    if not (paths.run / "id").exists():  # before the first start they are as git made them
        yield ok("modes in the home", f"{paths.run} is closed to others at the first start")
        return
    wrong = [*_open_above(paths.run), *_open_directories(paths.run, paths.records), *_open_files(paths.records)]
    yield from _judge("modes in the home", wrong, paths.run)


def check_local_modes(_route: Route, paths: RunDir) -> Iterator[Finding]:
    """Check owners and modes on this host's own disk; nothing before the first start."""
    if not os.path.lexists(paths.local):
        yield ok("modes on this host", "its directory is made at the first start")
        return
    directories = _open_directories(paths.local, paths.here, paths.runtime, taken=fix_for_taken(paths))
    wrong = [*directories, *_open_files(paths.local)]
    yield from _judge("modes on this host", wrong, paths.local)


def check_ssh_modes(_route: Route, _paths: RunDir) -> Iterator[Finding]:
    """Check what sshd(8), StrictModes, checks: it ignores keys in files that others might have written.

    Debian's takes a group's right to write for harmless where nobody else is in the group; others' do not.
    """
    home = Path.home()
    files = [path for path in (home, home / ".ssh", home / ".ssh/authorized_keys") if path.exists()]
    if by_all := _writable(files, stat.S_IWOTH):
        cause = f"everybody may write to {by_all}, so sshd ignores your keys"
        yield failed("modes of the keys", cause, f"chmod go-w {by_all}")
    elif by_group := _writable(files, stat.S_IWGRP):
        cause = f"your group may write to {by_group}; most sshd ignore such keys"
        yield warning("modes of the keys", cause, f"chmod g-w {by_group}")
    else:
        yield ok("modes of the keys", f"only you may write to {home / '.ssh'}")


def _writable(files: list[Path], by: int) -> str:
    return " ".join(str(path) for path in files if path.stat().st_mode & by)


def _judge(what: str, wrong: list[tuple[str, str]], top: Path) -> Iterator[Finding]:
    if not wrong:
        yield ok(what, f"{top} and what is in it is yours alone")
    for cause, fix in wrong:
        yield failed(what, cause, fix)


def _open_above(path: Path) -> Iterator[tuple[str, str]]:
    """Find directories above to which everybody may write.

    Whoever may can put another in its place, unless it is sticky.
    """
    for parent in path.parents:
        info = parent.stat()
        if info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX:
            yield f"everybody may write to {parent}, and so replace {path}", f"chmod o-w {parent}"


def _open_directories(*directories: Path, taken: str = "") -> Iterator[tuple[str, str]]:
    """Find directories that are not ours alone. `taken`: the fix where one of them is somebody else's."""
    for directory in directories:
        if not os.path.lexists(directory):
            continue
        if directory.is_symlink() or not directory.is_dir() or not _is_ours(directory):
            yield f"{directory} belongs to someone else, or is no directory", taken or f"ls -ld {directory}"
        elif mode := stat.S_IMODE(directory.stat().st_mode) & 0o077:
            can = "write to" if mode & 0o022 else "look into"
            yield f"others may {can} {directory}", f"chmod 700 {directory}"


def _open_files(directory: Path) -> Iterator[tuple[str, str]]:
    for path in _listed(directory):
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode) or stat.S_ISDIR(info.st_mode):
            continue
        if info.st_uid != os.getuid():
            yield f"{path} belongs to someone else", f"rm {path}"
        elif stat.S_IMODE(info.st_mode) & 0o077:
            yield f"others may read {path}", f"chmod 600 {path}"


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []  # absent, or already found to be somebody else's


def _is_ours(path: Path) -> bool:
    return path.lstat().st_uid == os.getuid()
