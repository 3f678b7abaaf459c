#!/usr/bin/python3
"""A stand-in for `lfs find` of Lustre: the options that gears uses, as lfs-find(1) of 2.15 describes them.

An age is in days, with a margin of one: `+N` finds what is older than N days, and here also what is one day younger. A
directory that can't be opened is reported on standard error, the rest is listed, and the exit status is not 0. An
unknown option is an error. $LFS_BROKEN: it lists nothing and fails.
"""

import argparse
import os
import stat
import sys
import time


def main() -> int:
    if os.environ.get("LFS_BROKEN"):
        sys.stderr.write("lfs find: error: cannot reach the metadata server\n")
        return 5
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["find"])
    parser.add_argument("directory")
    parser.add_argument("--type", choices=["f"], required=True)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--print0", action="store_true", required=True)
    for name in ("--atime", "--mtime", "--ctime"):
        parser.add_argument(name)
    asked, failures = parser.parse_args(), []
    for top, _, names in os.walk(asked.directory, onerror=failures.append):
        for name in names:
            path = os.path.join(top, name)
            if fits(os.lstat(path), asked):
                sys.stdout.buffer.write(os.fsencode(path) + b"\0")
    for failure in failures:
        sys.stderr.write(f"lfs find: failed to open '{failure.filename}': {failure.strerror}\n")
    return 1 if failures else 0


def fits(info: os.stat_result, asked: argparse.Namespace) -> bool:
    if not stat.S_ISREG(info.st_mode) or asked.uid not in (None, info.st_uid):
        return False
    wanted = {info.st_atime: asked.atime, info.st_mtime: asked.mtime, info.st_ctime: asked.ctime}
    return all(age is None or time.time() - when > (int(age) - 1) * 86400 for when, age in wanted.items())


if __name__ == "__main__":
    sys.exit(main())
