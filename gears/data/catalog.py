"""Print what is in a directory as lines of a manifest, with the SHA-256 of each file; then one that says it was all.

It runs by itself, with any Python from 3.6 on, also where no gears is: its text is on the command line (`python3 -c`),
and `list DIRECTORY`, `make DIRECTORY MARK` or `share DIRECTORY MARK PLACE group|world` after it. So it imports nothing
of gears, and a file is read where it is. The keys are those of `entries`. Files are read from the disk, as far as the
system lets a user drop its cache.
"""

import base64
import collections
import concurrent.futures
import grp
import hashlib
import json
import os
import signal
import stat
import sys
import time
from typing import Any

AHEAD = 64
READS = 4
STALE_S = 60
"""For so long NFS and FUSE may show a file without the names that it got since (acregmax in nfs(5))."""
KEPT = ("system.posix_acl_access", "system.posix_acl_default", "security.capability")
END_S = 5
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


def end_former(mark: Any) -> None:
    """End what an earlier run of a copy has left at work here: it does not know yet that its connection is cut.

    It would still move its unfinished file after the new run is done. `mark`: NAME=VALUE in the environment of each
    rsync of the copy. Only a process of this user has an environment that can be read.
    """
    deadline = time.monotonic() + END_S
    for pid in marked(mark):
        send(pid, mark, signal.SIGTERM)
        send(pid, mark, signal.SIGCONT)
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in marked(mark):
        send(pid, mark, signal.SIGKILL)


def marked(mark: Any) -> Any:
    """Return the processes with a variable; none where there is no proc(5)."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and has(int(name), mark)]
    except OSError:
        return []


def has(pid: Any, mark: Any) -> Any:
    """Tell whether a process has a variable: it is running, and its environment may be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:
        return False


def send(pid: Any, mark: Any, number: Any) -> None:
    """Send a signal to a process that has a variable, and to no other one that may have got its number."""
    try:
        held = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except OSError:
        return
    try:
        if not has(pid, mark):
            return
        if held is not None and hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(held, number)
        else:
            os.kill(pid, number)
    except OSError:
        pass
    finally:
        if held is not None:
            os.close(held)


def share(root: Any, place: Any, kind: Any) -> None:
    """Make the directory, in a place that is shared, and give it and all in it the place's group and modes.

    Prints the group, and which directories on the way others can't enter. The modes are those of `sharing.Rule`.
    """
    number = os.stat(place).st_gid
    if os.geteuid() and number not in (os.getegid(), *os.getgroups()):
        sys.exit(f"the group of {os.fsdecode(place)} is {group(number)}, and you are not in it")
    sys.stdout.write(json.dumps({"group": group(number)}) + "\n")
    for way in ways(root):
        if not os.path.isdir(way):
            os.mkdir(way)
            share_one(way, os.lstat(way), number, kind)
        if way != root and not may_enter(way, number if kind == "group" else None):
            sys.stdout.write(json.dumps({"closed": os.fsdecode(way)}) + "\n")
    for _, full, info, _ in walk(root):
        if info is not None:
            share_one(full, info, number, kind)


def ways(path: Any) -> Any:
    """Return the directories to a path, and the path itself, the first one first."""
    above = os.path.dirname(path)
    return ([] if above == path else ways(above)) + [path]


def share_one(full: Any, info: Any, number: Any, kind: Any) -> None:
    """Give a file or directory the group and its modes, and no ACL; leave what is another user's."""
    is_link = stat.S_ISLNK(info.st_mode)
    try:
        if info.st_gid != number:
            os.lchown(full, -1, number)
        for name in () if is_link or not hasattr(os, "listxattr") else KEPT[:2]:
            if name in os.listxattr(full):
                os.removexattr(full, name)
        mode = shared_mode(stat.S_IMODE(info.st_mode), stat.S_ISDIR(info.st_mode), kind == "world")
        if not is_link and stat.S_IMODE(os.lstat(full).st_mode) != mode:
            os.chmod(full, mode)
    except OSError:
        pass  # the comparison afterwards finds it


def shared_mode(mode: Any, is_directory: Any, for_all: Any) -> Any:
    """Return the permission bits that others need."""
    if is_directory:
        return (mode & 0o1777) | stat.S_ISGID | 0o770 | (0o005 if for_all else 0)
    owner = mode & stat.S_IRWXU
    others = stat.S_IROTH | (owner & stat.S_IXUSR) >> 6 if for_all else 0
    return (mode & 0o777) | stat.S_IRUSR | stat.S_IRGRP | (owner & (stat.S_IWUSR | stat.S_IXUSR)) >> 3 | others


def may_enter(directory: Any, number: Any) -> Any:
    """Tell whether a member of the group, or anybody for None, may enter; true where an ACL may say so."""
    info = os.stat(directory)
    try:
        if hasattr(os, "listxattr") and KEPT[0] in os.listxattr(directory):
            return True
    except OSError:
        pass
    return info.st_mode & (stat.S_IXGRP if info.st_gid == number else stat.S_IXOTH)


if __name__ == "__main__":
    word, place = sys.argv[1], os.path.abspath(os.path.expanduser(os.fsencode(sys.argv[2])))
    os.umask(0o077)
    if word in ("make", "share"):
        end_former(os.fsencode(sys.argv[3]))
    if word == "make":
        os.makedirs(place, exist_ok=True)
    elif word == "share":
        share(place, os.path.expanduser(os.fsencode(sys.argv[4])), sys.argv[5])
    else:
        print_all(place)
