"""Where what belongs to an environment is. Pure. Unlike machines may share a home, so each kind has a place of its own.

run/envs/linux-x86_64/
    NAME.json           its record
    NAME.lock           held by who makes or changes it
    NAME.log            what the tools printed
    NAME.spec/          what it was made from, as the tool was given it
    start/NAME.*.sh     what activates it, and what runs a command in it
    jupyter/kernels/    a kernelspec for each, on JUPYTER_PATH of every lab
    built/NAME          the environment itself, unless the site's profile has `envs.directory`
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from gears.sites import Site


def platform() -> str:
    """System and architecture: environments made on one are of no use on another."""
    return f"{sys.platform}-{os.uname().machine}"


@dataclass(frozen=True, slots=True)
class Place:
    """`root`: of this kind of machine."""

    root: Path

    def record(self, name: str) -> Path:
        return self.root / f"{name}.json"

    def lock(self, name: str) -> Path:
        return self.root / f"{name}.lock"

    def log(self, name: str) -> Path:
        return self.root / f"{name}.log"

    def spec(self, name: str) -> Path:
        return self.root / f"{name}.spec"

    @property
    def start(self) -> Path:
        return self.root / "start"

    def activate(self, name: str) -> Path:
        """Read by a shell: afterwards the environment is active in it."""
        return self.start / f"{name}.activate.sh"

    def runner(self, name: str) -> Path:
        """A script that runs its arguments in the environment."""
        return self.start / f"{name}.run.sh"

    @property
    def jupyter(self) -> Path:
        """What stands on JUPYTER_PATH."""
        return self.root / "jupyter"

    @property
    def kernels(self) -> Path:
        return self.jupyter / "kernels"

    def kernelspec(self, name: str) -> Path:
        """Jupyter does not tell large letters from small ones (jupyter_client.kernelspec)."""
        return self.kernels / name.lower() / "kernel.json"


def place(run: Path) -> Place:
    """`run`: of $GEARS_HOME."""
    return Place(run / "envs" / platform())


def prefix_of(where: Place, name: str, site: Site) -> Path:
    """Where an environment of that name is built."""
    if not site.envs.directory:
        return where.root / "built" / name
    return Path(site.envs.directory).expanduser() / platform() / name
