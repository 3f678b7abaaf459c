"""The address by which compute nodes reach this host: a scheduler listens on it alone."""

from __future__ import annotations

import re
from ipaddress import ip_address

from gears.errors import CommandFailed, MissingProgram, UsageError
from gears.sites.profile import Scheduler, Site
from gears.system.commands import run
from gears.system.host import source_towards, this_host

NODES = {
    "slurm": (["sinfo", "--noheader", "--Node", "--format=%o"], r"^(\S+)"),
    "sge": (["qconf", "-sel"], r"^(\S+)"),
    "pbs": (["pbsnodes", "-a"], r"^(\S+)$"),
    "lsf": (["bhosts", "-w"], r"^(?!HOST_NAME)(\S+)"),
}
"""The command that lists a batch system's nodes, and a pattern for the name of one."""

QUERY_S = 20.0
MOST_NODES = 5


def scheduler_host(site: Site, scheduler: Scheduler) -> str:
    """Return this host's own address on the route to a compute node.

    Raises UsageError if it can't be determined, MissingProgram or CommandFailed if the batch system can't be queried.
    """
    names = [*_nodes(scheduler), this_host(full_name=True).full_name]
    for name in names:
        address = source_towards(name)
        if address and not ip_address(address).is_loopback:
            return address
    fix = f"ip -brief address   (then, in ~/.config/gears/sites/{site.name}.toml, under [dask]: interface = …)"
    raise UsageError("can't determine the address by which compute nodes reach this host", next=fix)


def _nodes(scheduler: Scheduler) -> list[str]:
    command, pattern = NODES[scheduler.kind]
    if scheduler.kind == "slurm" and scheduler.queue:
        command = [*command, f"--partition={scheduler.queue}"]
    try:
        output = run(command, timeout_s=QUERY_S)
    except MissingProgram:
        raise
    except CommandFailed as exc:
        raise CommandFailed(f"the batch system does not respond: {exc.message}", next=" ".join(command)) from exc
    return re.findall(pattern, output, re.MULTILINE)[:MOST_NODES]
