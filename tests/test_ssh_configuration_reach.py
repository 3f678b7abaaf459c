"""How a person's ~/.ssh/config says a host is reached: by canonical names, other ports, what a shell answers, which
keys are offered, other names of hers. Each is used again when a hop is dialled anew, and by what she types."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from gears.lab.stop import end_by_ssh
from gears.ssh.hop import Hop
from gears.ssh.pin import Pin
from tests.centre import Centre
from tests.centre.homes import PROFILES
from tests.helpers import Kernel, gears, lab_at, record, status, wait_until
from tests.ssh_configuration import CONFIG, KNOWN, redial, write
from tests.test_routes import write_profile

ORDER = ("login1", "login2")


@pytest.fixture
def configured(centre: Centre) -> Iterator[Centre]:
    """What a test changes in the home of hub and login nodes, in their sshd and their names goes again."""
    centre.hub.run("mv ~/.ssh/id_ed25519 ~/.ssh/centre; cp ~/.ssh/known_hosts ~/.ssh/before", check=True)
    yield centre
    gears(centre.hub, "stop andes")
    centre.hub.run(f"cd ~/.ssh && mv centre id_ed25519; mv before {KNOWN};rm -rf {CONFIG} ~/keys ~/gears/run/andes")
    for host in (centre.login1, centre.login2):
        host.reconfigure_sshd("")
    centre.order("andes", ORDER)


def know_as(centre: Centre, *names: str) -> None:
    """Host keys stand in known_hosts by these names alone (sshd(8))."""
    key = centre.hub.path(KNOWN).read_text().splitlines()[0].split(maxsplit=1)[1]
    centre.hub.run(f"cat > {KNOWN}", input="".join(f"{name} {key}\n" for name in names), check=True)


def canonical(centre: Centre) -> str:
    """ssh asks for the name with a point at its end. `Match canonical` and `Match final` are its second pass. There are
    more keys than sshd lets her try, and the right one is found by name alone, as in
    https://github.com/beekeeper-studio/beekeeper-studio/issues/4347; known_hosts has hashed names."""
    hosts = centre.hub.path("/etc/hosts").read_text()
    more = re.findall(r"^(.* andes)$", hosts, re.MULTILINE)
    centre.hub.write("etc/hosts", hosts + "".join(f"{line}.centre.test andes.centre.test.\n" for line in more))
    know_as(centre, "andes.centre.test")
    make = "mkdir ~/keys; for n in 1 2 3 4 5 6 7; do ssh-keygen -q -t ed25519 -N '' -f ~/keys/$n; done"
    centre.hub.run(f"{make}; ssh-keygen -q -H -f {KNOWN}; rm {KNOWN}.old", check=True)
    keys = "".join(f"  IdentityFile ~/keys/{number}\n" for number in range(1, 8))
    return f"""\
CanonicalizeHostname yes
CanonicalDomains centre.test
HashKnownHosts yes
StrictHostKeyChecking yes
Match canonical host andes.centre.test
  IdentityFile ~/.ssh/centre
Match final host *.centre.test
  IdentitiesOnly yes
Match final !host *.centre.test
{keys}"""


def gateway(centre: Centre) -> str:
    """Before the login node, each at another port. The gateway's ProxyCommand is one for her own shell, bash."""
    know_as(centre, "[andes]:2222", "[login2]:2222")
    for host in (centre.login1, centre.login2):
        host.reconfigure_sshd("Port 2222\n")
    return """\
Host andes gate
  Port 2222
  IdentityFile ~/.ssh/centre
Host andes
  ProxyJump gate
Host gate
  HostName login2
  ProxyCommand nc $(cat <<<%h) %p
"""


def port(centre: Centre) -> str:
    """Without a gateway the address can be dialled, and its key is known by name and port. `Match exec` runs in her own
    shell, as in https://github.com/microsoft/vscode-remote-release/issues/37, with what only bash understands, as in
    https://github.com/satiromarra/vscode-sftp/issues/21."""
    know_as(centre, "[andes]:2222")
    centre.login1.reconfigure_sshd("Port 2222\n")
    return """\
Match host andes exec "[[ $(uname -n) == h* ]]"
  Port 2222
  IdentityFile ~/.ssh/centre
Host *
  IdentityFile ~/.ssh/none
"""


WAYS = [canonical, gateway, port]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_host_is_reached_again_as_she_says(configured: Centre, way: Callable[[Centre], str]) -> None:
    centre = configured
    write(centre.hub, way(centre))
    gears(centre.hub, "lab andes", check=True)
    kernel, lab = Kernel(lab_at(centre.hub)), status(centre.hub)["lab"]
    kernel.run("a = 41")
    redial(centre)
    assert status(centre.hub)["lab"]["pid"] == lab["pid"]
    assert Kernel(lab_at(centre.hub), kernel.id).run("print(a + 1)") == "42\n"
    found = gears(centre.hub, "doctor andes")
    assert "without a passcode" in found.stdout
    assert "✗" not in found.stdout
    assert gears(centre.hub, "run andes -- uname -n", check=True).stdout == f"{lab['host']}\n"
    gears(centre.hub, "stop andes", check=True)


def test_where_the_address_is_refused_the_name_is_tried(configured: Centre) -> None:
    """By all that dials: her key has another name since the lab was started, and the loop was killed."""
    centre = configured
    write(centre.hub, "IdentityFile ~/.ssh/centre\n")
    gears(centre.hub, "lab andes", check=True)
    assert record(centre.hub, "andes/pin.json")["by"] == "address"
    write(centre.hub, "Match host andes\n  IdentityFile ~/.ssh/centre\nHost *\n  IdentityFile ~/.ssh/none\n")
    found = gears(centre.hub, "doctor andes").stdout
    assert "without a passcode" in found
    assert "✗" not in found
    centre.hub.run("tmux -L gears kill-server", check=True)
    gears(centre.hub, "stop andes", check=True)
    wait_until(lambda: not centre.login1.processes("alice"), 10, "nothing of hers is left on login1")


# --- to end a lab costs few passcodes --------------------------------------------------------

SSH = """\
#!/bin/sh
case "$*" in *-G*) exec /usr/bin/ssh "$@" ;; *BatchMode=yes*) how=alone ;; *) how=asked ;; esac
echo $how >>{log}
[ $how = asked ] || {{ echo "a@b: Permission denied (keyboard-interactive)." >&2; exit 255; }}
exit {status}
"""


@pytest.mark.parametrize(
    ("by", "status", "asked", "told"),
    [("name", 66, 2, False), ("name", 255, 1, False), ("address", 4, 1, True), ("address", 0, 1, False)],
)
def test_few_passcodes_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, status: int, asked: int, told: bool
) -> None:
    """Of an ssh that wants one; a name may lead to another node, and a wrong passcode is not asked for again."""
    (tmp_path / "ssh").write_text(SSH.format(log=tmp_path / "log", status=status))
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    hop = Hop("login", "login", (), "", "gears _serve andes")
    assert end_by_ssh(hop, Pin("login1", "192.0.2.4", by=by)) is told
    said = (tmp_path / "log").read_text().split()
    assert (said[0], said.count("asked")) == ("alone", asked)


# --- accounts of directory services ----------------------------------------------------------


def call_her(centre: Centre, name: str) -> dict[str, str]:
    """alice's account has another name on all hosts but the laptop. What a login there sets."""
    for host in (centre.hub, centre.login1, centre.login2):
        others = host.path("/etc/passwd").read_text()
        host.write("etc/passwd", f"{name}:x:20001:20001::/home/alice:/bin/bash\n{others}")
    return {"USER": name, "LOGNAME": name}


@pytest.fixture
def passwd(centre: Centre) -> Iterator[None]:
    before = centre.hub.path("/etc/passwd").read_text()
    yield
    for host in (centre.hub, centre.login1, centre.login2):
        host.write("etc/passwd", before)
    centre.laptop.run(f"rm -f {CONFIG}")


@pytest.mark.usefixtures("passwd")
@pytest.mark.parametrize("name", ["alice.b@ad.test", "DOM\\alice", "Alice"])
def test_an_account_by_such_a_name(centre: Centre, name: str) -> None:
    env = call_her(centre, name)
    for host in (centre.hub, centre.laptop):
        profile = PROFILES["andes"].replace("[front]\n", f"[front]\nuser = '{name}'\n")
        write_profile(host, "andes", profile.replace("~/gears", "/home/alice/gears"))  # a laptop would guess another
    for host in (centre.hub, centre.laptop):
        write(centre.laptop, gears(host, "ssh-config andes", env=env if host is centre.hub else {}).stdout)
        assert f"\nuser {name}\n" in centre.laptop.run("ssh -G andes-jupyter", check=True).stdout
    assert centre.laptop.run("ssh andes-jupyter id -un", check=True).stdout == f"{name}\n"
    if name != "DOM\\alice":
        return
    gears(centre.hub, "lab andes", env=env, check=True)
    assert Kernel(lab_at(centre.hub)).run("import getpass; print(getpass.getuser())") == f"{name}\n"
    for stanza in (True, False):
        assert gears(centre.laptop, "run andes -- id -un", check=True).stdout == f"{name}\n", stanza
        centre.laptop.run(f"rm -f {CONFIG}", check=True)
    gears(centre.hub, "stop andes", env=env, check=True)
