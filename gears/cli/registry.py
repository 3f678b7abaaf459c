"""All commands, and the module that implements each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from gears import __version__

COMMANDS = {
    "lab": ("lab", "start JupyterLab, or find a running one, and show how to reach it"),
    "stop": ("stop", "stop the lab and its hop, and nothing else"),
    "status": ("status", "show what is up, where, and what to do if it is not"),
    "open": ("open", "on your laptop: connect, open the lab in the browser, and keep the connection up"),
    "ssh-config": ("ssh_config", "print the block for ~/.ssh/config on your laptop"),
    "password": ("password", "set JupyterLab's password"),
    "url": ("url", "print the address to open"),
    "logs": ("logs", "show the logs of a site"),
    "attach": ("attach", "attach to the tmux session of a site (detach with Ctrl-b d)"),
    "doctor": ("doctor", "check every hop and setting; show the cause and the fix of each problem"),
    "sites": ("sites", "list, show and create site profiles"),
    "forward": ("forward", "forward your Jupyter servers and Dask dashboards on other hosts to ports of this machine"),
    "shell": ("shell", "open a tmux session on the lab host, with gears' environment active, or return to it"),
    "run": ("run", "run a command on the lab host, in tmux: it survives a lost connection"),
    "dask": ("dask", "manage a Dask cluster that all your notebooks share"),
    "env": ("env", "manage environments; each is a kernel in JupyterLab"),
    "kernel": ("env", "manage the kernels that JupyterLab offers"),
    "state": ("state", "list, save and forget the variables of notebooks that labs carry"),
    "data": ("data", "move data between the places of a site, and prove that it arrived"),
    "workspace": ("workspace", "keep code, notebooks, jobs and data of a team in one git repository"),
    "_turn": ("internal", ""),
    "_serve": ("internal", ""),
    "_examine": ("internal", ""),
    "_panel": ("internal", ""),
    "_open": ("open", ""),
    "_shell": ("shell", ""),
    "_run": ("run", ""),
    "_dask": ("dask", ""),
    "_data": ("data", ""),
    "_workspace": ("workspace", ""),
}
"""Command → module in this package, and what `gears --help` says of it. Commands that begin with _ are internal."""


def build_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Build the parser of the command that `words` begin with; None: of all. It sets `run` to the command's function.

    Only that command's module is loaded. Where `words` name none, the parser knows the commands by their summaries.
    """
    parser = argparse.ArgumentParser(
        prog="gears",
        description="JupyterLab on an HPC centre, in your own browser, at an address that never changes.",
        epilog="SITE defaults to $GEARS_SITE, else `site` in ~/.config/gears/config.toml, else local.",
    )
    parser.add_argument("--version", action="version", version=f"gears {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    names = COMMANDS if words is None else [word for word in words[:1] if word in COMMANDS]
    for module in dict.fromkeys(COMMANDS[name][0] for name in names):
        import_module(f"gears.cli.{module}").add(commands)
    if not names:
        for name, (_, summary) in COMMANDS.items():
            if summary:
                commands.add_parser(name, help=summary)
    return parser
