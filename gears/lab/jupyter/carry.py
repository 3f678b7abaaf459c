"""Save the variables of all notebooks: when asked, periodically, and before the lab ends. `gears.carry` does the work.

A kernel is asked over its own socket, and answers when no cell runs. The lab's end, by whatever signal or request,
waits for that; a second signal changes nothing. See docs/how-to/carry.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from gears.carry.protocol import LAB, STATES, socket_of
from gears.carry.saved import remove_old
from gears.errors import GearsError
from gears.lab import saved_states
from gears.lab.jupyter.carry_limits import CARRIER, VARIABLE, Limits
from gears.lab.saved_states import SavedKernel
from gears.sites.paths import RunDir
from gears.system import records

LOOK_S = 2.0
WAIT_S = 60.0
"""Time that a save on request waits for the end of a cell."""
CLEAN_S = 86400.0
REPLY_S = 30.0
LONGEST_S = 3600.0
"""For a save without a limit of its own."""
LONGEST_ANSWER = 64 << 20


class Carrier:
    """Saves the variables of the notebooks of one server. `paths`: of its site."""

    def __init__(self, serverapp: Any, paths: RunDir, limits: Limits) -> None:
        self.serverapp, self.paths, self.limits = serverapp, paths, limits
        self.stop, self.ending, self.told = serverapp.stop, False, ""

    async def save(
        self, *, wait_s: float = WAIT_S, limit_s: float | None = None, **how: Any
    ) -> tuple[SavedKernel, ...]:
        """Save all notebooks, each between two of its cells, and return what was done. Kernels work side by side."""
        manager = self.serverapp.kernel_manager
        names = await self._notebooks()
        asked = [
            ask(path, {"wait_s": wait_s, "limit_s": limit_s, "notebook": names.get(id, ""), **how})
            for id in manager.list_kernel_ids()
            if is_socket(path := socket_of(manager.get_kernel(id).connection_file))  # else of another language
        ]
        found = tuple(await asyncio.gather(*asked))
        self._note(found)
        return found

    async def _notebooks(self) -> dict[str, str]:
        """Return the file of each kernel's notebook, which may have another name by now."""
        sessions = await self.serverapp.session_manager.list_sessions()
        directory = self.serverapp.kernel_manager.cwd_for_path
        return {one["kernel"]["id"]: os.path.join(directory(one["path"]), one["name"]) for one in sessions}

    def _note(self, kernels: tuple[SavedKernel, ...]) -> None:
        for kernel in filter(saved_states.is_trouble, kernels):
            self.serverapp.log.warning("gears: the variables of %s are not saved: %s", kernel.notebook, kernel.problem)
        saved = [kernel for kernel in kernels if kernel.saved_at and not kernel.unchanged]
        if saved:
            took_s, size = max(kernel.seconds for kernel in saved), sum(kernel.bytes for kernel in saved)
            self.serverapp.log.info("gears: %d notebooks saved: %d MB, %.1f s", len(saved), size >> 20, took_s)
        elif not any(map(saved_states.is_trouble, kernels)):
            return
        try:
            saved_states.note_saved(self.paths, kernels)
        except (GearsError, OSError) as exc:
            self.serverapp.log.warning("gears: the record of saved variables can't be written: %s", exc)

    async def save_again(self) -> None:
        """Save periodically, unless the lab ends."""
        if not self.ending:
            await self.save(wait_s=0.0, periodic=True)

    async def rehearse(self, left_s: float) -> None:
        """Save before a job ends in `left_s`, in a part of that time, and tell in `told` what was saved and what not.

        The save at the end then writes only what has changed since.
        """
        if not self.ending:
            part_s = max(0.0, left_s - self.limits.notice_s) / 3
            self.told = saved_states.tell_saved(await self.save(wait_s=min(WAIT_S, part_s), limit_s=max(1.0, part_s)))
            self.serverapp.log.info("gears: before the end of the job: %s", self.told)

    async def answer(self) -> None:
        """Look for a request of a command, and carry it out."""
        if not self.ending and (id := saved_states.take_request(self.paths)):
            answer = saved_states.Answer(id=id, kernels=await self.save())
            saved_states.write_answer(self.paths, answer)

    def end(self, end_s: float) -> None:
        """Save, then stop the server. `end_s`: until this process is killed. Called by signals, too."""
        if not self.ending:
            self.ending = True
            self.serverapp.io_loop.asyncio_loop.call_soon_threadsafe(self._start_end, end_s)

    def _start_end(self, end_s: float) -> None:
        self._task = asyncio.ensure_future(self._save_and_stop(end_s))

    async def _save_and_stop(self, end_s: float) -> None:
        """Save in four fifths of the time, then stop. No kernel that ends meanwhile is started again."""
        manager = self.serverapp.kernel_manager
        try:
            for id in manager.list_kernel_ids():
                manager.get_kernel(id).stop_restarter()
            wait_s = end_s * 0.3
            await asyncio.wait_for(self.save(wait_s=wait_s, limit_s=end_s * 0.5), end_s * 0.85)
        except (TimeoutError, OSError, KeyError) as exc:
            self.serverapp.log.warning("gears: not all variables are saved: %s", exc or "there was no time left")
        finally:
            self.stop()


def is_socket(path: str) -> bool:
    """Return whether a kernel has made its socket."""
    return os.path.lexists(path)


async def ask(path: str, wanted: dict[str, Any]) -> SavedKernel:
    """Ask a kernel to save, and return its answer."""
    limit_s = wanted["wait_s"] + (wanted["limit_s"] or LONGEST_S) + REPLY_S
    problem = "the kernel has ended"
    try:
        if found := records.parse(SavedKernel, await asyncio.wait_for(_talk(path, wanted), limit_s)):
            return found
    except (OSError, ValueError) as exc:  # OSError: TimeoutError is one
        problem = f"the kernel does not answer ({exc})"
    return SavedKernel(notebook=wanted["notebook"], problem=problem)


async def _talk(path: str, wanted: dict[str, Any]) -> object:
    reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_ANSWER)
    try:
        writer.write(json.dumps(wanted).encode() + b"\n")
        return json.loads(await reader.readline() or b"{}")
    finally:
        writer.close()


# --- in the server ---------------------------------------------------------------------------


def begin(serverapp: Any, paths: RunDir) -> None:
    """Begin to carry variables, where the lab was started to. Kernels inherit what they need from this process."""
    words = os.environ.pop(VARIABLE, "")
    if not words:
        return
    limits = Limits(*map(int, words.split()))
    try:
        root = saved_states.open_root(paths)
        saved_states.save_states_record(paths, replace(saved_states.load_states(paths), root=str(root), trouble=""))
        remove_old(str(root), limits.days)
    except (GearsError, OSError) as exc:
        serverapp.log.warning("gears: variables are not carried: %s", exc)
        return
    os.environ[STATES], os.environ[LAB] = str(root), secrets.token_hex(8)
    carrier = Carrier(serverapp, paths, limits)
    serverapp.web_app.settings[CARRIER] = carrier
    serverapp.stop = lambda from_signal=False: carrier.end(limits.end_s)  # noqa: ARG005  as ServerApp.stop has it
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: carrier.end(max(limits.notice_s, limits.end_s)))
    schedule(carrier, root)
    serverapp.log.info("gears: variables are saved in %s", root)


def schedule(carrier: Carrier, root: Path) -> None:
    """Schedule what is done periodically, and the end before that of the job, in the server's event loop."""
    from tornado.ioloop import PeriodicCallback

    limits = carrier.limits
    PeriodicCallback(carrier.answer, LOOK_S * 1000).start()
    PeriodicCallback(lambda: asyncio.to_thread(remove_old, str(root), limits.days), CLEAN_S * 1000).start()
    if limits.every_s:
        PeriodicCallback(carrier.save_again, limits.every_s * 1000).start()
    ends = float(os.environ.get("GEARS_JOB_ENDS") or 0)
    if limits.timer and ends:
        delay_s = max(0.0, ends - limits.notice_s - time.time())
        carrier.serverapp.io_loop.call_later(delay_s, warn_script, os.getppid())


def warn_script(pid: int) -> None:
    """Signal the job's script as Slurm does before the walltime: it signals JupyterLab, and knows the job's end."""
    if os.getppid() == pid:
        os.kill(pid, signal.SIGUSR1)
