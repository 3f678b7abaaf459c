"""Run a command, a shell or a lab in an environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NoReturn

from gears.envs import kernel, registry
from gears.envs.paths import place
from gears.errors import GearsError
from gears.system import files
from gears.system.installation import gears_home


def usable(name: str) -> str:
    """Return the script that runs its arguments in the environment. Raises UsageError and GearsError."""
    run = gears_home() / "run"
    environment, where = registry.find(run, name), place(run)
    condition = registry.condition(environment)
    if condition.state != "ready" and "ipykernel" not in condition.reason:
        raise GearsError(f"{name}: {condition.reason}", next=condition.next)
    files.ensure_private(where.root)
    kernel.ensure_scripts(environment, where)
    return str(where.runner(name))


def become(name: str, words: list[str], environ: Mapping[str, str] = os.environ) -> NoReturn:
    """Replace this process by the command, in the environment. Raises what `usable` raises."""
    os.execve("/bin/sh", ["sh", usable(name), *words], dict(environ))
