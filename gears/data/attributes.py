"""What a file has besides its contents: group, mode, time, extended attributes. Read, and applied to a copy.

Of the extended attributes those of the user, POSIX ACLs and capabilities are kept (xattr(7), acl(5)). Others belong to
the file system, such as `trusted.lov` of Lustre, or show again what the mode says, such as `system.nfs4_acl`.
"""

from __future__ import annotations

import errno
import functools
import grp
import os
import stat
import time
from collections.abc import Callable
from functools import partial

from gears.data.entries import Entry, Extents, Type, Xattrs, type_of

DEFAULT_ACL = "system.posix_acl_default"
ACLS = ("system.posix_acl_access", DEFAULT_ACL)
KEPT = (*ACLS, "security.capability")
UNSUPPORTED = (errno.ENOTSUP, errno.ENOSYS)
MOST_EXTENTS = 4096
"""Limit of the extents that a manifest lists for a file; the last one then goes to the end of the data."""


SETTLED_NS = 2 * 10**9
"""A ctime that is younger than this when a file is read does not rule out a later change of the same time."""


def settled(info: os.stat_result) -> int | None:
    """Return the ctime of a file that was read since, if no later change can have the same."""
    return info.st_ctime_ns if time.time_ns() - info.st_ctime_ns > SETTLED_NS else None


def plan_entry(  # noqa: PLR0913
    path: bytes,
    info: os.stat_result,
    *,
    extents: Extents | None = None,
    xattrs: Xattrs = (),
    sha256: str | None = None,
    ctime_ns: int | None = None,
    problem: str | None = None,
) -> Entry:
    """Return what stat(2) says of a file as its entry, with what else is known of it."""
    kind = type_of(info.st_mode)
    return Entry(
        path=path,
        type=kind,
        size=info.st_size if kind is Type.FILE else 0,
        mode=stat.S_IMODE(info.st_mode),
        group=group_name(info.st_gid),
        mtime_ns=info.st_mtime_ns,
        extents=extents,
        xattrs=xattrs,
        sha256=sha256,
        ctime_ns=ctime_ns,
        problem=problem,
    )


@functools.lru_cache(maxsize=1024)
def group_name(number: int) -> str:
    """Return the name of a group; its number as text if it has none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


@functools.lru_cache(maxsize=1024)
def group_number(name: str) -> int | None:
    """Return the number of a group. None if this host does not know the name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isdigit() else None


# --- extended attributes ---------------------------------------------------------------------


def read_xattrs(file: int | str) -> Xattrs:
    """Read the attributes that are kept, in order; none where the file system has none. Raises OSError."""
    try:
        if not (names := os.listxattr(file)):
            return ()
        names = sorted(name for name in names if _is_kept(name))
        return tuple((name, os.getxattr(file, name)) for name in names)
    except OSError as exc:
        if exc.errno in UNSUPPORTED:
            return ()
        raise


def _is_kept(name: str) -> bool:
    return name.startswith("user.") or name in KEPT


def _apply_xattrs(fd: int, wanted: Xattrs) -> list[str]:
    """Make the attributes those wanted, without what the directory's default ACL has given. Returns what failed."""
    present, lost = dict(read_xattrs(fd)), []
    for name in present.keys() - dict(wanted).keys():
        if not _succeeds(partial(os.removexattr, fd, name)):
            lost.append(name)
    for name, value in wanted:
        if present.get(name) != value and not _set_xattr(fd, name, value):
            lost.append(name)
    return lost


def _set_xattr(fd: int, name: str, value: bytes) -> bool:
    """Set an attribute. False if it is refused, also for its size: ext4 then says that there is no space (xattr(7))."""
    try:
        return _succeeds(partial(os.setxattr, fd, name, value))
    except OSError as exc:
        if exc.errno == errno.ENOSPC and os.fstatvfs(fd).f_bavail:
            return False
        raise


def has_default_acl(directory: int) -> bool:
    """Return whether new files in an open directory get an ACL from it. Raises OSError."""
    try:
        return bool(os.getxattr(directory, DEFAULT_ACL))
    except OSError as exc:
        if exc.errno in (*UNSUPPORTED, errno.ENODATA):
            return False
        raise


# --- application -----------------------------------------------------------------------------


def apply(fd: int, entry: Entry, *, plain: bool = False) -> list[str]:
    """Give the open file or directory what `entry` has: its atime is now. Returns what was not permitted.

    `plain`: neither the file nor the entry has extended attributes, which are then not listed.

    The set-user-ID bit is never set, since the copy may have another owner; the set-group-ID bit of a file only with
    the entry's group. The mode comes after the group and the ACL, which change it.
    """
    lost = [] if _apply_group(fd, entry.group) else ["group"]
    lost += [] if plain else _apply_xattrs(fd, entry.xattrs)
    mode = entry.mode & ~(stat.S_ISUID | (stat.S_ISGID if lost[:1] == ["group"] and entry.type is Type.FILE else 0))
    _succeeds(partial(os.chmod, fd, mode))
    _succeeds(partial(os.utime, fd, ns=(time.time_ns(), entry.mtime_ns)))
    now = os.fstat(fd)  # the kernel may drop bits, and round times, without an error
    lost += ["mode"] if stat.S_IMODE(now.st_mode) != entry.mode else []
    return lost + (["mtime"] if now.st_mtime_ns != entry.mtime_ns else [])


def _apply_group(fd: int, name: str) -> bool:
    number = group_number(name)
    if number is None:
        return False
    return os.fstat(fd).st_gid == number or _succeeds(lambda: os.chown(fd, -1, number))


def apply_to_symlink(name: bytes, directory: int, entry: Entry) -> list[str]:
    """Give a symbolic link the group and the time that `entry` has. Returns what was not permitted."""
    lost, number = [], group_number(entry.group)
    if number is None or not _succeeds(lambda: os.chown(name, -1, number, dir_fd=directory, follow_symlinks=False)):
        lost.append("group")
    times = (time.time_ns(), entry.mtime_ns)
    if not _succeeds(lambda: os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)):
        lost.append("mtime")
    return lost


def differences(entry: Entry, found: Entry) -> list[str]:
    """Name what `found` has otherwise than `entry`, contents aside and without bits that `apply` leaves out."""
    ignored = stat.S_ISUID | (stat.S_ISGID if entry.type is Type.FILE else 0)
    pairs = {
        "mode": ((entry.mode | ignored) == (found.mode | ignored)) or entry.type is Type.SYMLINK,
        "group": entry.group == found.group,
        "mtime": entry.mtime_ns == found.mtime_ns,
        "xattrs": entry.xattrs == found.xattrs,
    }
    return [name for name, same in pairs.items() if not same]


# --- sparse files ----------------------------------------------------------------------------


def read_extents(fd: int, info: os.stat_result) -> Extents | None:
    """Find where a file has data, by lseek(2) with SEEK_DATA. None if it has no holes."""
    if info.st_blocks * 512 >= info.st_size:
        return None
    found: list[tuple[int, int]] = []
    position = 0
    while position < info.st_size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # a hole to the end
                break
            return None
        position = min(os.lseek(fd, start, os.SEEK_HOLE), info.st_size)
        if len(found) == MOST_EXTENTS:
            start = found.pop()[0]
        found.append((start, position - start))
    return None if found == [(0, info.st_size)] else tuple(found)


def _succeeds(change: Callable[[], None]) -> bool:
    try:
        change()
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False
    return True
