"""`gears data places`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gears.cli.console import show
from gears.cli.options import Commands, add_command, site_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from gears.data.places import FoundPlace, Quota
    from gears.sites.profile import Site, Transfer

PURGES = {
    "": "{} days",
    "atime": "{} days after the last read",
    "mtime": "{} days after the last change",
    "either": "{} days neither read nor changed",
    "ctime": "{} days after the last change, also of attributes",
}
MOST_QUOTA_LINES = 12
FEW_FILES = 100_000


def add(verbs: Commands) -> None:
    """Add the verb and its arguments."""
    places = add_command(verbs, "places", do_places, summary="show each place: reachable from here, room left, purge")
    places.add_argument("--json", action="store_true", help="print the places as JSON")


def do_places(args: argparse.Namespace) -> int:
    """Try each place of the site from this host, and print what was found."""
    from gears.data.places import find_places
    from gears.sites.load import load_site
    from gears.system.host import this_host

    site = load_site(site_name(args))
    host = this_host(full_name=any(place.hosts for place in site.filesystem.values()))
    places = find_places(site, host)
    if args.json:
        print(as_json(site, host.hostname, places))
    else:
        show("\n".join(as_lines(site.transfer, places)))
    return 0


def as_json(site: Site, host: str, places: list[FoundPlace]) -> str:
    """Return the answer for programs, on one line."""
    import json

    from gears.system.records import as_values

    found = {"site": site.name, "host": host, "project": site.project, "transfer": as_values(site.transfer)}
    return json.dumps(found | {"places": [as_values(place) for place in places]})


def as_lines(transfer: Transfer, places: list[FoundPlace]) -> list[str]:
    """Write the places for a terminal: a table, then what several of them have in common."""
    head = ("place", "shared", "purge", "path", "from here")
    lines = aligned([head, *(row(place) for place in places)])
    lines += grouped("purge rule", places, lambda place: place.purge_source)
    lines += grouped("next", places, lambda place: place.next)
    quotas = dict.fromkeys(place.quota for place in places if place.quota)
    for quota in quotas:
        lines += quota_lines(quota, [place.name for place in places if place.quota == quota])
    if transfer.host:
        lines.append(f"transfers: on {transfer.host}{limits(transfer)}")
    return lines


def row(place: FoundPlace) -> tuple[str, ...]:
    """Return the cells of a place."""
    purge = PURGES[place.purge_by].format(place.purge_days) if place.purge_days else "none known"
    return place.name, place.shared, purge, place.path, state(place)


def state(place: FoundPlace) -> str:
    """Tell in a few words what was found of a place."""
    if place.free_bytes is None or place.total_bytes is None or not place.reachable:
        return place.reason
    few = place.free_files is not None and place.free_files < FEW_FILES
    files = f", and room for {place.free_files:,} files" if few else ""
    room = f"{size(place.free_bytes)} of {size(place.total_bytes)} free{files}"
    return f"writable, {room}" if place.writable else f"{place.reason}; {room}"


def size(number: int) -> str:
    """Write a number of bytes in powers of ten."""
    value, units = float(number), ["PB", "TB", "GB", "MB", "kB", "B"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop()
    return f"{value:.0f} {units[-1]}" if value >= 100 else f"{value:.3g} {units[-1]}"


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Pad all columns but the last."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def grouped(word: str, places: list[FoundPlace], of: Callable[[FoundPlace], str]) -> list[str]:
    """Write what `of` says, once for all places of which it says the same."""
    names: dict[str, list[str]] = {}
    for place in places:
        if text := of(place):
            names.setdefault(text, []).append(place.name)
    return [f"{word}: {text}   [{', '.join(found)}]" for text, found in names.items()]


def quota_lines(quota: Quota, names: list[str]) -> list[str]:
    """Write the answer of a quota command, its first MOST_QUOTA_LINES lines, without control characters."""
    head = f"quota: {quota.command}   [{', '.join(names)}]"
    if quota.failure:
        return [f"{head}: {quota.failure}"]
    output = [line.expandtabs() for line in quota.output.splitlines() if line.strip()]
    shown = ["".join(c if c.isprintable() else "?" for c in line) for line in output[:MOST_QUOTA_LINES]]
    more = [f"… {len(output) - len(shown)} more lines"] if len(output) > len(shown) else []
    ended = f": exit status {quota.status}" if quota.status else ""
    return [head + ended, *(f"  {line}" for line in shown + more)]


def limits(transfer: Transfer) -> str:
    """Write what a job for transfers may use."""
    queue = f", queue {transfer.queue}" if transfer.queue else ""
    walltime = f", walltime {transfer.walltime}" if transfer.walltime else ""
    return f"{queue}; at most: jobs {transfer.jobs}, nodes of a job {transfer.nodes}{walltime}"
