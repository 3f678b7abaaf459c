"""What a lab and its kernels agree on: variables of the environment, and the socket over which a kernel is asked."""

from __future__ import annotations

import os

STATES = "GEARS_STATES"
"""The directory of the site's states. Without it a kernel carries nothing."""

LAB = "GEARS_STATES_LAB"
"""The identity of the lab: each start of JupyterLab has another one."""

START = "GEARS_STATES_START"
"""How a kernel was started again: ASKED or CRASHED. Unset at its first start."""

ASKED, CRASHED = "asked", "crashed"


def socket_of(connection_file: str) -> str:
    """Return the path of a kernel's socket, beside its connection file."""
    return os.path.splitext(connection_file)[0] + "-carry"
