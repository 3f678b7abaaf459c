"""Find what inside a variable can't be carried, and the path to it: `model.callbacks[2].file: an open file`."""

from __future__ import annotations

import itertools
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from .refused import NotCarried, describe, refused

MAX_DEPTH = 40
MAX_CHILDREN = 10_000
SEARCH_S = 2.0
"""The search tries each part of each part with pickle; after this many seconds the path ends where it has come to."""

Try = Callable[[Any], Any]


def find_culprit(name: str, obj: Any, try_it: Try, first: Exception) -> str:
    """Return "PATH: what it is". `try_it` returns why an object can't be pickled, or None."""
    path, failure, deadline, been = name, first, time.monotonic() + SEARCH_S, {id(obj)}
    for _ in range(MAX_DEPTH):
        found = None
        if refused(type(obj)) or isinstance(failure, RecursionError) or "recursion" in str(failure):
            break
        for step, child in itertools.islice(_children(obj), MAX_CHILDREN):
            if time.monotonic() > deadline:
                break
            if id(child) not in been and (why := try_it(child)) is not None:
                found = (step, child, why)
                break
        if found is None:
            break
        step, obj, failure = found
        been.add(id(obj))
        path += step
    return f"{path}: {_reason(obj, failure)}"


def _reason(obj: Any, failure: Exception) -> str:
    if isinstance(failure, NotCarried):
        return str(failure)
    if isinstance(failure, RecursionError) or "recursion" in str(failure):
        return "nested too deeply for pickle"
    text = str(failure).splitlines()[0] if str(failure) else ""
    return f"{describe(obj)} ({type(failure).__name__}: {text[:160]})"


def _children(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield (step of the path, part). Runs no code of the object's class."""
    kind = type(obj)
    if kind is types.MethodType:
        yield ".__self__", obj.__self__
    elif kind is types.FunctionType:
        yield from _of_function(obj)
    elif isinstance(obj, type):
        yield from ((f".{name}", value) for name, value in vars(obj).items() if name not in ("__dict__", "__weakref__"))
    elif not isinstance(obj, types.ModuleType):
        yield from _of_container(obj)
        yield from _of_instance(obj, kind)


def _of_container(obj: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(obj, dict):
        for key, value in list(dict.items(obj)):
            shown = repr(key) if type(key) in (str, int, float, bool, bytes, type(None)) else f"<{type(key).__name__}>"
            yield f"[{shown}]", value
            yield f" key {shown}", key
    kinds: tuple[Any, ...] = (list, tuple, set, frozenset)
    for kind in kinds:
        if isinstance(obj, kind):
            yield from ((f"[{number}]", value) for number, value in enumerate(kind.__iter__(obj)))


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):  # noqa: B905  of Python 3.10
        try:
            yield f" closure {name}", cell.cell_contents
        except ValueError:  # it is empty
            continue
    yield from ((f" default {number}", value) for number, value in enumerate(function.__defaults__ or ()))
    yield from ((f".{name}", value) for name, value in function.__dict__.items())


def _of_instance(obj: Any, kind: type) -> Iterator[tuple[str, Any]]:
    try:
        own = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        own = {}
    if type(own) is dict:
        yield from ((f".{name}", value) for name, value in list(own.items()))
    slots = [item for base in kind.__mro__ for item in vars(base).items()]
    for name, slot in slots:
        try:
            if isinstance(slot, types.MemberDescriptorType):
                yield f".{name}", slot.__get__(obj, kind)
        except AttributeError:  # not set
            continue
    if kind.__module__ != "builtins":
        yield " its class", kind
