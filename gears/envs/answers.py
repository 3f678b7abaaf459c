"""What `gears env` and `gears kernel` answer: a text for a person or a program, and an exit status."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from gears import store
from gears.envs import known, packed
from gears.envs.known import Environment
from gears.envs.place import Place, place
from gears.errors import GearsError
from gears.loop import Say
from gears.rundir import gears_home

Answer = tuple[str, int]


def create(args: argparse.Namespace, say: Say) -> Answer:
    """Make an environment if there is none of that name, and say how to use it."""
    from gears.envs import make
    from gears.envs.spec import read_spec
    from gears.sites import default_site, load_site

    request = make.Request(args.name, read_spec(args.file, args.packages), args.tool, args.python)
    environment, new = make.create(request, load_site(args.site or default_site()), say)
    name = environment.name
    said = "is ready" if new else f"is there already, made from {environment.source or 'nothing but Python'}"
    return f"{name} {said}\n{_how_to_use(name)}", 0


def update(args: argparse.Namespace, say: Say) -> Answer:
    """Bring an environment up to date, or to another specification."""
    from gears.envs import make
    from gears.envs.spec import read_spec

    asked = read_spec(args.file, args.packages) if args.file or args.packages else None
    environment = make.update(args.name, asked, ipykernel=args.ipykernel, say=say)
    return f"{environment.name} is up to date; kernels that run have what they had\n{_how_to_use(environment.name)}", 0


def add(args: argparse.Namespace, say: Say) -> Answer:
    """Take up an environment that exists. Raises GearsError if it can't be used as it is; it is known all the same."""
    from gears.envs import make

    environment = make.adopt(Path(args.prefix), args.name, say)
    condition = known.condition(environment)
    if condition.state != "ready":
        raise GearsError(f"{environment.name} is known now, but it {condition.reason}", next=condition.next)
    return f"{environment.name}: {environment.prefix}, left as it is\n{_how_to_use(environment.name)}", 0


def remove(args: argparse.Namespace, say: Say) -> Answer:
    """Remove an environment, if there is one."""
    from gears.envs import make

    return f"{args.name}: " + ("removed" if make.remove(args.name, say) else "there is none"), 0


def listing(args: argparse.Namespace, _say: Say) -> Answer:
    """List all environments, after `prune.settle` has offered those that can be used."""
    from gears.envs.prune import settle

    where = place(_run())
    settle(where)
    if args.json:
        return json.dumps([_record(environment, where) for environment in known.every(where)]), 0
    lines = [_line(environment, where, grey=sys.stdout.isatty()) for environment in known.every(where)]
    return "\n".join(lines) or "no environments yet\n  next: gears env create NAME numpy …", 0


def show(args: argparse.Namespace, _say: Say) -> Answer:
    """Show one environment: its condition, what it was made from, and its archive."""
    where = place(_run())
    environment = known.find(_run(), args.name)
    record = _record(environment, where)
    if args.json:
        return json.dumps(record), 0
    lines = [
        f"  {key:9} {record[key]}" for key in ("prefix", "tool", "source", "created", "pack", "next") if record[key]
    ]
    return "\n".join([f"{args.name}: {record['state']} {record['reason']}".rstrip(), *lines]), 0


def prune(args: argparse.Namespace, _say: Say) -> Answer:
    """Withdraw kernels that can't be started; with `--all` remove the person's own as well."""
    from gears.envs.prune import prune

    found = prune(_run(), theirs=args.all)
    lines = [
        f"{'removed' if dead.removed else 'dead   '}  {dead.name:20} {dead.why}   ({dead.directory})" for dead in found
    ]
    if any(not dead.removed for dead in found):
        lines.append("  next: gears kernel prune --all   (removes these kernelspecs of your own)")
    return "\n".join(lines) or "every kernel can be started", 0


def verify(args: argparse.Namespace, say: Say) -> Answer:
    """Check an environment. The exit status is 1 if not all is as it was installed."""
    from gears.envs import findings
    from gears.envs.verify import verify

    environment = known.find(_run(), args.name)
    report = verify(environment.prefix, hashes=args.hashes, say=say)
    mending = findings.plan_mending(report, environment)
    record = findings.as_record(report, args.name, mending)
    text = json.dumps(record) if args.json else findings.as_text(report, args.name, mending)
    return text, 0 if report.whole else 1


def pack(args: argparse.Namespace, say: Say) -> Answer:
    """Pack an environment, or remove its archive.

    Raises GearsError if the environment is not whole: a copy of it would not be either.
    """
    from gears.envs.pack import pack
    from gears.envs.verify import verify

    environment, packs = known.find(_run(), args.name), packed.directory(_run())
    name = environment.name
    if args.remove:
        was = packed.remove_pack(packs, name)
        done = "its archive is removed; jobs use the environment itself" if was else "it was not packed"
        return f"{name}: {done}", 0
    if verify(environment.prefix, say=say).unusable:
        raise GearsError(f"{name} is broken, and so would a copy be", next=f"gears env verify {name}")
    target = Path(args.output).expanduser().absolute() if args.output else None
    store.ensure_private(_run() / "envs")
    archive = pack(name, environment.prefix, packs, output=target, say=say)
    size = archive.stat().st_size / 1e6
    return f"{name}: {archive} ({size:.0f} MB)\n{_what_then(environment, archive, kept=not args.output)}", 0


ANSWERS: dict[str, Callable[[argparse.Namespace, Say], Answer]] = {
    "env create": create,
    "env update": update,
    "env add": add,
    "env remove": remove,
    "env list": listing,
    "env show": show,
    "env verify": verify,
    "env pack": pack,
    "kernel prune": prune,
}


def _how_to_use(name: str) -> str:
    return (
        f"  in JupyterLab   choose {name} in the launcher (a lab that runs shows it after a moment)\n"
        f"  in a shell      gears env run {name} -- python …   (or: gears shell --env {name})"
    )


def _what_then(environment: Environment, archive: Path, *, kept: bool) -> str:
    from gears.envs import interpreter

    if kept:
        return "  jobs of yours unpack it on their node, until the environment changes"
    name, needed = environment.name, interpreter.outside(environment.prefix)
    unpack = f"  there: mkdir {name} && tar -xzf {archive.name} -C {name}"
    if (environment.prefix / "conda-meta").is_dir():
        return f"{unpack} && {name}/bin/python {name}/bin/conda-unpack"
    if interpreter.to_take(environment.prefix, Path.home()):
        return f'{unpack} && sed -i "s|^home.*|home = $PWD/{name}/{interpreter.TAKEN}/bin|" {name}/pyvenv.cfg'
    return f"{unpack}\n  it needs {needed} there too, which is not in it"


def _record(environment: Environment, where: Place) -> store.Record:
    condition = known.condition(environment)
    pack = packed.state(packed.directory(_run()), environment.name)
    return environment.as_record() | {
        "state": condition.state,
        "reason": condition.reason,
        "next": condition.next,
        "kernel": condition.state == "ready" and where.kernelspec(environment.name).exists(),
        "pack": pack,
    }


def _line(environment: Environment, where: Place, *, grey: bool) -> str:
    record = _record(environment, where)
    mark = {"ready": "✓", "making": "…"}.get(str(record["state"]), "✗")
    pack = f", pack {record['pack']}" if record["pack"] else ""
    line = f"{mark} {environment.name:20} {environment.tool:10} {environment.prefix}{pack}"
    if record["state"] == "ready":
        return line
    text = f"{line}\n    {record['reason']}" + (f"; next: {record['next']}" if record["next"] else "")
    return f"\x1b[2m{text}\x1b[0m" if grey and record["state"] == "broken" else text


def _run() -> Path:
    return gears_home() / "run"
