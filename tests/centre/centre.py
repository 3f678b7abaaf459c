"""The centre as a whole: its six hosts, its homes and its users' passcodes."""

import subprocess
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tests.centre import network, sshd
from tests.centre.accounts import USERS
from tests.centre.batch import BatchSystem, await_condition
from tests.centre.gridengine import GridEngine
from tests.centre.homes import default_profiles, prepare_home
from tests.centre.host import Host
from tests.centre.provision import ensure_template
from tests.centre.requirements import check_requirements
from tests.centre.room import Room, end_process, expect_line
from tests.centre.slurm import Slurm
from tests.centre.slurmclusters import SlurmClusters

if TYPE_CHECKING:
    from tests.centre.browser import Browser

LOGIN_ORDER = ("login1", "login2")


class Centre:
    """Boots on entry, in about two seconds once the homes are provisioned, and is gone on exit.

    totp            hosts that want a passcode beside the key
    max_sessions    sshd's MaxSessions, by host
    sshd_extra      lines of sshd_config by host, before the common ones: the first value of a keyword wins
    separate_homes  hosts with home directories of their own; the laptop always has, the others share one
    profiles        site profiles of every user, by site; the default one is `andes` through these hosts
    home_mode       mode of home directories
    slurm, sge      with that scheduler: controller on login2, nodes c1 and c2, clients there and on the login nodes
    slurm_clusters  with two clusters of Slurm instead: `centre`, that of the login nodes, has c1, `other` has c2
    """

    laptop: Host
    hub: Host
    login1: Host
    login2: Host
    c1: Host
    c2: Host

    def __init__(
        self,
        *,
        totp: Collection[str] = (),
        max_sessions: Mapping[str, int] | None = None,
        sshd_extra: Mapping[str, str] | None = None,
        separate_homes: Collection[str] = (),
        profiles: Mapping[str, str] | None = None,
        home_mode: int = 0o700,
        slurm: bool = False,
        slurm_clusters: bool = False,
        sge: bool = False,
    ) -> None:
        if slurm + slurm_clusters + sge > 1:
            raise ValueError("a centre has one scheduler")
        self._totp = totp
        self._max_sessions = dict(max_sessions or {})
        self._sshd_extra = dict(sshd_extra or {})
        self._own_homes = {"laptop", *separate_homes}
        self._home_mode = home_mode
        self._batch_class = SlurmClusters if slurm_clusters else Slurm if slurm else GridEngine if sge else None
        self._batch: BatchSystem | None = None
        kind = self._batch_class.kind if self._batch_class else ""
        self._profiles = default_profiles(kind) if profiles is None else profiles
        self._secrets = {user.name: sshd.new_totp_secret() for user in USERS}
        self._stack = ExitStack()
        self._order: Sequence[str] = LOGIN_ORDER
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        check_requirements(self._batch_class.programs if self._batch_class else {})
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def order(self, alias: str, names: Sequence[str]) -> None:
        """Let the round-robin `alias` (there is one, "andes") lead to these hosts from now on, first one first."""
        if alias != network.ROUND_ROBIN:
            raise ValueError(f"no such alias: {alias}")
        self._order = tuple(names)
        for host in self.hosts.values():
            host.write_hosts(self._order)

    def passcode(self, user: str = "alice") -> str:
        """What the user's phone shows now."""
        return sshd.totp_code(self._secrets[user])

    def browser(self, user: str = "alice") -> "Browser":
        """Chromium on the laptop, a context manager."""
        from tests.centre.browser import Browser  # only this needs Playwright

        return Browser(self.laptop, user)

    def fail_scheduler(self, *, silent: bool = False) -> None:
        """Shut the scheduler's controller down: clients fail, jobs go on. With `silent` it is stopped (SIGSTOP)
        instead: clients hang until their own time limits. `mend_scheduler` undoes both."""
        self._batch_system().fail(silent=silent)

    def mend_scheduler(self) -> None:
        """Start the controller again, with the jobs it had, or let it go on; returns once it answers."""
        self._batch_system().mend()

    def scheduler_calls(self, user: str = "alice") -> int:
        """How many requests of that user the controller has met, by its own count, since it was last started. A command
        may be more requests than one, always as many: three for Slurm's squeue, one for sbatch."""
        return self._batch_system().calls(user)

    def forward_port(self, port: int, laptop_port: int) -> None:
        """Let a port of the machine outside lead to one of the laptop, until the centre ends."""
        key = self.laptop.path("/home/alice/.ssh/id_ed25519")
        into = f"nsenter --target {self.laptop.pid} --net nc 127.0.0.1 22"
        options = [f"IdentityFile={key}", f"ProxyCommand={into}", "ExitOnForwardFailure=yes", "BatchMode=yes"]
        options += ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        settings = [word for option in options for word in ("-o", option)]
        # A command of its own instead of -N: it says when the forward stands, and keeps new connections quick.
        forward = ["-L", f"{port}:localhost:{laptop_port}", "alice@laptop", "echo up; exec sleep infinity"]
        ssh = subprocess.Popen(
            ["ssh", "-F", "none", *settings, *forward],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._stack.callback(end_process, ssh)
        expect_line(ssh, "up")

    def _start(self) -> None:
        template = ensure_template()
        self._stack.callback(template.release)
        room = Room()
        self._stack.callback(self._close, room)
        keys = room.path("keys")
        keys.mkdir(mode=0o700)
        sshd.make_keys(keys)
        for tree in sorted({self._tree(name) for name in network.ADDRESSES}):
            room.mount_overlay(template.home, tree)
            prepare_home(room.path(tree, "home"), template, keys, self._profiles, self._home_mode)
        for name in network.ADDRESSES:
            self.hosts[name] = self._add_host(name, room, keys)
        if self._batch_class:
            self._batch = self._batch_class(self.hosts)
            self._batch.prepare()
        self._boot()
        if self._batch:
            await_condition(self._batch.is_ready, 180, "the scheduler and both its nodes are ready")
        self.__dict__.update(self.hosts)

    def _boot(self) -> None:
        for host in self.hosts.values():
            host.begin_boot()
        for host in self.hosts.values():
            host.plug_in()
        for host in self.hosts.values():
            host.finish_boot()

    def _batch_system(self) -> BatchSystem:
        if self._batch is None:
            raise RuntimeError("this centre has no scheduler: Centre(slurm=True) or Centre(sge=True)")
        return self._batch

    def _close(self, room: Room) -> None:
        room.close()
        for host in self.hosts.values():
            host.close()

    def _add_host(self, name: str, room: Room, keys: Path) -> Host:
        host = Host(name, room, self._tree(name))
        host.totp = name in self._totp
        sessions = f"MaxSessions {self._max_sessions[name]}\n" if name in self._max_sessions else ""
        host.sshd_extra = sessions + self._sshd_extra.get(name, "")
        host.write_etc(keys / "host_key", self._secrets, self._order)
        return host

    def _tree(self, host: str) -> str:
        return f"homes-{host if host in self._own_homes else 'shared'}"
