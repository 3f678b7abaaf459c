"""Replace the absolute path of a virtual environment in its scripts, so that they work in any directory. Pure.

Python itself finds the environment by its executable (PEP 405); only scripts contain a path.
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
"""For bash and zsh; in other shells a sourced file can't find its own path."""

START = "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/'{python}' \"$0\" \"$@\"\n' '''\n"
"""Two commands to a shell, an unused string to Python; as in the scripts of uv's relocatable environments."""


def relocate_script(text: bytes, prefix: str) -> bytes:
    """Change a script of `prefix`/bin so that it runs under the Python beside it, in any directory.

    Returns any other script unchanged.
    """
    head = text[:2048].decode(errors="replace")
    interpreter = script_interpreter(head)
    if not interpreter or not interpreter.startswith(f"{prefix}/bin/"):
        return text
    long = head.split("\n", 1)[0].strip() != f"#!{interpreter}"  # three lines for a shell, if the path is too long
    lines = text.split(b"\n", 3 if long else 1)
    return START.format(python=interpreter.removeprefix(f"{prefix}/bin/")).encode() + lines[-1]


def is_activation(name: str) -> bool:
    """Tell whether a file of bin/ activates the environment, for any shell."""
    return re.fullmatch(r"(?i:activate(\.\w+)?|activate_this\.py|deactivate\.\w+)", name) is not None
