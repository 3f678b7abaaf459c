"""Commands for conda, mamba and micromamba. Pure.

conda and mamba read a file by `env create`, micromamba by `create` (mamba.readthedocs.io, "Micromamba user guide").
"""

from __future__ import annotations

from gears.envs.spec import read_conda, with_packages
from gears.envs.tools import Order, Plan, Step


def plan_create(order: Order) -> Plan:
    """Plan a new environment, from package names or from an environment.yml."""
    if order.spec.kind == "packages":
        python = f"python={order.python}" if order.python else "python"
        words = ("create", "--yes", *_into(order), *_channels(order), python, *order.spec.packages, *order.more)
        return Plan((Step("solving and installing", (order.tool.program, *words)),))
    create = ("create", "--yes") if order.tool.name == "micromamba" else ("env", "create", "--yes")
    return _with_file(order, create)


def plan_install(order: Order, *, upgrade: bool = False) -> Plan:
    """Plan an update of an environment to its specification; with `upgrade`, to the newest versions.

    mamba and micromamba keep installed packages that satisfy a file, and `update --file` installs nothing new (mamba
    issues 854, 2196). So install what the file adds first, then update all that was requested.
    """
    if order.spec.kind == "packages":
        return plan_add(order, order.spec.packages) if order.spec.packages else Plan((_plan_newest(order),))
    if order.tool.name == "conda":
        return _with_file(order, ("env", "update", "--prune"))
    plan = _with_file(order, ("install", "--yes"))
    return Plan((*plan.steps, *([_plan_newest(order)] if upgrade else [])), plan.files)


def plan_add(order: Order, words: tuple[str, ...]) -> Plan:
    """Plan the installation of additional packages from the channels of the order."""
    install = (order.tool.program, "install", "--yes", *_into(order), *_channels(order), *words)
    return Plan((Step("solving and installing", install),))


def _plan_newest(order: Order) -> Step:
    update = (order.tool.program, "update", "--yes", *_into(order), *_channels(order), "--all")
    return Step("updating to newer versions", update)


def _channels(order: Order) -> tuple[str, ...]:
    return tuple(word for channel in order.channels for word in ("--channel", channel))


def plan_export(order: Order) -> Step:
    """Plan `env export`, which prints what is installed."""
    return Step("export", (order.tool.program, "env", "export", *_into(order)))


def _into(order: Order) -> tuple[str, str]:
    return ("--prefix", str(order.prefix))


def _with_file(order: Order, words: tuple[str, ...]) -> Plan:
    """Plan a command that reads our copy of the file, with the added packages. The user's file is not changed."""
    import yaml

    assert order.spec.file is not None
    content = with_packages(read_conda(order.spec.file), order.more)
    file = order.spec_dir / "environment.yml"
    step = Step("solving and installing", (order.tool.program, *words, *_into(order), "--file", str(file)))
    return Plan((step,), {file: yaml.safe_dump(content, sort_keys=False)})
