"""`gears status`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from gears.cli.options import Commands, add_command, site_name

if TYPE_CHECKING:
    from gears.lab.status.model import Status
    from gears.sites.route import Route

STATUS_EXITS = {"stopped": 4, "needs-login": 3, "failed": 1, "unknown": 5}
"""Exit statuses of `gears status`; 0 for all other states: up, or starting."""


def add(commands: Commands) -> None:
    """Add the command and its options."""
    status = add_command(commands, "status", do_status)
    status.add_argument("--json", action="store_true", help="print the status as JSON")
    status.add_argument("--watch", action="store_true", help="show every change until interrupted")


def do_status(args: argparse.Namespace) -> int:
    """Print the status; with `--watch` again at every change, checked every 2 s.

    The exit status reports it as well (STATUS_EXITS).
    """
    import time

    from gears.cli.status import as_text
    from gears.lab.status.status import look
    from gears.sites.locate import locate

    route = locate(site_name(args))
    shown = None
    while True:
        status, (states, line) = look(route), _carried(route)
        if (record := status.as_json() | states) != shown:
            print(json.dumps(record) if args.json else as_text(status, line), flush=True)
            shown = record
        if not args.watch:
            return STATUS_EXITS.get(status.state, 0)
        time.sleep(2.0)


def _carried(route: Route) -> tuple[dict[str, object], str]:
    """Return what is to be said of saved variables, as JSON and as a line; nothing where none were ever carried."""
    from gears.sites.directories import find_paths

    paths = find_paths(route)
    if paths is None or not paths.states_record.exists():
        return {}, ""
    from gears.lab.saved_states import shown_states

    return shown_states(paths)


def as_text(status: Status, carried: str = "") -> str:
    """Write the status for a terminal. `carried`: the line about saved variables."""
    from gears.lab.status.status import lab_notes

    lab = status.lab
    lines = [f"{status.site}: {status.state}" + (f" – {status.reason}" if status.reason else "")]
    if status.url:
        lines.append(f"  address  {status.url}")
    if status.front:
        lines.append(f"  path     {status.front.socket} on {status.host} → {status.front.leads_to or 'nothing'}")
    for hop in status.hops:
        since = f" since {hop.since}" if hop.since else ""
        lines.append(f"  hop      {hop.source} → {hop.target}: {hop.state}{since}, reconnected {hop.reconnects} times")
    if status.job:
        from gears.lab.status.job_status import as_line

        lines.append(f"  job      {as_line(status.job)}")
    if lab:
        kernels = "" if lab.kernels is None else f", {lab.kernels} kernels"
        where = f"on {lab.host}, pid {lab.pid}, since {lab.started}"
        lines.append(f"  lab      JupyterLab {lab.version} {where}{kernels}")
        lines += lab_notes(lab)
    lines += [carried] if carried else []
    if status.next:
        lines.append(f"  next:    {status.next}")
    return "\n".join(lines)
