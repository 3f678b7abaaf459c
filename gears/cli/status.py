"""`gears status`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from gears.cli.options import Commands, add_command, site_name
from gears.lab.status.status import lab_notes

STATUS_EXITS = {"stopped": 4, "needs-login": 3, "failed": 1, "unknown": 5}
"""`gears status` answers by its exit status as well; what is up, or on its way, is 0."""


def add(commands: Commands) -> None:
    """Add the words of the command."""
    status = add_command(commands, "status", "what is up, where, and what to do if it is not", do_status)
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument("--watch", action="store_true", help="show every change until interrupted")


def do_status(args: argparse.Namespace) -> int:
    """Print the status; with `--watch` again at every change, looked for every 2 s.

    The exit status tells it as well (STATUS_EXITS).
    """
    import time

    from gears.cli.status import as_text
    from gears.lab.status.status import look
    from gears.sites.locate import locate

    route = locate(site_name(args))
    shown = None
    while True:
        record = look(route)
        if record != shown:
            print(json.dumps(record) if args.json else as_text(record), flush=True)
            shown = record
        if not args.watch:
            return STATUS_EXITS.get(record["state"], 0)
        time.sleep(2.0)


def as_text(status: dict[str, Any]) -> str:
    """Write the status, as `look` has it, for a person in a terminal."""
    front, lab = status["front"], status["lab"]
    lines = [f"{status['site']}: {status['state']}" + (f" – {status['reason']}" if status["reason"] else "")]
    if status["url"]:
        lines.append(f"  address  {status['url']}")
    lines.append(f"  path     {front['socket']} on {status['host']} → {front['leads_to'] or 'nothing'}")
    for hop in status["hops"]:
        since = f" since {hop['since']}" if hop["since"] else ""
        lines.append(
            f"  hop      {hop['from']} → {hop['to']}: {hop['state']}{since}, reconnected {hop['reconnects']} times"
        )
    if status["job"]:
        from gears.lab.status.job_status import as_line

        lines.append(f"  job      {as_line(status['job'])}")
    if lab:
        kernels = "" if lab["kernels"] is None else f", {lab['kernels']} kernels"
        where = f"on {lab['host']}, pid {lab['pid']}, since {lab['started']}"
        lines.append(f"  lab      JupyterLab {lab['version']} {where}{kernels}")
        lines += lab_notes(lab)
    if status["next"]:
        lines.append(f"  next:    {status['next']}")
    return "\n".join(lines)
