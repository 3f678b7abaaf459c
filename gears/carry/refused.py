"""Kinds of objects that are not carried although pickle may accept them, or that pickle refuses in unclear words."""

from __future__ import annotations

import io
import mmap
import socket
import threading
import types
import weakref
from typing import Any


class NotCarried(Exception):
    """An object can't be carried; the text says what it is. Other variables are saved all the same."""


KINDS: dict[type, str] = {
    types.GeneratorType: "a generator",
    types.CoroutineType: "a coroutine",
    types.AsyncGeneratorType: "an asynchronous generator",
    types.FrameType: "a frame of running code",
    types.TracebackType: "a traceback",
    weakref.ReferenceType: "a weak reference",
    weakref.ProxyType: "a weak reference",
    weakref.CallableProxyType: "a weak reference",
    weakref.finalize: "a finalizer (weakref.finalize)",
    weakref.WeakSet: "weak references",
    weakref.WeakKeyDictionary: "weak references",
    weakref.WeakValueDictionary: "weak references",
    memoryview: "a view of memory (memoryview)",
    mmap.mmap: "a memory map",
    socket.socket: "a socket",
    threading.Thread: "a thread",
    threading.Event: "an event of threads",
    type(threading.Lock()): "a lock",
    type(threading.RLock()): "a lock",
    threading.Condition: "a condition of threads",
    threading.Semaphore: "a semaphore of threads",
    threading.Barrier: "a barrier of threads",
    threading.local: "values of a thread",
    type(iter({})): "an iterator over a dict",
    type(iter({}.items())): "an iterator over a dict",
    type(iter({}.values())): "an iterator over a dict",
    type(iter(set())): "an iterator over a set",
    io.FileIO: "an open file",
    io.TextIOWrapper: "an open file",
    io.BufferedReader: "an open file",
    io.BufferedWriter: "an open file",
    io.BufferedRandom: "an open file",
    io.BufferedRWPair: "an open file",
}

PACKAGES: dict[str, str] = {
    "subprocess": "a running program",
    "distributed": "belongs to a Dask cluster (distributed)",
    "multiprocessing": "belongs to other processes (multiprocessing)",
    "concurrent": "belongs to a pool of workers (concurrent.futures)",
    "asyncio": "belongs to an event loop (asyncio)",
    "_asyncio": "belongs to an event loop (asyncio)",
    "cupy": "is in the memory of a GPU (cupy)",
    "cudf": "is in the memory of a GPU (cudf)",
    "pycuda": "is in the memory of a GPU (pycuda)",
    "numba.cuda": "is in the memory of a GPU (numba)",
    "jaxlib": "belongs to a device (jax)",
    "zmq": "a socket of ZeroMQ",
}
CLASSES_OF_IT = (types.ModuleType, type)


def refused(kind: type) -> str | None:
    """Return why no object of this type is carried, or None."""
    for base in kind.__mro__:
        if base in KINDS:
            return KINDS[base]
    module = getattr(kind, "__module__", None) or ""
    if not isinstance(module, str) or issubclass(kind, CLASSES_OF_IT):
        return None
    for package, why in PACKAGES.items():
        if module == package or module.startswith(package + "."):
            return why
    return None


def describe(obj: Any) -> str:
    """Return what an object is, without code of the person's: no `repr`."""
    return refused(type(obj)) or f"an object of {type(obj).__module__}.{type(obj).__qualname__}"
