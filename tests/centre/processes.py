"""Processes of one host, read from its own /proc, and who among them belongs to an ssh session."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.centre.accounts import NAMES


@dataclass(frozen=True, slots=True)
class Process:
    pid: int  # as seen on the host
    ppid: int  # 0: put there from outside (Host.run and the like)
    user: str
    comm: str
    argv: tuple[str, ...]
    in_tmux: bool  # it, or what it descends from, was started in a tmux pane


def read_processes(proc: Path) -> list[Process]:
    """All living processes under a /proc; zombies and those that end meanwhile are left out."""
    found = (_read_process(directory) for directory in proc.glob("[0-9]*"))
    return sorted((process for process in found if process), key=lambda process: process.pid)


def _read_process(directory: Path) -> Process | None:
    try:
        lines = (directory / "status").read_text().splitlines()
        command = (directory / "cmdline").read_bytes().decode(errors="replace")
        in_tmux = b"\0TMUX=" in b"\0" + (directory / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    status = dict(line.split(":", 1) for line in lines)
    if status["State"].strip().startswith("Z"):
        return None
    pid, ppid, uid = int(directory.name), int(status["PPid"]), int(status["Uid"].split()[0])
    argv = tuple(command.rstrip("\0").split("\0"))
    return Process(pid, ppid, NAMES.get(uid, str(uid)), status["Name"].strip(), argv, in_tmux)


def select_sessions(processes: list[Process], user: str) -> list[Process]:
    """What ends with a user's ssh sessions: sshd's session processes, all they started, and what was left
    behind in the background; but no tmux server and nothing that was started inside it."""

    def is_session(process: Process) -> bool:
        title = process.argv[0]
        return process.comm == "sshd" and title.startswith((f"sshd: {user} [", f"sshd: {user}@"))

    def is_orphan(process: Process) -> bool:
        return process.ppid == 1 and process.user == user and not process.in_tmux

    def is_tmux_server(process: Process) -> bool:
        return process.comm.startswith("tmux: server")

    roots = [process for process in processes if is_session(process) or is_orphan(process)]
    return list(_walk(processes, roots, is_tmux_server))


def _walk(processes: list[Process], roots: list[Process], skip: Callable[[Process], bool]) -> Iterator[Process]:
    todo, seen = list(roots), set[int]()
    while todo:
        process = todo.pop()
        if process.pid not in seen and not skip(process):
            seen.add(process.pid)
            yield process
            todo += [child for child in processes if child.ppid == process.pid]
