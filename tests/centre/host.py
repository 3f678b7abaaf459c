"""One host: its power, its links, its sshd."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.centre import network, sshd
from tests.centre.accounts import write_account_files
from tests.centre.commands import Commands
from tests.centre.processes import select_sessions
from tests.centre.room import HERE, Room, enter_namespaces, expect_line, only_child

OWN = ("etc", "usr/local/bin", "var/spool")
"""A host's own layers over the machine's directories, as boot.sh mounts them. They outlive a reboot."""
SERVICES = "etc/gears-centre/services"


class Host(Commands):
    """A host of the centre. It is off until `boot`, or its three steps."""

    def __init__(self, name: str, room: Room, home_tree: str) -> None:
        super().__init__(name)
        self.networks = tuple(network.ADDRESSES[name])
        self.totp = False
        self.sshd_extra = ""
        self._room = room
        self._home_tree = home_tree
        self._init: subprocess.Popen[str] | None = None
        for part in (*OWN, *(f"work/{part}" for part in OWN), "etc/ssh", "etc/pam.d"):
            self._own(part).mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"<Host {self.name} {'on' if self.pid else 'off'}>"

    # Files and power

    def write_etc(self, host_key: Path, totp_secrets: dict[str, str], order: Sequence[str]) -> None:
        """The host's own /etc, over the machine's. Only before the first boot."""
        etc = self._own("etc")
        write_account_files(etc)
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(network.hosts_file(self.name, order))
        nsswitch = Path("/etc/nsswitch.conf").read_text().splitlines()
        kept = [line for line in nsswitch if not line.startswith("hosts:")]
        (etc / "nsswitch.conf").write_text("\n".join([*kept, "hosts: files"]) + "\n")
        sshd.write_totp_secrets(etc, totp_secrets)
        sshd.install_host_key(etc, host_key)
        sshd.write_sshd_config(etc, self.sshd_extra, totp=self.totp)

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """A file of root under one of OWN, of this host alone, on or off."""
        file = self._file(inside)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def install(self, name: str, text: str) -> None:
        """Put a program where this host alone finds it, before one of that name in /usr/bin."""
        self.write(f"usr/local/bin/{name}", text, 0o755)

    def add_service(self, name: str, script: str) -> None:
        """Let every boot run a shell script as root, in the order of their names. Daemons have to go to the background;
        what they keep belongs into /var/spool; what the script says is in /var/log/NAME.log."""
        self.write(f"{SERVICES}/{name}", script)

    def start_service(self, name: str) -> None:
        """Run the script now, as a boot does."""
        self.run(["sh", f"/{SERVICES}/{name}"], "root", check=True)

    def boot(self) -> None:
        """Switch on, with its links healed; returns once sshd listens and services are started. Homes and what is
        under OWN are as they were."""
        if self.pid is None:
            self.begin_boot()
            self.plug_in()
            self.finish_boot()

    def begin_boot(self) -> None:
        home = self._room.directory / self._home_tree / "home"
        own = self._room.directory / self.name
        self._init = self._room.popen_host(["sh", str(HERE / "boot.sh"), self.name, str(own), str(home)])

    def plug_in(self) -> None:
        """The second step of a boot: the network, and the word to go on."""
        assert self._init
        assert self._init.stdin
        expect_line(self._init, "mounted")
        self.pid = only_child(only_child(self._init.pid))
        plug = network.plug_lines(self.name, self.pid)
        self._room.ip(plug + network.link_lines(self.name, self.networks, joined=True))
        enter_namespaces(self.pid, ["--net"], ["ip", "-batch", "-"], "\n".join(network.address_lines(self.name)))
        self._init.stdin.write("go\n")
        self._init.stdin.flush()

    def finish_boot(self) -> None:
        assert self._init
        expect_line(self._init, "up")

    def power_off(self, *, clean: bool = False) -> None:
        """Switch off at once. Its peers see silence; with `clean` they see their connections closed."""
        if self.pid is None or self._init is None:
            return
        if not clean:
            self.cut()
        os.kill(self.pid, signal.SIGKILL)
        self._init.communicate(timeout=60)
        self._room.remove_links(f"{self.name}-{network}" for network in self.networks)
        self.pid = self._init = None

    def close(self) -> None:
        """Reap what is left of the host, and of commands still open, once its room is closed."""
        self._end_commands()
        if self._init is not None:
            self._init.communicate(timeout=60)
            self.pid = self._init = None

    # Links

    def cut(self, *networks: str) -> None:
        """Part the host from all its networks, or from those named ("inside", "outside"). Nobody is told."""
        self._join(networks, joined=False)

    def heal(self, *networks: str) -> None:
        self._join(networks, joined=True)

    def _join(self, networks: Sequence[str], *, joined: bool) -> None:
        self._pid()
        self._room.ip(network.link_lines(self.name, networks or self.networks, joined=joined))

    def write_hosts(self, order: Sequence[str]) -> None:
        self.write("etc/hosts", network.hosts_file(self.name, order))

    # sshd

    def reconfigure_sshd(self, extra: str | None = None, *, totp: bool | None = None) -> None:
        """Change sshd's own lines and whether it wants a passcode; new connections meet the change, old ones stay."""
        self.sshd_extra = self.sshd_extra if extra is None else extra
        self.totp = self.totp if totp is None else totp
        sshd.write_sshd_config(self._root() / "etc", self.sshd_extra, totp=self.totp)
        self._reload_sshd()

    def change_host_key(self) -> None:
        """A new host key, unknown to everyone, as after a reinstallation."""
        sshd.new_key(self._root() / "etc/ssh/ssh_host_key", self.name)
        self._reload_sshd()

    def kill_sessions(self, user: str) -> None:
        """End the user's ssh sessions as a jump host's time limit does: all but tmux servers and what is in them."""
        self.kill(*(process.pid for process in select_sessions(self.processes(), user)))

    def _reload_sshd(self) -> None:
        before = len(self._sshd_log())
        self.run("kill -HUP $(cat /run/sshd.pid)", "root", check=True)
        deadline = time.monotonic() + 60
        while "Server listening" not in self._sshd_log()[before:]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"sshd on {self.name} did not come back:\n{self._sshd_log()[before:]}")
            time.sleep(0.02)

    def _sshd_log(self) -> str:
        return (self._root() / "var/log/sshd.log").read_text(errors="replace")

    def _file(self, inside: str) -> Path:
        return self._root() / inside if self.pid else self._own(inside)

    def _own(self, part: str) -> Path:
        return self._room.path(self.name, part)
