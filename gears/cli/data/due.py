"""`gears data due`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gears.cli.console import say, show
from gears.cli.data.places import PURGES, size
from gears.cli.data.where import has_records, pass_on, pass_to_transfer_host, route_to, transfer_target
from gears.cli.options import Commands, add_command
from gears.errors import NotReachable, UsageError

if TYPE_CHECKING:
    from gears.data.due import Due
    from gears.data.sums import Sum
    from gears.sites.profile import Site
    from gears.system.host import Host

WITHIN_DAYS = 14
MOST_DIRECTORIES = 10
MOST_DAYS = 31

LISTED, UNREACHABLE, UNREAD = 0, 5, 7
"""Exit statuses: all was listed; a place can't be seen; parts can't be read."""

UNKNOWN_RULE = "the centre does not say which time counts: here the earlier one of the last read and the last change"


def add(verbs: Commands) -> None:
    """Add the verb and its arguments."""
    summary = "list what the purge will take, and what of it nothing else holds"
    due = add_command(verbs, "due", do_due, summary=summary, site=False)
    due.add_argument("places", nargs="*", metavar="PLACE", help="places, or PLACE:PATH (default: all that are purged)")
    due.add_argument("--within", type=days, default=WITHIN_DAYS, metavar="DAYS", help="days from now (default: 14)")
    due.add_argument("--all", action="store_true", help="the files of all users, not only yours")
    due.add_argument("--site", metavar="SITE")
    due.add_argument("--quiet", action="store_true", help="print nothing if nothing dies that nothing else holds")
    due.add_argument("--json", action="store_true", help="print the answer as JSON")
    due.add_argument("--cron", action="store_true", help="print a line for `crontab -e` that reports by mail")


def days(text: str) -> int:
    """Read a number of days. Raises argparse.ArgumentTypeError."""
    if not text.isdecimal() or int(text) > 36_500:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days")
    return int(text)


def do_due(args: argparse.Namespace) -> int:
    """List what dies at each place, and print it. What this host can't see, the host for transfers may."""
    from gears.data.due import addresses
    from gears.system.host import this_host

    route = route_to(args)
    site, wanted = route.site, addresses(args.places, route.site)
    if args.cron:
        show(cron_line(args, site.name))
        return LISTED
    if not wanted:
        raise UsageError(f"no place of {site.name} has a purge rule", next=f"gears data places {site.name}")
    if not has_records(args, route):
        return pass_on(route, words(args, args.places))
    host = this_host(full_name=any(place.hosts for place in site.filesystem.values()))
    found, missing = look(args, site, host)
    there = transfer_target(args, route) if missing and not (args.json and found) else ""
    if found or not there:
        print_found(args, site, host.hostname, found, [] if there else [*missing.values()])
    status = exit_status(found, [] if there else [*missing.values()])
    if not there:
        return status
    return worse(status, pass_to_transfer_host(route, there, words(args, [*missing])))


def words(args: argparse.Namespace, places: list[str]) -> list[str]:
    """Return the command line after `gears data`, for these places."""
    options = ["--within", str(args.within), *["--all"] * args.all, *["--json"] * args.json, *["--quiet"] * args.quiet]
    return ["due", *places, *options]


def print_found(args: argparse.Namespace, site: Site, host: str, found: list[Due], missing: list[NotReachable]) -> None:
    """Print what dies, and on standard error what can't be seen."""
    if args.quiet and not missing and not any(due.problems or due.total.alone_files for due in found):
        return
    if args.json:
        print(as_json(site, host, args.within, found, missing))
    else:
        show("\n".join(line for due in found for line in as_lines(due, site)))
    for error in missing:
        say(str(error))


def look(args: argparse.Namespace, site: Site, host: Host) -> tuple[list[Due], dict[str, NotReachable]]:
    """Look at each place; return what was found, and of the others why they can't be seen from here."""
    from gears.data.due import Look, addresses, default_jobs, find_due
    from gears.sites.context import no_progress
    from gears.sites.directories import find_rundir
    from gears.system.installation import gears_home

    paths = find_rundir(gears_home(), site.name, site.local, host.user)
    found, missing = list["Due"](), dict[str, NotReachable]()
    for address in addresses(args.places, site):
        asked = Look(address=address, within=args.within, everybody=args.all, jobs=default_jobs())
        try:
            found.append(find_due(asked, site, paths, host, no_progress if args.quiet else say))
        except NotReachable as exc:
            missing[str(address) if address.path else address.place] = exc
    return found, missing


def worse(one: int, other: int) -> int:
    """Return the status of two that says more; any other than those of this verb before them."""
    order = (LISTED, UNREACHABLE, UNREAD)
    return max(one, other, key=lambda status: order.index(status) if status in order else len(order))


def exit_status(found: list[Due], missing: list[NotReachable]) -> int:
    """Return the status that says most. What dies is no failure of the listing."""
    if any(due.problems for due in found):
        return UNREAD
    return UNREACHABLE if missing else LISTED


# --- for a terminal --------------------------------------------------------------------------


def as_lines(due: Due, site: Site) -> list[str]:
    """Write what dies at a place: by day, by directory, and the commands to run."""
    where = f"{due.place}:{due.directory}" if due.directory else due.place
    lines = [f"{where}, {due.path}: purged after {PURGES[due.purge_by].format(due.purge_days)}"]
    lines += [f"  {UNKNOWN_RULE}"] if not due.purge_by else []
    if due.total.files:
        lines += [f"  {day_words(day)}: {counted(one)}" for day, one in list(due.by_day.items())[:MOST_DAYS]]
        rest = len(due.by_day) - MOST_DAYS
        lines += [f"  … {rest} more days: gears data due --json"] if rest > 0 else []
        lines += [f"  within {due.within} days: {counted(due.total)}", *directory_lines(due, site), *data_lines(due)]
    else:
        lines.append(f"  nothing dies within {due.within} days ({due.seen:,} files and directories looked at)")
    return lines + problem_lines(due)


def day_words(day: str) -> str:
    """Return when files die: what should be gone already, the next run of the purge takes."""
    from datetime import date

    return f"dies on {day}" if day > date.today().isoformat() else "due now"  # noqa: DTZ011  the day of the user


def counted(one: Sum) -> str:
    """Write how much there is, and how much of it has no copy, or none that was verified."""
    text = amount(one.files, one.size)
    if one.alone_files:
        only = "all of it" if one.alone_files == one.files else f"of them {amount(one.alone_files, one.alone_size)}"
        text += f", {only} nowhere else"
    if one.unproven_files:
        text += f", {amount(one.unproven_files, one.unproven_size)} in copies that nobody has verified"
    return text if one.alone_files or one.unproven_files else f"{text}, all in verified copies"


def amount(files: int, total: int) -> str:
    """Write a number of files and their size."""
    return f"{files:,} file{'s' * (files != 1)}, {size(total)}"


def directory_lines(due: Due, site: Site) -> list[str]:
    """Write the directories with most that has no copy, each with the command that makes one."""
    archive = archive_of(site)
    lines = ["  by directory:"]
    for name, one in list(due.by_directory.items())[:MOST_DIRECTORIES]:
        path = f"{due.place}:{name}"
        lines.append(f"    {shown(name or '(files at the top)')}: {counted(one)}")
        if one.alone_files and name and archive:
            lines.append(f"      next: gears data put {quoted(path)} {archive} --site {site.name}")
    rest = len(due.by_directory) - MOST_DIRECTORIES
    lines += [f"    … {rest} more: gears data due --json"] if rest > 0 else []
    return lines if archive else [*lines, f"  next: gears data places {site.name}   (none of them keeps data for long)"]


def data_lines(due: Due) -> list[str]:
    """Write what workspaces have in DVC, that with most that has no copy first."""
    if not due.by_data:
        return []
    lines = ["  data of workspaces:"]
    lines += [f"    {shown(name)}: {counted(one)}" for name, one in list(due.by_data.items())[:MOST_DIRECTORIES]]
    rest = len(due.by_data) - MOST_DIRECTORIES
    lines += [f"    … {rest} more: gears data due --json"] if rest > 0 else []
    alone = any(one.alone_files for one in due.by_data.values())
    return lines + ["    next: gears workspace push   (in a clone)"] * alone


def archive_of(site: Site) -> str:
    """Return the name of the place that keeps data: `archive`, else one that is no directory, else one not purged."""
    from gears.data.places import declared

    places = {name: place for name, place in declared(site).items() if not place.purge_days and name != "home"}
    others = [name for name, place in places.items() if place.kind != "posix"]
    return next(iter([*(["archive"] if "archive" in places else []), *others, *places]), "")


def problem_lines(due: Due) -> list[str]:
    """Write what could not be read: what dies there is not known."""
    if not due.problems:
        return []
    lines = [f"  not known: {due.problems:,} could not be read; what dies there is not counted"]
    lines += [f"    {shown(name)}{f': {reason}' if reason else ''}" for name, reason in due.named]
    return lines + ([f"    … {due.problems - len(due.named):,} more"] if due.problems > len(due.named) else [])


def shown(name: str) -> str:
    """Return a name without control characters."""
    return "".join(c if c.isprintable() else "?" for c in name)


def quoted(path: str) -> str:
    """Return a path as a word of a shell; a name with other bytes than UTF-8 as `$'…'`."""
    import os
    import shlex

    if path.isprintable():
        return shlex.quote(path)
    return (
        "$'"
        + "".join(chr(b) if 32 <= b < 127 and chr(b) not in "'\\" else f"\\{b:03o}" for b in os.fsencode(path))
        + "'"
    )


# --- for programs, and for cron --------------------------------------------------------------


def as_json(site: Site, host: str, within: int, found: list[Due], missing: list[NotReachable]) -> str:
    """Return the answer for programs, on one line."""
    import json

    from gears.system.records import as_values

    reasons = [{"reason": error.message, "next": error.next} for error in missing]
    places = [as_values(due) for due in found]
    return json.dumps({"site": site.name, "host": host, "within": within, "places": places, "missing": reasons})


def cron_line(args: argparse.Namespace, site: str) -> str:
    """Return a line of crontab(5): once a week, or daily for few days; it prints only what needs attention.

    cron mails what is printed. The minute is another one for each user, since all look at the same file system.
    """
    import os
    import shlex

    from gears.system.installation import this_gears

    words = [this_gears(), "data", "due", *args.places, "--within", str(args.within), "--site", site, "--quiet"]
    command = shlex.join(words + ["--all"] * args.all).replace("%", r"\%")
    day = "1" if args.within > 7 else "*"
    return f"{os.getuid() % 60} 6 * * {day} {command}"
