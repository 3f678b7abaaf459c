"""The variables that a lab carries, as records in the home: where they are, what was saved last, a request to save.

A command asks the lab by a file (`states.request`), since with a password it has no token. The lab removes the file
when it begins, and writes its answer. So it works wherever the home is shared: from a login node to a job.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gears.errors import NotReachable
from gears.sites.paths import RunDir
from gears.system import files, records, timestamps
from gears.system.progress import wait_for

TAKEN_S = 20.0
"""After this time a lab that carries variables has seen the request, also on a slow home."""
ANSWERED_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedKernel:
    """What a save did for one notebook. `problem`: why nothing is saved; `unchanged`: why nothing was to be done."""

    notebook: str = ""
    problem: str = ""
    unchanged: str = ""
    names: tuple[str, ...] = ()
    missing: dict[str, str] | None = None
    saved_at: float = 0.0
    seconds: float = 0.0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """Where the states of a site are (`root`), of how many notebooks, and when the newest was saved.

    `trouble`: which notebooks the last save left out, and why.
    """

    root: str
    notebooks: int = 0
    saved: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The lab's answer to a request, by its id."""

    id: str
    kernels: tuple[SavedKernel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    kind: str
    path: str


def open_root(paths: RunDir) -> Path:
    """Make the directory for states: on the site's scratch if this host can use it, else in the home.

    Raises OSError or UnsafePath if neither can be used.
    """
    scratch = _scratch(paths)
    if scratch and os.access(scratch, os.W_OK | os.X_OK):
        root = scratch / "gears-states" / paths.site
        files.ensure_private(root.parent)
    else:
        root = paths.states
    files.ensure_private(root)
    return root


def _scratch(paths: RunDir) -> Path | None:
    places = files.read_record(paths.places).get("places")
    found = records.parse(_Place, places.get("scratch") if isinstance(places, dict) else None)
    return Path(found.path) if found and found.kind == "posix" and found.path.startswith("/") else None


def load_states(paths: RunDir) -> States:
    """Return where the states are; before a lab has carried any, in the home."""
    return records.load(States, paths.states_record) or States(root=str(paths.states))


def shown_states(paths: RunDir) -> tuple[dict[str, object], str]:
    """Return what `gears status` says of saved variables, as JSON and as a line."""
    states = load_states(paths)
    count = f"{states.notebooks} notebooks, {states.saved}" if states.saved else "none yet"
    trouble = f"; not saved: {states.trouble}" if states.trouble else ""
    return {"carry": records.as_values(states)}, f"  carried  {count}{trouble}"


def save_states_record(paths: RunDir, states: States) -> None:
    """Write the record. Raises OSError."""
    records.save(paths.states_record, states)


def note_saved(paths: RunDir, kernels: tuple[SavedKernel, ...]) -> None:
    """Record what a save of all notebooks did. Raises OSError."""
    troubles = [f"{Path(kernel.notebook).name}: {kernel.problem}" for kernel in kernels if is_trouble(kernel)]
    newest = max((kernel.saved_at for kernel in kernels), default=0.0)
    states = load_states(paths)
    count = sum(1 for _ in Path(states.root).glob("*/manifest"))
    states = replace(states, notebooks=count, trouble="; ".join(troubles))
    save_states_record(paths, replace(states, saved=timestamps.utc_time(newest)) if newest else states)


def is_trouble(kernel: SavedKernel) -> bool:
    """Return whether variables of a notebook are not saved although they should be."""
    return bool(kernel.notebook and kernel.problem and not kernel.unchanged)


def tell_saved(kernels: Sequence[SavedKernel]) -> str:
    """Return a sentence on what a save did: how much, how long, and what is not saved and why. Pure."""
    there = [kernel for kernel in kernels if not kernel.problem]
    names = sum(len(kernel.names) for kernel in there)
    every = names + sum(len(kernel.missing or {}) for kernel in there)
    size, took_s = sum(kernel.bytes for kernel in there), max((kernel.seconds for kernel in there), default=0.0)
    variables = f"{names} of {every} variables of {len(there)} of {len(kernels)} notebooks"
    parts = [f"saved: {variables}, {size / 1e6:,.1f} MB, {took_s:.1f} s"]
    for kernel in kernels:
        name = Path(kernel.notebook).name or "a kernel"
        missing = kernel.missing or {}
        parts += [f"{name}: {kernel.problem}"] if kernel.problem else []
        parts += [f"{name}: {variable} is not: {why}" for variable, why in missing.items()]
    return "; ".join(parts) if kernels else "no notebook has a kernel whose variables can be saved"


# --- a request to save -----------------------------------------------------------------------


def request_save(paths: RunDir) -> Answer:
    """Ask the lab to save, and wait for its answer. Raises NotReachable where no lab takes the request."""
    id = files.random_hex(8)
    files.write_private(paths.states_request, id)
    try:
        if not wait_for(lambda: not paths.states_request.exists(), timeout_s=TAKEN_S, every_s=0.2):
            raise _unanswered(paths, "does not carry variables")
    finally:
        paths.states_request.unlink(missing_ok=True)
    if not wait_for(lambda: _answer(paths).id == id, timeout_s=ANSWERED_S, every_s=0.2):
        raise _unanswered(paths, "has not finished the save")
    return _answer(paths)


def _answer(paths: RunDir) -> Answer:
    return records.load(Answer, paths.states_answer) or Answer(id="")


def _unanswered(paths: RunDir, why: str) -> NotReachable:
    fix = f"gears stop {paths.site}; gears lab {paths.site} --carry"
    return NotReachable(f"the lab of {paths.site} {why}", next=fix)


def take_request(paths: RunDir) -> str:
    """Return the id of a request, which is then under way; "" where there is none."""
    id = files.read_text(paths.states_request).strip()
    if id:
        paths.states_request.unlink(missing_ok=True)
    return id


def write_answer(paths: RunDir, answer: Answer) -> None:
    """Answer a request. Raises OSError."""
    records.save(paths.states_answer, answer)
