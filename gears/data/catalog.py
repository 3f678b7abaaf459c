"""Print what is in a directory as lines of a manifest, with the SHA-256 of each file; then one that says it was all.

It runs by itself, with any Python from 3.6 on, also where no gears is: its text is on the command line (`python3 -c`),
and the words `list DIRECTORY` or `make DIRECTORY` after it. So it imports nothing of gears, and a file is read where it
is. The keys are those of `entries`. Files are read from the disk, as far as the system lets a user drop its cache.
"""

import base64
import collections
import concurrent.futures
import grp
import hashlib
import json
import os
import stat
import sys
import time
from typing import Any

AHEAD = 64
READS = 4
STALE_S = 60
"""For so long NFS and FUSE may show a file without the names that it got since (acregmax in nfs(5))."""
KEPT = ("system.posix_acl_access", "system.posix_acl_default", "security.capability")
TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
}


def print_all(root: Any) -> None:
    """Print the lines, in the order of manifests."""
    threads = concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1)
    waiting: Any = collections.deque()
    first: Any = {}
    count = 0
    os.sync()
    for path, full, info, problem in walk(root):
        waiting.append(describe(path, full, info, problem, first, threads))
        count += 1
        while len(waiting) > AHEAD:
            write(*waiting.popleft())
    while waiting:
        write(*waiting.popleft())
    sys.stdout.write(json.dumps({"listed": count}) + "\n")


def walk(root: Any) -> Any:
    """Yield path, full path, stat, and why it can't be read."""
    yield b".", root, os.lstat(root), None
    levels = [(b"", names(root))]
    while levels:
        above, left = levels[-1]
        if not left:
            levels.pop()
            continue
        path = above + left.pop()
        full = os.path.join(root, path)
        try:
            info = os.lstat(full)
            if stat.S_ISDIR(info.st_mode):
                levels.append((path + b"/", names(full)))
            yield path, full, info, None
        except OSError as exc:
            yield path, full, info_of(full), exc.strerror


def names(directory: Any) -> Any:
    """Return the names in a directory, the last one first."""
    return sorted(os.listdir(directory), reverse=True)


def info_of(full: Any) -> Any:
    """Return stat(2); None if there is none."""
    try:
        return os.lstat(full)
    except OSError:
        return None


def describe(path: Any, full: Any, info: Any, problem: Any, first: Any, threads: Any) -> Any:
    """Return the values of an entry, and what will give the rest of them."""
    values: Any = {}
    put(values, "path", path)
    if info is None:
        values.update({"type": "file", "mode": "0000", "group": "", "mtime": "0.000000000", "problem": problem})
        return values, None
    kind = stat.S_IFMT(info.st_mode)
    values.update({"type": TYPES[kind], "mode": format(stat.S_IMODE(info.st_mode), "04o"), "group": group(info.st_gid)})
    values["mtime"] = seconds(info.st_mtime_ns)
    if problem:
        values["problem"] = problem
    elif kind == stat.S_IFDIR:
        values.update(attributes(full))
    elif kind in (stat.S_IFLNK, stat.S_IFREG):
        key = info.st_dev, info.st_ino
        if key in first:
            put(values, "same_as", first[key][0])
            return values, first[key][1]
        future = threads.submit(read if kind == stat.S_IFREG else read_link, full)
        linked = info.st_nlink > 1 or time.time() - info.st_ctime < STALE_S
        first.update({key: (path, future)} if linked else {})
        return values, future
    return values, None


def read_link(full: Any) -> Any:
    """Return the target of a symbolic link."""
    values: Any = {}
    try:
        put(values, "target", os.readlink(full))
    except OSError as exc:
        values["problem"] = exc.strerror or str(exc)
    return values


def read(full: Any) -> Any:
    """Read a file, again if it changes meanwhile, and return its size, hash and attributes."""
    try:
        for _ in range(READS):
            found = read_once(full)
            if found:
                return found
        return {"problem": f"it changed in each of {READS} reads"}
    except OSError as exc:
        return {"problem": exc.strerror or str(exc)}


def read_once(full: Any) -> Any:
    """Return the same; None if the file has changed."""
    fd = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return None
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        digest, size = hashlib.sha256(), 0
        for data in iter(lambda: os.read(fd, 1 << 20), b""):
            digest.update(data)
            size += len(data)
        if version(before) != version(os.fstat(fd)) or size != before.st_size:
            return None
        values = {"size": size, "mtime": seconds(before.st_mtime_ns), "sha256": digest.hexdigest()}
        values.update(attributes(fd))
        return values
    finally:
        os.close(fd)


def version(info: Any) -> Any:
    """Return what differs after a change."""
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns


def attributes(file: Any) -> Any:
    """Return the extended attributes that are kept; none where there are none, as on macOS for Python."""
    try:
        kept = sorted(name for name in os.listxattr(file) if name.startswith("user.") or name in KEPT)
        found = {name: base64.b64encode(os.getxattr(file, name)).decode() for name in kept}
    except (OSError, AttributeError):
        return {}
    return {"xattrs": found} if found else {}


def group(number: Any) -> Any:
    """Return the name of a group, or its number as text."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def seconds(nanoseconds: Any) -> Any:
    """Format a time as decimal seconds, exactly."""
    return "{}{}.{:09d}".format("-" if nanoseconds < 0 else "", *divmod(abs(nanoseconds), 10**9))


def put(values: Any, key: Any, data: Any) -> None:
    """Set a key to text, or another one to base64 if the bytes are no UTF-8."""
    try:
        values[key] = data.decode("utf-8")
    except UnicodeDecodeError:
        values[key + "_base64"] = base64.b64encode(data).decode()


def write(values: Any, future: Any) -> None:
    """Print an entry."""
    if future is not None:
        values.update(future.result())
    sys.stdout.write(json.dumps(values, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    word, place = sys.argv[1], os.path.expanduser(os.fsencode(sys.argv[2]))
    os.umask(0o077)
    if word == "make":
        os.makedirs(place, exist_ok=True)
    else:
        print_all(place)
