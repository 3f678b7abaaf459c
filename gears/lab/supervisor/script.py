"""What the script of a loop runs: the values for its template, `lab/templates/KIND.sh.j2`.

A hop's loop dials the next host, a job's the node of the job, a lab's starts JupyterLab.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from gears.lab.supervisor import held_socket
from gears.sites.context import Context
from gears.sites.paths import RunDir
from gears.system.files import current_umask
from gears.system.installation import gears_argv, with_gears_path


def plan_script(context: Context, what: str) -> dict[str, Any]:
    """Return the values for the template of a loop: hop, job or lab.

    Raises GearsError, and CommandFailed for an ssh configuration that is invalid.
    """
    connection = {} if what == "lab" else _ssh_values(context.paths)
    return _common_values(context, what) | connection | VALUES[what](context)


def _common_values(context: Context, what: str) -> dict[str, Any]:
    paths = context.paths
    return {
        "again": with_gears_path(f"gears lab {context.site.name}"),
        "site": context.site.name,
        "local": paths.local,
        "here": paths.here,
        "loop": paths.loop,
        "ask": paths.ask,
        "log": paths.log(what),
        "gears": shlex.join(gears_argv()),
    }


def _ssh_values(paths: RunDir) -> dict[str, Any]:
    return {
        "hop_in": paths.hop_in,
        "hop_out": paths.hop_out,
        "hop_err": paths.hop_err,
        "keeper": paths.keeper,
        "link": paths.link,
        "held": paths.held,
        "hold": held_socket.__file__,
        "python": sys.executable,
    }


def _hop_values(context: Context) -> dict[str, Any]:
    from gears.ssh.hop import plan_hop
    from gears.ssh.pin import NODE_GUARD

    paths = context.paths
    hop = plan_hop(
        context.site,
        paths,
        job=context.route.job,
        forward=f"-L {paths.local}/{paths.site}.hop.$GEARS_TURN.sck:{paths.link}",
        control=str(paths.control("hop")),
    )
    return {
        "host": hop.host,
        "options": hop.options,
        "forward": hop.forward,
        "key_alias": hop.key_alias,
        "on_node": NODE_GUARD,
        "turn": paths.turn,
        "given_up": paths.given_up,
        "control": paths.control("hop"),
        "redial": paths.here / "redial",
        "remote": hop.remote,
        "prompt_s": os.environ.get("GEARS_PROMPT_S"),
    }


def _job_values(context: Context) -> dict[str, Any]:
    from gears.lab.job import wait_for_exit
    from gears.lab.job.options import check_scheduler
    from gears.ssh.options import ANY_NODE, has_forwards, ssh_options

    paths = context.paths
    forward = f"-L {paths.local}/{paths.site}.job.$GEARS_TURN.sck:{paths.local}/{paths.site}.lab.$GEARS_JOB.sck"
    behind = forward if has_forwards(ANY_NODE) else ""
    return {
        "again": with_gears_path(f"gears lab {context.site.name} --job"),
        "options": ssh_options(forward=behind, control=str(paths.control("job")), clear=bool(behind)),
        "forward": "" if behind else forward,
        "reach": check_scheduler(context.site).reach,
        "meet": paths.meet_fifo("$4"),
        "watch": f"{shlex.quote(sys.executable)} -IS {shlex.quote(wait_for_exit.__file__)}",
        "lives": shlex.quote(str(paths.records)),
    }


def _lab_values(context: Context) -> dict[str, Any]:
    from gears.lab.jupyter.command_line import plan_command, plan_environment

    paths = context.paths
    return {
        "directory": Path(context.site.lab.directory).expanduser(),
        "environment": plan_environment(context.site, paths),
        "jupyter": plan_command(context.site, paths, root=os.geteuid() == 0),
        "listen": context.site.lab.listen,
        "umask": current_umask(),
    }


VALUES = {"hop": _hop_values, "lab": _lab_values, "job": _job_values}
"""The values for the template of each loop."""
