"""Members of tar archives, in the pax format of POSIX.1-2017 (pax, "pax Interchange Format"), as bytes. Pure.

What a ustar header can't hold is in an extended header: long names and those that are not ASCII, as their own bytes;
nanoseconds, sizes from 8 GiB, large ids. Attributes are in the records of GNU tar and star (`SCHILY.xattr.*`,
`SCHILY.acl.*`), holes in GNU tar's sparse format 1.0, which puts the map in front of the data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gears.data.entries import Entry, Extents, Type, format_time

BLOCK = 512
RECORD = 10240
"""An archive ends with two blocks of zeros, and is filled up to a multiple of this."""

ID_LIMIT = 8**7
SIZE_LIMIT = 8**11
TYPES = {Type.FILE: b"0", Type.SYMLINK: b"2", Type.DIRECTORY: b"5", Type.FIFO: b"6"}
"""The types that become members."""

HARD_LINK, EXTENDED = b"1", b"x"
ACLS = {"system.posix_acl_access": b"SCHILY.acl.access", "system.posix_acl_default": b"SCHILY.acl.default"}
TAGS = {1: "user", 2: "user", 4: "group", 8: "group", 16: "mask", 32: "other"}
WITH_ID = (2, 8)

Records = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a member belongs to."""

    uid: int
    gid: int
    user: str = ""


def header(entry: Entry, owner: Owner) -> bytes:
    """Return what comes before the data of a member: its headers, and the map of a sparse file."""
    records = Records()
    name, link = _name(entry), _link(entry)
    group = "" if entry.group.isdigit() else entry.group
    if not all(_is_utf8(text) for text in (name, link)):
        records[b"hdrcharset"] = b"BINARY"
    table = b"" if link else _sparse_map(entry)
    if table:
        records |= {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}
        records |= {b"GNU.sparse.name": name, b"GNU.sparse.realsize": b"%d" % entry.size}
        name = b"GNUSparseFile.0/" + _ascii(_short(name))
    size = 0 if link else len(table) + stored_size(entry)
    block = _block(
        name=_text(records, b"path", name, 100),
        link=_text(records, b"linkpath", link, 100),
        mode=entry.mode,
        uid=_number(records, b"uid", owner.uid, ID_LIMIT),
        gid=_number(records, b"gid", owner.gid, ID_LIMIT),
        size=_number(records, b"size", size, SIZE_LIMIT),
        mtime=_time(records, entry.mtime_ns),
        kind=HARD_LINK if entry.same_as is not None else TYPES[entry.type],
        user=_text(records, b"uname", owner.user.encode(), 31),
        group=_text(records, b"gname", group.encode("utf-8", "surrogateescape"), 31),
    )
    if entry.same_as is None:
        records |= _attributes(entry)
    return _extended(records, name) + block + table


def stored_size(entry: Entry) -> int:
    """Return how many bytes of contents a file has in an archive: those that are not in its holes."""
    if entry.type is not Type.FILE or entry.same_as is not None:
        return 0
    return entry.size if entry.extents is None else sum(length for _, length in entry.extents)


def aligned(extents: Extents, size: int) -> Extents:
    """Widen extents to whole blocks: GNU tar begins each at a block, and other programs put no padding after it."""
    found: list[tuple[int, int]] = []
    for start, length in extents:
        first, last = start - start % BLOCK, min(start + length + -(start + length) % BLOCK, size)
        if found and first <= sum(found[-1]):
            first = found.pop()[0]
        found.append((first, last - first))
    return tuple(found)


def padding(size: int) -> bytes:
    """Return the zeros after `size` bytes of data."""
    return bytes(-size % BLOCK)


def end(position: int) -> bytes:
    """Return the end of an archive that is `position` bytes long."""
    return bytes(2 * BLOCK + -(position + 2 * BLOCK) % RECORD)


# --- names and numbers -----------------------------------------------------------------------


def _name(entry: Entry) -> bytes:
    return entry.path + b"/" if entry.type is Type.DIRECTORY else entry.path


def _link(entry: Entry) -> bytes:
    if entry.same_as is not None:
        return entry.same_as
    return entry.target or b"" if entry.type is Type.SYMLINK else b""


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _short(name: bytes) -> bytes:
    """Return something like a name, for a field that an extended header replaces."""
    return name.rstrip(b"/").rpartition(b"/")[2][:80]


def _text(records: Records, key: bytes, text: bytes, limit: int) -> bytes:
    if len(text) <= limit and text.isascii():
        return text
    records[key] = text
    return _short(text)[:limit]


def _number(records: Records, key: bytes, number: int, limit: int) -> int:
    if number < limit:
        return number
    records[key] = b"%d" % number
    return 0


def _time(records: Records, nanoseconds: int) -> int:
    seconds, rest = divmod(nanoseconds, 10**9)
    if rest == 0 and 0 <= seconds < SIZE_LIMIT:
        return seconds
    records[b"mtime"] = format_time(nanoseconds).encode()
    return min(max(seconds, 0), SIZE_LIMIT - 1)


def _sparse_map(entry: Entry) -> bytes:
    """Return the map of a sparse file: the number of its extents, then offset and length of each, in decimal."""
    if entry.type is not Type.FILE or entry.extents is None:
        return b""
    extents = list(entry.extents)
    if not extents or sum(extents[-1]) < entry.size:
        extents.append((entry.size, 0))  # a hole at the end
    numbers = [len(extents), *(number for extent in extents for number in extent)]
    table = b"".join(b"%d\n" % number for number in numbers)
    return table + padding(len(table))


# --- attributes ------------------------------------------------------------------------------


def _attributes(entry: Entry) -> Records:
    records = Records()
    for name, value in entry.xattrs:
        if name in ACLS:
            records[ACLS[name]] = acl_text(value).encode()
        else:
            key = name.encode("utf-8", "surrogateescape").replace(b"%", b"%25").replace(b"=", b"%3D")
            records[b"SCHILY.xattr." + key] = value
    return records


def acl_text(value: bytes) -> str:
    """Convert an ACL from its attribute (linux/posix_acl_xattr.h) to text as in acl(5), with ids as numbers."""
    words = []
    for tag, permissions, number in struct.iter_unpack("<HHI", value[4:]):
        letters = "".join(letter if permissions & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
        words.append(f"{TAGS[tag]}:{number if tag in WITH_ID else ''}:{letters}")
    return ",".join(words)


# --- blocks ----------------------------------------------------------------------------------


_BLOCK = struct.Struct("100s24s24s8s1s100s8s32s32s16s167x")
"""Name; mode, uid, gid; size, mtime; checksum; type, linked name; magic, user, group; device numbers (pax, "ustar")."""
_MAGIC, _DEVICE = b"ustar\x0000", b"0000000\x000000000\0"
_CONSTANT_SUM = sum(_MAGIC) + sum(_DEVICE) + 8 * ord(" ")


def _block(  # noqa: PLR0913
    *,
    name: bytes,
    kind: bytes,
    link: bytes = b"",
    mode: int = 0o600,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    user: bytes = b"",
    group: bytes = b"",
) -> bytes:
    ids, numbers = b"%07o\0%07o\0%07o\0" % (mode, uid, gid), b"%011o\0%011o\0" % (size, mtime)
    checksum = b"%06o\0 " % (sum(b"".join((name, ids, numbers, kind, link, user, group))) + _CONSTANT_SUM)
    return _BLOCK.pack(name, ids, numbers, checksum, kind, link, _MAGIC, user, group, _DEVICE)


def _extended(records: Records, name: bytes) -> bytes:
    if not records:
        return b""
    data = b"".join(_record(key, value) for key, value in records.items())
    block = _block(name=b"PaxHeaders/" + _ascii(_short(name)), kind=EXTENDED, size=len(data))
    return block + data + padding(len(data))


def _ascii(name: bytes) -> bytes:
    return name if name.isascii() else name.decode("ascii", "replace").encode("ascii", "replace")


def _record(key: bytes, value: bytes) -> bytes:
    """Format a record: its own length in decimal, a space, key=value, a newline."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
