"""Two real Slurm clusters that know of each other by one real slurmdbd, and its MariaDB. Format: slurmdbd.conf(5).

The clients' own cluster has the node c1. The cluster `other` has c2, where it is the own one. Both controllers, the
slurmdbd and the database run on one host.
"""

from typing import ClassVar

from tests.centre.batch import CONTROLLER, NODES
from tests.centre.slurm import CLUSTER, SLURMCTLD, Slurm, configuration

OTHER = "other"
OTHERS = "etc/slurm-other"
ACCOUNTING = f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={CONTROLLER}
"""
SLURMDBD_CONF = f"""\
DbdHost={CONTROLLER}
SlurmUser=root
AuthType=auth/munge
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
LogFile=/var/log/slurmdbd.log
PidFile=/run/slurmdbd.pid
"""
# No network: only a socket, where slurmdbd looks for it. On the disk of a room nothing has to be safe.
SLURMDBD = f"""\
set -e
data=/var/spool/mariadb
mkdir -p /run/mysqld
database() {{
    exec mariadbd --no-defaults --user=root --datadir=$data --skip-grant-tables --skip-networking \\
        --socket=/run/mysqld/mysqld.sock --innodb-buffer-pool-size=16M --innodb-log-file-size=4M \\
        --innodb-flush-method=fsync --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900 "$@"
}}
new=
if [ ! -d $data ]; then
    new=yes
    mkdir $data
    {{ printf 'create database mysql;\\nuse mysql;\\n'; cat /usr/share/mysql/mysql_system_tables.sql; }} |
        database --bootstrap
fi
database &
until [ -S /run/mysqld/mysqld.sock ]; do kill -0 $!; sleep 0.05; done
slurmdbd
tries=100
until sacctmgr --noheader list cluster; do tries=$((tries - 1)); [ $tries != 0 ]; sleep 0.2; done
[ -z "$new" ] || sacctmgr --immediate add cluster {CLUSTER} {OTHER}
"""


class SlurmClusters(Slurm):
    programs: ClassVar = {
        **Slurm.programs,
        "/usr/sbin/mariadbd": "mariadb-server-core",
        "/usr/sbin/slurmdbd": "slurmdbd",
    }

    def prepare(self) -> None:
        super().prepare()
        own, others = NODES
        here = configuration(CLUSTER, [own]) + ACCOUNTING
        there = configuration(OTHER, [others], port=6827, controllers="slurmctld-other") + ACCOUNTING
        for name, host in self._hosts.items():
            self._configure(host, there if name == others else here)
        self._configure(self._controller, there, OTHERS)
        self._controller.write("etc/slurm/slurmdbd.conf", SLURMDBD_CONF, 0o600)
        self._controller.add_service("15-slurmdbd", SLURMDBD)
        both = f"mkdir -p /var/spool/slurmctld-other\nslurmctld -f /{OTHERS}/slurm.conf\n{SLURMCTLD}"
        self._controller.add_service(self.service, both)

    def is_ready(self) -> bool:
        said = self._ask("sinfo --clusters=all -h -p batch -N -o %T")
        return [line for line in said.splitlines() if not line.startswith("CLUSTER")] == ["idle", "idle"]

    def is_answering(self) -> bool:
        return self._controller.run("sinfo --clusters=all", "root").returncode == 0
