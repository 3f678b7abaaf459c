"""Let small messages of kernels and terminals arrive at once, not up to 40 ms later.

TCP holds a small segment back while an earlier one is not acknowledged (Nagle's algorithm, RFC 896), and the other end
acknowledges up to 40 ms later if it has nothing to send (RFC 1122, 4.2.3.2; on Windows 200 ms). The output of a cell
follows the kernel's "busy" within milliseconds, so it meets both. On the port TCP_NODELAY ends this. Behind the socket
the segments are those of the laptop's ssh, which does not set it where it forwards to the path of a socket
(OpenSSH, channels.c: `channel_post_port_listener`). There each message is followed by a ping of two bytes (RFC 6455,
5.5.2): the browser answers it at once, and the acknowledgement travels with that.
"""

from __future__ import annotations

import functools
import socket
from typing import Any

PING = b"\x89\x00"
"""A whole frame, without data and, as all frames of a server, without a mask."""

CONTROL = 0x08
"""The bit of the opcode that close, ping and pong have, and messages do not (RFC 6455, 5.2)."""

LARGE_BYTES = 65_536
"""More than a copy is worth: such a message is written first, the ping after it."""


def install(protocol: Any) -> None:
    """Let a class, tornado's WebSocketProtocol13, do so for each connection that a server accepts."""
    start_pinging = protocol.start_pinging

    @functools.wraps(start_pinging)
    def hasten_too(self: Any) -> None:
        """Start as usual. Called once for each connection, before its first message."""
        if not self.mask_outgoing:  # as the frames of a client are
            hasten(self.stream)
        start_pinging(self)

    protocol.start_pinging = hasten_too


def hasten(stream: Any) -> None:
    """Let an IOStream that carries frames of a server's websocket send each of them at once."""
    if stream.socket.family != socket.AF_UNIX:
        stream.set_nodelay(True)
        return
    write = stream.write

    @functools.wraps(write)
    def write_with_ping(frame: bytes) -> Any:
        """Write a frame, and after a message a ping, in one segment."""
        if frame[0] & CONTROL:
            return write(frame)
        if len(frame) < LARGE_BYTES:
            return write(frame + PING)
        write(frame)
        return write(PING)

    stream.write = write_with_ping
