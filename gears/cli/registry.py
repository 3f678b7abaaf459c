"""All commands, and the module that implements each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from gears import __version__

MODULES = {
    "lab": "lab",
    "stop": "stop",
    "status": "status",
    "open": "open",
    "ssh-config": "ssh_config",
    "password": "password",
    "url": "url",
    "logs": "logs",
    "attach": "attach",
    "doctor": "doctor",
    "sites": "sites",
    "forward": "forward",
    "shell": "shell",
    "run": "run",
    "dask": "dask",
    "env": "env",
    "kernel": "env",
    "_turn": "internal",
    "_serve": "internal",
    "_examine": "internal",
    "_open": "open",
    "_shell": "shell",
    "_run": "run",
    "_dask": "dask",
}
"""Command name → module in this package. Commands that begin with _ are internal."""


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Build the parser of the command that `words` begin with, or of all. It sets `run` to the command's function."""
    parser = argparse.ArgumentParser(
        prog="gears",
        description="JupyterLab on an HPC centre, in your own browser, at an address that never changes.",
        epilog="SITE defaults to $GEARS_SITE, else `site` in ~/.config/gears/config.toml, else local.",
    )
    parser.add_argument("--version", action="version", version=f"gears {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    name = MODULES.get(words[0]) if words else None
    for module in [name] if name else dict.fromkeys(MODULES.values()):
        import_module(f"gears.cli.{module}").add(commands)
    return parser
