"""Pickle the variables of a notebook: protocol 5, functions and classes of the notebook by value, views as views.

cloudpickle alone is not enough. It copies the global names that a function uses, so that a function and the notebook no
longer see the same variable; it copies the cells that closures share; it turns an open file into its text. Arrays that
share memory come back apart from every pickler. So functions, cells and views of numpy arrays are reduced here, and
classes by cloudpickle.
"""

from __future__ import annotations

import array
import dataclasses
import enum
import functools
import importlib
import logging
import marshal
import pickle
import sys
import types
from collections.abc import Callable
from typing import Any

from .rebuild import (
    HELPERS,
    function_state,
    make_cached,
    make_cell,
    make_function,
    make_view,
    set_cached,
    set_cell,
    set_function,
)
from .refused import NotCarried, refused

try:
    _Pickler: Any = importlib.import_module("cloudpickle").Pickler
    HAS_CLOUDPICKLE = True
except (ImportError, AttributeError):
    _Pickler, HAS_CLOUDPICKLE = pickle.Pickler, False

ATOMS = frozenset({type(None), bool, int, float, complex, type(...), type(NotImplemented), types.CodeType})
LONG_TEXT = 4096
"""Text or bytes longer than this (bytes) are one object in all variables; shorter ones may be written twice."""
CONSTANT_KINDS = ("dtype", "device", "layout", "memory_format", "Size", "_FIELD_BASE")
SENTINELS = (type(dataclasses.MISSING), type(getattr(dataclasses, "KW_ONLY", dataclasses.MISSING)))
STREAMS = ("stdout", "stderr", "stdin")
"""A kernel's own, in `sys`: the new kernel's come instead."""
NAMES, MODULE, MODULE_NAMES, HELPER, CONSTANT = "names", "module", "names of module", "helper", "constant"
"""Kinds of persistent ids: the notebook's own namespace, a module, the namespace of a module, a function of ours, an
object that is told by its identity."""
STATE_METHODS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")


class Loaded:
    """The modules that are loaded: found once in a save, since there may be thousands."""

    def __init__(self) -> None:
        self._modules = [(name, found) for name, found in list(sys.modules.items()) if type(found) is types.ModuleType]
        self.names = {id(module.__dict__): name for name, module in self._modules}
        """By the id of a module's namespace."""

    @functools.cached_property
    def sentinels(self) -> dict[int, tuple[str, str]]:
        """Each plain `object()` that a module has under a name, and those of dataclasses: told by their identity."""
        found = {}
        for module_name, module in self._modules:
            for name, value in list(vars(module).items()) if module_name != "__main__" else []:
                if type(value) is object or type(value) in SENTINELS:
                    found[id(value)] = (module_name, name)
        return found


class Scan:
    """What one variable reaches. `seen` keeps the objects alive, so that no id is given twice."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.seen: dict[int, Any] = {}
        self.memory: dict[int, dict[int, bool]] = {}
        """By the address of a block of memory: the objects over it, and whether pandas keeps track of their copies."""
        self.notes: list[str] = []
        self.modules: set[str] = set()

    def use_memory(self, address: int, obj: Any, tracked: bool = False) -> None:
        """Note that an object lies over the memory at an address."""
        self.seen[id(obj)] = obj
        self.memory.setdefault(address, {})[id(obj)] = tracked


class Alone:
    """An array inside an object of pandas, which counts the users of its memory: it is written as a copy."""

    def __init__(self, array: Any) -> None:
        self.array = array


class StatePickler(_Pickler):  # type: ignore[misc]
    """Write objects of `namespace` to `file`. `check` is called often, and may raise to end it.

    Raises NotCarried, or whatever pickle and the objects' own methods raise.
    """

    def __init__(
        self,
        file: Any,
        namespace: dict[str, Any],
        scan: Scan,
        on_buffer: Callable[[Any], Any],
        check: Callable[[], None],
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=on_buffer)
        self._namespace, self._scan, self._check = namespace, scan, check
        self._count = 0
        self._kinds: dict[type, str | None] = {}
        self._helpers = {id(function): name for name, function in HELPERS.items()}
        self._ways: dict[type, Callable[[Any], Any]] = {
            types.FunctionType: self._function,
            types.BuiltinFunctionType: self._builtin,
            types.CellType: _reduce_cell,
            functools._lru_cache_wrapper: self._cached,
            Alone: lambda alone: alone.array.__reduce_ex__(5),
        }
        self._numpy = sys.modules.get("numpy")

    def dump(self, obj: Any) -> None:
        """Write one object. Afterwards nothing refers to it, without waiting for the garbage collector."""
        try:
            super().dump(obj)
        finally:
            self._ways.clear()
            self.clear_memo()

    def persistent_id(self, obj: Any) -> Any:
        """Name the namespace, modules and our helpers; note all other objects. Called by pickle for each object."""
        self._count += 1
        if not self._count & 0x3FF:
            self._check()
        kind = type(obj)
        if kind in ATOMS:
            return None
        if kind is str or kind is bytes:
            if len(obj) > LONG_TEXT:
                self._scan.seen[id(obj)] = obj
            return None
        if kind is types.FunctionType or kind is types.BuiltinFunctionType or isinstance(obj, type):
            return (HELPER, self._helpers[id(obj)]) if id(obj) in self._helpers else None
        found = self._reference(obj, kind)
        if found is None and not _is_constant(obj, kind):
            self._scan.seen[id(obj)] = obj
        return found

    def reducer_override(self, obj: Any) -> Any:
        """Return how to make an object again, or NotImplemented for pickle's own way. Raise NotCarried."""
        kind = type(obj)
        if kind not in self._kinds:
            self._kinds[kind] = refused(kind)
        if why := self._kinds[kind]:
            raise NotCarried(why)
        if isinstance(obj, type):
            return self._class(obj)
        if kind in self._ways:
            return self._ways[kind](obj)
        if self._numpy is not None and isinstance(obj, self._numpy.ndarray):
            return self._array(obj)
        return self._of_package(obj, kind)

    def _reference(self, obj: Any, kind: type) -> Any:
        """Return the persistent id of what is not in the stream, or None."""
        if kind is dict:
            return self._namespace_of(obj)
        if isinstance(obj, types.ModuleType):
            return self._module(obj)
        if kind is bytearray or kind is array.array:
            self._scan.use_memory(id(obj), obj)
        return self._constant(obj, kind)

    def _constant(self, obj: Any, kind: type) -> Any:
        for name in STREAMS:
            if obj is getattr(sys, name):
                return CONSTANT, "sys", name
        if kind is object or kind in SENTINELS:
            found = self._scan.loaded.sentinels.get(id(obj))
            return found and (CONSTANT, *found)
        return None

    def _namespace_of(self, names: dict[Any, Any]) -> Any:
        if names is self._namespace:
            return (NAMES,)
        module = self._scan.loaded.names.get(id(names))
        return (MODULE_NAMES, module) if module else None

    def _module(self, module: types.ModuleType) -> tuple[str, str]:
        name = module.__name__
        if sys.modules.get(name) is not module or (name != "__main__" and getattr(module, "__spec__", None) is None):
            raise NotCarried("a module that can't be imported by its name")
        self._scan.modules.add(name)
        return MODULE, name

    def _by_name(self, obj: Any) -> None:
        module = getattr(obj, "__module__", None)
        if isinstance(module, str):
            self._scan.modules.add(module)

    def _builtin(self, function: Any) -> Any:
        self._by_name(function)
        return NotImplemented

    def _function(self, function: types.FunctionType) -> Any:
        if _importable(function):
            self._by_name(function)
            return NotImplemented
        self._scan.seen[id(function)] = function
        made = (marshal.dumps(function.__code__), function.__globals__, function.__closure__)
        return make_function, made, function_state(function), None, None, set_function

    def _class(self, cls: type) -> Any:
        reduced = super().reducer_override(cls) if HAS_CLOUDPICKLE else NotImplemented
        if reduced is NotImplemented:
            if cls.__module__ == "__main__":
                raise NotCarried(f"a class of the notebook, {cls.__qualname__}: its environment has no cloudpickle")
            self._by_name(cls)
            return reduced
        self._scan.seen[id(cls)] = cls
        self._scan.notes += _notes_on_class(cls)
        return reduced

    def _cached(self, cached: Any) -> Any:
        if _importable(cached):
            self._by_name(cached)
            return NotImplemented
        self._scan.notes.append("what functools.lru_cache has kept is not carried")
        how = cached.cache_parameters()
        made = (cached.__wrapped__, how["maxsize"], how["typed"])
        return make_cached, made, dict(cached.__dict__), None, None, set_cached

    def _array(self, view: Any) -> Any:
        """Return a view as one of the array that has the memory; refuse memory that is a file's or shared."""
        numpy, owner = self._numpy, view
        assert numpy is not None
        while isinstance(owner.base, numpy.ndarray):
            owner = owner.base
        base = _check_memory(owner.base)
        if base is not None:
            self._scan.use_memory(id(base), view)
        address = owner.__array_interface__["data"][0]
        viewed = owner is not view and type(view) is type(owner) is numpy.ndarray and view.size
        if not viewed or owner.dtype.hasobject or view.dtype.hasobject or not owner.flags.forc:
            if view.size:
                self._scan.use_memory(address, view)
            return NotImplemented
        offset = view.__array_interface__["data"][0] - address
        how = {"shape": view.shape, "dtype": view.dtype, "offset": offset, "strides": view.strides}
        return make_view, (owner, {**how, "writeable": view.flags.writeable})

    def _of_package(self, obj: Any, kind: type) -> Any:
        package = str(getattr(kind, "__module__", "")).partition(".")[0]
        if package == "pandas":
            return self._pandas(obj)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, torch.Tensor):
            self._tensor(obj, torch)
        elif isinstance(obj, logging.Logger):
            self._scan.notes.append("a logger comes back by its name; its level and handlers are the new kernel's")
        return super().reducer_override(obj) if HAS_CLOUDPICKLE else NotImplemented

    def _tensor(self, tensor: Any, torch: Any) -> None:
        if tensor.device.type != "cpu":
            raise NotCarried(f"a tensor in the memory of a device ({tensor.device.type})")
        if not tensor.is_leaf:
            raise NotCarried("a tensor with the operations that made it, for its gradients: detach() it")
        if tensor.grad is not None:
            self._scan.notes.append("the gradients of its tensors (.grad) are not carried")
        if tensor.layout == torch.strided and tensor.numel():
            self._scan.use_memory(tensor.untyped_storage().data_ptr(), tensor)

    def _pandas(self, obj: Any) -> Any:
        reduced = obj.__reduce_ex__(5)
        if not isinstance(reduced, tuple):
            return NotImplemented
        return tuple(self._alone(part, 3) if number in (1, 2) else part for number, part in enumerate(reduced))

    def _alone(self, value: Any, depth: int) -> Any:
        numpy = self._numpy
        if numpy is not None and type(value) is numpy.ndarray:
            owner = value
            while isinstance(owner.base, numpy.ndarray):
                owner = owner.base
            _check_memory(owner.base)
            if value.size:
                self._scan.use_memory(owner.__array_interface__["data"][0], value, tracked=True)
            return Alone(value) if value.base is not None else value
        if depth and type(value) in (tuple, list):
            return type(value)(self._alone(part, depth - 1) for part in value)
        if depth and type(value) is dict:
            return {name: self._alone(part, depth - 1) for name, part in value.items()}
        return value


def _is_constant(obj: Any, kind: type) -> bool:
    """Tell objects that many variables share and nobody changes, such as types of numbers."""
    if kind is tuple:
        return not obj
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(obj, numpy.dtype):
        return True
    return kind.__module__ in ("torch", "dataclasses") and kind.__name__ in CONSTANT_KINDS


def _importable(obj: Any) -> bool:
    found: Any = sys.modules.get(str(getattr(obj, "__module__", None)))
    if found is None or obj.__module__ == "__main__":
        return False
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


def _reduce_cell(cell: types.CellType) -> Any:
    try:
        contents = (cell.cell_contents,)
    except ValueError:  # it is empty
        return make_cell, ()
    return make_cell, (), contents, None, None, set_cell


def _check_memory(base: Any) -> Any:
    """Return whose memory an array has, if not its own. Refuse that of a file, or of other processes."""
    while isinstance(base, memoryview):
        base = base.obj
    if base is not None and (why := refused(type(base))):
        raise NotCarried(f"an array over {why}")
    return base


def _notes_on_class(cls: type) -> list[str]:
    own = [name for name in STATE_METHODS if getattr(vars(cls).get(name), "__module__", "dataclasses") != "dataclasses"]
    if isinstance(cls, enum.EnumMeta) or (issubclass(cls, tuple) and hasattr(cls, "_fields")):
        own = []  # these are the standard library's, which keep all
    notes = [f"its class {cls.__qualname__} says itself what is kept ({', '.join(own)})"] if own else []
    named = [value for value in vars(cls).values() if type(value).__module__ == "__main__"]
    if "__init_subclass__" in vars(cls) or any(hasattr(type(value), "__set_name__") for value in named):
        notes.append(f"making its class {cls.__qualname__} again runs code of yours (__init_subclass__, __set_name__)")
    if type(cls).__module__ == "__main__":
        notes.append(f"making its class {cls.__qualname__} again runs the metaclass {type(cls).__qualname__}")
    return notes
