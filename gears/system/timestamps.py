"""Times in records and in `--json`: ISO 8601, UTC, whole seconds."""

from __future__ import annotations

import time


def utc_now() -> str:
    """Return the current time (`utc_time`)."""
    return utc_time(time.time())


def utc_time(seconds: float) -> str:
    """Format `seconds` since 1970 as ISO 8601, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
