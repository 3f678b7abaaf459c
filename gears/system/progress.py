"""Progress messages, and a wait for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str], None]


def wait_for(condition: Callable[[], bool], *, timeout_s: float, every_s: float = 0.02) -> bool:
    """Poll `condition` every `every_s` until it is true. False after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
