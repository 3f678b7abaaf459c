"""Paths of environments' files. Pure. Different kinds of machines can share a home, so each has its own directory.

run/envs/linux-x86_64/
    NAME.json           its record
    NAME.lock           held by the command that creates or changes it
    NAME.log            what the tools printed
    NAME.spec/          its specification, as given to the tool
    start/NAME.*.sh     scripts that activate it and run a command in it
    jupyter/kernels/    a kernelspec for each, on JUPYTER_PATH of every lab
    built/NAME          the environment itself, unless the site's profile has `envs.directory`
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from gears.sites.profile import Site


def platform() -> str:
    """Return system and architecture, as linux-x86_64. An environment made on one does not work on another."""
    return f"{sys.platform}-{os.uname().machine}"


@dataclass(frozen=True, slots=True)
class Place:
    """The directory of environments. `root`: of this kind of machine."""

    root: Path

    def record(self, name: str) -> Path:
        """Return the path of its record."""
        return self.root / f"{name}.json"

    def lock(self, name: str) -> Path:
        """Return the path of the lock, held by the command that creates or changes it."""
        return self.root / f"{name}.lock"

    def log(self, name: str) -> Path:
        """Return the path of the log, with what the tools printed."""
        return self.root / f"{name}.log"

    def spec(self, name: str) -> Path:
        """Return the directory of its specification, as given to the tool."""
        return self.root / f"{name}.spec"

    @property
    def start(self) -> Path:
        """Return the directory of the scripts that activate environments and run commands in them."""
        return self.root / "start"

    def activate(self, name: str) -> Path:
        """Return the script that activates the environment in a shell that sources it."""
        return self.start / f"{name}.activate.sh"

    def runner(self, name: str) -> Path:
        """Return the script that runs its arguments in the environment."""
        return self.start / f"{name}.run.sh"

    @property
    def jupyter(self) -> Path:
        """Return the directory that is on JUPYTER_PATH."""
        return self.root / "jupyter"

    @property
    def kernels(self) -> Path:
        """Return the directory with a kernelspec for each environment that is offered."""
        return self.jupyter / "kernels"

    def kernelspec(self, name: str) -> Path:
        """Return the path of its kernel.json, in lower case: Jupyter ignores case (jupyter_client.kernelspec)."""
        return self.kernels / name.lower() / "kernel.json"


def place(run: Path) -> Place:
    """Return the place for this kind of machine. `run`: $GEARS_HOME/run."""
    return Place(run / "envs" / platform())


def prefix_of(where: Place, name: str, site: Site) -> Path:
    """Return the directory in which an environment of that name is built."""
    if not site.envs.directory:
        return where.root / "built" / name
    return Path(site.envs.directory).expanduser() / platform() / name
