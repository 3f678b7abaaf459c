"""The words of `gears env` and `gears kernel`. `cli` knows which function carries them out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[Any]"
MakeCommand = Callable[..., argparse.ArgumentParser]

TOOLS = ("uv", "venv", "conda", "mamba", "micromamba", "pixi")


class Intermixed(argparse.ArgumentParser):
    """Options may stand before, between and behind packages; argparse itself then takes the packages for none."""

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse options and packages in any order, if the command takes packages; otherwise as argparse does."""
        if self._mixing or not any(action.nargs == "*" for action in self._actions):
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


def add_env(commands: Commands, command: MakeCommand) -> None:
    """Add `env` and `kernel`. `command`: `arguments._command`."""
    what = "environments beside the one gears runs in, each a kernel in JupyterLab"
    env = command(commands, "env", what, site=False, does="env list")
    env.set_defaults(json=False)
    verbs = env.add_subparsers(
        parser_class=Intermixed, metavar="create|list|show|update|remove|export|add|run|verify|pack"
    )
    add_making(verbs, command)
    add_looking(verbs, command)
    add_checks(verbs, command)
    run = command(verbs, "run", "a command with the environment active", site=False, does="env run")
    run.add_argument("name", metavar="NAME")
    run.add_argument("words", nargs="+", metavar="COMMAND")
    kernel = command(commands, "kernel", "the kernels that JupyterLab offers", site=False)
    kernels = kernel.add_subparsers(metavar="prune", required=True)
    prune = command(kernels, "prune", "take away those that can't be started", site=False, does="kernel prune")
    prune.add_argument("--all", action="store_true", help="also your own, of ~/.local/share/jupyter/kernels")


def add_making(verbs: Commands, command: MakeCommand) -> None:
    """Add the verbs that change something: create, update, remove, add."""
    create = command(verbs, "create", "make an environment, and its kernel", site=False, does="env create")
    update = command(verbs, "update", "the newest of what it was made from, or more", site=False, does="env update")
    for verb in (create, update):
        verb.add_argument("name", metavar="NAME")
        verb.add_argument("packages", nargs="*", metavar="PACKAGE")
        verb.add_argument(
            "--from", dest="file", metavar="FILE", help="environment.yml, requirements.txt, pyproject.toml, pixi.toml …"
        )
    create.add_argument("--tool", choices=TOOLS, help="default: the best one here that can read the specification")
    create.add_argument("--python", default="", metavar="X.Y", help="a version of Python (default: the tool's choice)")
    create.add_argument("--site", metavar="SITE", help="whose profile says where environments are")
    update.add_argument("--ipykernel", action="store_true", help="only add what a kernel needs")
    remove = command(verbs, "remove", "take it away, its kernel first", site=False, does="env remove")
    remove.add_argument("name", metavar="NAME")
    add = command(verbs, "add", "take up one that exists; it is left as it is", site=False, does="env add")
    add.add_argument("prefix", metavar="PREFIX")
    add.add_argument("--name", metavar="NAME", help="default: the last part of PREFIX")


def add_looking(verbs: Commands, command: MakeCommand) -> None:
    """Add the verbs that only show something: list, show, export."""
    listing = command(verbs, "list", "all of them, and whether they can be used", site=False, does="env list")
    show = command(verbs, "show", "one of them", site=False, does="env show")
    show.add_argument("name", metavar="NAME")
    for verb in (listing, show):
        verb.add_argument("--json", action="store_true", help="for programs")
    export = command(
        verbs, "export", "what is installed in it, as its tool writes it down", site=False, does="env export"
    )
    export.add_argument("name", metavar="NAME")


def add_checks(verbs: Commands, command: MakeCommand) -> None:
    """Add verify and pack."""
    verify = command(verbs, "verify", "what a purge or a broken installation left of it", site=False, does="env verify")
    verify.add_argument("name", metavar="NAME")
    verify.add_argument("--hashes", action="store_true", help="read all files too, instead of looking at their sizes")
    verify.add_argument("--json", action="store_true", help="for programs")
    pack = command(verbs, "pack", "one archive of it, which jobs unpack on their node", site=False, does="env pack")
    pack.add_argument("name", metavar="NAME")
    pack.add_argument("--output", metavar="FILE", help="an archive to take elsewhere, of which jobs know nothing")
    pack.add_argument("--remove", action="store_true", help="take the archive away: jobs use the environment itself")
