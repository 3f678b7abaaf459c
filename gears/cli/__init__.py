"""The command line: parse, carry out one command, print, exit. Nothing else of gears prints, or exits.

Each command has a file here: its words, and what it does. Imports stand in the functions that need them: most commands
answer with few modules loaded.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from gears.cli.console import say
from gears.cli.registry import build_parser
from gears.errors import GearsError, Interrupted


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; that of an error is its class's (`gears.errors`).

    No GearsError and no Ctrl-C gets through; the message goes to standard error. `argv`: None for that of the process.
    """
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(words).parse_args(words)
    try:
        status: int = args.run(args)
        return status
    except GearsError as error:
        return _complain(error)
    except KeyboardInterrupt:
        return _complain(Interrupted("interrupted; what was started goes on", next="gears status"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _complain(_of_disk(error))


def _of_disk(error: OSError) -> GearsError:
    """Translate the error of a disk that takes nothing, which is for the person to mend, whichever file it was.

    Raises any other error again.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise error
    where = f"{error.filename}: " if error.filename else ""
    return GearsError(f"{where}{error.strerror}", next="gears doctor   (it tells the room left on each disk)")


def _complain(error: GearsError) -> int:
    say(str(error))
    return error.exit_code
