"""`gears env` and `gears kernel`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gears.cli.console import say, show
from gears.cli.options import Commands, add_command
from gears.cli.registry import COMMANDS
from gears.envs import registry
from gears.envs.archive import directory, remove_pack, state
from gears.envs.paths import Place, place
from gears.envs.registry import Environment
from gears.errors import GearsError
from gears.system import files
from gears.system.installation import gears_home
from gears.system.records import as_values


def do_env(args: argparse.Namespace) -> int:
    """Run a verb of `gears env` or `gears kernel`, and print its answer."""
    answer: Answer = args.answer(args)
    text, status = answer
    show(text)
    return status


def do_env_export(args: argparse.Namespace) -> int:
    """Print what is installed in an environment, in the format of the tool that made it."""
    from gears.envs import lifecycle

    print(lifecycle.export(args.name), end="")
    return 0


def do_env_run(args: argparse.Namespace) -> int:
    """Replace this process by the command, with the environment active. Never returns."""
    from gears.envs import activate

    activate.become(args.name, args.words)


Answer = tuple[str, int]


def create(args: argparse.Namespace) -> Answer:
    """Create an environment if there is none of that name, and say how to use it."""
    from gears.envs import lifecycle
    from gears.envs.spec import read_spec
    from gears.sites.load import default_site, load_site

    request = lifecycle.Request(args.name, read_spec(args.file, args.packages), args.tool, args.python)
    environment, new = lifecycle.create(request, load_site(args.site or default_site()), say)
    name = environment.name
    outcome = "is ready" if new else f"already exists, made from {environment.source or 'Python alone'}"
    return f"{name} {outcome}\n{_how_to_use(name)}", 0


def update(args: argparse.Namespace) -> Answer:
    """Update an environment to the newest versions, or to another specification."""
    from gears.envs import lifecycle
    from gears.envs.spec import read_spec

    spec = read_spec(args.file, args.packages) if args.file or args.packages else None
    environment = lifecycle.update(args.name, spec, ipykernel=args.ipykernel, say=say)
    name = environment.name
    return f"{name} is up to date; running kernels keep what they have imported\n{_how_to_use(name)}", 0


def adopt(args: argparse.Namespace) -> Answer:
    """Register an existing environment. Raises GearsError if it can't be used; it stays registered."""
    from gears.envs import lifecycle

    environment = lifecycle.adopt(Path(args.prefix), args.name, say)
    condition = registry.condition(environment)
    if condition.state != "ready":
        raise GearsError(f"{environment.name} was added, but can't be used: {condition.reason}", next=condition.next)
    return f"{environment.name}: added {environment.prefix}, which stays unchanged\n{_how_to_use(environment.name)}", 0


def remove(args: argparse.Namespace) -> Answer:
    """Remove an environment, if there is one."""
    from gears.envs import lifecycle

    return f"{args.name}: " + ("removed" if lifecycle.remove(args.name, say) else "no such environment"), 0


def listing(args: argparse.Namespace) -> Answer:
    """List all environments, after `prune.settle` has updated which of them JupyterLab offers."""
    from gears.envs.prune import settle

    where = place(_run())
    settle(where)
    if args.json:
        return json.dumps([as_values(_row(environment, where)) for environment in registry.every(where)]), 0
    lines = [_line(environment, where, grey=sys.stdout.isatty()) for environment in registry.every(where)]
    return "\n".join(lines) or "no environments yet\n  next: gears env create NAME numpy …", 0


def describe(args: argparse.Namespace) -> Answer:
    """Show one environment: its condition, its source and its archive."""
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
    """Remove kernels that can't be started; with `--all` also the user's own."""
    from gears.envs.prune import prune

    found = prune(_run(), users_own=args.all)
    lines = [
        f"{'removed' if dead.removed else 'dead   '}  {dead.name:20} {dead.why}   ({dead.directory})" for dead in found
    ]
    if any(not dead.removed for dead in found):
        lines.append("  next: gears kernel prune --all   (also removes your own kernelspecs listed here)")
    return "\n".join(lines) or "all kernels can be started", 0


def verify(args: argparse.Namespace) -> Answer:
    """Check an environment. The exit status is 1 if anything differs from what was installed."""
    from gears.envs.report import as_record, as_text, plan_repair
    from gears.envs.verify import verify

    environment = registry.find(_run(), args.name)
    report = verify(environment.prefix, hashes=args.hashes, say=say)
    repair = plan_repair(report, environment)
    record = as_record(report, args.name, repair)
    text = json.dumps(record) if args.json else as_text(report, args.name, repair)
    return text, 0 if report.whole else 1


def pack(args: argparse.Namespace) -> Answer:
    """Pack an environment, or remove its archive. Raises GearsError if the environment is broken."""
    from gears.envs.pack import pack
    from gears.envs.verify import verify

    environment, packs = registry.find(_run(), args.name), directory(_run())
    name = environment.name
    if args.remove:
        removed = remove_pack(packs, name)
        outcome = "archive removed; jobs use the environment itself" if removed else "not packed"
        return f"{name}: {outcome}", 0
    if verify(environment.prefix, say=say).unusable:
        raise GearsError(f"{name} is broken, so it can't be packed", next=f"gears env verify {name}")
    target = Path(args.output).expanduser().absolute() if args.output else None
    files.ensure_private(_run() / "envs")
    archive = pack(name, environment.prefix, packs, output=target, say=say)
    size = archive.stat().st_size / 1e6
    return f"{name}: {archive} ({size:.0f} MB)\n{_how_to_unpack(environment, archive, for_jobs=not args.output)}", 0


def _how_to_use(name: str) -> str:
    return (
        f"  in JupyterLab   choose {name} in the launcher (a running lab shows it after a moment)\n"
        f"  in a shell      gears env run {name} -- python …   (or: gears shell --env {name})"
    )


def _how_to_unpack(environment: Environment, archive: Path, *, for_jobs: bool) -> str:
    from gears.envs import base_python

    if for_jobs:
        return "  your jobs unpack it on their node until the environment changes"
    name, needed = environment.name, base_python.external(environment.prefix)
    unpack = f"  unpack with: mkdir {name} && tar -xzf {archive.name} -C {name}"
    if (environment.prefix / "conda-meta").is_dir():
        return f"{unpack} && {name}/bin/python {name}/bin/conda-unpack"
    if base_python.root_to_bundle(environment.prefix, Path.home()):
        return f'{unpack} && sed -i "s|^home.*|home = $PWD/{name}/{base_python.BUNDLED}/bin|" {name}/pyvenv.cfg'
    return f"{unpack}\n  it also needs {needed} on that machine, which is not in the archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Environment):
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
        **{field.name: getattr(current, field.name) for field in fields(current)},
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
    """A parser that takes options before, between and after packages, where argparse itself finds no packages."""

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
    env = _verb(commands, "env", "", listing)
    env.set_defaults(json=False)
    verbs = env.add_subparsers(
        parser_class=Intermixed, metavar="create|list|show|update|remove|export|add|run|verify|pack"
    )
    _add_making(verbs)
    _add_looking(verbs)
    _add_checks(verbs)
    run = add_command(verbs, "run", do_env_run, summary="run a command with the environment active", site=False)
    run.add_argument("name", metavar="NAME")
    run.add_argument("words", nargs="+", metavar="COMMAND")
    kernel = commands.add_parser("kernel", help=COMMANDS["kernel"][1], description=COMMANDS["kernel"][1])
    kernels = kernel.add_subparsers(metavar="prune", required=True)
    pruned = _verb(kernels, "prune", "remove kernels that can't be started", prune)
    pruned.add_argument("--all", action="store_true", help="also remove your own, in ~/.local/share/jupyter/kernels")


def _verb(
    verbs: Commands, name: str, help: str, answer: Callable[[argparse.Namespace], Answer]
) -> argparse.ArgumentParser:
    parser = add_command(verbs, name, do_env, summary=help, site=False)
    parser.set_defaults(answer=answer)
    return parser


def _add_making(verbs: Commands) -> None:
    """Add the verbs that change something: create, update, remove, add."""
    new = _verb(verbs, "create", "create an environment and its kernel", create)
    newer = _verb(verbs, "update", "update packages to their newest versions, or add packages", update)
    for verb in (new, newer):
        verb.add_argument("name", metavar="NAME")
        verb.add_argument("packages", nargs="*", metavar="PACKAGE")
        verb.add_argument(
            "--from", dest="file", metavar="FILE", help="environment.yml, requirements.txt, pyproject.toml, pixi.toml …"
        )
    new.add_argument("--tool", choices=TOOLS, help="default: the best available tool for the specification")
    new.add_argument("--python", default="", metavar="X.Y", help="Python version (default: the tool's choice)")
    new.add_argument("--site", metavar="SITE", help="site whose profile sets where environments are stored")
    newer.add_argument("--ipykernel", action="store_true", help="only install what a kernel needs")
    gone = _verb(verbs, "remove", "remove an environment and its kernel", remove)
    gone.add_argument("name", metavar="NAME")
    taken = _verb(verbs, "add", "register an existing environment without changing it", adopt)
    taken.add_argument("prefix", metavar="PREFIX")
    taken.add_argument("--name", metavar="NAME", help="default: the last component of PREFIX")


def _add_looking(verbs: Commands) -> None:
    """Add the verbs that only show something: list, show, export."""
    every = _verb(verbs, "list", "list all environments and whether they can be used", listing)
    one = _verb(verbs, "show", "show one environment", describe)
    one.add_argument("name", metavar="NAME")
    for verb in (every, one):
        verb.add_argument("--json", action="store_true", help="print JSON")
    export = add_command(
        verbs, "export", do_env_export, summary="print what is installed, in the format of its tool", site=False
    )
    export.add_argument("name", metavar="NAME")


def _add_checks(verbs: Commands) -> None:
    """Add verify and pack."""
    checked = _verb(verbs, "verify", "check for files lost to a purge or an interrupted installation", verify)
    checked.add_argument("name", metavar="NAME")
    checked.add_argument("--hashes", action="store_true", help="also read all files and compare their hashes")
    checked.add_argument("--json", action="store_true", help="print JSON")
    packed = _verb(verbs, "pack", "pack an environment into an archive, which jobs unpack on their node", pack)
    packed.add_argument("name", metavar="NAME")
    packed.add_argument(
        "--output", metavar="FILE", help="write the archive to FILE, for another machine; jobs do not use it"
    )
    packed.add_argument("--remove", action="store_true", help="remove the archive; jobs use the environment itself")
