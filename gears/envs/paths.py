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

from gears.sites.profile import Site


def platform() -> str:
    """Return system and architecture, as linux-x86_64. Environments made on one are of no use on another."""
    return f"{sys.platform}-{os.uname().machine}"


@dataclass(frozen=True, slots=True)
class Place:
    """`root`: of this kind of machine."""

    root: Path

    def record(self, name: str) -> Path:
        """Return the path of its record."""
        return self.root / f"{name}.json"

    def lock(self, name: str) -> Path:
        """Return the path of the lock, held by who makes or changes it."""
        return self.root / f"{name}.lock"

    def log(self, name: str) -> Path:
        """Return the path of what the tools printed."""
        return self.root / f"{name}.log"

    def spec(self, name: str) -> Path:
        """Return the directory of what it was made from, as the tool was given it."""
        return self.root / f"{name}.spec"

    @property
    def start(self) -> Path:
        """Return the directory of the scripts that activate environments and run commands in them."""
        return self.root / "start"

    def activate(self, name: str) -> Path:
        """Return the script that a shell reads: afterwards the environment is active in it."""
        return self.start / f"{name}.activate.sh"

    def runner(self, name: str) -> Path:
        """Return the script that runs its arguments in the environment."""
        return self.start / f"{name}.run.sh"

    @property
    def jupyter(self) -> Path:
        """Return the directory that stands on JUPYTER_PATH."""
        return self.root / "jupyter"

    @property
    def kernels(self) -> Path:
        """Return the directory that has a kernelspec for each environment that is offered."""
        return self.jupyter / "kernels"

    def kernelspec(self, name: str) -> Path:
        """Return the path of its kernel.json, in small letters.

        Jupyter does not tell large letters from small ones (jupyter_client.kernelspec).
        """
        return self.kernels / name.lower() / "kernel.json"


def place(run: Path) -> Place:
    """Return the place for this kind of machine. `run`: of $GEARS_HOME."""
    return Place(run / "envs" / platform())


def prefix_of(where: Place, name: str, site: Site) -> Path:
    """Return where an environment of that name is built."""
    if not site.envs.directory:
        return where.root / "built" / name
    return Path(site.envs.directory).expanduser() / platform() / name
