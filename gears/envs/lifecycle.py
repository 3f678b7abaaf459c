"""Create, update, register and remove environments.

Each can be repeated, and can be killed at any point: an incomplete environment is not offered, and the next command
removes what is left of it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from gears.envs import archive, kernel, registry
from gears.envs.execute import carry_out, locked, save_state
from gears.envs.paths import Place, place, platform, prefix_of
from gears.envs.registry import Environment
from gears.envs.saved_spec import channels, load_spec, save_spec
from gears.envs.spec import Spec
from gears.envs.tools import CONDAS, Order, Tool, check_able, choose, find
from gears.errors import CommandFailed, GearsError, UsageError
from gears.sites.profile import Site
from gears.system import files, timestamps
from gears.system.commands import run
from gears.system.installation import gears_home
from gears.system.progress import Progress

KERNEL = ("ipykernel",)
FOR_NOTEBOOKS = ("ipykernel", "pip")
"""What a kernel needs, and what `%pip install` in a notebook needs if uv makes the environment."""

TRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """What the user requests. `python`: a version, or ""."""

    name: str
    spec: Spec
    tool: str | None = None
    python: str = ""


def create(request: Request, site: Site, say: Progress) -> tuple[Environment, bool]:
    """Create an environment. Returns it, and whether it is new. Removes first what a killed command left.

    Raises UsageError, MissingProgram, CommandFailed, and then leaves nothing behind. Raises GearsError if it exists but
    can't be used, and does not change it.
    """
    name = registry.check_name(request.name)
    tool = choose(request.spec, request.tool)
    where = _open_place()
    _check_free(where, name)
    with locked(where, name, say) as lock:
        found = registry.load(where, name)
        if found and registry.condition(found).state == "ready":
            _offer(found, where)
            return found, False
        if found and not found.adopted and found.state in ("making", "removing"):
            say(f"{name}: removing what an interrupted command left")
            _clear(found, where)
        elif found:
            condition = registry.condition(found)
            raise GearsError(f"{name} exists, but can't be used: {condition.reason}", next=condition.next)
        environment = _plan_environment(request, where, tool, site)
        _check_prefix(environment)
        environment = save_state(where, environment, "making")
        try:
            _make(environment, _order(environment, request, tool, where), where, say, lock)
        except BaseException:  # also if interrupted
            _clear(environment, where)
            where.lock(name).unlink(missing_ok=True)
            raise
        return _ready(environment, where), True


def update(name: str, spec: Spec | None, *, ipykernel: bool, say: Progress) -> Environment:
    """Update an environment to the newest versions of its specification, or to `spec`; or only add a missing ipykernel.

    It is not offered meanwhile. If the update fails, it stays as the tool left it, and its condition says so.
    """
    where = _open_place()
    with locked(where, name, say) as lock:
        environment = registry.find(gears_home() / "run", name)
        _check_own(environment, spec, ipykernel=ipykernel)
        tool = _tool_of(environment)
        if spec:
            check_able(tool.name, spec)
        order = _order(environment, Request(name, spec or load_spec(environment.name, where)), tool, where)
        kernel.withdraw(name, where)
        environment = save_state(where, environment, "updating")
        family = _family(tool)
        plan = family.plan_add(order, KERNEL) if ipykernel else family.plan_install(order, upgrade=True)
        carry_out(plan, where, environment, say, lock=lock)
        _add_kernel(environment, order, where, say, lock)
        if spec and spec.file and not environment.adopted:
            environment = replace(environment, source=spec.words())
            save_spec(order)
        return _ready(environment, where)


def adopt(prefix: Path, name: str | None, say: Progress) -> Environment:
    """Register an environment that was made without gears: it gets a kernel, and is not changed.

    Raises UsageError if it has no Python, or another environment has the name.
    """
    prefix = prefix.expanduser().absolute()
    name = registry.check_name(name or prefix.name)
    where = _open_place()
    _check_free(where, name)
    if not (prefix / "bin" / "python").exists():
        raise UsageError(f"{prefix}: no bin/python in this directory", next=f"ls {prefix}/bin")
    with locked(where, name, say):
        found = registry.load(where, name)
        if found and found.prefix != prefix:
            raise UsageError(
                f"{name} is already the name of {found.prefix}", next=f"gears env add {prefix} --name OTHER"
            )
        if not found:
            tool = _made_by(prefix)
            found = replace(_new(name, prefix, tool, str(prefix)), adopted=True)
        found = save_state(where, found, "ready")
        if registry.condition(found).state == "ready":
            _offer(found, where)
        return found


def remove(name: str, say: Progress) -> bool:
    """Withdraw it from JupyterLab, then delete it, unless gears did not make it. False if there was none."""
    where = _open_place()
    registry.check_name(name)
    with locked(where, name, say):
        environment = registry.load(where, name)
        if environment is None:
            where.lock(name).unlink(missing_ok=True)
            return False
        _clear(environment, where, say)
        where.log(name).unlink(missing_ok=True)
        where.lock(name).unlink(missing_ok=True)
        return True


def export(name: str) -> str:
    """Return what is installed, in the format of the tool that made it."""
    environment = registry.find(gears_home() / "run", name)
    tool = _tool_of(environment)
    where = place(gears_home() / "run")
    order = _order(environment, Request(name, load_spec(environment.name, where)), tool, where)
    return run(_family(tool).plan_export(order).argv, timeout_s=TRY_S)


# --- steps -----------------------------------------------------------------------------------


def _open_place() -> Place:
    run_directory = gears_home() / "run"
    files.ensure_private(run_directory, first_use=not (run_directory / "id").exists())
    return place(run_directory)


def _family(tool: Tool) -> ModuleType:
    """Return the module that plans this tool's commands."""
    from gears.envs import conda, pixi, venvs

    return conda if tool.name in CONDAS else pixi if tool.name == "pixi" else venvs


def _plan_environment(request: Request, where: Place, tool: Tool, site: Site) -> Environment:
    prefix = prefix_of(where, request.name, site)
    if tool.name == "pixi":
        from gears.envs.pixi import INSIDE

        prefix /= INSIDE
    return _new(request.name, prefix, tool, request.spec.words())


def _new(name: str, prefix: Path, tool: Tool, source: str) -> Environment:
    now = timestamps.utc_now()
    return Environment(name=name, prefix=prefix, tool=tool.name, program=tool.program, source=source, created=now)


def _order(environment: Environment, request: Request, tool: Tool, where: Place) -> Order:
    more = FOR_NOTEBOOKS if tool.name == "uv" else KERNEL if tool.name != "pixi" else ()
    name, prefix = environment.name, environment.prefix
    sources = channels(request.spec, name, prefix, where) if tool.name in CONDAS else ()
    return Order(name, prefix, tool, request.spec, where.spec(name), request.python, more, sources)


def _make(environment: Environment, order: Order, where: Place, say: Progress, lock: int) -> None:
    files.write_private(where.log(environment.name), "")
    say(f"{environment.name}: creating it with {order.tool.program} in {environment.prefix}")
    save_spec(order)
    carry_out(_family(order.tool).plan_create(order), where, environment, say, lock=lock)
    _add_kernel(environment, order, where, say, lock)


def _add_kernel(environment: Environment, order: Order, where: Place, say: Progress, lock: int) -> None:
    """Add what a kernel needs if the specification did not, and check that it can be imported."""
    if not registry.has_ipykernel(environment.prefix):
        say(f"{environment.name}: adding ipykernel, which a kernel needs")
        carry_out(_family(order.tool).plan_add(order, KERNEL), where, environment, say, lock=lock)
    python = str(environment.python)
    try:
        run([python, "-c", "import ipykernel"], timeout_s=TRY_S)
    except CommandFailed as exc:
        output = (exc.stderr.strip() or exc.message).splitlines()[-1:]
        raise GearsError(
            f"its Python can't start a kernel: {''.join(output)}", next=f"less {where.log(order.name)}"
        ) from exc


def _ready(environment: Environment, where: Place) -> Environment:
    environment = save_state(where, environment, "ready")
    _offer(environment, where)
    return environment


def _offer(environment: Environment, where: Place) -> None:
    kernel.ensure_scripts(environment, where)
    kernel.ensure_kernelspec(environment, where)


def _clear(environment: Environment, where: Place, say: Progress | None = None) -> None:
    """Remove all of the environment, in whatever state it is. The record is removed last."""
    name = environment.name
    kernel.withdraw(name, where)
    kernel.remove_scripts(name, where)
    if not environment.adopted:
        save_state(where, environment, "removing")
        top = _top(environment)
        if say:
            say(f"{name}: removing {top}")
        if _is_made_here(top, name):
            shutil.rmtree(top, ignore_errors=True)
        if top.exists():
            raise GearsError(f"{top}: not removed completely", next=f"ls -la {top}; gears env remove {name}")
    archive.remove_pack(archive.directory(where.root.parents[1]), name)
    shutil.rmtree(where.spec(name), ignore_errors=True)
    where.record(name).unlink(missing_ok=True)


def _top(environment: Environment) -> Path:
    """Return the directory to remove: for pixi, the one with the manifest."""
    from gears.envs.pixi import INSIDE

    return environment.prefix.parents[len(INSIDE.parts) - 1] if environment.tool == "pixi" else environment.prefix


def _is_made_here(top: Path, name: str) -> bool:
    """Tell whether `prefix_of` can have returned that directory: nothing else is ever removed."""
    return top.name == name and top.parent.name in ("built", platform()) and not top.is_symlink()


# --- checks ----------------------------------------------------------------------------------


def _check_free(where: Place, name: str) -> None:
    """Raise UsageError if the name is taken. Jupyter ignores case in names."""
    taken = [other.name for other in registry.every(where) if other.name.lower() == name.lower() and other.name != name]
    if name.lower() in registry.RESERVED or taken:
        reason = f"Jupyter can't distinguish it from {taken[0]}" if taken else "reserved for gears' own environment"
        raise UsageError(f"{name}: {reason}", next="gears env list   (choose another name)")


def _check_prefix(environment: Environment) -> None:
    top = _top(environment)
    if top.exists():
        raise UsageError(f"{top} already exists, and was not made by gears", next=f"gears env add {environment.prefix}")


def _check_own(environment: Environment, spec: Spec | None, *, ipykernel: bool) -> None:
    name = environment.name
    if name == registry.BASE:
        raise UsageError("base is gears' own environment", next="make init")
    if environment.adopted and not spec and not ipykernel:
        raise UsageError(
            f"{name} was not made by gears, which only adds packages that you name",
            next=f"gears env update {name} PACKAGE…   (or with its own tool)",
        )
    if environment.state in ("making", "removing"):
        condition = registry.condition(environment)
        raise GearsError(f"{name}: {condition.reason}", next=condition.next)


# --- tools and specifications ----------------------------------------------------------------


def _tool_of(environment: Environment) -> Tool:
    """Find the tool that made the environment, or another of its family if that is gone. Raises GearsError."""
    same = CONDAS if environment.tool in CONDAS else (environment.tool, *(["venv"] if environment.tool == "uv" else []))
    for name in (environment.tool, *same):
        if program := find(name):
            return Tool(name, program)
    raise GearsError(
        f"{environment.tool}, which made {environment.name}, is not installed on this machine", next="gears env list"
    )


def _made_by(prefix: Path) -> Tool:
    if (prefix / "conda-meta").is_dir():
        names: tuple[str, ...] = CONDAS
    else:
        names = ("uv", "venv") if "\nuv = " in files.read_text(prefix / "pyvenv.cfg") else ("venv",)
    return next((Tool(name, program) for name in names if (program := find(name))), Tool(names[0], ""))
