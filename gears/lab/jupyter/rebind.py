"""Recreate the socket, record and token of JupyterLab after a cleaner of temporary or scratch disks.

JupyterLab checks them every few seconds, at the cost of a stat each; only this process still knows the token. A kernel
can't recreate its own sockets: the lab's record names the kernels that can no longer be reached.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from gears.errors import GearsError
from gears.lab.state import Lab, save_lab
from gears.system import files

EVERY_S = 5.0


class Places:
    """The files that JupyterLab needs. `records`: its records, the first on local disk beside the socket. `token`: its
    file, in the home."""

    def __init__(self, serverapp: Any, socket: Path, records: list[Path], token: Path, lab: Lab) -> None:
        self.serverapp, self.socket, self.records, self.token, self.lab = serverapp, socket, records, token, lab
        self.secret = str(getattr(serverapp.identity_provider, "token", ""))
        self.bound = _identity(socket)
        self.lost: list[str] = []

    async def restore(self) -> None:
        """Recreate what is missing. A failure is logged, and retried at the next check."""
        lost = self._lost_kernels()
        if self._is_whole() and lost == self.lost:
            return
        try:
            self._make()
            names = tuple(await self._names(lost))
            self.lost, self.lab = lost, replace(self.lab, unreachable=names)
            self._save()
            if self.secret and not self.token.exists():
                files.write_private(self.token, self.secret)
        except (GearsError, OSError) as exc:
            self.serverapp.log.warning("gears: the sockets were removed and can't be recreated: %s", exc)

    def note_idle(self, since: str | None, ends: str | None) -> None:
        """Record since when the lab is idle, and when it ends for that; None: it is in use. A failure is logged."""
        self.lab = replace(self.lab, idle_since=since, ends=ends)
        try:
            self._save()
        except (GearsError, OSError) as exc:
            self.serverapp.log.warning("gears: the lab's record can't be written: %s", exc)

    def _save(self) -> None:
        for file in self.records:
            save_lab(file, self.lab)

    def _is_whole(self) -> bool:
        there = (self._link(), *self.records, Path(self.serverapp.runtime_dir), *([self.token] if self.secret else []))
        return _identity(self.socket) == self.bound and all(map(os.path.exists, there))

    def _make(self) -> None:
        for directory in (
            self.socket.parent,
            Path(self.serverapp.runtime_dir),
            *(file.parent for file in self.records),
        ):
            files.ensure_private(directory)
        if _identity(self.socket) != self.bound:
            from tornado.netutil import bind_unix_socket

            self.serverapp.log.warning("gears: %s was removed; recreating it", self.socket)
            self.serverapp.http_server.add_socket(bind_unix_socket(str(self.socket), mode=0o600))
            self.bound = _identity(self.socket)
        if not self._link().exists():  # or leads to what is gone
            files.switch(self._link(), self.socket)

    def _link(self) -> Path:
        return self.socket.parent / f"{self.lab.site}.sck"

    def _lost_kernels(self) -> list[str]:
        manager = self.serverapp.kernel_manager
        kernels = {id: manager.get_kernel(id) for id in manager.list_kernel_ids()}
        return sorted(id for id, kernel in kernels.items() if _is_lost(kernel))

    async def _names(self, kernels: list[str]) -> list[str]:
        """Return the name of each kernel: its notebook, if it has one."""
        sessions = await self.serverapp.session_manager.list_sessions() if kernels else []
        paths = {session["kernel"]["id"]: str(session["path"]) for session in sessions}
        return [paths.get(id) or f"kernel {id[:8]}" for id in kernels]


def watch(places: Places) -> None:
    """Begin the checks, in the server's event loop."""
    from tornado.ioloop import PeriodicCallback

    PeriodicCallback(places.restore, EVERY_S * 1000).start()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        info = path.lstat()
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _is_lost(kernel: Any) -> bool:
    """Return whether a kernel's socket is gone. A kernel that is starting has no ports yet (0)."""
    port = getattr(kernel, "shell_port", 0)
    return getattr(kernel, "transport", "") == "ipc" and bool(port) and not os.path.lexists(f"{kernel.ip}-{port}")
