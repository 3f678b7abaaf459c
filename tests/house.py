"""How far a reader of gears walks to follow a command: `python -m tests.house` prints the way of `gears lab SITE`.

She reads a function from its beginning to its end. At each function of gears that it names, and that she has not read,
she turns to that one first. So the way is a walk through the calls, depth first, in the order of the text:

    files      those in which she reads a function
    climbs     how often she comes back up to a caller's file, which she had left, for another function there
    returns    how often she comes back to another file, as to a library, for a function there

Calls are found without running anything: by names, imports, and the types that annotations, constructors and results
give to variables. Properties count as values; the functions in a table are read where one is taken out of it. Not
followed is what a start that goes well does not do: what is raised, what an `except` does, and OPTIONAL.

It is counted twice: with all files, and without references, which can be read on their own: the doors to the outside
(`gears/system/`), and each file that calls no other but these.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[1]

START = ("gears.cli.lab", "do_lab")

OPTIONAL = (
    "gears.cli.status",  # --no-wait
    "gears.envs.activate",  # an environment as the default
    "gears.lab.jupyter.carry_limits",  # --carry
    "gears.lab.job",  # a job: `docs/how-it-works.md` tells it as a story of its own
    "gears.lab.status.job_status",
    "gears.lab.supervisor.job_policy",
    "gears.lab.supervisor.job_step",
    "gears.schedulers",
)
"""What only an option of `gears lab`, or a key of the profile, brings in."""

DOORS = "gears.system"

Key = tuple[str, str]
"""A module, and a name in it: of a function, a class, a constant, or CLASS.METHOD."""


def main() -> None:
    """Print the way, indented by the depth of the calls, and its length."""
    way = plain_start()
    for step in way.steps:
        print(f"{'  ' * step.depth}{step.key[0].removeprefix('gears.')} {step.key[1]}   {step.turn}".rstrip())
    print(f"{way}\nwithout references: {plain_start(closed=references())}")


def plain_start(*, closed: Collection[str] = ()) -> Way:
    """Follow `gears lab SITE` without options, and not into the modules and packages of `closed`."""
    return walk(START, closed=(*OPTIONAL, *closed))


def references() -> list[str]:
    """List the files that call no function of another one, and the package of the doors to the outside."""
    functions = [key for key, node in defined().items() if isinstance(node, Function)]
    return [DOORS, *({key[0] for key in functions} - {key[0] for key in functions if _leads_away(key)})]


def _leads_away(key: Key) -> bool:
    return any(module != key[0] and not module.startswith(f"{DOORS}.") for module, _ in calls(key))


@dataclass(frozen=True, slots=True)
class Step:
    """A function that is read. `turn`: how the reader got to it from the file she was in."""

    key: Key
    depth: int
    turn: Literal["", "climb", "return"]  # "": it is in the same file, or in a new one


@dataclass(slots=True)
class Way:
    """A walk through functions of gears."""

    steps: list[Step] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(step.key[0] for step in self.steps))

    @property
    def climbs(self) -> int:
        return sum(step.turn == "climb" for step in self.steps)

    @property
    def returns(self) -> int:
        return sum(step.turn == "return" for step in self.steps)

    def __str__(self) -> str:
        read = f"{len(self.steps)} functions in {len(self.files)} files"
        return f"{read}; {self.climbs} climbs, {self.returns} returns"


def walk(start: Key, *, closed: Collection[str] = ()) -> Way:
    """Follow the calls from `start`, without those into modules and packages of `closed`."""
    way, read = Way(), {start}

    def turn_to(key: Key, callers: tuple[str, ...]) -> None:
        moved = bool(way.steps) and way.steps[-1].key[0] != key[0] and key[0] in way.files
        way.steps.append(Step(key, len(callers), "climb" if moved and key[0] in callers else "return" if moved else ""))
        for called in calls(key):
            if called not in read and not f"{called[0]}.".startswith(tuple(f"{name}." for name in closed)):
                read.add(called)
                turn_to(called, (*callers, key[0]))

    turn_to(start, ())
    return way


# --- the source ------------------------------------------------------------------------------

Function = ast.FunctionDef


@cache
def modules() -> dict[str, ast.Module]:
    """All modules of gears, but those that run under an environment's Python and import no gears."""
    files = [file for file in (ROOT / "gears").rglob("*.py") if "anywhere" not in file.parts]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return {name: ast.parse(file.read_text()) for name, file in zip(names, files, strict=True)}


@cache
def defined() -> dict[Key, ast.AST]:
    """Functions and classes, and the values of constants."""
    found: dict[Key, ast.AST] = {}
    for module, tree in modules().items():
        for node in tree.body:
            if isinstance(node, Function | ast.ClassDef):
                found[module, node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                found[module, ast.unparse(target)] = node.value
            if isinstance(node, ast.ClassDef):
                methods = [method for method in node.body if isinstance(method, Function)]
                found |= {(module, f"{node.name}.{method.name}"): method for method in methods}
    return found


def imports(nodes: list[ast.stmt]) -> dict[str, Key]:
    """The names that are imported from gears: module and name, as written."""
    statements = [node for part in nodes for node in ast.walk(part) if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in statements
        for alias in node.names
        if node.module and node.module.split(".")[0] == "gears"
    }


@cache
def module_imports(module: str) -> dict[str, Key]:
    return imports([node for node in modules()[module].body if not isinstance(node, Function | ast.ClassDef)])


def look_up(module: str, name: str, local: dict[str, Key]) -> Key | str | None:
    """What a name stands for in a module: something defined there or elsewhere, or a module."""
    if name not in local and (module, name) in defined():
        return module, name
    source = local.get(name) or module_imports(module).get(name)
    if source is None:
        return None
    whole = ".".join(source)
    return whole if whole in modules() else look_up(*source, {}) if source[0] in modules() else None


def forget() -> None:
    """Read the source again next time, as below another ROOT."""
    for read in (modules, defined, module_imports, member, _field_type, calls):
        read.cache_clear()


# --- one function ----------------------------------------------------------------------------


class Scope:
    """The names and types in a function or a class."""

    def __init__(self, module: str, node: ast.AST, owner: Key | None = None) -> None:
        self.module, self.local = module, imports(getattr(node, "body", []))
        self.types: dict[str, Key | None] = {}
        arguments = node.args if isinstance(node, Function) else ast.arguments([], [], None, [], [], None, [])
        for argument in (*arguments.args, *arguments.kwonlyargs):
            self.types[argument.arg] = owner if argument.arg == "self" else self.class_of(argument.annotation)
        for part in ast.walk(node):
            for target, value in _bindings(part):
                if isinstance(target, ast.Name) and not self.types.get(target.id):
                    self.types[target.id] = self.type_of(value)

    def named(self, node: ast.AST | None) -> Key | str | None:
        """What an expression names: something defined, or a module."""
        if isinstance(node, ast.Name):
            return None if node.id in self.types else look_up(self.module, node.id, self.local)
        if not isinstance(node, ast.Attribute):
            return None
        owner = self.named(node.value)
        if isinstance(owner, str):
            return f"{owner}.{node.attr}" if f"{owner}.{node.attr}" in modules() else look_up(owner, node.attr, {})
        kind = owner if owner and isinstance(defined()[owner], ast.ClassDef) else self.type_of(node.value)
        return member(kind, node.attr) if kind else None

    def class_of(self, annotation: ast.AST | None) -> Key | None:
        """The class of gears that an annotation names, optional or not."""
        if isinstance(annotation, ast.BinOp):
            return self.class_of(annotation.left) or self.class_of(annotation.right)
        if isinstance(annotation, ast.Subscript):
            return self.class_of(annotation.value)
        found = self.named(annotation)
        return found if isinstance(found, tuple) and isinstance(defined()[found], ast.ClassDef) else None

    def type_of(self, node: ast.AST | None) -> Key | None:
        """The class of gears of an expression's value, as far as it is known."""
        match node:
            case ast.Name():
                return self.types.get(node.id)
            case ast.BoolOp():
                return next(filter(None, map(self.type_of, node.values)), None)
            case ast.IfExp():
                return self.type_of(node.body) or self.type_of(node.orelse)
            case ast.NamedExpr():
                return self.type_of(node.value)
            case ast.Call():
                return self._result(self.named(node.func))
            case ast.Attribute():
                found = self.named(node)
                owner = self.type_of(node.value)
                return self._result(found) if found else _field_type(owner, node.attr) if owner else None
        return None

    def _result(self, found: Key | str | None) -> Key | None:
        """The class that a call of `found` makes or returns."""
        node = defined()[found] if isinstance(found, tuple) else None
        if isinstance(found, tuple) and isinstance(node, Function):
            return Scope(found[0], ast.Module([], [])).class_of(node.returns)
        return found if isinstance(found, tuple) and isinstance(node, ast.ClassDef) else None


def _bindings(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST | None]]:
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
            yield from zip(names, values, strict=False)
        case ast.Assign(targets=[target]):
            yield target, node.value
        case ast.NamedExpr() | ast.AnnAssign():
            yield node.target, node.value
        case ast.withitem():
            yield node.optional_vars or node, node.context_expr


@cache
def member(kind: Key, name: str) -> Key | None:
    """A method of a class or of those it derives from."""
    if (kind[0], f"{kind[1]}.{name}") in defined():
        return kind[0], f"{kind[1]}.{name}"
    bases = map(Scope(kind[0], ast.Module([], [])).class_of, getattr(defined()[kind], "bases", []))
    return next(filter(None, (member(base, name) for base in bases if base)), None)


@cache
def _field_type(kind: Key, name: str) -> Key | None:
    """The class of an attribute: annotated in the class, or set by its `__init__`."""
    node, scope = defined()[kind], Scope(kind[0], ast.Module([], []))
    for part in getattr(node, "body", []):
        if isinstance(part, ast.AnnAssign) and ast.unparse(part.target) == name:
            return scope.class_of(part.annotation)
    init = defined().get((kind[0], f"{kind[1]}.__init__"))
    inside = Scope(kind[0], init, kind) if init else scope
    values = [value for part in ast.walk(init or ast.Pass()) for target, value in _bindings(part)
              if ast.unparse(target) == f"self.{name}"]  # fmt: skip
    return next(filter(None, map(inside.type_of, values)), None)


@cache
def calls(key: Key) -> list[Key]:
    """The functions of gears that a function names, in the order of its text."""
    node = defined()[key]
    owner = (key[0], key[1].rpartition(".")[0])
    scope = Scope(key[0], node, owner if owner in defined() else None)
    found: list[Key] = []
    for part in _parts(node):
        table = isinstance(part, ast.Subscript)
        named = scope.named(part.value if isinstance(part, ast.Subscript) else part)
        if isinstance(named, tuple):
            found += _functions_in(named) if table else _functions(named)
    return list(dict.fromkeys(found))


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the names of a function's text in their order, without what is raised, excepted, or an annotation."""
    children = node.body if isinstance(node, Function) else ast.iter_child_nodes(node)
    for child in children:
        if isinstance(child, ast.Name | ast.Attribute | ast.Subscript):
            yield child
        if not isinstance(child, ast.Raise | ast.ExceptHandler | ast.ImportFrom):
            yield from _parts(child)


def _functions(named: Key) -> list[Key]:
    """The functions behind a name: itself, or what makes an object of a class."""
    node = defined()[named]
    if isinstance(node, Function):
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        return [] if "property" in decorators else [named]
    if isinstance(node, ast.ClassDef):
        return [found for name in ("__init__", "__post_init__") if (found := member(named, name))]
    return []


def _functions_in(table: Key) -> list[Key]:
    scope, node = Scope(table[0], ast.Module([], [])), defined()[table]
    if isinstance(node, Function | ast.ClassDef):
        return []
    inside = [scope.named(part) for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)]
    return [found for found in inside if isinstance(found, tuple) and isinstance(defined()[found], Function)]


if __name__ == "__main__":
    main()
