"""Commands for pixi. Pure. pixi keeps an environment below its manifest, so the manifest is copied there.

pixi.sh/latest/reference/cli: install, add, update, workspace export.
"""

from __future__ import annotations

from pathlib import Path

from gears.envs.tools import Order, Plan, Step

INSIDE = Path(".pixi/envs/default")


def plan_create(order: Order) -> Plan:
    """Plan a new environment, from a copy of the manifest and its lock file. `order.prefix` ends with INSIDE."""
    assert order.spec.file is not None
    source = order.spec.file.with_name("pixi.toml") if order.spec.file.name == "pixi.lock" else order.spec.file
    lock = source.with_name("pixi.lock")
    files = {_workspace(order) / source.name: source.read_text()}
    if lock.is_file():
        files[_workspace(order) / "pixi.lock"] = lock.read_text()
    install = Step("solving and installing", (*_pixi(order, "install"), *(["--frozen"] if lock.is_file() else [])))
    return Plan((install,), files)


def plan_install(order: Order, *, upgrade: bool = False) -> Plan:
    """Plan `pixi install`, with `upgrade` after `pixi update`."""
    verbs = ["update", "install"] if upgrade else ["install"]
    return Plan(tuple(Step("solving and installing", _pixi(order, verb)) for verb in verbs))


def plan_add(order: Order, words: tuple[str, ...]) -> Plan:
    """Plan `pixi add`, for additional packages."""
    return Plan((Step("solving and installing", (*_pixi(order, "add"), *words)),))


def plan_export(order: Order) -> Step:
    """Plan `pixi workspace export`, which prints a conda environment file."""
    argv = (order.tool.program, "workspace", "export", "conda-environment", "--manifest-path", str(_manifest(order)))
    return Step("export", argv)


def _workspace(order: Order) -> Path:
    return order.prefix.parents[len(INSIDE.parts) - 1]


def _manifest(order: Order) -> Path:
    named = order.spec.file.name if order.spec.file else "pixi.toml"
    return _workspace(order) / ("pixi.toml" if named == "pixi.lock" else named)


def _pixi(order: Order, verb: str) -> tuple[str, ...]:
    return (order.tool.program, verb, "--manifest-path", str(_manifest(order)))
