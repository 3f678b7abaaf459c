"""The tools that make environments. gears includes none; it chooses the best one installed on this machine.

Their commands are planned in `conda`, `pixi` and `venvs`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gears.envs.spec import Spec
from gears.errors import MissingProgram, UsageError

CONDAS = ("mamba", "micromamba", "conda")
VENVS = ("uv", "venv")
TOOLS = (*VENVS, *CONDAS, "pixi")

CHOICE = {
    "conda": CONDAS,
    "pixi": ("pixi",),
    "locked": ("uv",),
    "requirements": VENVS,
    "project": VENVS,
    "packages": VENVS,
}
"""The tools for each kind of specification, the best first."""

ON_REQUEST = {"packages": CONDAS}

USUAL = (
    ".local/bin",
    "bin",
    ".cargo/bin",
    ".pixi/bin",
    "miniforge3/bin",
    "miniconda3/bin",
    "mambaforge/bin",
    "anaconda3/bin",
)
"""Below the home: where the installers put the tools, often not on PATH."""

NEEDS = {
    "conda": "conda, mamba or micromamba: module load conda, or https://conda-forge.org/download",
    "pixi": "pixi: https://pixi.sh",
    "locked": "uv: https://docs.astral.sh/uv",
}


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, and the path of its program."""

    name: str
    program: str


@dataclass(frozen=True, slots=True)
class Order:
    """An environment to create or change. `more`: packages to add to `spec`. `spec_dir`: for files that the tool reads.
    `python`: a version such as 3.12, or "": the tool's choice. `channels`: of conda."""

    name: str
    prefix: Path
    tool: Tool
    spec: Spec
    spec_dir: Path
    python: str = ""
    more: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A command. `what`: its description, for progress messages. `environ`: variables to set for it."""

    what: str
    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Files to write first, then commands to run."""

    steps: tuple[Step, ...]
    files: Mapping[Path, str] = field(default_factory=dict)


def choose(spec: Spec, wanted: str | None, environ: Mapping[str, str] = os.environ) -> Tool:
    """Choose the tool for a specification.

    Raises MissingProgram if none is installed, UsageError if `wanted` can't read it.
    """
    if wanted:
        check_able(wanted, spec)
    for name in [wanted] if wanted else CHOICE[spec.kind]:
        if program := find(name, environ):
            return Tool(name, program)
    if wanted:
        raise MissingProgram(
            f"{wanted} is not installed on this machine",
            next=f"export PATH=DIRECTORY_OF_{wanted.upper()}:$PATH   (then try again)",
        )
    needed, _, fix = NEEDS.get(spec.kind, "uv: https://docs.astral.sh/uv").partition(": ")
    raise MissingProgram(f"{spec.words()} requires {needed}, which is not installed on this machine", next=fix)


def check_able(tool: str, spec: Spec) -> None:
    """Raise UsageError if a tool can't read such a specification."""
    able = (*CHOICE[spec.kind], *ON_REQUEST.get(spec.kind, ()))
    if tool not in able:
        raise UsageError(
            f"{tool} can't create an environment from {spec.words() or 'package names'}; {', '.join(able)} can"
        )


def find(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Find the path of a tool; "" if it is not on this machine."""
    if name == "venv":
        return base_python()
    for variable in ("CONDA_EXE", "MAMBA_EXE"):
        program = environ.get(variable, "")
        if os.path.basename(program) == name and os.access(program, os.X_OK):
            return program
    home = Path(environ.get("HOME") or Path.home())
    path = os.pathsep.join([environ.get("PATH", os.defpath), *(str(home / place) for place in USUAL)])
    return shutil.which(name, path=path) or ""


def base_python() -> str:
    """Find the Python that gears' own environment was made with."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return next((str(path) for path in [Path(sys.base_prefix, "bin", version)] if path.exists()), sys.executable)


def own_caches(prefix: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return variables for caches beside the environment, if the default ones are on another filesystem.

    The tools can't link files from there, only copy them. Variables that the user has set are kept.
    """
    default = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache")
    beside = prefix.parent / ".cache"
    if _device(default) == _device(beside):
        return {}
    names = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip", "CONDA_PKGS_DIRS": "conda", "RATTLER_CACHE_DIR": "rattler"}
    return {variable: str(beside / name) for variable, name in names.items() if variable not in environ}


def _device(path: Path) -> int:
    """Return the device number of the filesystem on which `path` is, or would be made."""
    while not path.exists():
        path = path.parent
    return path.stat().st_dev
