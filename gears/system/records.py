"""Records on disk as frozen dataclasses: one load and one save for each, whatever version of gears wrote the file.

Unknown keys are ignored; a value of another type counts as missing; a missing field has its default. If a field without
a default is missing, there is no record. So a record never blocks a start, and what another version started keeps
working.
"""

from __future__ import annotations

import functools
import types
from dataclasses import MISSING, asdict, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from gears.system import files

T = TypeVar("T")


def load(kind: type[T], path: Path) -> T | None:
    """Read the record at `path`. None if it is absent or incomplete."""
    return parse(kind, files.read_record(path))


def save(path: Path, record: Any) -> None:
    """Replace the record at `path` atomically, 0600. Raises OSError."""
    files.write_record(path, as_values(record))


def parse(kind: type[T], values: object) -> T | None:
    """Convert JSON values to the dataclass `kind`. None if a field without a default is missing."""
    if not isinstance(values, dict) or not values:
        return None
    found: dict[str, Any] = {}
    for name, hint, required in _fields(cast(Any, kind)):
        try:
            found[name] = _convert(hint, values[name])
        except (KeyError, TypeError, ValueError):
            if required:
                return None
    return kind(**found)


def as_values(record: Any) -> dict[str, Any]:
    """Return a record as JSON values."""
    values: dict[str, Any] = asdict(record, dict_factory=lambda pairs: {name: _plain(value) for name, value in pairs})
    return values


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    """Return name, type and whether it is required, for each field."""
    hints = get_type_hints(kind)
    return tuple(
        (field.name, hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(kind)
    )


def _convert(hint: Any, value: Any) -> Any:
    """Convert `value` to the type. Raises TypeError or ValueError if it does not fit."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _first_of(get_args(hint), value)
    if origin is Literal:
        return _checked(value in get_args(hint), value)
    if origin is tuple:
        kind = get_args(hint)[0]
        return tuple(_convert(kind, one) for one in _checked(isinstance(value, list | tuple), value))
    if hint is Any:
        return value
    return _as_class(origin or hint, value)


def _as_class(kind: type[Any], value: Any) -> Any:
    if is_dataclass(kind):
        found = parse(kind, value)
        return _checked(found is not None, found)
    if issubclass(kind, Enum):
        return kind(value)
    if kind is Path:
        return Path(_checked(isinstance(value, str) and value != "", value))
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is float and whole:
        return float(value)
    return _checked(whole if kind is int else isinstance(value, kind), value)


def _first_of(hints: tuple[Any, ...], value: Any) -> Any:
    for hint in hints:
        try:
            return _convert(hint, value)
        except (TypeError, ValueError):
            continue
    raise TypeError(f"{value!r} is none of {hints}")


def _checked(fits: bool, value: Any) -> Any:
    if not fits:
        raise TypeError(f"{value!r} has another type")
    return value
