"""Real Slurm, whose times are short enough for tests. Formats: slurm.conf(5), cgroup.conf(5), sdiag(1)."""

import re
from collections.abc import Sequence
from typing import ClassVar

from tests.centre.batch import CONTROLLER, NODES, BatchSystem
from tests.centre.host import Host

CLUSTER = "centre"
CONFIGURATION = """\
ClusterName={cluster}
SlurmctldHost={controller}
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
MailProg=/bin/true
MpiDefault=none
StateSaveLocation=/var/spool/{controllers}
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/{controllers}.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/{controllers}.log
SlurmdLogFile=/var/log/slurmd.log
# No cgroups: those of the machine are not ours. An orphan of a job is met by the epilog alone.
Epilog=/etc/slurm/epilog
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
# More CPUs than the machine may have.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# Jobs start, and expected starts are known, within a second or two.
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,bf_resolution=1
MessageTimeout=5
SlurmdTimeout=15
KillWait=5
MinJobAge=300
JobRequeue=1
ReturnToService=2
NodeName={nodes} CPUs=4 RealMemory=2000
PartitionName=batch Nodes={nodes} Default=YES OverSubscribe=EXCLUSIVE DefaultTime=01:00:00 MaxTime=1-00:00:00
PartitionName=debug Nodes={nodes} MaxTime=00:05:00
"""
EPILOG = """\
#!/bin/sh
for pid in $(pgrep -u "$SLURM_JOB_UID"); do
    if grep -qzxF "SLURM_JOB_ID=$SLURM_JOB_ID" "/proc/$pid/environ"; then kill -KILL "$pid"; fi
done 2> /dev/null
true
"""
# Told to use version 1, slurmd looks for no cgroups; else it wants the version there is, and a place of its own in it.
CGROUP = "CgroupPlugin=cgroup/v1\n"
KEY = "/etc/munge/munge.key"
MUNGED = f"""\
mkdir -p /run/munge
exec munged --key-file={KEY} --log-file=/run/munge/munged.log --seed-file=/run/munge/munged.seed
"""
SLURMCTLD = "mkdir -p /var/spool/slurmctld\nexec slurmctld\n"
# -b: all that ran before is gone. The uptime does not say so, for it is that of the machine.
SLURMD = "mkdir -p /var/spool/slurmd\nexec slurmd -b\n"
PER_USER = re.compile(r"^\t(\S+)\s+\(\s*\d+\) count:(\d+)", re.MULTILINE)


def configuration(cluster: str, nodes: Sequence[str], *, port: int = 6817, controllers: str = "slurmctld") -> str:
    """slurm.conf. `controllers`: what the controller's own files are called, on a host that may have two."""
    return CONFIGURATION.format(
        cluster=cluster, controller=CONTROLLER, port=port, controllers=controllers, nodes=",".join(nodes)
    )


class Slurm(BatchSystem):
    kind = "slurm"
    programs: ClassVar = {
        "/usr/sbin/munged": "munge",
        "/usr/sbin/slurmctld": "slurmctld",
        "/usr/sbin/slurmd": "slurmd",
        "sbatch": "slurm-client",
    }
    service = "20-slurmctld"
    daemons = ("slurmctld", "slurmscriptd")
    end_signal = "TERM"  # it saves its state every five seconds, and then

    def prepare(self) -> None:
        for name, host in self._hosts.items():
            self._configure(host, configuration(CLUSTER, NODES))
            host.write("etc/slurm/epilog", EPILOG, 0o755)
            host.write(KEY.lstrip("/"), self._secret, 0o400)
            host.add_service("10-munged", MUNGED)
            if name in NODES:
                host.add_service("20-slurmd", SLURMD)
        self._controller.add_service(self.service, SLURMCTLD)

    def _configure(self, host: Host, text: str, directory: str = "etc/slurm") -> None:
        host.write(f"{directory}/slurm.conf", text)
        host.write(f"{directory}/cgroup.conf", CGROUP)

    def is_ready(self) -> bool:
        """A node is idle once it has registered; "idle*" is one that does not answer."""
        return self._ask("sinfo -h -p batch -N -o %T").split() == ["idle"] * len(NODES)

    def is_answering(self) -> bool:
        return "UP" in self._ask("scontrol ping")

    def calls(self, user: str) -> int:
        """One for sbatch and scancel, two for `scontrol show job`, three for squeue."""
        statistics = self._controller.run("sdiag", "root", check=True).stdout
        by_user = statistics.partition("statistics by user")[2]
        return next((int(count) for name, count in PER_USER.findall(by_user) if name == user), 0)

    def _ask(self, command: str) -> str:
        return self._controller.run(command, "root").stdout
