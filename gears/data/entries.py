"""The entries of a manifest, and their form as lines of text: one JSON object (RFC 8259) each, in ASCII.

Names are bytes. A name that is valid UTF-8 is written as text, any other in base64 under its key and `_base64`. Times
are decimal seconds since 1970, as text, since some JSON readers round large numbers: `touch -d @TIME` reads them.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import stat
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Values = dict[str, Any]
Extents = tuple[tuple[int, int], ...]
Xattrs = tuple[tuple[str, bytes], ...]

_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make a new encoder for each line
_quote = json.encoder.encode_basestring_ascii
_LEADS_OUT = re.compile(rb"\0|(^|/)\.{0,2}(/|\Z)")
_TEXT, _NUMBER, _TIME = rb"[ !#-\[\]-~]", rb"(0|[1-9]\d*)", rb"(\d+\.\d{9})"
_PLAIN = re.compile(  # most lines: JSON without escapes, and no rare value
    rb'\{"path":"(%b+)","type":"(file|directory)",(?:"size":%b,)?' % (_TEXT, _NUMBER)
    + rb'"mode":"([0-7]+)","group":"(%b*)","mtime":"%b"(?:,"ctime":"%b")?' % (_TEXT, _TIME, _TIME)
    + rb'(?:,"sha256":"([0-9a-f]{64})")?(?:,"bundle":"(%b+)")?(?:,"offset":%b)?\}\n' % (_TEXT, _NUMBER)
).fullmatch


class Type(StrEnum):
    """The types of files that inode(7) lists."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    BLOCK = "block device"
    CHARACTER = "character device"


COPIED = (Type.FILE, Type.DIRECTORY, Type.SYMLINK)
"""The types with contents. The others are listed, not made."""

_TYPES = {
    stat.S_IFREG: Type.FILE,
    stat.S_IFDIR: Type.DIRECTORY,
    stat.S_IFLNK: Type.SYMLINK,
    stat.S_IFIFO: Type.FIFO,
    stat.S_IFSOCK: Type.SOCKET,
    stat.S_IFBLK: Type.BLOCK,
    stat.S_IFCHR: Type.CHARACTER,
}


def type_of(mode: int) -> Type:
    """Return the type in a mode of stat(2)."""
    return _TYPES[stat.S_IFMT(mode)]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of any type, as it was in the source.

    `path`: relative to the source, which itself is `.`. `size`: in bytes. `mode`: permission bits. `group`: the group's
    name, or its number if it has none. `target`: of a symbolic link. `same_as`: the first path, in the manifest's
    order, of the same file by a hard link. `extents`: offset and length of the data in a sparse file. `sha256`: of the
    contents, in hexadecimal. `problem`: why there is no copy.

    `bundle`: the name of the bundle that has it, and `offset` where in it the contents begin, in bytes, those of a
    sparse file one extent after the other. `ctime_ns`: the source's, if the file had not just been changed.
    """

    path: bytes
    type: Type
    size: int = 0
    mode: int = 0
    group: str = ""
    mtime_ns: int = 0
    target: bytes | None = None
    same_as: bytes | None = None
    extents: Extents | None = None
    xattrs: Xattrs = ()
    sha256: str | None = None
    problem: str | None = None
    bundle: str | None = None
    offset: int | None = None
    ctime_ns: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by position: that of a dataclass with slots takes several times as long."""
        return Entry, (
            *(self.path, self.type, self.size, self.mode, self.group, self.mtime_ns, self.target, self.same_as),
            *(self.extents, self.xattrs, self.sha256, self.problem, self.bundle, self.offset, self.ctime_ns),
        )

    @property
    def held(self) -> bool:
        """Whether the copy has it."""
        return self.problem is None and self.type in COPIED


def order(path: bytes) -> list[bytes]:
    """Return the key of the order of walks and manifests: a directory, then what is in it, by the bytes of names."""
    return [] if path == b"." else path.split(b"/")


# --- lines -----------------------------------------------------------------------------------


def to_line(entry: Entry) -> bytes:
    """Format an entry, with a newline. Most have no rare value: then no object is made first, which takes longer."""
    rare = entry.target or entry.same_as or entry.xattrs or entry.problem
    if rare or entry.extents is not None:
        return dump(_to_values(entry))
    try:
        path = f'"path":{_quote(entry.path.decode())}'
    except UnicodeDecodeError:
        path = f'"path_base64":"{base64.b64encode(entry.path).decode()}"'
    size = f'"size":{entry.size},' if entry.type is Type.FILE else ""
    rest = f'"mode":"{entry.mode:04o}","group":{_quote(entry.group)},"mtime":"{format_time(entry.mtime_ns)}"'
    rest += _stored(entry.ctime_ns, entry.sha256, entry.bundle, entry.offset)
    return f'{{{path},"type":"{entry.type.value}",{size}{rest}}}\n'.encode()


def _stored(ctime_ns: int | None, sha256: str | None, bundle: str | None, offset: int | None) -> str:
    """Format the values that come last in a line."""
    changed = "" if ctime_ns is None else f',"ctime":"{format_time(ctime_ns)}"'
    digest = "" if sha256 is None else f',"sha256":"{sha256}"'
    name = "" if bundle is None else f',"bundle":{_quote(bundle)}'
    return changed + digest + name + ("" if offset is None else f',"offset":{offset}')


def with_bundle(
    line: bytes, bundle: str, *, ctime_ns: int | None = None, sha256: str | None = None, offset: int | None = None
) -> bytes:
    """Return the line of an entry that has none of these values, and no problem, with them."""
    return line[:-2] + _stored(ctime_ns, sha256, bundle, offset).encode() + b"}\n"


# Within a text of JSON each quote follows a backslash: so what begins with a comma and a quote is a key.


def path_of(line: bytes) -> bytes:
    """Return the beginning of a line that has its path: the same bytes for the same path."""
    return line[: line.index(b',"type":"') + 1]


def planned_for(line: bytes) -> str:
    """Return the bundle of a file that is only planned yet, by its line; "" for any other."""
    if b',"type":"file"' not in line or b',"same_as' in line or b',"sha256":' in line:
        return ""
    return line.partition(b',"bundle":"')[2].partition(b'"')[0].decode()


def parse(line: bytes) -> Entry:
    """Parse a line with its newline. Raises ValueError if it is no entry, or its path leads out of the tree."""
    if not (found := _PLAIN(line)):
        return from_values(load(line))
    path, kind, size, mode, group, mtime, ctime, sha256, bundle, offset = found.groups()
    return Entry(
        _inside(path),
        Type.FILE if kind == b"file" else Type.DIRECTORY,
        int(size or 0),
        int(mode, 8),
        group.decode(),
        int(mtime.replace(b".", b"")),
        sha256=None if sha256 is None else sha256.decode(),
        bundle=None if bundle is None else bundle.decode(),
        offset=None if offset is None else int(offset),
        ctime_ns=None if ctime is None else int(ctime.replace(b".", b"")),
    )


def _to_values(entry: Entry) -> Values:
    values: Values = {}
    put_bytes(values, "path", entry.path)
    values["type"] = entry.type.value
    if entry.type is Type.FILE:
        values["size"] = entry.size
    values |= {"mode": f"{entry.mode:04o}", "group": entry.group, "mtime": format_time(entry.mtime_ns)}
    for key, data in (("target", entry.target), ("same_as", entry.same_as)):
        if data is not None:
            put_bytes(values, key, data)
    if entry.extents is not None:
        values["extents"] = entry.extents
    if entry.xattrs:
        values["xattrs"] = {name: base64.b64encode(value).decode() for name, value in entry.xattrs}
    if entry.ctime_ns is not None:
        values["ctime"] = format_time(entry.ctime_ns)
    rest = ("sha256", entry.sha256), ("bundle", entry.bundle), ("offset", entry.offset), ("problem", entry.problem)
    return values | {key: value for key, value in rest if value is not None}


def from_values(values: Values) -> Entry:
    """Convert the object of a line. Raises ValueError if it is no entry, or its path leads out of the tree."""
    try:
        return Entry(
            path=_inside(take_bytes(values, "path")),
            type=Type(values["type"]),
            size=int(values.get("size", 0)),
            mode=int(values["mode"], 8),
            group=str(values["group"]),
            mtime_ns=parse_time(values["mtime"]),
            target=_optional(values, "target"),
            same_as=None if (same := _optional(values, "same_as")) is None else _inside(same),
            extents=_extents(values.get("extents")),
            xattrs=tuple((name, base64.b64decode(text)) for name, text in values.get("xattrs", {}).items()),
            sha256=values.get("sha256"),
            problem=values.get("problem"),
            bundle=values.get("bundle"),
            offset=None if (offset := values.get("offset")) is None else int(offset),
            ctime_ns=None if (changed := values.get("ctime")) is None else parse_time(changed),
        )
    except (KeyError, TypeError, AttributeError, OverflowError, binascii.Error) as exc:
        raise ValueError(f"no entry: {exc}") from exc


def dump(values: Values) -> bytes:
    """Format an object as a line, with a newline."""
    return _encode(values).encode() + b"\n"


def load(line: bytes) -> Values:
    """Parse a line with its newline. Raises ValueError for an incomplete line or one that is no object."""
    if not line.endswith(b"\n"):
        raise ValueError("an incomplete line")
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("no object")
    return values


def put_bytes(values: Values, key: str, data: bytes) -> None:
    """Set `key` to text, or `key_base64` to base64 if `data` is no UTF-8."""
    try:
        values[key] = data.decode()
    except UnicodeDecodeError:
        values[f"{key}_base64"] = base64.b64encode(data).decode()


def take_bytes(values: Values, key: str) -> bytes:
    """Return what `put_bytes` has set. Raises KeyError, or ValueError for invalid base64."""
    if key in values:
        return str(values[key]).encode()
    return base64.b64decode(values[f"{key}_base64"], validate=True)


def _optional(values: Values, key: str) -> bytes | None:
    return take_bytes(values, key) if key in values or f"{key}_base64" in values else None


def _extents(found: list[list[int]] | None) -> Extents | None:
    return None if found is None else tuple((int(offset), int(length)) for offset, length in found)


def _inside(path: bytes) -> bytes:
    """Return a path that stays within its tree. Raises ValueError for any other: a manifest may come from anywhere."""
    if path != b"." and _LEADS_OUT.search(path):
        raise ValueError(f"{path!r} leads out of the tree")
    return path


def format_time(nanoseconds: int) -> str:
    """Format a time as decimal seconds, exactly."""
    sign = "-" if nanoseconds < 0 else ""
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    return f"{sign}{seconds}.{rest:09d}"


def parse_time(text: str) -> int:
    """Parse what `format_time` returns, in nanoseconds. Raises ValueError."""
    seconds, _, rest = text.removeprefix("-").partition(".")
    nanoseconds = int(seconds) * 10**9 + int(rest)
    return -nanoseconds if text.startswith("-") else nanoseconds
