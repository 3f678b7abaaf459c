"""What in a virtual environment names its own directory, put in words that hold wherever it is. Pure.

Python itself finds the environment beside the executable that was started (PEP 405); only scripts name a path.
"""

from __future__ import annotations

import re

from gears.envs.metadata import script_interpreter

ACTIVATE = """\
# Source it: . bin/activate
VIRTUAL_ENV=$(cd "$(dirname -- "${BASH_SOURCE:-${(%):-%x}}")/.." && pwd)
export VIRTUAL_ENV
PATH=$VIRTUAL_ENV/bin:$PATH
export PATH
unset PYTHONHOME
hash -r 2>/dev/null || :
"""
"""For bash and zsh; another shell does not tell a file that it sources where that is."""

START = "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'{python}' \"$0\" \"$@\"\n' '''\n"
"""To a shell two lines, to Python a text that nobody reads. uv's relocatable environments begin their scripts so."""


def relocate_script(text: bytes, prefix: str) -> bytes:
    """Change a script of `prefix`/bin so that the Python beside it starts it, wherever both are.

    Returns any other script as it is.
    """
    head = text[:2048].decode(errors="replace")
    interpreter = script_interpreter(head)
    if not interpreter or not interpreter.startswith(f"{prefix}/bin/"):
        return text
    long = head.split("\n", 1)[0].strip() != f"#!{interpreter}"  # three lines of a shell, for a path that is too long
    lines = text.split(b"\n", 3 if long else 1)
    return START.format(python=interpreter.removeprefix(f"{prefix}/bin/")).encode() + lines[-1]


def is_activation(name: str) -> bool:
    """Tell whether a file of bin/ puts the environment's path into a shell, in the words of whichever shell."""
    return re.fullmatch(r"(?i:activate(\.\w+)?|activate_this\.py|deactivate\.\w+)", name) is not None
