"""Commands for a remote login shell, which ssh runs them with: bash, zsh, tcsh, fish or another one."""

from __future__ import annotations

import os
import re

_CHANGED = re.compile(r"[!\\\n]")
"""What single quotes do not protect: tcsh replaces `!`, and ends at a newline; fish reads backslashes."""


def for_login_shell(command: str) -> str:
    """Return a command of sh as one that every login shell runs in the same way. Bytes of file names are kept."""
    if not _CHANGED.search(command):
        return command
    coded = "".join(chr(byte) if _is_plain(byte) else f"\\0{byte:03o}" for byte in os.fsencode(command))
    return f"""exec sh -c 'eval "$(printf %b "$0")"' '{coded}'"""


def _is_plain(byte: int) -> bool:
    return 32 <= byte < 127 and chr(byte) not in "!\\'"
