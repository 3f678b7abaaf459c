"""The command line: parse, call one workflow, print, exit. Nothing else prints or exits.

Imports stand in the functions that need them: most commands answer with few modules loaded.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gears.arguments import build_parser
from gears.errors import GearsError, Interrupted, NothingRunning, UsageError

if TYPE_CHECKING:
    from gears.route import Route
    from gears.status import Status

Command = Callable[[argparse.Namespace], int]

STATUS_EXITS = {"stopped": 4, "needs-login": 3, "failed": 1, "unknown": 5}
"""`gears status` answers by its exit status as well; what is up, or on its way, is 0."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; that of an error is its class's (`gears.errors`).

    No GearsError and no Ctrl-C gets through; the message goes to standard error. `argv`: None for that of the process.
    """
    args = build_parser().parse_args(argv)
    try:
        return COMMANDS[args.command](args)
    except GearsError as error:
        return _complain(error)
    except KeyboardInterrupt:
        return _complain(Interrupted("interrupted; what was started goes on", next="gears status"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _complain(_of_disk(error))


def _of_disk(error: OSError) -> GearsError:
    """Translate the error of a disk that takes nothing, which is for the person to mend, whichever file it was.

    Raises any other error again.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise error
    where = f"{error.filename}: " if error.filename else ""
    return GearsError(f"{where}{error.strerror}", next="gears doctor   (it tells the room left on each disk)")


def _complain(error: GearsError) -> int:
    _say(str(error))
    return error.exit_code


def site_name(args: argparse.Namespace) -> str:
    """Return SITE as it was typed, else the default (`sites.default_site`)."""
    from gears.sites import default_site

    return args.site or default_site()


def do_lab(args: argparse.Namespace) -> int:
    """Make sure of the lab and print how to reach it, or its status where it is not up yet.

    With `--json` the status always; with `--verbose` the job script, of a job that was refused too. Root is warned.
    """
    from gears import workflow
    from gears.look import look

    route = _lab_route(args)
    root = os.geteuid() == 0 and route.role == "lab"
    if root:
        _say("you are root: JupyterLab and everything in its notebooks will have root's rights on this machine")
    try:
        status = workflow.bring_up(route, say=_say, wait=not args.no_wait)
    except UsageError:
        raise
    except GearsError:
        _say_script(args, route)  # what was refused, or did not come up
        raise
    _say_script(args, route)
    if args.json:
        print(json.dumps(look(route)))
    elif status.state == "up":
        _show(_how_to_reach(route, status))
    else:
        from gears.status import as_text

        _show(as_text(look(route)))
    return 0


def _lab_route(args: argparse.Namespace) -> Route:
    """Find the site's route, with what the command line says of its lab."""
    from gears.locate import locate

    route = locate(site_name(args), directory=args.dir, env=args.env)
    if args.job:
        return _as_job(route, args)
    _check_job_options(args, route.site.name)
    return route


def _check_job_options(args: argparse.Namespace, site: str) -> None:
    unused = [option for key, option in _job_options().items() if getattr(args, key) is not None]
    if unused and not args.job:
        raise UsageError(f"{unused[0]} is for a batch job", next=f"gears lab {site} --job {unused[0]} …")


def _as_job(route: Route, args: argparse.Namespace) -> Route:
    from dataclasses import replace

    from gears.jobs.request import with_request

    request = {key: getattr(args, key) for key in _job_options()}
    return replace(route, site=with_request(route.site, request), job=True)


def _job_options() -> dict[str, str]:
    from gears.jobs.request import OPTIONS

    return OPTIONS


def _say_script(args: argparse.Namespace, route: Route) -> None:
    from gears.locate import find_paths

    paths = find_paths(route) if args.verbose else None
    if paths and paths.job_script.exists():
        _say(f"{paths.job_script}:\n{paths.job_script.read_text()}")


def _how_to_reach(route: Route, status: Status) -> str:
    from gears.addresses import with_token
    from gears.status import lab_notes

    site, lab = route.site.name, status.lab or {}
    host = lab.get("host") or (status.hops[-1]["to"] if status.hops else route.here)
    password = lab.get("login") == "password"
    log_in = "with your password" if password else "with the token in the address   (a password: gears password)"
    lines = [
        f"JupyterLab of {site} is up on {host}.",
        f"  open     {with_token(site, status.url or '', lab)}",
        f"  log in   {log_in}",
        f"  laptop   gears ssh-config {site}   prints the stanza for ~/.ssh/config; then: ssh {site}-jupyter",
        f"  stop     gears stop {site}",
    ]
    if route.kind == "local":
        here = f"           on this machine; on a laptop, through the stanza, port {route.site.laptop.port}"
        lines.insert(2, here)
    if status.job:
        yours = "".join(f", with your {variable}" for variable in status.job.variables or ())
        lines.insert(1, f"  job      {status.job.id}, until {status.job.ends}{yours}")
    if route.kind == "relay" and route.role == "lab":
        lines.insert(1, f"  hop      on {route.front}: gears lab {site}   (it brings the way from the laptop up)")
    lines += lab_notes(lab)
    return "\n".join(lines)


def do_stop(args: argparse.Namespace) -> int:
    """Stop the lab and its hop, and print whether anything ran. The site's Dask cluster goes on, which is said."""
    from gears.locate import locate
    from gears.stop import stop

    name = site_name(args)
    ran = stop(locate(name), say=_say)
    print(f"{name}: stopped" if ran else f"{name}: nothing was running")
    _say_of_cluster(name)
    return 0


def _say_of_cluster(name: str) -> None:
    from gears.dask.cluster import goes_on

    if goes_on(name):
        _say(f"its Dask cluster goes on; to end it: gears dask down {name}")


def do_status(args: argparse.Namespace) -> int:
    """Print the status; with `--watch` again at every change, looked for every 2 s.

    The exit status tells it as well (STATUS_EXITS).
    """
    import time

    from gears.locate import locate
    from gears.look import look
    from gears.status import as_text

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


def do_open(args: argparse.Namespace) -> int:
    """Open the lab in this machine's browser; where it is on another one, keep the way there up until interrupted."""
    from gears.locate import locate
    from gears.opening import start
    from gears.opening.screen import Desk
    from gears.typed import typed

    route = locate(site_name(args))
    _check_job_options(args, route.site.name)
    desk = Desk(_say, _show, typed(f"gears open {route.site.name}"), browser=args.browser)
    if route.kind == "local":
        start.open_local(route, desk)
    else:
        port = args.port or route.site.laptop.port
        start.open_site(route, desk, port=port, user=args.user, words=_lab_words(args))
    return 0


def _lab_words(args: argparse.Namespace) -> list[str]:
    """Return the options of the lab as they were typed, for gears on another host."""
    words = ["--job"] if args.job else []
    for key, option in {"dir": "--dir", "env": "--env", **_job_options()}.items():
        values = getattr(args, key)
        for value in values if isinstance(values, list) else [values]:
            words += [] if value is None else [f"{option}={value}" if option.startswith("--") else f"{option}{value}"]
    return words


def do_open_far(args: argparse.Namespace) -> int:
    """Answer a `gears open` on a laptop: make sure of the lab on the front, and hold the connection."""
    from gears.opening import far_end

    return far_end.answer(lambda: _lab_route(args), start=args.start, ask=args.ask)


def do_ssh_config(args: argparse.Namespace) -> int:
    """Print the stanza of a site, or of all; with `--write` put it into ~/.ssh/config, and print what became of it."""
    from gears import addresses

    if args.all and (args.site or args.port):
        raise UsageError("--all is for every site, each at its own port", next="gears ssh-config --all")
    if args.all and args.write:
        print(addresses.include_stanzas(user=args.user))
    elif args.all:
        print(addresses.every_stanza(user=args.user), end="")
    elif args.write:
        for line in addresses.write_stanzas(args.site, port=args.port, user=args.user):
            print(line)
    else:
        print(addresses.stanzas(args.site, port=args.port, user=args.user), end="")
    return 0


def do_password(_args: argparse.Namespace) -> int:
    """Ask for JupyterLab's password and store its hash. Wants a terminal. A lab that runs goes on with what it had."""
    from gears.lab.password import ask_password, set_password

    if not sys.stdin.isatty():
        raise UsageError("a password is asked for in a terminal, and there is none", next="gears password")
    path = set_password(ask_password())
    _show(f"The password is set (hashed, in {path}); a lab that runs goes on with what it had.")
    _show("  next: gears stop SITE; gears lab SITE   (its kernels end)")
    return 0


def do_url(args: argparse.Namespace) -> int:
    """Print the address to open, with its token. Raises NothingRunning where the site is not up."""
    from gears.addresses import with_token
    from gears.locate import locate
    from gears.look import look

    name = site_name(args)
    record = look(locate(name))
    if not record["url"]:
        raise NothingRunning(
            f"{name} is {record['state']}: {record['reason'] or 'nothing runs'}", next=f"gears lab {name}"
        )
    print(with_token(name, record["url"], record["lab"] or {}))
    return 0


def do_logs(args: argparse.Namespace) -> int:
    """Print the last lines of a site's logs; with `--follow` go on as they grow, until interrupted."""
    from gears.logs import show_logs

    for line in show_logs(site_name(args), follow=args.follow):
        print(line, end="", flush=args.follow)
    return 0


def do_attach(args: argparse.Namespace) -> int:
    """Show the site's tmux session in this terminal, and return tmux's exit status.

    Raises NothingRunning without a session on this host, UsageError without a terminal.
    """
    from gears import tmux
    from gears.sites import load_site

    name = load_site(site_name(args)).name
    if not tmux.has_session(name):
        raise NothingRunning(f"no tmux session {name} on this host", next=f"gears lab {name}")
    if not sys.stdin.isatty():
        raise UsageError("attach wants a terminal", next=" ".join(tmux.attach_command(name)))
    return tmux.attach(name).wait()


def do_doctor(args: argparse.Namespace) -> int:
    """Print what `gears.doctor` finds. The exit status is 1 where anything has failed, else 0."""
    from gears import doctor
    from gears.locate import locate

    findings = doctor.examine(locate(site_name(args)))
    _show(json.dumps([finding.as_record() for finding in findings]) if args.json else doctor.as_text(findings))
    return 1 if any(finding.level == "failed" for finding in findings) else 0


def do_sites_list(_args: argparse.Namespace) -> int:
    """Print a line for each known site: its name, and where its profile is."""
    from gears.sites import site_names

    for name, source in site_names():
        print(f"{name:12} {source}")
    return 0


def do_sites_show(args: argparse.Namespace) -> int:
    """Print the profile in force as TOML, each key with its file."""
    from gears.sitefile import render_toml
    from gears.sites import load_site

    print(render_toml(load_site(args.name)), end="")
    return 0


def do_sites_new(args: argparse.Namespace) -> int:
    """Begin a new profile, and print where it is."""
    from gears.sitefile import new_site

    _show(f"Written: {new_site(args.name)}\n  next: edit it, then: gears sites show {args.name}")
    return 0


def do_forward(args: argparse.Namespace) -> int:
    """Forward servers and dashboards of hosts or sites to this machine; list or cancel such forwards.

    Tokens are shown only where standard output is a terminal.
    """
    from gears.forward import commands

    match args.words:
        case ["list"]:
            lines = commands.listed()
        case ["cancel", *ports]:
            lines = commands.cancelled(ports)
        case names:
            from gears.sites import default_site

            names = names or [default_site()]
            commands.forward(names, show=_show_now, say=_say, with_tokens=sys.stdout.isatty())
            return 0
    for line in lines:
        print(line)
    return 0


def do_shell(args: argparse.Namespace) -> int:
    """Enter the tmux session on the site's lab host, and return its exit status."""
    from gears import shell

    return shell.enter(site_name(args), shell.Inside(args.ipython, args.env), say=_say)


def do_shell_there(args: argparse.Namespace) -> int:
    """Enter that session on the host one was sent to, whatever names it has."""
    from gears import shell

    return shell.enter_there(args.site, shell.Inside(args.ipython, args.env), stay=args.stay, say=_say)


def do_run(args: argparse.Namespace) -> int:
    """Carry out `gears run`, and return the exit status of a command that is followed to its end."""
    from gears import errands

    return errands.do(args.words, env=args.env, follow=args.follow, show=_show_part, say=_say)


def do_run_there(args: argparse.Namespace) -> int:
    """Carry out `gears run` on the lab host one was sent to, whatever names it has."""
    from gears import errands

    return errands.do(args.words, env=args.env, follow=args.follow, show=_show_part, say=_say, there=True)


def do_dask(args: argparse.Namespace) -> int:
    """Carry out a verb of `gears dask`, and print its answer, if it has one."""
    from gears.dask import answers

    text, status = answers.answer(args, _say)
    if text:
        _show(text)
    return status


def do_dask_jobs(args: argparse.Namespace) -> int:
    """Print, for the cluster's owner, what the scheduler says of its jobs that wait, as JSON."""
    from gears.dask import commands

    print(json.dumps(commands.jobs(args.kind, args.name, args.ids)))
    return 0


def do_dask_address(args: argparse.Namespace) -> int:
    """Print, for an owner in a job, by which of its addresses other nodes know this one."""
    from gears.dask import commands

    print(commands.address(args.site))
    return 0


def do_dask_end(args: argparse.Namespace) -> int:
    """Clear up after a cluster whose owner is gone: its address and its jobs."""
    from gears.dask import commands

    commands.end(args.site, args.id, _say)
    return 0


def do_env(args: argparse.Namespace) -> int:
    """Carry out a verb of `gears env` or `gears kernel`, and print its answer."""
    from gears.envs.answers import ANSWERS

    text, status = ANSWERS[args.command](args, _say)
    _show(text)
    return status


def do_env_export(args: argparse.Namespace) -> int:
    """Print what is installed in an environment, in the words of the tool that made it."""
    from gears.envs import make

    print(make.export(args.name), end="")
    return 0


def do_env_run(args: argparse.Namespace) -> int:
    """Become the command, with the environment active. Never returns."""
    from gears.envs import use

    use.become(args.name, args.words)


def do_turn(args: argparse.Namespace) -> int:
    """Decide on a loop's next turn, and print it in one line.

    Raises NothingRunning for a loop whose place another one has taken.
    """
    from pathlib import Path

    from gears import loop, turn
    from gears.locate import saved_route

    route, paths = saved_route(Path(args.here))
    loop.check_loop(paths, args.loop)
    print(turn.next_turn(route, paths, args.what, args.word))
    return 0


def do_serve(args: argparse.Namespace) -> int:
    """Serve the lab host's end of a hop (`gears.remote`); with `--stop` end the lab there."""
    from pathlib import Path

    from gears import remote
    from gears.locate import with_directory, with_env
    from gears.sites import load_site

    site = remote.read_profile(args.profile) if args.profile else load_site(args.site)
    site = with_directory(site, args.dir) if args.dir else site
    if args.stop:
        return remote.serve_stop(site, Path(args.local), say=_say)
    site = with_env(site, args.env) if args.env else site
    given = {"--local": args.local, "--dir": args.dir, "--env": args.env, "--profile": args.profile}
    again = ["_serve", args.site, *(word for option, value in given.items() if value for word in (option, value))]
    return remote.serve(site, Path(args.local), again, asked=args.asked, job=args.job)


def do_examine(args: argparse.Namespace) -> int:
    """Answer a doctor on another host with what is found on this one."""
    from pathlib import Path

    from gears.doctor import far_end
    from gears.remote import read_profile

    far_end.answer(
        read_profile(args.profile),
        directory=Path(args.directory) if args.directory else None,
        mark=Path(args.mark) if args.mark else None,
    )
    return 0


def _show(words: str) -> None:
    from gears.typed import typed

    print(typed(words))


def _show_now(line: str) -> None:
    print(line, flush=True)


def _show_part(text: str) -> None:
    """Print a part of another program's output, as it is."""
    print(text, end="", flush=True)


def _say(words: str) -> None:
    """Print progress and complaints: what is no answer goes to standard error."""
    from gears.typed import typed

    print(f"gears: {typed(words)}", file=sys.stderr, flush=True)


COMMANDS: dict[str, Command] = {
    "lab": do_lab,
    "stop": do_stop,
    "status": do_status,
    "open": do_open,
    "ssh-config": do_ssh_config,
    "password": do_password,
    "url": do_url,
    "logs": do_logs,
    "attach": do_attach,
    "doctor": do_doctor,
    "sites list": do_sites_list,
    "sites show": do_sites_show,
    "sites new": do_sites_new,
    "forward": do_forward,
    "shell": do_shell,
    "run": do_run,
    **{f"dask {verb}": do_dask for verb in ("up", "status", "scale", "adapt", "down")},
    **{f"env {verb}": do_env for verb in ("create", "list", "show", "update", "remove", "add", "verify", "pack")},
    "env export": do_env_export,
    "env run": do_env_run,
    "kernel prune": do_env,
    "_dask jobs": do_dask_jobs,
    "_dask address": do_dask_address,
    "_dask end": do_dask_end,
    "_shell": do_shell_there,
    "_run": do_run_there,
    "_turn": do_turn,
    "_serve": do_serve,
    "_open": do_open_far,
    "_examine": do_examine,
}
