"""Options shared by several commands, and what they mean for a site's route."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from gears.cli.registry import COMMANDS
from gears.errors import UsageError
from gears.sites import validators

if TYPE_CHECKING:
    from gears.sites.profile import Site
    from gears.sites.route import Route


Commands: TypeAlias = "argparse._SubParsersAction[Any]"


def port_number(text: str) -> int:
    """Read a port, from 1024 to 65535. Raises argparse.ArgumentTypeError."""
    return int(_checked(validators.port, int(text) if text.isdecimal() else text))


def user_name(text: str) -> str:
    """Check a user's name (`validators.user`). Raises argparse.ArgumentTypeError."""
    return str(_checked(validators.user, text))


def _checked(check: validators.Check, value: object) -> Any:
    try:
        return check(value)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def add_job_options(lab: argparse.ArgumentParser) -> None:
    """Add the options of a lab as a batch job, and whether it carries variables."""
    lab.add_argument(
        "--carry", action="store_true", help="save the variables of notebooks, and load them in the next lab"
    )
    job = lab.add_argument_group("as a batch job", "defaults are in the site's profile")
    job.add_argument("--job", action="store_true", help="run JupyterLab on a compute node, through the batch queue")
    job.add_argument("-A", "--account", help="account to charge")
    job.add_argument("-n", "-N", "--nodes", type=int, help="number of nodes; JupyterLab runs on the first")
    job.add_argument("-t", "--walltime", metavar="[D-]HH:MM:SS", help="time limit")
    job.add_argument("-p", "--queue", help="queue or partition")
    job.add_argument(
        "--renew",
        type=int,
        nargs="?",
        const=1,
        metavar="TIMES",
        help="submit another job to take over at the end of this one, TIMES times (default: 1)",
    )
    job.add_argument("--reach", choices=("ssh", "reverse"), help="how the login node reaches the compute node")
    job.add_argument(
        "--directive",
        action="append",
        dest="directives",
        metavar="LINE",
        help="additional option for the scheduler; can be repeated",
    )
    job.add_argument("-v", "--verbose", action="store_true", help="show the job script, even of a refused job")


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], *, summary: str = "", site: bool = True
) -> argparse.ArgumentParser:
    """Add a command that `run` implements, or a verb of one, with its `summary`. `site`: it takes SITE."""
    summary = summary or COMMANDS[name][1]
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    if site:
        parser.add_argument("site", nargs="?", metavar="SITE")
    return parser


def add_internal(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], *words: str
) -> argparse.ArgumentParser:
    """Add a command that only gears itself runs, with the arguments `words`. It is not in the help."""
    parser: argparse.ArgumentParser = commands.add_parser(name)
    parser.set_defaults(run=run)
    for word in words:
        parser.add_argument(word)
    return parser


def site_name(args: argparse.Namespace) -> str:
    """Return SITE as given, else the default (`sites.load.default_site`)."""
    from gears.sites.load import default_site

    return args.site or default_site()


def lab_route(args: argparse.Namespace) -> Route:
    """Find the site's route, with the options of the command line applied. Raises what `locate` raises."""
    from dataclasses import replace

    from gears.sites.load import load_site
    from gears.sites.locate import route_of

    name = site_name(args)
    check_job_options(args, name)
    site = with_lab_options(load_site(name), args)
    if args.job:
        from gears.lab.job.options import OPTIONS, with_request

        site = with_request(site, {key: getattr(args, key) for key in OPTIONS})
    return replace(route_of(site), job=args.job)


def with_lab_options(site: Site, args: argparse.Namespace) -> Site:
    """Return the site with --dir, --env and --carry in place of its own.

    Raises UsageError for an invalid path or name.
    """
    from dataclasses import replace

    try:
        if args.dir:
            site = replace(site, lab=replace(site.lab, directory=validators.path(args.dir)))
    except ValueError as exc:
        raise UsageError(f"--dir {args.dir}: {exc}", next=f"gears lab {site.name} --dir ~/…") from exc
    try:
        if args.env:
            site = replace(site, envs=replace(site.envs, default=validators.setting_name(args.env)))
    except ValueError as exc:
        raise UsageError(f"--env {args.env}: {exc}", next="gears env list") from exc
    return replace(site, carry=replace(site.carry, on=True)) if getattr(args, "carry", False) else site


def check_job_options(args: argparse.Namespace, site: str) -> None:
    """Raise UsageError for a job option without --job."""
    from gears.lab.job.options import OPTIONS

    unused = [option for key, option in OPTIONS.items() if getattr(args, key) is not None]
    if unused and not args.job:
        raise UsageError(f"{unused[0]} requires --job", next=f"gears lab {site} --job {unused[0]} …")


def lab_options(args: argparse.Namespace) -> list[str]:
    """Return the options of the lab as given, for gears on another host."""
    from gears.lab.job.options import OPTIONS

    words = [option for option, given in (("--job", args.job), ("--carry", args.carry)) if given]
    for key, option in {"dir": "--dir", "env": "--env", **OPTIONS}.items():
        values = getattr(args, key)
        for value in values if isinstance(values, list) else [values]:
            words += [] if value is None else [f"{option}={value}" if option.startswith("--") else f"{option}{value}"]
    return words
