"""The only module that runs other programs: an argument list, a time limit, and errors as GearsError."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from subprocess import PIPE
from threading import Thread
from types import TracebackType
from typing import Self

from gears.errors import CommandFailed, CommandTimeout, MissingProgram

PACKAGES = {"ssh": "openssh-client", "tmux": "tmux", "git": "git", "flock": "util-linux"}
"""Debian's package names; those of other systems are the same or similar."""


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
) -> str:
    """Run `argv` without a terminal, with `input` or nothing on its standard input, and return its standard output.

    Raises MissingProgram, CommandTimeout (the program is killed), CommandFailed for output of more than MAX_OUTPUT
    bytes, and with `check` CommandFailed with its standard error for a non-zero exit status.
    """
    with tempfile.TemporaryFile() as given:  # a pipe could fill up before the program reads
        given.write((input or "").encode())
        given.seek(0)
        try:
            program = subprocess.Popen(
                argv, stdin=given, stdout=PIPE, stderr=PIPE, env=None if env is None else dict(env)
            )
        except FileNotFoundError as exc:
            raise missing_program(argv[0]) from exc
    with program:
        try:
            out, err = (read.decode(errors="replace") for read in _read_all(program, argv[0], timeout_s))
        except BaseException:
            program.kill()
            raise
    if check and program.returncode != 0:
        words = err.strip() or out.strip() or f"exit {program.returncode}"
        raise CommandFailed(f"{argv[0]}: {words}", stderr=err, status=program.returncode)
    return out


MAX_OUTPUT = 16_000_000
"""Limit of a program's output in bytes, far above the normal: one that prompts in a loop prints endlessly."""


def _read_all(program: subprocess.Popen[bytes], name: str, timeout_s: float) -> tuple[bytes, bytes]:
    """Read both outputs and wait for the end of the program. Raises CommandTimeout, CommandFailed (MAX_OUTPUT)."""
    assert program.stdout is not None
    assert program.stderr is not None
    deadline, total = time.monotonic() + timeout_s, 0
    read: dict[int, list[bytes]] = {program.stdout.fileno(): [], program.stderr.fileno(): []}
    waiting = set(read)
    while waiting:
        ready = select.select(list(waiting), [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready:
            raise CommandTimeout(f"{name} did not finish within {timeout_s:g} s", next="gears doctor")
        for fd in ready:
            read[fd].append(part := os.read(fd, 65536))
            total += len(part)
            if not part:
                waiting.remove(fd)
        if total > MAX_OUTPUT:
            raise CommandFailed(
                f"{name} printed too much output and was killed",
                next=f"run {name} by hand: it may be waiting for an answer",
            )
    try:
        program.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as exc:
        raise CommandTimeout(f"{name} did not finish within {timeout_s:g} s", next="gears doctor") from exc
    out, err = (b"".join(parts) for parts in read.values())
    return out, err


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. `status` is None, and `failure` says why, if it was killed or could not be started."""

    out: str = ""
    err: str = ""
    status: int | None = None
    failure: str = ""


def run_each(programs: Sequence[Sequence[str]], *, timeout_s: float) -> list[Outcome]:
    """Run programs at the same time, without input or terminal, each in a process group, and return their outcomes.

    After `timeout_s` the groups are killed, and this returns within a second more. A program in a system call on a dead
    file server may outlive SIGKILL, and even its start can hang: it is left behind, and not waited for.
    """
    late = Outcome(failure=f"did not finish within {timeout_s:g} s")
    outcomes, started = [late for _ in programs], list[subprocess.Popen[bytes]]()

    def work(number: int) -> None:
        outcomes[number] = _outcome(programs[number], timeout_s, started)

    threads = [Thread(target=work, args=(number,), daemon=True) for number in range(len(programs))]
    deadline = time.monotonic() + timeout_s + 1
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    finally:
        for program in list(started):
            _kill_group(program, wait_s=0)
    return list(outcomes)


def _outcome(argv: Sequence[str], timeout_s: float, started: list[subprocess.Popen[bytes]]) -> Outcome:
    try:
        program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True)
    except OSError as exc:
        return Outcome(failure=f"{argv[0]}: {(exc.strerror or str(exc)).lower()}")
    started.append(program)
    assert program.stdout is not None
    assert program.stderr is not None
    try:
        out, err = (read.decode(errors="replace") for read in _read_all(program, argv[0], timeout_s))
    except CommandFailed as exc:
        return Outcome(failure=exc.message)
    finally:
        program.stdout.close()
        program.stderr.close()
        _kill_group(program, wait_s=0.5)
    return Outcome(out, err, program.returncode)


def _kill_group(program: subprocess.Popen[bytes], *, wait_s: float) -> None:
    """Kill the program's group, unless the program was waited for; wait up to `wait_s` for its end. Idempotent."""
    if program.returncode is None:
        with contextlib.suppress(OSError):
            os.killpg(program.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(wait_s)


def run_logged(
    argv: Sequence[str],
    log: int,
    *,
    watch: Callable[[], None],
    env: Mapping[str, str],
    keep: Sequence[int] = (),
) -> int:
    """Run `argv` with its output written to the descriptor `log`, and return its exit status.

    There is no time limit. `watch` is called ten times a second; an exception from it ends the program. `keep`: further
    descriptors that the program inherits. Raises MissingProgram.
    """
    try:
        program = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(env), pass_fds=tuple(keep)
        )
    except FileNotFoundError as exc:
        raise missing_program(argv[0]) from exc
    try:
        while True:
            watch()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return program.wait(timeout=0.1)
    finally:
        end_program(program, timeout_s=10)


@contextlib.contextmanager
def output_of(argv: Sequence[str], *, errors: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start `argv` for its standard output to be read as it comes; its standard error goes to a descriptor.

    There is no time limit. It is killed at the end of the `with` block if it is still running. Raises MissingProgram.
    """
    try:
        program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=PIPE, stderr=errors, bufsize=0)
    except FileNotFoundError as exc:
        raise missing_program(argv[0]) from exc
    with program:
        try:
            yield program
        finally:
            program.kill()


def run_in_terminal(argv: Sequence[str], *, timeout_s: float | None, env: Mapping[str, str] | None = None) -> int:
    """Run `argv` in the user's terminal, where it can prompt, and return its exit status; 255 after `timeout_s`.

    None: no time limit. Raises MissingProgram.
    """
    try:
        environment = None if env is None else dict(env)
        return subprocess.run(argv, check=False, timeout=timeout_s, env=environment).returncode
    except FileNotFoundError as exc:
        raise missing_program(argv[0]) from exc
    except subprocess.TimeoutExpired:
        return 255


def start_in_terminal(argv: Sequence[str], terminal: int) -> subprocess.Popen[bytes]:
    """Start `argv` with its input and output at the descriptor `terminal`, and its standard error in a pipe.

    It stays in the user's session, so that it can prompt at /dev/tty. `end_program` ends it. Raises MissingProgram.
    """
    try:
        return subprocess.Popen(argv, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE)
    except FileNotFoundError as exc:
        raise missing_program(argv[0]) from exc


def end_program(process: subprocess.Popen[bytes], *, timeout_s: float) -> None:
    """Send SIGTERM, then SIGKILL after `timeout_s`. Idempotent."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start_piped(argv: Sequence[str], *, takes_input: bool) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own, with pipes for its outputs and, if `takes_input`, its input.

    `end_group` ends it. Raises MissingProgram.
    """
    given = PIPE if takes_input else subprocess.DEVNULL
    try:
        return subprocess.Popen(argv, stdin=given, stdout=PIPE, stderr=PIPE, bufsize=0, start_new_session=True)
    except FileNotFoundError as exc:
        raise missing_program(argv[0]) from exc


def start_connected(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own, with pipes for its input and its output; its standard error is ours.

    `end_group` ends it. Raises MissingProgram.
    """
    try:
        return subprocess.Popen(argv, stdin=PIPE, stdout=PIPE, bufsize=0, start_new_session=True)
    except FileNotFoundError as exc:
        raise missing_program(argv[0]) from exc


def wait_for_end(process: subprocess.Popen[bytes], *, timeout_s: float) -> int | None:
    """Return the exit status of a program; None if it is still running after `timeout_s`."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(timeout_s)
    return None


def end_group(process: subprocess.Popen[bytes], *, timeout_s: float) -> None:
    """Send SIGTERM to the program's group unless it was waited for, SIGKILL after `timeout_s`. Idempotent."""
    if process.returncode is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGTERM)
        wait_for_end(process, timeout_s=timeout_s)
        _kill_group(process, wait_s=timeout_s)


class Conversation:
    """A program whose standard input stays open while its output is read. Killed at the end of the `with` block.

    `show_errors`: pass on its standard error; else it is kept for `end`. Raises MissingProgram.
    """

    def __init__(self, argv: Sequence[str], *, show_errors: bool = False) -> None:
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=None if show_errors else pipe)
        except FileNotFoundError as exc:
            raise missing_program(argv[0]) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def read_line(self, beginning: str, *, timeout_s: float) -> str:
        """Read until a line with this beginning, and return it; empty after `timeout_s` or the end of the output."""
        assert self._process.stdout is not None
        output, text, deadline = self._process.stdout.fileno(), b"", time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0 and select.select([output], [], [], left_s)[0]:
            if not (read := os.read(output, 65536)):
                break
            text += read
            for line in text.splitlines(keepends=True):
                if line.startswith(beginning.encode()) and line.endswith(b"\n"):
                    return line.decode(errors="replace")
        return ""

    def write_line(self, line: str) -> None:
        """Write a line to its standard input. Ignored if the program has ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def status(self) -> int | None:
        """Return its exit status; None while it is running."""
        return self._process.poll()

    def terminate(self, *, timeout_s: float) -> int | None:
        """Send SIGTERM; return its exit status, None if it is still running after `timeout_s`."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def end(self, *, timeout_s: float) -> tuple[int | None, str]:
        """Close its input and wait for its end; return its exit status and its standard error.

        The status is None if it was still running after `timeout_s`; then it is killed.
        """
        try:
            _, errors = self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return None, (self._process.communicate()[1] or b"").decode(errors="replace")
        return self._process.returncode, (errors or b"").decode(errors="replace")


def find_program(name: str) -> str:
    """Find the path of a program. Raises MissingProgram."""
    if path := shutil.which(name):
        return path
    raise missing_program(name)


def missing_program(name: str) -> MissingProgram:
    """Return the error for a program that is not installed, with the package to install."""
    package = PACKAGES.get(name, name)
    return MissingProgram(
        f"{name} is not installed on this machine",
        next=f"sudo apt install {package}   (or ask the centre for {package})",
    )
