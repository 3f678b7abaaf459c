"""Commands that loops and hops call, not users."""

from __future__ import annotations

import argparse

from gears.cli.console import say
from gears.cli.options import Commands, add_internal, with_lab_options


def add(commands: Commands) -> None:
    """Add the commands and their options."""
    turn = add_internal(commands, "_turn", do_turn, "here")
    turn.add_argument("what", choices=("hop", "lab", "job"))
    turn.add_argument("word")
    turn.add_argument("loop", type=int)
    serve = add_internal(commands, "_serve", do_serve, "site")
    serve.add_argument("--profile", help="the resolved profile, as base64 of its JSON")
    serve.add_argument("--local", required=True)
    serve.add_argument("--dir")
    serve.add_argument("--env")
    serve.add_argument("--job", action="store_true")
    serve.add_argument("--asked", action="store_true")
    serve.add_argument("--stop", action="store_true")
    examine = add_internal(commands, "_examine", do_examine, "site")
    examine.add_argument("--profile", required=True)
    examine.add_argument("--directory")
    examine.add_argument("--mark")
    panel = add_internal(commands, "_panel", do_panel, "site")
    panel.add_argument("--ask", action="store_true")
    panel.add_argument("--keep", action="store_true")


def do_turn(args: argparse.Namespace) -> int:
    """Decide on a loop's next turn and print it as one line.

    Raises NothingRunning for a loop that another one has replaced.
    """
    from pathlib import Path

    from gears.lab.supervisor import step
    from gears.lab.supervisor.keeper import start_keeper
    from gears.sites.context import load_context

    context = load_context(Path(args.here))
    step.check_loop(context.paths, args.loop)
    if args.word == "redialled":  # a turn that was prepared (`prepare_redial`)
        start_keeper(context)
        return 0
    line = step.next_turn(context, args.what, args.word)
    if line != step.STOP:
        start_keeper(context)
    print(line)
    return 0


def do_serve(args: argparse.Namespace) -> int:
    """Serve the lab host's end of a hop (`gears.lab.serve`); with `--stop` stop the lab there."""
    from pathlib import Path

    from gears.lab import serve
    from gears.sites.load import load_site
    from gears.ssh import remote_gears

    site = remote_gears.decode_profile(args.profile) if args.profile else load_site(args.site)
    site = with_lab_options(site, args)
    if args.stop:
        return serve.serve_stop(site, Path(args.local), say=say)
    given = {"--local": args.local, "--dir": args.dir, "--env": args.env, "--profile": args.profile}
    again = ["_serve", args.site, *(word for option, value in given.items() if value for word in (option, value))]
    return serve.serve(site, Path(args.local), again, requested=args.asked, job=args.job)


def do_examine(args: argparse.Namespace) -> int:
    """Report the findings of this host to a doctor on another one."""
    from pathlib import Path

    from gears.doctor import serve
    from gears.ssh.remote_gears import decode_profile

    serve.answer(
        decode_profile(args.profile),
        directory=Path(args.directory) if args.directory else None,
        mark=Path(args.mark) if args.mark else None,
    )
    return 0


def do_panel(args: argparse.Namespace) -> int:
    """Print what JupyterLab's panel shows of its lab, as JSON; with `--keep` let another job take over, and say so."""
    import json

    from gears.lab import panel

    context = panel.open_context(args.site)
    print(panel.keep(context) if args.keep else json.dumps(panel.gather(context, ask=args.ask).as_values()))
    return 0
