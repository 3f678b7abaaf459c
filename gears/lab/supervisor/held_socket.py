"""The first step of a loop: bind a listening socket, then become the shell that holds it.

Between the end of a hop and the first answer of a keeper, a Python has to start. Clients that connect meanwhile queue
at this socket and are not refused: every keeper of the loop answers there. JupyterLab in a browser reconnects its
kernels at once when they are cut off, and once refused waits for 10 to 30 s.

Run as a script, with the standard library only, so that it starts quickly.
"""

import os
import socket
import sys

HELD_FD = 8
"""File descriptor of the listening socket in the shell and its children."""

QUEUE = 128


def hold(path: str) -> None:
    """Listen at `path`, 0600, replacing a stale socket. Raises OSError."""
    if os.path.lexists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    os.umask(0o177)
    listener.bind(path)
    listener.listen(QUEUE)
    os.dup2(listener.fileno(), HELD_FD)


def main(path: str, script: str) -> None:
    """Hold the socket at `path`, if possible, and become the shell that runs the loop's `script`."""
    try:
        hold(path)
    except OSError as error:  # each keeper then binds a socket of its own
        sys.stderr.write(f"gears: {path}: {error}\n")
    os.execv("/bin/sh", ["sh", script, "held"])


if __name__ == "__main__":
    main(*sys.argv[1:])
