"""A copy of the checkout to make things go wrong in, and the environment as init.sh would leave it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
PYTHON = Path(sys.executable).resolve()


def copy_checkout(copy: Path) -> Path:
    """As much of a checkout as make and init.sh read."""
    for name in ("Makefile", "pyproject.toml", "LICENSE", "gears/__init__.py"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, copy / name)
    shutil.copytree(CHECKOUT / "envs", copy / "envs")
    (copy / "run").mkdir()
    return copy


def make_current(checkout: Path, kind: str = "base") -> Path:
    """An environment as init.sh leaves it, without packages: its interpreter and its stamp."""
    (checkout / ".venv/bin").mkdir(parents=True, exist_ok=True)
    python = checkout / ".venv/bin/python"
    if not python.is_symlink():
        python.symlink_to(PYTHON)
    stamp = checkout / f".venv/gears-{kind}.stamp"
    project = (checkout / "pyproject.toml").read_text().partition("[tool.")[0]
    recipe = (checkout / "envs/init.sh").read_text().partition("\nrecipe=")[2].partition("\n")[0]
    text = f"{recipe}\n" + (checkout / f"envs/{kind}.lock.txt").read_text() + project
    checksum = subprocess.run(["cksum"], input=text, capture_output=True, text=True, check=True, timeout=120).stdout
    stamp.write_text(
        f"{checksum.strip()}\n{checkout.resolve()}\n{PYTHON}\n{os.uname().nodename} {os.uname().machine}\n"
    )
    return stamp


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
