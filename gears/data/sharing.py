"""Copies that others may use: what a target in a shared place has of modes and groups, whoever copies with what umask.

With `shared = "group"` directories get the place's group, g+rwx and the set-group-ID bit, files g+r and, where their
owner may write, g+w. With `world` others may read as well. A copy's ACLs are not those of the source, which name people
of another place. The manifest keeps what the source has, and its header the rule, so that a verification expects both.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gears.data.attributes import ACLS, group_name, group_number, read_xattrs
from gears.data.entries import Entry, Type
from gears.data.tree import Tree, walk
from gears.errors import UsageError

GROUP, WORLD = "group", "world"


@dataclass(frozen=True, slots=True)
class Rule:
    """What entries have in a shared target. `shared`: GROUP or WORLD; `group`: the place's."""

    shared: str
    group: str

    def applied(self, entry: Entry) -> Entry:
        """Return the entry as the target has to have it. Pure."""
        if entry.type is Type.SYMLINK:
            return replace(entry, group=self.group)
        xattrs = tuple(pair for pair in entry.xattrs if pair[0] not in ACLS)
        return replace(entry, group=self.group, mode=self.mode(entry), xattrs=xattrs)

    def mode(self, entry: Entry) -> int:
        """Return the permission bits of a file or directory. Pure."""
        owner = entry.mode & stat.S_IRWXU
        if entry.type is Type.DIRECTORY:
            others = 0o005 if self.shared == WORLD else 0
            return (entry.mode & 0o1777) | stat.S_ISGID | 0o770 | others
        group = stat.S_IRGRP | (owner & (stat.S_IWUSR | stat.S_IXUSR)) >> 3
        others = stat.S_IROTH | (owner & stat.S_IXUSR) >> 6 if self.shared == WORLD else 0
        return (entry.mode & 0o777) | stat.S_IRUSR | group | others


@dataclass(frozen=True, slots=True)
class Shared:
    """A target that others may use, and what its entries have."""

    path: Path
    rule: Rule


def share(target: Path, place: Path, shared: str) -> Shared:
    """Return a target in a shared place; create the directories between the two, for all who share it.

    Raises UsageError if the user is not in the place's group, OSError.
    """
    number = place.stat().st_gid
    rule = Rule(shared, group_name(number))
    if os.geteuid() and number not in {os.getegid(), *os.getgroups()}:
        raise UsageError(f"{place}: its group is {rule.group}, and you are not in it", next=f"id; ls -ld {place}")
    for directory in reversed([one for one in target.parents if one.is_relative_to(place) and one != place]):
        _ensure_directory(directory, rule, number)
    return Shared(target, rule)


def _ensure_directory(path: Path, rule: Rule, group: int) -> None:
    try:
        path.mkdir(0o700)
    except FileExistsError:
        return
    os.chown(path, -1, group)
    path.chmod(rule.mode(Entry(b".", Type.DIRECTORY, mode=0o700)))


# --- as a colleague sees it ------------------------------------------------------------------

_GROUP_OBJ, _GROUP, _MASK = 0x04, 0x08, 0x10  # linux/posix_acl.h
_GROUPS = (_GROUP_OBJ, _GROUP)
READ, SEARCH = 4, 1


def unreadable(shared: Shared) -> Iterator[tuple[bytes, str]]:
    """Yield what of a target others can't reach or read, by modes, groups and POSIX ACLs: path, and why.

    Others are those who have nothing but the place's group; with `world` not even that. The directories that lead to
    the target come first, with their full paths.
    """
    group = group_number(shared.rule.group) if shared.rule.shared == GROUP else None
    for directory in reversed(shared.path.parents):
        if not SEARCH & _permitted(directory.stat(), read_xattrs(str(directory)), group):
            yield os.fsencode(directory), "others can't enter this directory"
    with Tree(shared.path) as tree:
        for found in walk(shared.path):
            if found.info is None or found.problem or stat.S_ISLNK(found.info.st_mode):
                continue
            wanted = READ | SEARCH if stat.S_ISDIR(found.info.st_mode) else READ
            if wanted & ~_permitted(found.info, _acl(tree, found.path, found.info), group):
                yield found.path, "others can't read it"


def _acl(tree: Tree, path: bytes, info: os.stat_result) -> tuple[tuple[str, bytes], ...]:
    """Read the attributes of a file. Those who may not open it are not told: then its mode decides."""
    if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
        return ()
    try:
        with tree.opened(path, keep_atime=True) as fd:
            return read_xattrs(fd)
    except OSError:
        return ()


def _permitted(info: os.stat_result, xattrs: tuple[tuple[str, bytes], ...], group: int | None) -> int:
    """Return what a member of `group`, who is not the owner, may do: bits of READ, SEARCH (acl(5)). Pure."""
    acl = dict(xattrs).get(ACLS[0])
    if acl is None:
        return info.st_mode >> 3 & 7 if group == info.st_gid else info.st_mode & 7
    entries = list(struct.iter_unpack("<HHI", acl[4:]))
    mask = next((permitted for tag, permitted, _ in entries if tag == _MASK), 7)
    by_group = [
        (info.st_gid if tag == _GROUP_OBJ else name, permitted) for tag, permitted, name in entries if tag in _GROUPS
    ]
    found = [permitted & mask for number, permitted in by_group if number == group]
    return max(found, key=_useful) if found else info.st_mode & 7


def _useful(permitted: int) -> int:
    """Return how much of reading and entering is permitted: one entry of an ACL has to permit both."""
    return (permitted & (READ | SEARCH)).bit_count()
