"""Make again, at a load, what pickle has no form for. Streams name these functions; a change breaks saved states."""

from __future__ import annotations

import functools
import marshal
import types
from collections.abc import Callable
from typing import Any

FUNCTION_FIELDS = ("__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__", "__type_params__")


def make_function(code: bytes, names: dict[str, Any], closure: tuple[Any, ...] | None) -> types.FunctionType:
    """Return a function over `names`. `code` is marshalled, which the same minor version of Python can read."""
    loaded = marshal.loads(code)
    return types.FunctionType(loaded, names, loaded.co_name, None, closure)


def function_state(function: types.FunctionType) -> dict[str, Any]:
    """Return all of a function but its code, names and closure. Evaluates no annotation (PEP 649)."""
    fields = {name: getattr(function, name) for name in FUNCTION_FIELDS if hasattr(function, name)}
    annotations = "__annotate__" if hasattr(function, "__annotate__") else "__annotations__"
    fields["__name__"], fields[annotations] = function.__name__, getattr(function, annotations)
    return {"fields": fields, "dict": dict(function.__dict__)}


def set_function(function: types.FunctionType, state: dict[str, Any]) -> None:
    """Set what `function_state` returned."""
    for name, value in state["fields"].items():
        setattr(function, name, value)
    function.__dict__.update(state["dict"])


def make_cell() -> types.CellType:
    """Return an empty cell: its contents may refer back to it."""
    return types.CellType()


def set_cell(cell: types.CellType, contents: tuple[Any]) -> None:
    """Fill a cell."""
    cell.cell_contents = contents[0]


def make_cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Return a function with functools.lru_cache, whose cache is empty."""
    return functools.lru_cache(maxsize, typed)(function)


def set_cached(cached: Any, state: dict[str, Any]) -> None:
    """Set the attributes of a cached function."""
    cached.__dict__.update(state)


def make_view(owner: Any, how: dict[str, Any]) -> Any:
    """Return an array over the memory of another, `owner`, which is contiguous."""
    import numpy

    view: Any = numpy.ndarray(
        how["shape"], how["dtype"], buffer=owner.ravel(order="K"), offset=how["offset"], strides=how["strides"]
    )
    if not how["writeable"]:
        view.flags.writeable = False
    return view


HELPERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (make_function, set_function, make_cell, set_cell, make_cached, set_cached, make_view)
}
