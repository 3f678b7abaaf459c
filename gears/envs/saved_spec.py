"""What an environment was made from, kept with it: an update needs no other file, and asks the same channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gears.envs.paths import Place
from gears.envs.spec import Spec, read_conda, read_spec
from gears.envs.tools import Order
from gears.system import files

CHANNEL = "conda-forge"
"""Where packages come from that are only named."""


def save_spec(order: Order) -> None:
    """Keep a copy of what the environment is made from. Of a project it is the file's place that counts."""
    files.ensure_private(order.spec_dir)
    record = {"kind": order.spec.kind, "packages": list(order.spec.packages), "file": None}
    if order.spec.file:
        kept = order.spec.file
        if order.spec.kind in ("conda", "requirements"):
            kept = order.spec_dir / f"asked-{order.spec.file.name}"
            files.write_private(kept, order.spec.file.read_text())
        record["file"] = str(kept)
    files.write_record(order.spec_dir / "spec.json", record)


def load_spec(name: str, where: Place) -> Spec:
    """Read what `save_spec` has kept; no packages if it has kept nothing."""
    record = files.read_record(where.spec(name) / "spec.json")
    if file := record.get("file"):
        return replace(read_spec(str(file), []), kind=str(record["kind"]))
    return Spec("packages", packages=tuple(map(str, record.get("packages", ()))))


def channels(asked: Spec, name: str, prefix: Path, where: Place) -> tuple[str, ...]:
    """Return where conda and its like look for a package that is added: where the others came from.

    Of an environment that is not there yet, and of one that somebody else made, its Python's record tells that. If none
    does, it is conda-forge.
    """
    spec = asked if asked.kind == "conda" else load_spec(name, where)
    if spec.kind == "conda" and spec.file:
        return tuple(map(str, read_conda(spec.file).get("channels") or ()))
    records = [files.read_record(file) for file in prefix.glob("conda-meta/python-[0-9]*.json")]
    return tuple(str(record["channel"]) for record in records if record.get("channel")) or (CHANNEL,)
