"""A person's ~/.ssh/config decides how a host is reached, at every dial, and nothing of it rides along."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gears.doctor import elsewhere
from gears.doctor.finding import failed
from gears.lab.state import Plan, Turn
from gears.lab.supervisor.policy import plan_target
from gears.sites import validators
from gears.sites.load import load_site
from gears.ssh.failures import Failure, explain_failure
from gears.ssh.options import control_socket_forward
from gears.ssh.stanza import plan_stanza
from gears.system.commands import run
from tests.centre import Centre, Host
from tests.helpers import Kernel, gears, lab_at, listening_ports, record, status, wait_until
from tests.ssh_configuration import CONFIG, redial, ssh_runs, write

# Only where the name applies does she get in, as with CanonicalizeHostname and Match.
BY_NAME = """\
Match host andes
  IdentityFile ~/.ssh/centre
Host *
  IdentitiesOnly yes
  IdentityFile ~/.ssh/none
"""

EVERYWHERE = """\
Host *
  LocalForward 40001 localhost:22
  DynamicForward 40003
  RemoteForward 40002 localhost:22
  RemoteCommand echo hers
  SessionType none
  RequestTTY force
  StdinNull yes
  ForkAfterAuthentication yes
  LogLevel QUIET
  ControlMaster auto
  ControlPath /tmp/shared-%C
  ControlPersist 60
  PermitLocalCommand yes
  LocalCommand touch ~/hers
  ForwardX11 yes
  ProxyUseFdpass no
  AddKeysToAgent ask
  SendEnv *
"""


@pytest.fixture
def configured(centre: Centre) -> Iterator[Centre]:
    """The hub's and login1's home is one; what a test writes there goes again."""
    before = centre.hub.path(CONFIG).read_text() if centre.hub.path(CONFIG).exists() else ""
    yield centre
    gears(centre.hub, "stop andes")
    write(centre.hub, before)
    centre.hub.run("[ ! -e ~/.ssh/centre ] || mv ~/.ssh/centre ~/.ssh/id_ed25519; rm -f ~/hers")


def test_what_was_dialled_by_name_is_reached_by_name_again(configured: Centre) -> None:
    """And still leads to the same one of several nodes; from a record of the former version as well."""
    centre = configured
    centre.hub.run("mv ~/.ssh/id_ed25519 ~/.ssh/centre", check=True)
    write(centre.hub, BY_NAME)
    gears(centre.hub, "lab andes", check=True)
    kernel, lab = Kernel(lab_at(centre.hub)), status(centre.hub)["lab"]
    kernel.run("a = 41")
    redial(centre)
    meet_the_wrong_node(centre, lab["host"])
    assert status(centre.hub)["lab"]["pid"] == lab["pid"]
    assert Kernel(lab_at(centre.hub), kernel.id).run("print(a + 1)") == "42\n"
    forget_how(centre, lab["host"])
    redial(centre)
    found = gears(centre.hub, "doctor andes")
    assert "refused" not in found.stdout
    assert "without a passcode" in found.stdout
    gears(centre.hub, "stop andes", check=True)


def meet_the_wrong_node(centre: Centre, node: str) -> None:
    """The alias leads to the other one for a while: nothing is started there."""
    other = "login2" if node == "login1" else "login1"
    centre.order("andes", [other, node])
    centre.hub.kill(*ssh_runs(centre.hub))
    wait_until(lambda: "another node" in gears(centre.hub, "status andes").stdout, 10, "the wrong node is noticed")
    assert not [process for process in getattr(centre, other).processes("alice") if "jupyter" in process.comm]
    centre.order("andes", [node, other])
    wait_until(lambda: lab_at(centre.hub).answers(), 15, "the hop is back")


def forget_how(centre: Centre, node: str) -> None:
    """A record as the former version wrote it."""
    pin = record(centre.hub, "andes/pin.json")
    assert (pin["host"], pin["by"]) == (node, "name")
    former = json.dumps({"host": pin["host"], "address": pin["address"]})
    centre.hub.run("cat > ~/gears/run/andes/pin.json", input=former, check=True)


def test_nothing_of_hers_rides_along(configured: Centre) -> None:
    centre = configured
    write(centre.hub, EVERYWHERE)
    gears(centre.hub, "lab andes", check=True)
    node: Host = getattr(centre, status(centre.hub)["lab"]["host"])
    assert Kernel(lab_at(centre.hub)).run("print(2)") == "2\n"
    taken = {port for host in (centre.hub, node) for _, port in listening_ports(host)}
    assert not taken & {40001, 40002, 40003}
    found = gears(centre.hub, "doctor andes")
    assert "✗" not in found.stdout
    assert "sshd allows it" in found.stdout
    assert not centre.hub.path("/home/alice/hers").exists()
    done = gears(centre.hub, "run andes -- echo ran here")
    assert "ran here" in done.stdout, done.stderr
    redial(centre)
    gears(centre.hub, "stop andes", check=True)


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "fish", "tcsh"])
def test_our_forward_is_asked_for_in_any_shell_of_hers(tmp_path: Path, shell: str) -> None:
    (tmp_path / "ssh").write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/new && mv {tmp_path}/new {tmp_path}/said\n')
    (tmp_path / "ssh").chmod(0o755)
    command = control_socket_forward("-L /a/$GEARS_TURN.sck:/b", "/c")["LocalCommand"]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GEARS_TURN": "3", "HOME": str(tmp_path)}
    subprocess.run([shell, "-c", command], env=environment, check=True, timeout=120)
    wait_until((tmp_path / "said").exists, 10, "ssh is called")
    assert (tmp_path / "said").read_text() == "-F none -S /c -O forward -L /a/3.sck:/b gears\n"


@pytest.mark.parametrize("line", ["LogLevel QUIET", "LogLevel DEBUG3", "VisualHostKey yes"])
def test_why_ssh_ended_is_seen_at_any_log_level(configured: Centre, line: str) -> None:
    """Those that say less, and those that say more than there is to see."""
    centre = configured
    write(centre.hub, f"Host *\n  {line}\n  IdentitiesOnly yes\n  IdentityFile ~/.ssh/none\n")
    done = gears(centre.hub, "lab andes")
    assert done.returncode != 0
    assert "refused the login key" in done.stderr


# --- words -----------------------------------------------------------------------------------

CANONICAL = "Could not resolve hostname andes.example.org: Name or service not known\n"


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        (f"{CANONICAL}alice@andes: Permission denied (publickey).\n", "refused"),
        (f"{CANONICAL}ssh: connect to host andes port 22: Connection refused\n", "network"),
        (f"{CANONICAL}Host key verification failed.\n", "hostkey-unknown"),
        ("ssh: Could not resolve hostname andes: Name or service not known\n", "unknown-host"),
        ("ssh: Could not resolve hostname gate: x\nConnection closed by UNKNOWN port 65535\n", "unknown-host"),
        ("a@gate: Permission denied (publickey).\nConnection closed by UNKNOWN port 65535\n", "refused"),
        ("@ REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n", "hostkey"),
    ],
)
def test_the_last_cause_counts(stderr: str, kind: str) -> None:
    assert explain_failure(255, stderr, site="andes", host="andes", interactive=False).kind == kind


def test_a_jump_host_that_refuses_is_named() -> None:
    stderr = "a@gate: Permission denied (publickey).\nConnection closed by UNKNOWN port 65535\n"
    assert "gate refused" in explain_failure(255, stderr, site="andes", host="andes", interactive=False).reason


@pytest.mark.parametrize("name", ["alice.b@ad.test", "DOM\\alice", "Alice", "a+b", "_x"])
def test_names_of_directory_services(name: str) -> None:
    assert validators.user(name) == name
    assert validators.jump(f"{name}@gate.example.org") == f"{name}@gate.example.org"


@pytest.mark.parametrize("name", ["-alice", "a b", "a;b", "a$b", "a\\", "a%b", "a'b"])
def test_names_ssh_refuses(name: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        validators.user(name)


def test_the_stanza_quotes_what_ssh_reads(tmp_path: Path) -> None:
    stanza = plan_stanza(load_site("andes"), front_root="/home/x/gears", user="DOM\\alice")
    (tmp_path / "config").write_text(stanza)
    assert "\nuser DOM\\alice\n" in run(["ssh", "-F", str(tmp_path / "config"), "-G", "andes-jupyter"], timeout_s=5)


def test_no_cure_of_doctors_is_doctor() -> None:
    found = [failed("login", "x", "gears doctor andes"), failed("login", "x", "ssh a   (there: gears doctor andes)")]
    assert [each.fix for each in elsewhere(found, "andes")] == [
        "gears logs andes",
        "ssh a   (there: gears doctor andes)",
    ]


@pytest.mark.parametrize(
    ("ended", "gssapi", "by"),
    [("refused", False, "name"), ("login", False, None), ("login", True, "name"), ("hostkey", False, "name")],
)
def test_a_refusal_at_an_address_is_tried_by_name_once(ended: str, gssapi: bool, by: str | None) -> None:
    turn = Turn(plan=Plan.ASK, ended=Failure(ended, "why"), ever_up=True)
    again = plan_target(turn, Turn(by="address", how="batch"), "address", gssapi=gssapi)
    assert (again.plan, again.by if by else by) == (Plan.DIAL if by else Plan.ASK, by)
    assert plan_target(turn, Turn(by="name", how="batch"), "address", gssapi=gssapi).plan == Plan.ASK
