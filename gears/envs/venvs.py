"""What uv, or venv and pip, are told. Pure. Both make the same kind of environment."""

from __future__ import annotations

import re

from gears.envs.spec import dependencies
from gears.envs.tools import Order, Plan, Step
from gears.errors import UsageError


def plan_create(order: Order) -> Plan:
    prefix, python = str(order.prefix), order.python
    if order.tool.name == "uv":
        version = ("--python", python) if python else ()
        make = Step("making it", (order.tool.program, "venv", "--no-project", *version, prefix))
    else:
        make = Step("making it", (python_program(order), "-m", "venv", prefix))
    return Plan((make, *plan_install(order).steps))


def plan_install(order: Order, *, upgrade: bool = False) -> Plan:
    """What the specification says, into an environment that is there."""
    if order.spec.kind == "locked":
        return _plan_locked(order)
    words = (*(["--upgrade"] * upgrade), *_requirements(order), *order.more)
    return plan_add(order, words) if words else Plan(())


def plan_add(order: Order, words: tuple[str, ...]) -> Plan:
    python = str(order.prefix / "bin" / "python")
    uv = (order.tool.program, "pip", "install", "--compile-bytecode", "--python", python)
    pip = (python, "-m", "pip", "install", "--disable-pip-version-check")
    return Plan((Step("installing packages", (*(uv if order.tool.name == "uv" else pip), *words)),))


def plan_export(order: Order) -> Step:
    python = str(order.prefix / "bin" / "python")
    if order.tool.name == "uv":
        return Step("export", (order.tool.program, "pip", "freeze", "--python", python))
    return Step("export", (python, "-m", "pip", "freeze", "--disable-pip-version-check"))


def python_program(order: Order) -> str:
    """The Python that venv is run with. Raises UsageError for a version that is not asked for as one."""
    if not order.python:
        return order.tool.program
    if not re.fullmatch(r"3\.\d{1,2}", order.python):
        raise UsageError(f"--python {order.python}: a version such as 3.12", next="gears env create --help")
    return f"python{order.python}"


def _requirements(order: Order) -> tuple[str, ...]:
    spec = order.spec
    if spec.kind == "packages" or spec.file is None:
        return spec.packages
    if spec.kind == "project" and order.tool.name != "uv":
        return tuple(dependencies(spec.file))  # pip would install the project as well
    return ("-r", str(spec.file))


def _plan_locked(order: Order) -> Plan:
    """uv.lock: exactly what it says, without the project itself."""
    assert order.spec.file is not None
    sync = (order.tool.program, "sync", "--frozen", "--no-install-project", "--inexact", "--compile-bytecode")
    where = {"UV_PROJECT_ENVIRONMENT": str(order.prefix)}
    step = Step("installing what is locked", (*sync, "--project", str(order.spec.file.parent)), where)
    return Plan((step, *(plan_add(order, order.more).steps if order.more else ())))
