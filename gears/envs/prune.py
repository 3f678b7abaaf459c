"""`gears kernel prune`: kernels that Jupyter offers and nobody could start.

Ours whose environment is gone are removed. Others, in the person's own directory, are hers: they are named, and removed
only where she says so. Those of a virtual environment or of the system are not looked at.
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
    """`why`: the program that is gone. `removed`: it was."""

    name: str
    directory: Path
    why: str
    ours: bool
    removed: bool


def prune(run: Path, *, theirs: bool, environ: Mapping[str, str] = os.environ) -> list[Dead]:
    """Withdraw our kernels that can't be started, and find the person's own. `theirs`: remove those, too."""
    where = place(run)
    found = []
    for name in kernel.offered(where):
        environment = registry.load(where, name)
        condition = (
            registry.condition(environment) if environment else registry.Condition("broken", "the environment is gone")
        )
        if condition.state != "ready":
            kernel.withdraw(name, where)
            found.append(Dead(name, where.kernelspec(name).parent, condition.reason, ours=True, removed=True))
    for directory, program in dead_specs(own_kernels(environ)):
        if theirs:
            shutil.rmtree(directory, ignore_errors=True)
        found.append(Dead(directory.name, directory, f"{program} is gone", ours=False, removed=not directory.exists()))
    return found


def settle(where: Place) -> None:
    """Offer each environment that can be used, and no other. Leave alone one that is being worked at."""
    for environment in registry.every(where):
        if _is_offered_rightly(environment, where):
            continue
        lock = files.try_lock(where.lock(environment.name))
        if lock is None:
            continue
        try:
            now = registry.load(where, environment.name)
            if now and not _is_offered_rightly(now, where):
                _correct(now, where)
        finally:
            os.close(lock)


def _is_offered_rightly(environment: Environment, where: Place) -> bool:
    offered = where.kernelspec(environment.name).exists()
    return offered == (registry.condition(environment).state == "ready")


def _correct(environment: Environment, where: Place) -> None:
    if registry.condition(environment).state == "ready":
        kernel.ensure_scripts(environment, where)
        kernel.ensure_kernelspec(environment, where)
    else:
        kernel.withdraw(environment.name, where)


def own_kernels(environ: Mapping[str, str]) -> Path:
    """Return where `ipykernel install --user` puts kernelspecs (jupyter_core.paths.jupyter_data_dir)."""
    home = Path(environ.get("HOME") or Path.home())
    data = environ.get("JUPYTER_DATA_DIR") or Path(environ.get("XDG_DATA_HOME") or home / ".local/share") / "jupyter"
    return Path(data) / "kernels"


def dead_specs(kernels: Path) -> Iterator[tuple[Path, str]]:
    """Yield kernelspecs whose program is a path that leads nowhere: the directory, and that path."""
    for file in sorted(kernels.glob("*/kernel.json")):
        argv = files.read_record(file).get("argv")
        program = str(argv[0]) if isinstance(argv, list) and argv else ""
        if program.startswith("/") and not Path(program).exists():
            yield file.parent, program
