"""A small HPC centre in Linux namespaces: laptop, hub, two login nodes, two compute nodes, real programs on each.

    with Centre() as centre:
        centre.laptop.run("ssh hub hostname")

Needs root and the packages of `packages.txt`; `CentreUnavailable` says what is missing. The machine it
runs on is not changed: all lives in private namespaces, which end with the process that made them.
"""

from tests.centre.centre import Centre
from tests.centre.commands import CommandError
from tests.centre.host import Host
from tests.centre.processes import Process
from tests.centre.requirements import CentreUnavailable

__all__ = ["Centre", "CentreUnavailable", "CommandError", "Host", "Process"]
