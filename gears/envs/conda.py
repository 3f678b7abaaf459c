"""What conda, mamba and micromamba are told. Pure.

conda and mamba read a file by `env create`, micromamba by `create` (mamba.readthedocs.io, "Micromamba user guide").
"""

from __future__ import annotations

from gears.envs.spec import read_conda, with_packages
from gears.envs.tools import Order, Plan, Step

CHANNEL = "conda-forge"
"""Where packages come from that are only named."""


def plan_create(order: Order) -> Plan:
    if order.spec.kind == "packages":
        python = f"python={order.python}" if order.python else "python"
        words = ("create", "--yes", *_into(order), "--channel", CHANNEL, python, *order.spec.packages, *order.more)
        return Plan((Step("solving and installing", (order.tool.program, *words)),))
    create = ("create", "--yes") if order.tool.name == "micromamba" else ("env", "create", "--yes")
    return _with_file(order, create)


def plan_install(order: Order, *, upgrade: bool = False) -> Plan:
    if order.spec.kind == "packages":
        verb = "update" if upgrade and not order.spec.packages else "install"
        everything = ("--all",) if verb == "update" else ()
        words = (verb, "--yes", *_into(order), *everything, *order.spec.packages)
        return Plan((Step("solving and installing", (order.tool.program, *words)),))
    update = ("update", "--yes") if order.tool.name == "micromamba" else ("env", "update", "--prune")
    return _with_file(order, update)


def plan_add(order: Order, words: tuple[str, ...]) -> Plan:
    install = (order.tool.program, "install", "--yes", *_into(order), *words)
    return Plan((Step("solving and installing", install),))


def plan_export(order: Order) -> Step:
    return Step("export", (order.tool.program, "env", "export", *_into(order)))


def _into(order: Order) -> tuple[str, str]:
    return ("--prefix", str(order.prefix))


def _with_file(order: Order, words: tuple[str, ...]) -> Plan:
    """The file with the packages that are added, as our own copy: nothing of the person's is changed."""
    import yaml

    assert order.spec.file is not None
    content = with_packages(read_conda(order.spec.file), order.more)
    file = order.spec_dir / "environment.yml"
    step = Step("solving and installing", (order.tool.program, *words, *_into(order), "--file", str(file)))
    return Plan((step,), {file: yaml.safe_dump(content, sort_keys=False)})
