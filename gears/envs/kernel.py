"""An environment as a kernel: a static kernelspec, and the scripts that activate the environment.

It needs neither gears' Python nor `conda run`, and nothing is scanned when JupyterLab starts.

jupyter-client.readthedocs.io, "Making kernels for Jupyter": kernel specs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from gears.envs.archive import MARK
from gears.envs.paths import Place
from gears.envs.registry import Environment
from gears.system import files
from gears.system.templates import render

LAUNCHER = Path(__file__).parents[1] / "lab" / "kernel_launcher.py"
"""Runs under any Python. (`gears.lab.jupyter.kernels` has the path too, but imports all of Jupyter's server.)"""


def plan_kernelspec(environment: Environment, where: Place) -> dict[str, Any]:
    """Return the kernelspec.

    Our launcher starts ipykernel, so that a kernel opens no TCP port at all (`gears.lab.jupyter.kernels`).
    """
    runner = [shell_for(environment), str(where.runner(environment.name))]
    return {
        "argv": [*runner, "python", str(LAUNCHER), "-f", "{connection_file}"],
        "display_name": environment.name,
        "language": "python",
        "interrupt_mode": "signal",
        "metadata": {"debugger": True, "gears": {"environment": environment.name}},
    }


def shell_for(environment: Environment) -> str:
    """Find the shell for an environment's scripts: bash for conda, whose packages include scripts for bash."""
    return (shutil.which("bash") if environment.family == "conda" else None) or "/bin/sh"


def ensure_scripts(environment: Environment, where: Place) -> None:
    """Write the scripts that activate the environment and run a command in it, unless they are current."""
    files.ensure_private(where.start)
    values = {"name": environment.name, "prefix": environment.prefix, "family": environment.family}
    activate = render("env-activate.sh.j2", mark=MARK, **values)
    runner = render("env-run.sh.j2", shell=shell_for(environment), activate=where.activate(environment.name), **values)
    _write(where.activate(environment.name), activate)
    _write(where.runner(environment.name), runner)


def ensure_kernelspec(environment: Environment, where: Place) -> None:
    """Write the kernelspec, so that JupyterLab offers the environment. The scripts must exist."""
    file = where.kernelspec(environment.name)
    for directory in (where.jupyter, where.kernels, file.parent):
        files.ensure_private(directory)
    _write(file, json.dumps(plan_kernelspec(environment, where), indent=1) + "\n")


def withdraw(name: str, where: Place) -> None:
    """Remove the kernelspec, so that JupyterLab no longer offers the environment. Running kernels are not affected."""
    shutil.rmtree(where.kernelspec(name).parent, ignore_errors=True)


def remove_scripts(name: str, where: Place) -> None:
    """Remove the scripts of an environment, if there are any."""
    for file in (where.activate(name), where.runner(name)):
        file.unlink(missing_ok=True)


def offered(where: Place) -> list[str]:
    """List the names of the environments that have a kernelspec of gears."""
    found = []
    for file in sorted(where.kernels.glob("*/kernel.json")):
        gears = files.read_record(file).get("metadata", {}).get("gears", {})
        found.append(str(gears.get("environment") or file.parent.name))
    return found


def _write(file: Path, text: str) -> None:
    if files.read_text(file) != text:
        files.write_private(file, text)
