"""Trees with every kind of file, and a checker of their copies: what a proof of copies stands on.

Shares no code with gears: plain system calls, and the words of getfacl(1) and getfattr(1).
"""

import contextlib
import errno
import hashlib
import os
import random
import re
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

LARGE = (4 << 30) + 12345
"""More than 32 bits hold."""
ZEROS = bytes(1 << 16)

# --- the maker -------------------------------------------------------------------------------


def make(root: Path, *, large: bool = False, without: Collection[str] = ()) -> None:
    """Fill `root`, which need not exist, with a directory for each kind of file: those of FILLS.

    Two of them are the same, times included. As root also a device, a foreign group, and a file that its owner may not
    read. `large`: also a file of 4 GB, most of it a hole. `without`: names of directories to leave out, as "attributes"
    where users have none (`has_attributes`), "deep" for programs that fail on it.
    """
    root.mkdir(exist_ok=True)
    for name, fill in FILLS.items():
        if name not in without:
            (root / name).mkdir()
            fill(root / name)
    if large:
        _large(root / "large")
    _settle(root)


def _settle(root: Path) -> None:
    """Give all that has the time of its making another one: of 2001, with nanoseconds."""
    since = time.time_ns() - 600 * 10**9
    for _top, directories, files, fd in os.fwalk(os.fsencode(root), topdown=False):
        for name in [*files, *directories, b"."]:
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if since < info.st_mtime_ns < since + 1200 * 10**9:
                os.utime(name, ns=(info.st_atime_ns, 10**18 + 123_456_789), dir_fd=fd, follow_symlinks=False)


NAMES = [b"new\nline", b"\xff\xfe", b"latin-\xe9", b"n" * 255, "é".encode(), "e\u0301".encode(), "ü.nc".encode()]
NAMES += [b" ", b"trailing ", b"-rf", b"a\\b", b"\r", b"\t", b"*", b"$(id)", b"'\"`", b"~", b"..x", b"...", b".hidden"]
NAMES += [
    b"\x01",
    b"\x7f",
    "u\u0308.nc".encode(),
    "🗄".encode(),
    b"a:b",
    b"%41",
    b"#x#",
    b"\xed\xa0\x80",
    b"x" * 254 + b"\xff",
]


def _names(directory: Path) -> None:
    at = os.fsencode(directory)
    for name in NAMES:
        with open(os.path.join(at, name), "wb") as file:
            file.write(name * 50)
    for name in (b"dir-\xe9\n", b"D" * 255):
        os.mkdir(os.path.join(at, name))
        with open(os.path.join(at, name, b"inside"), "wb") as file:
            file.write(name)
    for name in ("d-1", "d.txt", "d0", "d/e"):  # `d/` sorts between them by its bytes
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(name)


def _deep(directory: Path) -> None:
    """Make a path longer than PATH_MAX (4096 bytes): only relative to a directory on the way can it be reached."""
    fd = os.open(directory, os.O_RDONLY)
    for _ in range(18):
        os.mkdir("d" * 250, dir_fd=fd)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    bottom = os.open("bottom", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
    os.write(bottom, b"at the bottom")
    os.symlink("bottom", "link", dir_fd=fd)
    for opened in (bottom, fd):
        os.close(opened)


def _hard_links(directory: Path) -> None:
    (directory / "a/b").mkdir(parents=True)
    (directory / "z").mkdir()
    (directory / "one").write_text("one")
    for name in ("a/two", "a/b/three", "z/four", "two"):
        os.link(directory / "one", directory / name)
    os.symlink("one", directory / "link")
    os.link(directory / "link", directory / "z/link-too", follow_symlinks=False)
    (directory / "outside").write_text("has another name outside of the tree")
    (directory / "apart").write_text("one")  # as `one`, and no link of it


def _sparse(directory: Path) -> None:
    chance = random.Random(2)
    for name, size, places in (
        ("start", 3 << 20, [2 << 20]),
        ("middle", 3 << 20, [0, (3 << 20) - 4096]),
        ("end", 3 << 20, [0]),
        ("only", 2 << 20, []),
        ("many", 4 << 20, list(range(0, 4 << 20, 64 << 10))),
        ("odd", 1_234_567, [500_001]),
    ):
        with (directory / name).open("wb") as file:
            for place in places:
                os.pwrite(file.fileno(), chance.randbytes(4096), place)
            file.truncate(size)
    (directory / "dense-zeros").write_bytes(bytes(1 << 18))  # zeros that are no hole


def _links(directory: Path) -> None:
    for name, target in (
        ("dangling", b"nowhere"),
        ("absolute", b"/etc/passwd"),
        ("directory", b"../names"),
        ("file", b"../names/d0"),
        ("out", b"../.."),
        ("loop", b"loop"),
        ("odd", b"\xff\n \\"),
        ("long", b"t/" * 2047 + b"t"),  # 4095 bytes, the most there can be
    ):
        os.symlink(target, os.fsencode(directory / name))
        os.utime(directory / name, ns=(5, 1_234_567_890_123_456_789), follow_symlinks=False)


def _special(directory: Path) -> None:
    os.mkfifo(directory / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(directory):
        server.bind("socket")
    if os.getuid() == 0:
        os.mknod(directory / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))


def _empty(directory: Path) -> None:
    (directory / "directory/below").mkdir(parents=True)
    (directory / "file").touch()


def _attributes(directory: Path) -> None:
    (directory / "below").mkdir()
    for name in ("file", "read-only", "below/inside"):
        (directory / name).write_text(name)
    os.setxattr(directory / "file", "user.comment", b"\0binary\xff\n")
    os.setxattr(directory / "file", "user.empty", b"")
    os.setxattr(directory / "file", "user.large", b"x" * 2000)
    os.setxattr(directory / "file", os.fsencode("user.é"), b"a name beyond ASCII")
    os.setxattr(directory / "read-only", "user.comment", b"text")
    (directory / "read-only").chmod(0o444)
    os.setxattr(directory, "user.of-directory", b"text")
    os.setxattr(directory / "below", "user.of-directory", b"other")


def _acls(directory: Path) -> None:
    for name in ("file", "read-only", "shared/before"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(name)
    _set_acl(directory / "file", "u:12345:r,g:54321:rw,m::rw")
    _set_acl(directory / "read-only", "u:12345:r")
    (directory / "read-only").chmod(0o440)
    _set_acl(directory / "shared", "d:u:12345:rwx,d:g:54321:rx,d:o::-,u:12345:rwx")
    (directory / "shared/below").mkdir()
    (directory / "shared/below/after").write_text("has its ACL from the directory's default")


def _set_acl(path: Path, entries: str) -> None:
    subprocess.run(["setfacl", "-m", entries, path], check=True, capture_output=True)


def _modes(directory: Path) -> None:
    files = {"read-only": 0o444, "all": 0o777, "odd": 0o614, "setgid": 0o2755, "write-only-others": 0o602}
    if os.getuid() == 0:
        files |= {"none": 0o000, "foreign": 0o640}
    for name, mode in files.items():
        (directory / name).write_text(name)
        (directory / name).chmod(mode)
    for name, mode in {"team": 0o2770, "sticky": 0o1777, "closed": 0o500, "team-closed": 0o2550}.items():
        (directory / name).mkdir()
        (directory / name / "inside").write_text(name)
        (directory / name).chmod(mode)
    if os.getuid() == 0:
        for name in ("foreign", "team", "team/inside"):
            os.chown(directory / name, -1, 4242)
        (directory / "team").chmod(0o2770)


def _times(directory: Path) -> None:
    far = 14_000_000_000_123_456_789  # in 2413; ext4 ends in 2446
    for name, ns in {"nanoseconds": 10**18 + 1, "1970": 0, "before-1970": -5 * 10**9 - 5, "far": far, "old": 1}.items():
        (directory / name).write_text(name)
        os.utime(directory / name, ns=(ns, ns))
    (directory / "late").mkdir()
    (directory / "late/inside").write_text("its directory is older")
    os.utime(directory / "late", ns=(5, 7))


def _large(path: Path) -> None:
    with path.open("wb") as file:
        os.pwrite(file.fileno(), b"start" * 1000, 0)
        os.pwrite(file.fileno(), b"end", LARGE - 3)


FILLS = {
    "names": _names,
    "deep": _deep,
    "hard-links": _hard_links,
    "sparse": _sparse,
    "links": _links,
    "special": _special,
    "empty": _empty,
    "attributes": _attributes,
    "acls": _acls,
    "modes": _modes,
    "times": _times,
}


def has_attributes(directory: Path) -> bool:
    """Return whether the file system of a directory has extended attributes of users."""
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        try:
            os.setxattr(file.fileno(), "user.x", b"")
        except OSError as exc:
            if exc.errno != errno.ENOTSUP:
                raise
            return False
        return True


def remove(root: Path) -> None:
    """Remove a tree, whatever it is and its modes are. Idempotent."""
    if root.exists():
        subprocess.run(["chmod", "-R", "u+rwX", root], check=True, capture_output=True)
        subprocess.run(["rm", "-rf", "--one-file-system", root], check=True)


# --- the checker -----------------------------------------------------------------------------

Facts = dict[str, Any]
Picture = dict[bytes, Facts]


class Difference(NamedTuple):
    """What a copy has otherwise. `what`: "missing", "extra", or the name of a fact."""

    path: bytes
    what: str
    kind: str
    wanted: Any = None
    found: Any = None

    def __str__(self) -> str:
        values = "" if self.what in ("missing", "extra") else f": {_short(self.wanted)} became {_short(self.found)}"
        return f"{_short(os.fsdecode(self.path))} ({self.kind}): {self.what}{values}"


def compare(wanted: Path, found: Path) -> list[str]:
    """Name all that `found` has otherwise than `wanted`, the owner and atime aside. Empty: it is the same."""
    return [str(one) for one in differences(picture(wanted), picture(found))]


def differences(wanted: Picture, found: Picture) -> list[Difference]:
    """Compare two pictures, in the order of paths."""
    all_of_it = []
    for path in sorted(wanted.keys() | found.keys()):
        one, other = wanted.get(path), found.get(path)
        if one is None or other is None:
            kind = (one or other or {})["kind"]
            all_of_it.append(Difference(path, "missing" if one else "extra", kind))
            continue
        facts = [name for name in one if one[name] != other.get(name)]
        all_of_it += [Difference(path, name, one["kind"], one[name], other.get(name)) for name in facts]
    return all_of_it


def picture(root: Path) -> Picture:
    """Read all that is in a tree. The facts of a file depend on its kind."""
    found: Picture = {b".": _facts(os.open(root, os.O_RDONLY | os.O_DIRECTORY), close=True)}
    names_of: dict[tuple[int, int], set[bytes]] = {}
    plain: list[bytes] = []
    for top, _directories, _files, fd in os.fwalk(os.fsencode(root), onerror=_raise):
        prefix = top[len(os.fsencode(root)) :].lstrip(b"/")
        for name in sorted(os.listdir(fd)):
            path = os.path.join(prefix, os.fsencode(name))
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            found[path] = _named_facts(fd, name, info)
            if not stat.S_ISDIR(info.st_mode) and info.st_nlink > 1:
                found[path]["links"] = names_of.setdefault((info.st_dev, info.st_ino), set())
                found[path]["links"].add(path)
            if not stat.S_ISLNK(info.st_mode):
                _add_words(found, fd, prefix, path, plain)
    _add_blocks(found, os.fsencode(root), b"", plain)
    return found


def _add_words(found: Picture, directory: int, prefix: bytes, path: bytes, plain: list[bytes]) -> None:
    """Add what getfattr and getfacl say: later, with all other paths, or at once where no program takes the path."""
    if len(path) < 4000:
        plain.append(path)
    else:
        _add_blocks(found, f"/proc/self/fd/{directory}".encode(), prefix + b"/", [path[len(prefix) + 1 :]], directory)


GETFATTR = ["getfattr", "--no-dereference", "--dump", "--encoding=base64", "--match=^user"]
GETFACL = ["getfacl", "--numeric", "--skip-base", "--no-effective", "--absolute-names"]


def _add_blocks(found: Picture, at: bytes, prefix: bytes, names: list[bytes], *descriptors: int) -> None:
    for begin in range(0, len(names), 500):
        some = names[begin : begin + 500]
        xattrs, acls = (_blocks(command, at, some, descriptors) for command in (GETFATTR, GETFACL))
        for name in some:
            found[prefix + name] |= {"xattrs": xattrs.get(name, []), "acl": acls.get(name, [])}


def _raise(error: OSError) -> None:
    if not isinstance(error, PermissionError):  # its facts say so
        raise error


KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}
KINDS |= {stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


def _named_facts(directory: int, name: str, info: os.stat_result) -> Facts:
    kind = KINDS[stat.S_IFMT(info.st_mode)]
    if kind in ("file", "directory"):
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
        except PermissionError:
            return _plain_facts(kind, info) | {"contents": "unreadable"}
        return _facts(fd, close=True)
    facts = _plain_facts(kind, info)
    if kind == "symlink":
        facts.pop("mode")  # has none of its own
        facts["target"] = os.readlink(os.fsencode(name), dir_fd=directory)
    return facts | ({"device": info.st_rdev} if kind == "device" else {})


def _plain_facts(kind: str, info: os.stat_result) -> Facts:
    mode = f"{stat.S_IMODE(info.st_mode):04o}"
    return {"kind": kind, "mode": mode, "group": info.st_gid, "mtime": info.st_mtime_ns, "links": set()}


def _facts(fd: int, *, close: bool) -> Facts:
    try:
        info = os.fstat(fd)
        facts = _plain_facts(KINDS[stat.S_IFMT(info.st_mode)], info)
        if facts["kind"] == "file":
            data = list(_data(fd, info.st_size))
            facts |= {"size": info.st_size, "holes": _holes(data, info.st_size), "contents": _digest(fd, data)}
        return facts
    finally:
        if close:
            os.close(fd)


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of what is no hole (lseek(2))."""
    position = 0
    while position < size:
        try:
            begin = os.lseek(fd, position, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole to the end
            return
        position = os.lseek(fd, begin, os.SEEK_HOLE)
        yield begin, position


def _holes(data: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    edges = [0, *(edge for part in data for edge in part), size]
    return [(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True) if begin < end]


def _digest(fd: int, data: list[tuple[int, int]]) -> str:
    """Hash all that is not zero, with its place: holes are another fact, and 4 GB of them are quick."""
    digest = hashlib.sha256()
    for begin, end in data:
        position = begin - begin % len(ZEROS)
        while position < end:
            chunk = os.pread(fd, len(ZEROS), position)
            if chunk.strip(b"\0"):
                digest.update(b"%d:%d:" % (position, len(chunk.rstrip(b"\0"))) + chunk.rstrip(b"\0"))
            position += len(ZEROS)
    return digest.hexdigest()


def _blocks(
    command: list[str], at: bytes, names: list[bytes], descriptors: tuple[int, ...]
) -> dict[bytes, list[bytes]]:
    """Run a program in a directory; it prints a block of lines for each file, under `# file: NAME`."""
    argv = [*map(os.fsencode, command), b"--", *(b"./" + name for name in names)]
    found: dict[bytes, list[bytes]] = {}
    done = subprocess.run(argv, cwd=at, pass_fds=descriptors, capture_output=True)
    if unknown := [line for line in done.stderr.splitlines() if not line.endswith(b": Permission denied")]:
        raise RuntimeError(f"{command[0]}: {unknown}")
    for block in done.stdout.split(b"\n\n"):
        head, *lines = block.split(b"\n")
        if head:
            name = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), head.removeprefix(b"# file: "))
            found[name.removeprefix(b"./")] = sorted(line for line in lines if line and not line.startswith(b"#"))
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:40]}…{text[-20:]}"
