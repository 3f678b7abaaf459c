"""The address to open, with its token."""

from __future__ import annotations

from gears.system import files
from gears.system.installation import gears_home


def with_token(site: str, url: str, *, password: bool) -> str:
    """Return the address with the token in it, for the user's own screen; without one where a password is set."""
    if password:
        return url
    token = files.read_text(gears_home() / "run" / site / "token").strip()
    return f"{url}?token={token}" if token else url
