"""Real Grid Engine, whose times are short enough for tests."""

from typing import ClassVar

from tests.centre.batch import CONTROLLER, MEMBERS, NODES, BatchSystem
from tests.centre.room import HERE

# Debian's programs read this as a shell does, before they look for anything.
DEFAULTS = """\
SGE_ROOT=/etc/gridengine
SGE_CELL=default
SGE_ARCH=$(/usr/share/gridengine/util/arch)
export SGE_QMASTER_PORT=6444 SGE_EXECD_PORT=6445
"""
NAMES = f"controller={CONTROLLER}\nmembers={','.join(MEMBERS)}\nnodes='{' '.join(NODES)}'\n"


class GridEngine(BatchSystem):
    kind = "sge"
    programs: ClassVar = {
        "/usr/sbin/sge_qmaster": "gridengine-master",
        "/usr/sbin/sge_execd": "gridengine-exec",
        "qsub": "gridengine-client",
    }
    service = "20-gridengine"
    daemons = ("sge_qmaster",)
    end_signal = "KILL"  # TERM waits for nodes that are off; each change is on disk at once

    def prepare(self) -> None:
        for host in self._hosts.values():
            host.write("etc/default/gridengine", DEFAULTS)
            host.add_service(self.service, NAMES + (HERE / "gridengine.sh").read_text())

    def is_ready(self) -> bool:
        """A queue of a node has a state, such as "au", until the node has reported."""
        lines = self._controller.run("qstat -f -q batch", "root").stdout.splitlines()
        queues = [line.split() for line in lines if line.startswith("batch@")]
        return [len(words) for words in queues] == [5] * len(NODES)

    def is_answering(self) -> bool:
        return self._controller.run("qhost", "root").returncode == 0

    def calls(self, user: str) -> int:
        raise NotImplementedError("Grid Engine does not count requests by user")
