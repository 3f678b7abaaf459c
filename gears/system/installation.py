"""Where gears is installed, and its commands in messages, with the path that works on this host.

In a fresh clone `gears` is not on the PATH: `gears status` in a message would lead to "command not found".
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

COMMANDS = (
    "lab|stop|status|open|ssh-config|password|url|logs|attach|doctor|sites|forward|shell|run|dask|env|data|workspace"
)


def with_gears_path(text: str) -> str:
    """Return `text` with the path of this gears in each `gears COMMAND`, unless the PATH has it as `gears`."""
    word = _word()
    return text if word == "gears" else re.sub(rf"(?<![\w/.-])gears (?=(?:{COMMANDS})(?![\w-]))", f"{word} ", text)


def _word() -> str:
    mine = Path(sys.executable).with_name("gears")
    found = shutil.which("gears")
    if not mine.exists() or (found and Path(found).resolve() == mine.resolve()):
        return "gears"
    try:
        return f"~/{mine.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(mine)


def this_gears() -> str:
    """Return the absolute path of this gears' command."""
    return str(Path(sys.executable).with_name("gears"))


def gears_argv() -> list[str]:
    """Return the argument list of this gears, for a shell loop.

    `envs/init.sh` makes the command ignore PYTHONPATH, PYTHONHOME and the like.
    """
    return [this_gears()]


def gears_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return `$GEARS_HOME`, else the checkout this package runs from, else `~/gears`."""
    if named := environ.get("GEARS_HOME"):
        return Path(named).expanduser()
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").is_file() else Path("~/gears").expanduser()
