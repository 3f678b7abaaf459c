"""`gears env` and `gears kernel`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gears.cli.console import say, show
from gears.cli.options import Commands, add_command
from gears.envs import registry
from gears.envs.archive import directory, remove_pack, state
from gears.envs.paths import Place, place
from gears.envs.registry import Environment, EnvironmentRecord
from gears.errors import GearsError
from gears.system import files
from gears.system.installation import gears_home
from gears.system.records import as_values


def do_env(args: argparse.Namespace) -> int:
    """Carry out a verb of `gears env` or `gears kernel`, and print its answer."""
    answer: Answer = args.answer(args)
    text, status = answer
    show(text)
    return status


def do_env_export(args: argparse.Namespace) -> int:
    """Print what is installed in an environment, in the words of the tool that made it."""
    from gears.envs import lifecycle

    print(lifecycle.export(args.name), end="")
    return 0


def do_env_run(args: argparse.Namespace) -> int:
    """Become the command, with the environment active. Never returns."""
    from gears.envs import activate

    activate.become(args.name, args.words)


Answer = tuple[str, int]


def create(args: argparse.Namespace) -> Answer:
    """Make an environment if there is none of that name, and say how to use it."""
    from gears.envs import lifecycle
    from gears.envs.spec import read_spec
    from gears.sites.load import default_site, load_site

    request = lifecycle.Request(args.name, read_spec(args.file, args.packages), args.tool, args.python)
    environment, new = lifecycle.create(request, load_site(args.site or default_site()), say)
    name = environment.name
    said = "is ready" if new else f"is there already, made from {environment.source or 'nothing but Python'}"
    return f"{name} {said}\n{_how_to_use(name)}", 0


def update(args: argparse.Namespace) -> Answer:
    """Bring an environment up to date, or to another specification."""
    from gears.envs import lifecycle
    from gears.envs.spec import read_spec

    asked = read_spec(args.file, args.packages) if args.file or args.packages else None
    environment = lifecycle.update(args.name, asked, ipykernel=args.ipykernel, say=say)
    return f"{environment.name} is up to date; kernels that run have what they had\n{_how_to_use(environment.name)}", 0


def adopt(args: argparse.Namespace) -> Answer:
    """Take up an environment that exists. Raises GearsError if it can't be used as it is; it is known all the same."""
    from gears.envs import lifecycle

    environment = lifecycle.adopt(Path(args.prefix), args.name, say)
    condition = registry.condition(environment)
    if condition.state != "ready":
        raise GearsError(f"{environment.name} is known now, but it {condition.reason}", next=condition.next)
    return f"{environment.name}: {environment.prefix}, left as it is\n{_how_to_use(environment.name)}", 0


def remove(args: argparse.Namespace) -> Answer:
    """Remove an environment, if there is one."""
    from gears.envs import lifecycle

    return f"{args.name}: " + ("removed" if lifecycle.remove(args.name, say) else "there is none"), 0


def listing(args: argparse.Namespace) -> Answer:
    """List all environments, after `prune.settle` has offered those that can be used."""
    from gears.envs.prune import settle

    where = place(_run())
    settle(where)
    if args.json:
        return json.dumps([as_values(_row(environment, where)) for environment in registry.every(where)]), 0
    lines = [_line(environment, where, grey=sys.stdout.isatty()) for environment in registry.every(where)]
    return "\n".join(lines) or "no environments yet\n  next: gears env create NAME numpy …", 0


def describe(args: argparse.Namespace) -> Answer:
    """Show one environment: its condition, what it was made from, and its archive."""
    where = place(_run())
    environment = registry.find(_run(), args.name)
    row = _row(environment, where)
    if args.json:
        return json.dumps(as_values(row)), 0
    shown = {
        "prefix": row.prefix,
        "tool": row.tool,
        "source": row.source,
        "created": row.created,
        "pack": row.pack,
        "next": row.next,
    }
    lines = [f"  {label:9} {value}" for label, value in shown.items() if value]
    return "\n".join([f"{args.name}: {row.state} {row.reason}".rstrip(), *lines]), 0


def prune(args: argparse.Namespace) -> Answer:
    """Withdraw kernels that can't be started; with `--all` remove the person's own as well."""
    from gears.envs.prune import prune

    found = prune(_run(), theirs=args.all)
    lines = [
        f"{'removed' if dead.removed else 'dead   '}  {dead.name:20} {dead.why}   ({dead.directory})" for dead in found
    ]
    if any(not dead.removed for dead in found):
        lines.append("  next: gears kernel prune --all   (removes these kernelspecs of your own)")
    return "\n".join(lines) or "every kernel can be started", 0


def verify(args: argparse.Namespace) -> Answer:
    """Check an environment. The exit status is 1 if not all is as it was installed."""
    from gears.envs.report import as_record, as_text, plan_mending
    from gears.envs.verify import verify

    environment = registry.find(_run(), args.name)
    report = verify(environment.prefix, hashes=args.hashes, say=say)
    mending = plan_mending(report, environment)
    record = as_record(report, args.name, mending)
    text = json.dumps(record) if args.json else as_text(report, args.name, mending)
    return text, 0 if report.whole else 1


def pack(args: argparse.Namespace) -> Answer:
    """Pack an environment, or remove its archive.

    Raises GearsError if the environment is not whole: a copy of it would not be either.
    """
    from gears.envs.pack import pack
    from gears.envs.verify import verify

    environment, packs = registry.find(_run(), args.name), directory(_run())
    name = environment.name
    if args.remove:
        was = remove_pack(packs, name)
        done = "its archive is removed; jobs use the environment itself" if was else "it was not packed"
        return f"{name}: {done}", 0
    if verify(environment.prefix, say=say).unusable:
        raise GearsError(f"{name} is broken, and so would a copy be", next=f"gears env verify {name}")
    target = Path(args.output).expanduser().absolute() if args.output else None
    files.ensure_private(_run() / "envs")
    archive = pack(name, environment.prefix, packs, output=target, say=say)
    size = archive.stat().st_size / 1e6
    return f"{name}: {archive} ({size:.0f} MB)\n{_what_then(environment, archive, kept=not args.output)}", 0


def _how_to_use(name: str) -> str:
    return (
        f"  in JupyterLab   choose {name} in the launcher (a lab that runs shows it after a moment)\n"
        f"  in a shell      gears env run {name} -- python …   (or: gears shell --env {name})"
    )


def _what_then(environment: Environment, archive: Path, *, kept: bool) -> str:
    from gears.envs import base_python

    if kept:
        return "  jobs of yours unpack it on their node, until the environment changes"
    name, needed = environment.name, base_python.outside(environment.prefix)
    unpack = f"  there: mkdir {name} && tar -xzf {archive.name} -C {name}"
    if (environment.prefix / "conda-meta").is_dir():
        return f"{unpack} && {name}/bin/python {name}/bin/conda-unpack"
    if base_python.to_take(environment.prefix, Path.home()):
        return f'{unpack} && sed -i "s|^home.*|home = $PWD/{name}/{base_python.TAKEN}/bin|" {name}/pyvenv.cfg'
    return f"{unpack}\n  it needs {needed} there too, which is not in it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(EnvironmentRecord):
    """What `list` and `show` print of an environment, and `--json` has: its record, with its condition now.

    `state`, `reason`, `next`: see `registry.Condition`. `kernel`: JupyterLab offers it. `pack`: see `archive.state`.
    """

    reason: str
    next: str
    kernel: bool
    pack: str


def _row(environment: Environment, where: Place) -> Row:
    condition = registry.condition(environment)
    current = replace(environment, state=condition.state)
    return Row(
        **as_values(registry.to_record(current)),
        reason=condition.reason,
        next=condition.next,
        kernel=condition.state == "ready" and where.kernelspec(environment.name).exists(),
        pack=state(directory(_run()), environment.name),
    )


def _line(environment: Environment, where: Place, *, grey: bool) -> str:
    row = _row(environment, where)
    mark = {"ready": "✓", "making": "…"}.get(row.state, "✗")
    pack = f", pack {row.pack}" if row.pack else ""
    line = f"{mark} {row.name:20} {row.tool:10} {row.prefix}{pack}"
    if row.state == "ready":
        return line
    text = f"{line}\n    {row.reason}" + (f"; next: {row.next}" if row.next else "")
    return f"\x1b[2m{text}\x1b[0m" if grey and row.state == "broken" else text


def _run() -> Path:
    return gears_home() / "run"


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


def add(commands: Commands) -> None:
    """Add `env` and `kernel`."""
    what = "environments beside the one gears runs in, each a kernel in JupyterLab"
    env = _verb(commands, "env", what, listing)
    env.set_defaults(json=False)
    verbs = env.add_subparsers(
        parser_class=Intermixed, metavar="create|list|show|update|remove|export|add|run|verify|pack"
    )
    _add_making(verbs)
    _add_looking(verbs)
    _add_checks(verbs)
    run = add_command(verbs, "run", "a command with the environment active", do_env_run, site=False)
    run.add_argument("name", metavar="NAME")
    run.add_argument("words", nargs="+", metavar="COMMAND")
    kernel = commands.add_parser("kernel", help=(what := "the kernels that JupyterLab offers"), description=what)
    kernels = kernel.add_subparsers(metavar="prune", required=True)
    pruned = _verb(kernels, "prune", "take away those that can't be started", prune)
    pruned.add_argument("--all", action="store_true", help="also your own, of ~/.local/share/jupyter/kernels")


def _verb(
    verbs: Commands, name: str, help: str, answer: Callable[[argparse.Namespace], Answer]
) -> argparse.ArgumentParser:
    parser = add_command(verbs, name, help, do_env, site=False)
    parser.set_defaults(answer=answer)
    return parser


def _add_making(verbs: Commands) -> None:
    """Add the verbs that change something: create, update, remove, add."""
    new = _verb(verbs, "create", "make an environment, and its kernel", create)
    newer = _verb(verbs, "update", "the newest of what it was made from, or more", update)
    for verb in (new, newer):
        verb.add_argument("name", metavar="NAME")
        verb.add_argument("packages", nargs="*", metavar="PACKAGE")
        verb.add_argument(
            "--from", dest="file", metavar="FILE", help="environment.yml, requirements.txt, pyproject.toml, pixi.toml …"
        )
    new.add_argument("--tool", choices=TOOLS, help="default: the best one here that can read the specification")
    new.add_argument("--python", default="", metavar="X.Y", help="a version of Python (default: the tool's choice)")
    new.add_argument("--site", metavar="SITE", help="whose profile says where environments are")
    newer.add_argument("--ipykernel", action="store_true", help="only add what a kernel needs")
    gone = _verb(verbs, "remove", "take it away, its kernel first", remove)
    gone.add_argument("name", metavar="NAME")
    taken = _verb(verbs, "add", "take up one that exists; it is left as it is", adopt)
    taken.add_argument("prefix", metavar="PREFIX")
    taken.add_argument("--name", metavar="NAME", help="default: the last part of PREFIX")


def _add_looking(verbs: Commands) -> None:
    """Add the verbs that only show something: list, show, export."""
    every = _verb(verbs, "list", "all of them, and whether they can be used", listing)
    one = _verb(verbs, "show", "one of them", describe)
    one.add_argument("name", metavar="NAME")
    for verb in (every, one):
        verb.add_argument("--json", action="store_true", help="for programs")
    export = add_command(
        verbs, "export", "what is installed in it, as its tool writes it down", do_env_export, site=False
    )
    export.add_argument("name", metavar="NAME")


def _add_checks(verbs: Commands) -> None:
    """Add verify and pack."""
    checked = _verb(verbs, "verify", "what a purge or a broken installation left of it", verify)
    checked.add_argument("name", metavar="NAME")
    checked.add_argument("--hashes", action="store_true", help="read all files too, instead of looking at their sizes")
    checked.add_argument("--json", action="store_true", help="for programs")
    packed = _verb(verbs, "pack", "one archive of it, which jobs unpack on their node", pack)
    packed.add_argument("name", metavar="NAME")
    packed.add_argument("--output", metavar="FILE", help="an archive to take elsewhere, of which jobs know nothing")
    packed.add_argument("--remove", action="store_true", help="take the archive away: jobs use the environment itself")
