"""The words of the command line. Which function carries out a command is for `cli` to know."""

from __future__ import annotations

import argparse
from typing import Any, TypeAlias

from gears import __version__, checks
from gears.dask.arguments import add_dask
from gears.envs.arguments import add_env

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands. What it parses has in `command` the name by which `cli` finds the function."""
    parser = argparse.ArgumentParser(
        prog="gears",
        description="A JupyterLab on an HPC centre, in your own browser, at an address that never changes.",
        epilog="SITE defaults to $GEARS_SITE, else `site` in ~/.config/gears/config.toml, else local.",
    )
    parser.add_argument("--version", action="version", version=f"gears {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    _add_lab(commands)
    _command(commands, "stop", "stop the lab and its hop, and nothing else of yours")

    status = _command(commands, "status", "what is up, where, and what to do if it is not")
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument("--watch", action="store_true", help="show every change until interrupted")

    _add_open(commands)
    _add_stanza(commands)
    _command(commands, "password", "set JupyterLab's password", site=False)
    _command(commands, "url", "the address to open")
    logs = _command(commands, "logs", "the logs of a site")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as they grow")
    _command(commands, "attach", "show the tmux session of a site (leave it with Ctrl-b d)")
    doctor = _command(commands, "doctor", "probe every hop and setting; say the cause and the cure")
    doctor.add_argument("--json", action="store_true", help="for programs")
    _add_sites(commands)
    _add_laptop(commands)
    _add_capabilities(commands)
    _add_inner(commands)
    return parser


def _add_lab(commands: Commands) -> None:
    lab = _command(commands, "lab", "start JupyterLab, or find the one that runs, and say how to reach it")
    lab.add_argument("--dir", metavar="DIR", help="where JupyterLab starts (default: the profile's, else your home)")
    lab.add_argument("--env", metavar="NAME", help="the environment that new notebooks get (default: the profile's)")
    _add_job_options(lab)
    lab.add_argument("--no-wait", action="store_true", help="return as soon as it is started")
    lab.add_argument("--json", action="store_true", help="print the status as JSON")


def _add_capabilities(commands: Commands) -> None:
    """Add the commands that have their words beside them."""
    add_dask(commands, _command)
    add_env(commands, _command)


def _add_open(commands: Commands) -> None:
    opened = _command(commands, "open", "on your laptop: the way there, kept up, and the lab in the browser")
    opened.add_argument("--port", type=port_number, metavar="N", help="the laptop's port (default: the profile's)")
    opened.add_argument("--user", type=user_name, help="your name on the front (default: as your ssh has it)")
    opened.add_argument("--no-browser", dest="browser", action="store_false", help="only print the address")
    opened.add_argument("--dir", metavar="DIR", help="where JupyterLab starts, if it is started now")
    opened.add_argument("--env", metavar="NAME", help="the environment that new notebooks get, if it is started now")
    _add_job_options(opened)


def _add_stanza(commands: Commands) -> None:
    stanza = _command(commands, "ssh-config", "the block for ~/.ssh/config on your laptop")
    stanza.add_argument("--port", type=int, help="the laptop's port (default: the profile's)")
    stanza.add_argument("--user", help="your name on the front (default: the one you have here)")
    stanza.add_argument("--write", action="store_true", help="put it into this machine's ~/.ssh/config")
    stanza.add_argument("--all", action="store_true", help="every site known here; with --write in a file of its own")


def port_number(text: str) -> int:
    """Read a port, from 1024 to 65535. Raises argparse.ArgumentTypeError."""
    return int(_checked(checks.port, int(text) if text.isdecimal() else text))


def user_name(text: str) -> str:
    """Check a user's name (`checks.user`). Raises argparse.ArgumentTypeError."""
    return str(_checked(checks.user, text))


def _checked(check: checks.Check, value: object) -> Any:
    try:
        return check(value)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _add_job_options(lab: argparse.ArgumentParser) -> None:
    job = lab.add_argument_group("as a batch job", "what is not said here is as the site's profile has it")
    job.add_argument("--job", action="store_true", help="JupyterLab on a compute node, through the batch queue")
    job.add_argument("-A", "--account", help="whom to charge")
    job.add_argument("-n", "-N", "--nodes", type=int, help="how many nodes; JupyterLab runs on the first")
    job.add_argument("-t", "--walltime", metavar="[D-]HH:MM:SS", help="for how long")
    job.add_argument("-p", "--queue", help="queue or partition")
    job.add_argument(
        "--renew", type=int, nargs="?", const=1, metavar="TIMES", help="let another job take over at its end"
    )
    job.add_argument("--reach", choices=("ssh", "reverse"), help="how the login node gets to the compute node")
    job.add_argument("--directive", action="append", dest="directives", metavar="LINE", help="a line for the scheduler")
    job.add_argument("-v", "--verbose", action="store_true", help="show the job script, of a job that was refused too")


def _command(
    commands: Commands, name: str, help: str, *, site: bool = True, does: str | None = None
) -> argparse.ArgumentParser:
    """Add a command, and under `command` the name by which `cli` finds its function: its own, or `does`."""
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(command=does or name)
    if site:
        parser.add_argument("site", nargs="?", metavar="SITE")
    return parser


def _add_sites(commands: Commands) -> None:
    sites = _command(commands, "sites", "the site profiles", site=False, does="sites list")
    verbs = sites.add_subparsers(metavar="list|show NAME|new NAME")
    _command(verbs, "list", "the sites that are known, and where from", site=False, does="sites list")
    show = _command(verbs, "show", "the profile in force, each key with its file", site=False, does="sites show")
    new = _command(verbs, "new", "a new profile, to be filled in", site=False, does="sites new")
    for verb in (show, new):
        verb.add_argument("name", metavar="NAME")


def _add_laptop(commands: Commands) -> None:
    """Add what a person types on the laptop; on the front or the lab host it does the same from there."""
    forward = _command(commands, "forward", "your Jupyter servers and Dask dashboards there, at ports here", site=False)
    forward.add_argument("words", nargs="*", metavar="HOST|SITE… | list | cancel [PORT]")
    shell = _command(commands, "shell", "a tmux session there, with gears' environment active; again: back in it")
    run = _command(commands, "run", "a command there, in tmux: it outlives the connection", site=False)
    _add_session_options(shell, run)
    shell, run = commands.add_parser("_shell"), commands.add_parser("_run")  # the same, on a host that one is sent to
    shell.set_defaults(command="_shell")
    shell.add_argument("site")
    shell.add_argument("--stay", action="store_true")
    run.set_defaults(command="_run")
    _add_session_options(shell, run)


def _add_session_options(shell: argparse.ArgumentParser, run: argparse.ArgumentParser) -> None:
    shell.add_argument("--ipython", action="store_true", help="IPython instead, which keeps its variables")
    for command in (shell, run):
        command.add_argument("--env", metavar="NAME", help="an environment of yours active, instead of gears' own")
    run.add_argument("words", nargs="*", metavar="SITE -- COMMAND… | list SITE | attach SITE NAME | logs SITE NAME")
    run.add_argument("-f", "--follow", action="store_true", help="with logs: go on to its end, whose status is ours")


def _add_inner(commands: Commands) -> None:
    """Add what the loops and the hops call; no person types these."""
    _add_inner_open(commands)
    turn = commands.add_parser("_turn")
    turn.set_defaults(command="_turn")
    turn.add_argument("here")
    turn.add_argument("what", choices=("hop", "lab", "job"))
    turn.add_argument("word")
    turn.add_argument("loop", type=int)
    serve = commands.add_parser("_serve")
    serve.set_defaults(command="_serve")
    serve.add_argument("site")
    serve.add_argument("--profile", help="the resolved profile, as base64 of its JSON")
    serve.add_argument("--local", required=True)
    serve.add_argument("--dir")
    serve.add_argument("--env")
    serve.add_argument("--job", action="store_true")
    serve.add_argument("--asked", action="store_true")
    serve.add_argument("--stop", action="store_true")
    examine = commands.add_parser("_examine")
    examine.set_defaults(command="_examine")
    examine.add_argument("site")
    examine.add_argument("--profile", required=True)
    examine.add_argument("--directory")
    examine.add_argument("--mark")


def _add_inner_open(commands: Commands) -> None:
    """Add what `gears open` calls on the front."""
    opened = commands.add_parser("_open")
    opened.set_defaults(command="_open")
    opened.add_argument("site")
    opened.add_argument("--start", action="store_true")
    opened.add_argument("--ask", action="store_true")
    opened.add_argument("--dir")
    opened.add_argument("--env")
    _add_job_options(opened)
