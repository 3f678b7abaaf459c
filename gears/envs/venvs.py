"""Commands for uv, or for venv and pip. Pure. Both make the same kind of environment."""

from __future__ import annotations

import re

from gears.envs.spec import Spec, dependencies
from gears.envs.tools import Order, Plan, Step
from gears.errors import UsageError

PIP = ("-m", "ensurepip", "--default-pip")
"""A separate step, since venv does not report why it fails."""


def plan_create(order: Order) -> Plan:
    """Plan a new environment with the packages of the specification, and pip if venv makes it."""
    prefix, python = str(order.prefix), order.python
    if order.tool.name == "uv":
        version = ("--python", python) if python else ()
        make = Step("creating it", (order.tool.program, "venv", "--no-project", *version, prefix))
        return Plan((make, *plan_install(order).steps))
    make = Step("creating it", (python_program(order), "-m", "venv", "--without-pip", prefix))
    return Plan((make, Step("installing pip", (f"{prefix}/bin/python", *PIP)), *plan_install(order).steps))


def plan_install(order: Order, *, upgrade: bool = False) -> Plan:
    """Plan the installation of the specification's packages into an existing environment."""
    if order.spec.kind == "locked":
        return _plan_locked(order)
    more = tuple(package for package in order.more if package not in _named(order.spec))
    upgrading = ("--upgrade",) if upgrade else ()
    if _has_hashes(order.spec):  # then pip rejects packages without one
        return Plan(
            tuple(step for words in (_requirements(order), more) for step in _plan_words(order, upgrading, words))
        )
    return Plan(_plan_words(order, upgrading, (*_requirements(order), *more)))


def _plan_words(order: Order, options: tuple[str, ...], words: tuple[str, ...]) -> tuple[Step, ...]:
    return plan_add(order, (*options, *words)).steps if words else ()


def _named(spec: Spec) -> set[str]:
    """Find the packages that a requirements file names, in lower case (PEP 508; pip's requirements file format)."""
    if spec.kind != "requirements" or spec.file is None:
        return set()
    return {name.lower() for name in re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", spec.file.read_text(), re.MULTILINE)}


def _has_hashes(spec: Spec) -> bool:
    return spec.kind == "requirements" and spec.file is not None and "--hash=" in spec.file.read_text()


def plan_add(order: Order, words: tuple[str, ...]) -> Plan:
    """Plan the installation of additional packages. `words`: their names, and options of pip."""
    python = str(order.prefix / "bin" / "python")
    uv = (order.tool.program, "pip", "install", "--compile-bytecode", "--python", python)
    pip = (python, "-m", "pip", "install", "--disable-pip-version-check")
    return Plan((Step("installing packages", (*(uv if order.tool.name == "uv" else pip), *words)),))


def plan_export(order: Order) -> Step:
    """Plan `pip freeze`, which prints what is installed."""
    python = str(order.prefix / "bin" / "python")
    if order.tool.name == "uv":
        return Step("export", (order.tool.program, "pip", "freeze", "--python", python))
    return Step("export", (python, "-m", "pip", "freeze", "--disable-pip-version-check"))


def python_program(order: Order) -> str:
    """Return the Python that runs venv. Raises UsageError for an invalid version."""
    if not order.python:
        return order.tool.program
    if not re.fullmatch(r"3\.\d{1,2}", order.python):
        raise UsageError(f"--python {order.python}: not a version such as 3.12", next="gears env create --help")
    return f"python{order.python}"


def _requirements(order: Order) -> tuple[str, ...]:
    spec = order.spec
    if spec.kind == "packages" or spec.file is None:
        return spec.packages
    if spec.kind == "project" and order.tool.name != "uv":
        return tuple(dependencies(spec.file))  # pip would install the project as well
    return ("-r", str(spec.file))


def _plan_locked(order: Order) -> Plan:
    """Plan the installation of exactly what uv.lock says, without the project itself."""
    assert order.spec.file is not None
    sync = (order.tool.program, "sync", "--frozen", "--no-install-project", "--inexact", "--compile-bytecode")
    where = {"UV_PROJECT_ENVIRONMENT": str(order.prefix)}
    step = Step("installing locked packages", (*sync, "--project", str(order.spec.file.parent)), where)
    return Plan((step, *(plan_add(order, order.more).steps if order.more else ())))
