"""`gears state`: the variables that labs have saved."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from gears.cli.console import say, show
from gears.cli.options import Commands, add_command, site_name

if TYPE_CHECKING:
    from gears.carry.saved import State
    from gears.lab.saved_states import SavedKernel
    from gears.sites.paths import RunDir


def add(commands: Commands) -> None:
    """Add the command and its verbs."""
    state = add_command(commands, "state", do_list, site=False)
    state.set_defaults(site=None, json=False)
    verbs = state.add_subparsers(metavar="list|show|save|forget")
    add_command(verbs, "list", do_list, summary="list the notebooks whose variables are saved")
    shown = add_command(verbs, "show", do_show, summary="show which variables are saved, and why others are not")
    saved = add_command(verbs, "save", do_save, summary="save the variables of all notebooks of the running lab now")
    gone = add_command(verbs, "forget", do_forget, summary="remove the saved variables of notebooks", site=False)
    for verb in (verbs.choices["list"], shown, saved):
        verb.add_argument("--json", action="store_true", help="print JSON")
    shown.add_argument("--notebook", metavar="NOTEBOOK", help="only this one: its name or path")
    gone.add_argument("notebook", nargs="*", metavar="NOTEBOOK", help="its name or path")
    gone.add_argument("--all", action="store_true", help="all notebooks of the site")
    gone.add_argument("--site", metavar="SITE")


def do_list(args: argparse.Namespace) -> int:
    """Print a line for each notebook whose variables are saved, the newest first."""
    states = _states(args)
    if args.json:
        print(json.dumps([_as_json(state) for state in states]))
    elif not states:
        show(f"{site_name(args)}: no variables are saved\n  next: gears lab {site_name(args)} --carry")
    else:
        print("\n".join(map(_line, states)))
    return 0


def do_show(args: argparse.Namespace) -> int:
    """Print the saved variables of each notebook, and why others are not saved."""
    states = _states(args)
    if args.notebook:
        states = _chosen(states, [args.notebook], site_name(args))
    if args.json:
        print(json.dumps([_as_json(state) for state in states]))
    else:
        print("\n".join(line for state in states for line in _lines(state)))
    return 0


def do_save(args: argparse.Namespace) -> int:
    """Ask the running lab to save, and print what it did. Fails if the variables of a notebook are not saved.

    Raises NothingRunning, NotReachable.
    """
    from gears.errors import NothingRunning
    from gears.lab.saved_states import is_trouble, request_save
    from gears.lab.status.model import State as LabState
    from gears.lab.status.status import look
    from gears.sites.locate import locate
    from gears.system.records import as_values

    name = site_name(args)
    if look(locate(name)).state != LabState.UP:
        raise NothingRunning(f"{name}: no lab is up here", next=f"gears status {name}")
    answer = request_save(_paths(name))
    if args.json:
        print(json.dumps([as_values(kernel) for kernel in answer.kernels]))
    else:
        print("\n".join(map(_saved_line, answer.kernels)) or f"{name}: no notebook has a kernel")
    return int(any(map(is_trouble, answer.kernels)))


def do_forget(args: argparse.Namespace) -> int:
    """Remove saved variables, of the notebooks named, or of all."""
    from gears.carry.saved import forget
    from gears.errors import UsageError

    if not (args.notebook or args.all):
        raise UsageError("name a notebook, or --all", next=f"gears state list {site_name(args)}")
    states = _states(args)
    for state in states if args.all else _chosen(states, args.notebook, site_name(args)):
        forget(state)
        say(f"removed {state.directory}")
    return 0


# --- which states ----------------------------------------------------------------------------


def _paths(name: str) -> RunDir:
    from gears.errors import NothingRunning
    from gears.sites.directories import find_paths
    from gears.sites.locate import locate

    if (paths := find_paths(locate(name))) is None:
        raise NothingRunning(f"{name}: nothing was ever started from this home", next=f"gears lab {name} --carry")
    return paths


def _states(args: argparse.Namespace) -> list[State]:
    from gears.carry.saved import list_states
    from gears.lab.saved_states import load_states

    return list_states(load_states(_paths(site_name(args))).root)


def _chosen(states: list[State], names: list[str], site: str) -> list[State]:
    """Return the states of these notebooks. Raises UsageError for a name that has none."""
    from gears.errors import UsageError

    found = []
    for name in names:
        those = [state for state in states if name in (state.notebook, Path(state.notebook).name, state.directory)]
        if not those:
            raise UsageError(f"{name}: no variables of this notebook are saved", next=f"gears state list {site}")
        found += those
    return found


# --- how they are shown ----------------------------------------------------------------------


def _when(seconds: float) -> str:
    from gears.system.timestamps import utc_time

    return utc_time(seconds)


def _line(state: State) -> str:
    from gears.cli.data.places import size

    if state.unsafe:
        return f"{state.directory}: it is not loaded: {state.unsafe}"
    count = f"{len(state.names)} of {len(state.names) + len(state.missing)} variables"
    return f"{_when(state.saved_at)}  {state.notebook}: {count}, {size(state.size)}, from {state.origin}"


def _lines(state: State) -> list[str]:
    saved = [f"  saved: {', '.join(state.names)}"] if state.names else []
    missing = [f"  not saved: {name}: {why}" for name, why in state.missing]
    return [_line(state), *saved, *missing, *(f"  note: {name}: {note}" for name, note in state.notes)]


def _saved_line(kernel: SavedKernel) -> str:
    from gears.cli.data.places import size

    if kernel.problem:
        return f"{kernel.notebook or 'a kernel'}: nothing was saved: {kernel.problem}"
    missing = "".join(f"\n  not saved: {name}: {why}" for name, why in (kernel.missing or {}).items())
    count = f"{len(kernel.names)} variables, {size(kernel.bytes)}, {kernel.seconds:.1f} s"
    return f"{kernel.notebook}: {f'as before: {kernel.unchanged}' if kernel.unchanged else count}{missing}"


def _as_json(state: State) -> dict[str, object]:
    """Return a state as JSON has it: its fields, with `missing` and `notes` by variable."""
    from dataclasses import asdict

    return asdict(state) | {
        "saved_at": _when(state.saved_at),
        "origin": state.origin,
        "missing": dict(state.missing),
        "notes": dict(state.notes),
    }
