"""Kernels without any TCP port, for `listen = "socket"`.

With ipc transport ipykernel still opens one port on 127.0.0.1: a pipe on which forked children hand in their output
(nothing can be read from it, and what is sent to it needs a secret). It has no setting for that, so its kernels are
started by a script that moves the pipe. Delete this module and the script when ipykernel chooses it by `transport`.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from jupyter_server.services.kernels.kernelmanager import ServerKernelManager

LAUNCHER = Path(__file__).parents[1] / "kernel_launcher.py"


class SocketKernelManager(ServerKernelManager):
    """Kernels of ipykernel, in whatever environment, are started by our script; all others as ever."""

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Return the command that starts a kernel, changed by `plan_kernel`."""
        return plan_kernel(super().format_kernel_cmd(extra_arguments))


def plan_kernel(command: list[str]) -> list[str]:
    """Return `python -m ipykernel_launcher …` with our script in place of the module.

    Where the first word is no Python (a container's, say, in which our script may be missing) nothing is changed.
    """
    if not Path(command[0]).name.startswith("python"):
        return command
    for module in ("ipykernel_launcher", "ipykernel"):
        for at, words in enumerate(pairwise(command)):
            if words == ("-m", module):
                return [*command[:at], str(LAUNCHER), *command[at + 2 :]]
    return command
