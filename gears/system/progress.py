"""What tells a person how it goes on, and a wait for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str], None]


def wait_for(condition: Callable[[], bool], *, timeout_s: float, every_s: float = 0.02) -> bool:
    """Wait until `condition` holds, looking every `every_s`. False where it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
