"""Kernels without any TCP port, for `listen = "socket"`.

With ipc transport ipykernel still opens one port on 127.0.0.1: a pipe for the output of forked children (nothing can be
read from it, and writing needs a secret). It has no setting for that, so a script starts its kernels and moves the
pipe. Delete this module and the script when ipykernel chooses the pipe by `transport`.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

from jupyter_server.services.kernels.kernelmanager import ServerKernelManager

from gears.carry.protocol import ASKED, CRASHED, START

LAUNCHER = Path(__file__).parents[1] / "kernel_launcher.py"


class SocketKernelManager(ServerKernelManager):
    """Starts kernels of ipykernel, in any environment, by `kernel_launcher.py`; all others as usual."""

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Return the command that starts a kernel, as changed by `plan_kernel`."""
        return plan_kernel(super().format_kernel_cmd(extra_arguments))

    async def restart_kernel(self, *, now: bool = False, **options: Any) -> None:  # type: ignore[override]
        """Restart the kernel, and tell it whether its user asked for that or it had crashed (`now`): then variables
        that were saved are loaded."""
        before: dict[str, Any] = self._launch_args or {}
        environ = {**before.get("env", os.environ), START: CRASHED if now else ASKED}
        await super().restart_kernel(now=now, env=environ, **options)


def plan_kernel(command: list[str]) -> list[str]:
    """Return `python -m ipykernel_launcher …` with the script in place of the module.

    The command is unchanged where its first word is not Python, such as a container's, where the script may be missing.
    """
    if not Path(command[0]).name.startswith("python"):
        return command
    for module in ("ipykernel_launcher", "ipykernel"):
        for at, words in enumerate(pairwise(command)):
            if words == ("-m", module):
                return [*command[:at], str(LAUNCHER), *command[at + 2 :]]
    return command
