"""`gears data status`, `list`, `stop`, `forget`: the records of transfers, and what becomes of them."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from gears.cli.console import show, show_now
from gears.cli.data.places import aligned, size
from gears.cli.data.where import has_records, open_context, pass_on, route_to
from gears.cli.options import Commands, add_command
from gears.errors import Interrupted

if TYPE_CHECKING:
    from gears.data.following import Answers, Shown
    from gears.data.records import Task, Transfer
    from gears.sites.context import Context
    from gears.sites.route import Route

EVERY_S = 2.0
STATUS_EXITS = {
    "login needed": 3,
    "contents differ": 6,
    "incomplete": 7,
    "paused": 7,
    "lost": 7,
    "failed": 1,
    "unknown": 5,
}
"""Exit statuses of `gears data status NAME` by state, where the task itself has none; 0 for the others."""


def add(verbs: Commands) -> None:
    """Add the verbs and their arguments."""
    status = add_command(verbs, "status", do_status, summary="show what is under way, and how it ended", site=False)
    status.add_argument("name", nargs="?", metavar="NAME", default="")
    status.add_argument("--json", action="store_true", help="print the transfers as JSON")
    status.add_argument("--watch", action="store_true", help="show every change until the end")
    listing = add_command(verbs, "list", do_list, summary="list all transfers: what, where, when verified", site=False)
    stop = add_command(verbs, "stop", do_stop, summary="stop a transfer; the same command goes on later", site=False)
    stop.add_argument("name", metavar="NAME")
    forget = add_command(verbs, "forget", do_forget, summary="remove the record of a transfer, and no data", site=False)
    forget.add_argument("name", metavar="NAME")
    for verb in (status, listing, stop, forget):
        verb.add_argument("--site", metavar="SITE")


def do_status(args: argparse.Namespace) -> int:
    """Print the state of one transfer, or of all; with `--watch` until none is under way."""
    route = route_to(args)
    if not _is_here(args, route):
        status = pass_on(route, ["status", *[args.name] * bool(args.name), *_options(args)])
        if args.watch:
            _notify(f"{args.name or 'transfers'} on {route.site.name}: no longer under way")
        return status
    context = open_context(route)
    if args.watch:
        return follow(context, args.name, in_json=args.json)
    shown = _shown(context, args.name)
    show_now(as_json(context, shown) if args.json else as_text(shown))
    return exit_status(shown[0]) if args.name else 0


def _options(args: argparse.Namespace) -> list[str]:
    return ["--json"] * args.json + ["--watch"] * args.watch


def _is_here(args: argparse.Namespace, route: Route) -> bool:
    """Tell whether to look here: on a laptop, for a transfer that runs on it."""
    from gears.data.records import load_transfer

    if has_records(args, route):
        return True
    return bool(args.name and load_transfer(open_context(route).paths, args.name))


def _shown(context: Context, name: str, answers: Answers | None = None) -> list[Shown]:
    from gears.data import following

    return [following.find(context, name, answers)] if name else following.every(context, answers)


def follow(context: Context, name: str, *, in_json: bool = False) -> int:
    """Print every change of one transfer, or of all, until none is under way. Return the exit status of the one.

    Raises Interrupted at Ctrl-C, which ends nothing else.
    """
    from gears.data.following import Answers

    before, answers = "", Answers()
    try:
        while True:
            shown = _shown(context, name, answers)
            text = as_json(context, shown) if in_json else as_text(shown)
            if text != before:
                show_now(text)
            before = text
            if not any(one.under_way for one in shown):
                break
            time.sleep(EVERY_S)
    except KeyboardInterrupt:
        again = f"gears data status {name} --site {context.site.name} --watch".replace("  ", " ")
        raise Interrupted("the transfer goes on", next=again) from None
    _notify(text if name and not in_json else "no transfer is under way any more")
    return exit_status(shown[0]) if name else 0


def _notify(text: str) -> None:
    """Ring the terminal's bell, and show a notification where there is a desktop."""
    import sys

    from gears.laptop.open.desktop import notify

    if sys.stdout.isatty():
        print("\a", end="", flush=True)
        notify(text)


def exit_status(shown: Shown) -> int:
    """Return what `gears data status NAME` exits with."""
    if shown.under_way:
        return 0
    recorded = shown.task.status if shown.task and shown.task.state == shown.state else None
    return recorded or STATUS_EXITS.get(shown.state, 0)


def do_list(args: argparse.Namespace) -> int:
    """List the records."""
    from gears.data.records import all_transfers, load_task

    route = route_to(args)
    if not has_records(args, route):
        return pass_on(route, ["list"])
    paths = open_context(route).paths
    rows = [list_row(transfer, load_task(paths, transfer.name)) for transfer in all_transfers(paths)]
    if rows:
        show_now("\n".join(aligned([("name", "size", "verified", "what"), *rows])))
    else:
        show("no transfers yet; to begin: gears data put --help")
    return 0


def list_row(transfer: Transfer, task: Task | None) -> tuple[str, ...]:
    """Return the cells of a transfer."""
    amount = f"{size(task.size)}, {task.files:,} files" if task and task.files else ""
    verified = (task.verified_at[:16].replace("T", " ") if task else "") or "never"
    return transfer.name, amount, verified, f"{transfer.verb} {transfer.source} → {transfer.target}"


def do_stop(args: argparse.Namespace) -> int:
    """Stop a transfer."""
    from gears.data.dispatch import stop

    route = route_to(args)
    if not _is_here(args, route):
        return pass_on(route, ["stop", args.name])
    context = open_context(route)
    ended = stop(context, args.name)
    show(f"{args.name}: {ended}; what is finished stays. To go on: {_again(context, args.name)}")
    return 0


def _again(context: Context, name: str) -> str:
    from gears.data.planning import again
    from gears.data.records import load_task, load_transfer

    transfer, task = load_transfer(context.paths, name), load_task(context.paths, name)
    return again(transfer, context.site.name, task.verb if task else None) if transfer else ""


def do_forget(args: argparse.Namespace) -> int:
    """Remove the record of a transfer."""
    from gears.data.dispatch import forget

    route = route_to(args)
    if not _is_here(args, route):
        return pass_on(route, ["forget", args.name])
    transfer = forget(open_context(route), args.name)
    show(f"{args.name} is forgotten: its record and its manifest are gone. The data stays in {transfer.target}")
    return 0


# --- in words --------------------------------------------------------------------------------


def as_text(shown: list[Shown]) -> str:
    """Write transfers for a terminal, one a line, with the next command where there is one to run."""
    lines = []
    for one in shown:
        lines.append(line(one))
        if one.next and not one.under_way:
            lines.append(f"  next: {one.next}")
    from gears.system.installation import with_gears_path

    return with_gears_path("\n".join(lines) or "no transfers")


def line(shown: Shown) -> str:
    """Write a transfer on one line: `put run7: 3 of 8 bundles, 1.2 of 3.4 TB; job 4711 runs, ends 18:40`."""
    task = shown.task
    words = [text for text in (_bundles(task), _amount(task), _step(shown)) if text] if task else []
    verb = task.verb if task else shown.transfer.verb
    state = "; ".join(part for part in (_state(shown), task.note if task else "") if part)
    return f"{verb} {shown.transfer.name}: {', '.join(words)}{'; ' if words else ''}{state}"


def _bundles(task: Task) -> str:
    if not task.bundles and not task.total_bundles:
        return ""
    return f"{task.bundles} of {task.total_bundles} bundles" if task.total_bundles else f"{task.bundles} bundles"


def _amount(task: Task) -> str:
    if not task.files and not task.size:
        return ""
    done, total = size(task.size), size(task.total_size) if task.total_size else ""
    if not total or total == done:
        return f"{done}, {task.files:,} files" if task.files else done
    number, unit = done.split()
    return f"{number if total.endswith(unit) else done} of {total}"


def _step(shown: Shown) -> str:
    if not shown.task:
        return ""
    if shown.under_way and "verify" in (shown.task.verb, shown.task.step):
        return "being verified"
    return "verified" if shown.task.verified else ""


def _state(shown: Shown) -> str:
    task, job = shown.task, shown.job
    if job and shown.under_way and task:
        return _job_words(shown, task)
    reason = f": {shown.reason}" if shown.reason else ""
    if shown.state == "running" and task:
        return f"runs on {task.host}{reason}"
    if shown.state == "queued":
        return f"begins on {shown.transfer.host}"
    return f"{shown.state}{reason}" if task is None or not task.ended else f"{shown.state} {clock(task.ended)}{reason}"


def _job_words(shown: Shown, task: Task) -> str:
    job = shown.job
    id = job.id if job and job.id else task.job or task.job_name
    reason = f" ({shown.reason})" if shown.reason else ""
    if shown.state == "queued" or task.state == "paused":
        return f"job {id} waits{reason}"
    ends = f", ends {clock(task.job_ends)}" if task.job_ends else ""
    follows = ", one more follows" if shown.follows else ""
    return f"job {id} runs on {task.host}{ends}{follows}{reason}"


def clock(when: str) -> str:
    """Write a time of a record as local time, with the date unless it is today."""
    import calendar

    try:
        seconds = calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return when
    local, today = time.localtime(seconds), time.localtime()
    return time.strftime("%H:%M" if local[:3] == today[:3] else "%Y-%m-%d %H:%M", local)


def as_json(context: Context, shown: list[Shown]) -> str:
    """Return the answer for programs, on one line."""
    import json

    return json.dumps({"site": context.site.name, "transfers": [_values(one) for one in shown]})


def _values(shown: Shown) -> dict[str, Any]:
    from gears.system.records import as_values

    concluded = {
        "state": shown.state,
        "reason": shown.reason,
        "next": shown.next,
        "under_way": shown.under_way,
        "exit_status": exit_status(shown),
        "job": as_values(shown.job) if shown.job else None,
        "follows": shown.follows,
    }
    task = as_values(shown.task) if shown.task else None
    return as_values(shown.transfer) | concluded | {"task": task}
