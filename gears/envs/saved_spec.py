"""The specification of an environment, saved with it: an update needs no other file, and uses the same channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from gears.envs.paths import Place
from gears.envs.spec import Spec, read_conda, read_spec
from gears.envs.tools import Order
from gears.system import files, records

CHANNEL = "conda-forge"
"""The channel of packages that are requested by name only."""


@dataclass(frozen=True, slots=True)
class SavedSpec:
    """`NAME.spec/spec.json`: a `Spec` as JSON has it."""

    kind: str = "packages"
    packages: tuple[str, ...] = ()
    file: str | None = None


def save_spec(order: Order) -> None:
    """Save a copy of the specification. Of a project only the path of its file is saved."""
    files.ensure_private(order.spec_dir)
    spec, file = order.spec, order.spec.file
    if file and spec.kind in ("conda", "requirements"):
        saved = order.spec_dir / f"asked-{file.name}"
        files.write_private(saved, file.read_text())
        file = saved
    records.save(order.spec_dir / "spec.json", SavedSpec(spec.kind, spec.packages, str(file) if file else None))


def load_spec(name: str, where: Place) -> Spec:
    """Load what `save_spec` has saved; a specification without packages if there is none."""
    saved = records.load(SavedSpec, where.spec(name) / "spec.json") or SavedSpec()
    if saved.file:
        return replace(read_spec(saved.file, []), kind=saved.kind)
    return Spec("packages", packages=saved.packages)


def channels(requested: Spec, name: str, prefix: Path, where: Place) -> tuple[str, ...]:
    """Return the channels for added packages: those of the specification, of the installed Python, or conda-forge."""
    spec = requested if requested.kind == "conda" else load_spec(name, where)
    if spec.kind == "conda" and spec.file:
        return tuple(map(str, read_conda(spec.file).get("channels") or ()))
    records = [files.read_record(file) for file in prefix.glob("conda-meta/python-[0-9]*.json")]
    return tuple(str(record["channel"]) for record in records if record.get("channel")) or (CHANNEL,)
