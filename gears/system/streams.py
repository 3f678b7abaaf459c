"""Programs that take or give a stream of bytes, in bounded memory and with a limit on silence instead of on time.

The program runs in a session of its own, without a terminal where it could ask for a password. Its group is ended
whenever the stream is left, for whatever reason; it is never left behind as a zombie. If this process is killed by
SIGKILL, the program sees the end of its input as if the stream were complete: whoever uses `send` has to expect that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from gears.errors import CommandFailed, CommandTimeout
from gears.system import commands

PIPE_BYTES = 1 << 20
"""Linux lets any user have pipes of this size; its default of 64 KiB costs sixteen times the system calls."""

TAIL_BYTES = 64_000
"""How much of a program's messages is kept."""

GRACE_S = 3.0
"""Between SIGTERM, on which rclone gives up a begun upload, and SIGKILL."""


def send(argv: Sequence[str], chunks: Iterable[bytes], *, silence_s: float) -> int:
    """Run `argv` with `chunks` on its standard input, wait for its end, and return how many bytes it was given.

    Raises CommandFailed if it fails, or ends before it has read everything; CommandTimeout if it takes nothing for
    `silence_s`, or does not end within that time after the last byte; MissingProgram. Errors of `chunks` pass through,
    and the program is ended without having seen the end of its input.
    """
    sent = 0
    with _Program(argv, takes=True, silence_s=silence_s) as program:
        for chunk in chunks:
            program.write(chunk)
            sent += len(chunk)
        program.close_input()
        program.finish()
    return sent


def receive(argv: Sequence[str], *, silence_s: float, first_s: float | None = None) -> Iterator[bytes]:
    """Run `argv` and yield its standard output in chunks. The program is ended when the generator is closed.

    `first_s`: how long the first byte may take; None: `silence_s`. Raises CommandFailed after the last chunk if the
    program fails, CommandTimeout, MissingProgram.
    """
    with _Program(argv, takes=False, silence_s=silence_s if first_s is None else first_s) as program:
        while chunk := program.read():
            program.silence_s = silence_s
            yield chunk
        program.finish()


class _Program:
    """A program and its pipes, ended at the end of the `with` block. `takes`: input is sent, its output only kept."""

    def __init__(self, argv: Sequence[str], *, takes: bool, silence_s: float) -> None:
        self.name, self.silence_s = argv[0], silence_s
        self._process = process = commands.start_piped(argv, takes_input=takes)
        assert process.stdout is not None
        assert process.stderr is not None
        self._output, self._errors = process.stdout.fileno(), process.stderr.fileno()
        self._input = process.stdin.fileno() if process.stdin else -1
        self._kept = dict.fromkeys([self._errors, self._output] if takes else [self._errors], b"")
        self._poll = select.poll()
        for fd in self._kept:
            self._poll.register(fd, select.POLLIN)
        self._open = set(self._kept)
        if takes:
            os.set_blocking(self._input, False)
        with contextlib.suppress(OSError, AttributeError):  # the user's limit for pipes, or no Linux
            fcntl.fcntl(self._input if takes else self._output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        commands.end_group(self._process, timeout_s=GRACE_S)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    def write(self, data: bytes) -> None:
        """Give the program all of `data`. Raises CommandFailed if it has closed its input."""
        view = memoryview(data)
        while view:
            self._wait(self._input, select.POLLOUT)
            try:
                view = view[os.write(self._input, view) :]
            except BrokenPipeError:
                self.finish()
                raise CommandFailed(f"{self.name} ended before it had read everything", status=0) from None

    def close_input(self) -> None:
        """Let the program see the end of its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def read(self) -> bytes:
        """Return what the program has written; empty at the end."""
        self._wait(self._output, select.POLLIN)
        return os.read(self._output, PIPE_BYTES)

    def finish(self) -> None:
        """Wait for the end of the program. Raises CommandFailed with its messages, CommandTimeout."""
        while self._open:
            self._wait(-1, 0)
        status = commands.wait_for_end(self._process, timeout_s=self.silence_s)
        if status is None:
            raise self._silent()
        if status:
            said = b"".join(self._kept.values()).decode(errors="replace").strip()
            last = said.splitlines()[-1] if said else f"exit {status}"
            raise CommandFailed(f"{self.name}: {last}", stderr=said, status=status)

    def _wait(self, fd: int, event: int) -> None:
        """Wait until `fd` is ready, or, with -1, until a kept output was; keep what comes. Raises CommandTimeout."""
        deadline = time.monotonic() + self.silence_s
        if fd >= 0:
            self._poll.register(fd, event)
        try:
            while True:
                ready = self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
                if not ready:
                    raise self._silent()
                for kept in self._open & {number for number, _ in ready}:
                    self._keep(kept)
                if fd < 0 or any(number == fd for number, _ in ready):
                    return
        finally:
            if fd >= 0:
                self._poll.unregister(fd)

    def _keep(self, fd: int) -> None:
        part = os.read(fd, 65536)
        self._kept[fd] = (self._kept[fd] + part)[-TAIL_BYTES:]
        if not part:
            self._open.remove(fd)
            self._poll.unregister(fd)

    def _silent(self) -> CommandTimeout:
        said = self._kept[self._errors].decode(errors="replace").strip()
        return CommandTimeout(f"{self.name} has done nothing for {self.silence_s:g} s", stderr=said)
