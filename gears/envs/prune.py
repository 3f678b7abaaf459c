"""`gears kernel prune`: kernels that Jupyter offers and that can't be started.

Kernels of gears whose environment is missing are removed. Others, in the user's own directory, are listed, and removed
only on request. Those of a virtual environment or of the system are not checked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gears.envs import kernel, registry
from gears.envs.paths import Place, place
from gears.envs.registry import Environment
from gears.system import files


@dataclass(frozen=True, slots=True)
class Dead:
    """A kernel that can't be started. `why`: what is missing. `removed`: whether its kernelspec was removed."""

    name: str
    directory: Path
    why: str
    removed: bool


def prune(run: Path, *, users_own: bool, environ: Mapping[str, str] = os.environ) -> list[Dead]:
    """Remove kernels of gears that can't be started, and find the user's own. `users_own`: remove those too."""
    where = place(run)
    found = []
    for name in kernel.offered(where):
        environment = registry.load(where, name)
        condition = (
            registry.condition(environment) if environment else registry.Condition("broken", "the environment is gone")
        )
        if condition.state != "ready":
            kernel.withdraw(name, where)
            found.append(Dead(name, where.kernelspec(name).parent, condition.reason, removed=True))
    for directory, program in dead_specs(user_kernels(environ)):
        if users_own:
            shutil.rmtree(directory, ignore_errors=True)
        found.append(Dead(directory.name, directory, f"{program} is gone", removed=not directory.exists()))
    return found


def settle(where: Place) -> None:
    """Offer each environment that can be used, and no other. Skip one that another command is changing."""
    for environment in registry.every(where):
        if _is_consistent(environment, where):
            continue
        lock = files.try_lock(where.lock(environment.name))
        if lock is None:
            continue
        try:
            current = registry.load(where, environment.name)
            if current and not _is_consistent(current, where):
                _correct(current, where)
        finally:
            os.close(lock)


def _is_consistent(environment: Environment, where: Place) -> bool:
    """Tell whether the environment is offered if, and only if, it can be used."""
    offered = where.kernelspec(environment.name).exists()
    return offered == (registry.condition(environment).state == "ready")


def _correct(environment: Environment, where: Place) -> None:
    if registry.condition(environment).state == "ready":
        kernel.ensure_scripts(environment, where)
        kernel.ensure_kernelspec(environment, where)
    else:
        kernel.withdraw(environment.name, where)


def user_kernels(environ: Mapping[str, str]) -> Path:
    """Return the directory of `ipykernel install --user` (jupyter_core.paths.jupyter_data_dir)."""
    home = Path(environ.get("HOME") or Path.home())
    data = environ.get("JUPYTER_DATA_DIR") or Path(environ.get("XDG_DATA_HOME") or home / ".local/share") / "jupyter"
    return Path(data) / "kernels"


def dead_specs(kernels: Path) -> Iterator[tuple[Path, str]]:
    """Yield each kernelspec whose program does not exist: its directory, and the program's path."""
    for file in sorted(kernels.glob("*/kernel.json")):
        argv = files.read_record(file).get("argv")
        program = str(argv[0]) if isinstance(argv, list) and argv else ""
        if program.startswith("/") and not Path(program).exists():
            yield file.parent, program
