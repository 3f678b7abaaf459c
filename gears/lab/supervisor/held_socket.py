"""What the hop's loop is for a moment at its start: it binds a socket, and becomes a shell that holds it, listening.

Between the end of a hop and the first answer of a keeper lies the start of a Python. Who connects meanwhile queues at
this socket, and is not refused: every keeper of the loop answers there. It matters to JupyterLab in a browser, which
connects its kernels anew the moment they are cut off, and once refused lets 10 to 30 s pass before it tries again.

Run as a script, of the standard library only: it must start quickly.
"""

import os
import socket
import sys

HELD_FD = 8
"""Under which the shell, and so what it starts, has the listening socket."""

QUEUE = 128


def hold(path: str) -> None:
    """Listen at `path`, 0600, in place of a socket that is left there. Raises OSError."""
    if os.path.lexists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    os.umask(0o177)
    listener.bind(path)
    listener.listen(QUEUE)
    os.dup2(listener.fileno(), HELD_FD)


def main(path: str, script: str) -> None:
    """Hold the socket at `path`, where that can be, and become the shell that runs the loop's `script`."""
    try:
        hold(path)
    except OSError as error:  # each keeper then binds a socket of its own
        sys.stderr.write(f"gears: {path}: {error}\n")
    os.execv("/bin/sh", ["sh", script, "held"])


if __name__ == "__main__":
    main(*sys.argv[1:])
