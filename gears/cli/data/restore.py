"""`gears data restore`."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from gears.cli.console import say, show
from gears.cli.data.due import amount, shown
from gears.cli.data.where import has_records, open_context, pass_on, pass_to_transfer_host, route_to, transfer_target
from gears.cli.options import Commands, add_command

if TYPE_CHECKING:
    from gears.data.addresses import Address
    from gears.data.restoring import Restored
    from gears.data.tally import Tally
    from gears.sites.context import Context

MOST_NAMED = 10
WORD_EVERY_S = 5.0


def add(verbs: Commands) -> None:
    """Add the verb and its arguments."""
    summary = "bring back what a directory has lost, from its copies"
    restore = add_command(verbs, "restore", do_restore, summary=summary, site=False)
    restore.add_argument("directory", metavar="DIR", help="a directory, or PLACE:PATH; it need not exist any more")
    restore.add_argument(
        "--from", dest="name", metavar="NAME", default="", help="the transfer to use (default: newest)"
    )
    restore.add_argument("--site", metavar="SITE")


def do_restore(args: argparse.Namespace) -> int:
    """Bring back what is lost, and print what was done. What this host can't reach, the host for transfers may."""
    from gears.data.addresses import parse
    from gears.errors import NotReachable

    route = route_to(args)
    address = parse(args.directory, route.site)
    words = ["restore", str(address), *[f"--from={args.name}"] * bool(args.name)]
    if address.place and not has_records(args, route):  # a path of a laptop is in the records there
        return pass_on(route, words)
    try:
        found = restore_here(address, open_context(route), args.name)
    except NotReachable as exc:
        if not (there := transfer_target(args, route)):
            raise
        say(f"{exc.message}; trying on {there}")
        return pass_to_transfer_host(route, there, words)
    show("\n".join(line for one in found for line in as_lines(one)))
    return 0 if all(one.complete for one in found) else 7


def restore_here(address: Address, context: Context, name: str) -> list[Restored]:
    """Restore on this host. Raises what `restoring.restore` raises."""
    from pathlib import Path

    from gears.data.addresses import full_path
    from gears.data.due import default_jobs
    from gears.data.restoring import Here, restore
    from gears.system.host import this_host

    site = context.site
    host = this_host(full_name=any(place.hosts for place in site.filesystem.values()))
    directory = Path(full_path(address, site, host))
    on_progress = Words(str(directory)).tell
    return restore(directory, Here(site, context.paths, host), name=name, jobs=default_jobs(), on_progress=on_progress)


class Words:
    """Progress in words, once it takes long."""

    def __init__(self, directory: str) -> None:
        import time

        self._clock, self._directory = time.monotonic, directory
        self._next = self._clock() + WORD_EVERY_S

    def tell(self, tally: Tally) -> None:
        """Tell how much was brought back."""
        if self._clock() >= self._next:
            self._next = self._clock() + WORD_EVERY_S
            say(f"{self._directory}: {amount(tally.files, tally.size)} brought back …")


def as_lines(one: Restored) -> list[str]:
    """Write what was brought back from a copy, what was left alone, and what no longer exists."""
    source, tally = one.source, one.tally
    proven = "verified" if source.verified else "never verified as a whole"
    lines = [f"{shown(source.area)}, from {source.copy.address} ({source.transfer.name}, {proven}):"]
    lines.append(f"  {amount(tally.files, tally.size)} brought back" if one.lost else "  nothing was lost")
    if one.different:
        lines.append(f"  {one.different:,} differ from the copy and were left alone:")
        lines += [f"    {shown(os.fsdecode(name))}" for name in one.named_different[:MOST_NAMED]]
    if tally.problems:
        lines.append(f"  {tally.problems:,} could not be brought back:")
        lines += [f"    {shown(os.fsdecode(name))}: {reason}" for name, reason in tally.named[:MOST_NAMED]]
    if one.never_held:
        lines.append(f"  {one.never_held:,} are missing, and the copy never had them:")
        lines += [f"    {shown(os.fsdecode(name))}: {reason}" for name, reason in one.named_never_held[:MOST_NAMED]]
    lost = ", ".join(f"{what} {number:,}" for what, number in tally.lost.items())
    return lines + ([f"  not as they were: {lost}"] if lost else [])
