"""Commands on one host, run from outside as one of its users, and what is seen of the host from there."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pexpect

from tests.centre.accounts import ACCOUNTS, Account
from tests.centre.processes import Process, read_processes
from tests.centre.room import end_process, only_child

Argv = str | Sequence[str]
Stream = int | IO[Any] | None
CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


class CommandError(subprocess.CalledProcessError):
    """A command run with `check=True` failed; shows what it wrote."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


class Commands:
    """What a host offers while it is on, that is, while `pid` (of its pid 1, as seen from outside) is known."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid: int | None = None
        self._started: list[subprocess.Popen[str]] = []
        self._terminals: list[pexpect.spawn[str]] = []

    def run(
        self,
        command: Argv,
        user: str = "alice",
        *,
        timeout_s: float = 120,
        input: str | None = None,
        check: bool = False,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end. Past the limit its process group is killed and subprocess.TimeoutExpired rises.

        Nothing of the caller's environment goes in. A process that outlives the command and holds its
        output open counts as not having ended, as it would over ssh.
        """
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.popen(command, user, cwd=cwd, env=env, stdin=stdin)
        try:
            stdout, stderr = process.communicate(input, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.end_popen(process)
            raise
        if check and process.returncode != 0:
            raise CommandError(process.returncode, command, stdout, stderr)
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

    def popen(
        self,
        command: Argv,
        user: str = "alice",
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.PIPE,
        stderr: Stream = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start, in a session of its own. `end_popen` ends it and what it started; so does the end of the centre."""
        account = ACCOUNTS[user]
        process = subprocess.Popen(
            self.enter(command, account, cwd),
            env=login_environment(account) | dict(env or {}),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            errors="replace",
            cwd="/",
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end_popen(self, process: subprocess.Popen[str]) -> None:
        """Kill its process group and close its pipes. May be repeated."""
        if process.poll() is None:
            try:
                os.killpg(only_child(process.pid), signal.SIGKILL)  # its part inside leads a group of its own
            except (IndexError, ProcessLookupError, FileNotFoundError):
                pass  # it ended meanwhile
        end_process(process)

    def spawn(
        self,
        command: Argv,
        user: str = "alice",
        *,
        timeout_s: float = 60,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> "pexpect.spawn[str]":
        """Run in a terminal of its own: for what a person types. Closing it hangs up."""
        account = ACCOUNTS[user]
        argv = self.enter(command, account, cwd, terminal=True)
        environment = login_environment(account) | {"TERM": "xterm-256color"} | dict(env or {})
        terminal = pexpect.spawn(
            argv[0],
            argv[1:],
            timeout=timeout_s,
            encoding="utf-8",
            codec_errors="replace",
            cwd="/",
            env=environment,
            dimensions=(40, 120),
            preexec_fn=lambda: os.fchown(0, account.uid, account.uid),  # tmux opens its terminal by name
        )
        self._terminals.append(terminal)
        return terminal

    def enter(self, command: Argv, account: Account, cwd: str | None = None, *, terminal: bool = False) -> list[str]:
        """The command line that runs `command` on this host, from outside; the environment is the caller's."""
        inner = ["sh", "-c", command] if isinstance(command, str) else list(command)
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid"]
        identity = [f"--reuid={account.uid}", f"--regid={account.uid}", "--init-groups"]
        return [
            *("/usr/bin/nsenter", "--target", str(self._pid()), *namespaces),
            *("/usr/bin/setsid", *(["--ctty"] if terminal else [])),
            *("/usr/bin/setpriv", *identity),
            *("/bin/sh", "-c", 'cd "$0" && unset OLDPWD && exec "$@"', cwd or account.home, *inner),
        ]

    def kill(self, *pids: int, signal: str = "KILL", check: bool = False) -> None:
        """Signal processes by the pid they have on this host."""
        if pids:
            self.run(["kill", "-s", signal, "--", *map(str, pids)], "root", check=check)

    def processes(self, user: str | None = None) -> list[Process]:
        """What runs here now, pid 1 and the home's FUSE process included."""
        found = read_processes(self._root() / "proc")
        return [process for process in found if user in (None, process.user)]

    def connect_unix(self, path: str, user: str = "alice") -> bool:
        """Whether that user, here, can connect to the socket at `path`."""
        return self.run(["/usr/bin/python3", "-c", CONNECT, path], user).returncode == 0

    def path(self, inside: str) -> Path:
        """A path of this host as seen from outside, by root. Sockets and links with absolute targets do not follow."""
        return self._root() / inside.lstrip("/")

    def _end_commands(self) -> None:
        for process in self._started:
            self.end_popen(process)
        for terminal in self._terminals:
            terminal.close()

    def _root(self) -> Path:
        return Path(f"/proc/{self._pid()}/root")

    def _pid(self) -> int:
        if self.pid is None:
            raise RuntimeError(f"{self.name} is off")
        return self.pid


def login_environment(account: Account) -> dict[str, str]:
    """What a login would set, and nothing of the machine's."""
    path = (
        "/usr/local/bin:/usr/bin:/bin"
        if account.uid
        else "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
    )
    names = {"USER": account.name, "LOGNAME": account.name, "HOME": account.home}
    return names | {"SHELL": "/bin/bash", "PATH": path, "LANG": "C.UTF-8"}
