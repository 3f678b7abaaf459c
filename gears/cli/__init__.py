"""The command line: parse, run one command, print, exit. Nothing else in gears prints or exits.

Each command has a file here: its arguments, and what it does. Imports are inside the functions that need them, so that
most commands load few modules.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from gears import __version__
from gears.cli.console import say, show_now
from gears.errors import GearsError, Interrupted


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; that of an error is set by its class (`gears.errors`).

    Report GearsError and Ctrl-C on standard error. `argv`: the arguments; None for those of the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:  # without a parser, half of whose cost would be for nothing
        show_now(f"gears {__version__}")
        return 0
    from gears.cli.registry import build_parser

    args = build_parser(words).parse_args(words)
    try:
        status: int = args.run(args)
        return status
    except GearsError as error:
        return _report(error)
    except KeyboardInterrupt:
        return _report(Interrupted("interrupted; anything already started keeps running", next="gears status"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _report(_of_disk(error))


def _of_disk(error: OSError) -> GearsError:
    """Translate an error that the user can fix: the disk or the quota is full, or the file system is read-only.

    Raise any other error again.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise error
    where = f"{error.filename}: " if error.filename else ""
    return GearsError(f"{where}{error.strerror}", next="gears doctor   (shows the free space on each disk)")


def _report(error: GearsError) -> int:
    say(str(error))
    return error.exit_code
