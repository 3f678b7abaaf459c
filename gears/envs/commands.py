"""What `gears env verify` and `gears env pack` answer: a text, or one line of JSON, and an exit status."""

from __future__ import annotations

import json
from pathlib import Path

from gears import store
from gears.envs import findings, known, packed
from gears.errors import GearsError
from gears.loop import Say
from gears.rundir import gears_home

Answer = tuple[str, int]


def verify(name: str, *, hashes: bool, as_json: bool, say: Say) -> Answer:
    """1 where not all is as it was installed."""
    from gears.envs.verify import verify

    environment = known.find(_run(), name)
    report = verify(environment.prefix, hashes=hashes, say=say)
    mending = findings.plan_mending(report, environment)
    record = findings.as_record(report, name, mending)
    return json.dumps(record) if as_json else findings.as_text(report, name, mending), 0 if report.whole else 1


def pack(name: str, output: str | None, say: Say) -> Answer:
    """Raises GearsError where the environment is not whole: a copy of it would not be either."""
    from gears.envs.pack import pack
    from gears.envs.verify import verify

    environment = known.find(_run(), name)
    if verify(environment.prefix, say=say).unusable:
        raise GearsError(f"{name} is broken, and so would a copy be", next=f"gears env verify {name}")
    target = Path(output).expanduser().absolute() if output else None
    store.ensure_private(_run() / "envs")
    archive = pack(name, environment.prefix, _packs(), output=target, say=say)
    size = archive.stat().st_size / 1e6
    return f"{name}: {archive} ({size:.0f} MB)\n{_what_then(environment, archive, kept=not output)}", 0


def remove_pack(name: str) -> Answer:
    was = packed.remove_pack(_packs(), known.find(_run(), name).name)
    return f"{name}: " + ("its archive is removed; jobs use the environment itself" if was else "it was not packed"), 0


def _what_then(environment: known.Environment, archive: Path, *, kept: bool) -> str:
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


def _run() -> Path:
    return gears_home() / "run"


def _packs() -> Path:
    return packed.directory(_run())
