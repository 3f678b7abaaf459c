"""The words of `gears env`. `cli` knows which function carries them out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
MakeCommand = Callable[..., argparse.ArgumentParser]


def add_env(commands: Commands, command: MakeCommand) -> None:
    """`command`: `arguments._command`."""
    env = command(commands, "env", "environments beside the one gears runs in", site=False)
    verbs = env.add_subparsers(metavar="verify|pack", required=True)
    add_checks(verbs, command)


def add_checks(verbs: Commands, command: MakeCommand) -> None:
    verify = command(verbs, "verify", "what a purge or a broken installation left of it", site=False, does="env verify")
    verify.add_argument("name", metavar="NAME")
    verify.add_argument("--hashes", action="store_true", help="read all files too, instead of looking at their sizes")
    verify.add_argument("--json", action="store_true", help="for programs")
    pack = command(verbs, "pack", "one archive of it, which jobs unpack on their node", site=False, does="env pack")
    pack.add_argument("name", metavar="NAME")
    pack.add_argument("--output", metavar="FILE", help="an archive to take elsewhere, of which jobs know nothing")
    pack.add_argument("--remove", action="store_true", help="take the archive away: jobs use the environment itself")
