"""What `gears env` and `gears kernel` answer: a text for a person or a program, and an exit status."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from gears import store
from gears.envs import known, packed
from gears.envs.known import Environment
from gears.envs.place import Place, place
from gears.errors import GearsError
from gears.loop import Say
from gears.rundir import gears_home

Answer = tuple[str, int]


def create(args: argparse.Namespace, site: str, say: Say) -> Answer:
    from gears.envs import make
    from gears.envs.spec import read_spec
    from gears.sites import load_site

    request = make.Request(args.name, read_spec(args.file, args.packages), args.tool, args.python)
    environment, new = make.create(request, load_site(args.site or site), say)
    name = environment.name
    if not new:
        return (
            f"{name} is there already, made from {environment.source or 'nothing but Python'}\n{_how_to_use(name)}",
            0,
        )
    return f"{name} is ready\n{_how_to_use(name)}", 0


def update(args: argparse.Namespace, say: Say) -> Answer:
    from gears.envs import make
    from gears.envs.spec import read_spec

    asked = read_spec(args.file, args.packages) if args.file or args.packages else None
    environment = make.update(args.name, asked, ipykernel=args.ipykernel, say=say)
    return f"{environment.name} is up to date; kernels that run have what they had\n{_how_to_use(environment.name)}", 0


def add(prefix: str, name: str | None, say: Say) -> Answer:
    from gears.envs import make

    environment = make.adopt(Path(prefix), name, say)
    condition = known.condition(environment)
    if condition.state != "ready":
        raise GearsError(f"{environment.name} is known now, but it {condition.reason}", next=condition.next)
    return f"{environment.name}: {environment.prefix}, left as it is\n{_how_to_use(environment.name)}", 0


def remove(name: str, say: Say) -> Answer:
    from gears.envs import make

    return f"{name}: " + ("removed" if make.remove(name, say) else "there is none"), 0


def listing(*, as_json: bool, grey: bool) -> Answer:
    """`grey`: whether the screen can show it."""
    from gears.envs.prune import settle

    where = place(_run())
    settle(where)
    if as_json:
        return json.dumps([_record(environment, where) for environment in known.every(where)]), 0
    lines = [_line(environment, where, grey=grey) for environment in known.every(where)]
    return "\n".join(lines) or "no environments yet\n  next: gears env create NAME numpy …", 0


def show(name: str, *, as_json: bool) -> Answer:
    where = place(_run())
    environment = known.find(_run(), name)
    record = _record(environment, where)
    if as_json:
        return json.dumps(record), 0
    lines = [
        f"  {key:9} {record[key]}" for key in ("prefix", "tool", "source", "created", "pack", "next") if record[key]
    ]
    return "\n".join([f"{name}: {record['state']} {record['reason']}".rstrip(), *lines]), 0


def run_in(name: str, words: list[str], environ: Mapping[str, str] = os.environ) -> NoReturn:
    """Becomes the command. Raises GearsError where the environment can't be used."""
    runner = usable(name)
    os.execve("/bin/sh", ["sh", runner, *words], dict(environ))


def usable(name: str) -> str:
    """The script that runs its arguments in the environment. Raises UsageError and GearsError."""
    from gears.envs import kernel

    environment, where = known.find(_run(), name), place(_run())
    condition = known.condition(environment)
    if condition.state != "ready" and "ipykernel" not in condition.reason:
        raise GearsError(f"{name} {condition.reason}", next=condition.next)
    store.ensure_private(where.root)
    kernel.ensure_scripts(environment, where)
    return str(where.runner(name))


def prune(*, theirs: bool) -> Answer:
    from gears.envs.prune import prune

    found = prune(_run(), theirs=theirs)
    lines = [
        f"{'removed' if dead.removed else 'dead   '}  {dead.name:20} {dead.why}   ({dead.directory})" for dead in found
    ]
    if any(not dead.removed for dead in found):
        lines.append("  next: gears kernel prune --all   (removes these kernelspecs of your own)")
    return "\n".join(lines) or "every kernel can be started", 0


def _how_to_use(name: str) -> str:
    return (
        f"  in JupyterLab   choose {name} in the launcher (a lab that runs shows it after a moment)\n"
        f"  in a shell      gears env run {name} -- python …   (or: gears shell --env {name})"
    )


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
