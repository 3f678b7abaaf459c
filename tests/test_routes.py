"""Routes as centres have them: forwarding forbidden, homes apart, jump hosts, aliases, one session per connection."""

import re
import time
from collections.abc import Callable

import pytest

from tests.centre import Centre, Host
from tests.conftest import OpenCentre
from tests.helpers import Kernel, gears, home, lab_at, record, status, wait_until


def ssh_runs(host: Host) -> list[int]:
    return [process.pid for process in host.processes("alice") if process.comm == "ssh"]


def left_over(*hosts: Host) -> list[str]:
    """What is left of alice's: processes, host-local files, fixed paths."""
    found = [f"{host.name}: {process}" for host in hosts for process in host.processes("alice")]
    for host in hosts:
        found += [str(path) for path in host.path("/tmp").glob("gears-*")]
        found += [str(path) for path in host.path(f"{home()}/run").glob("*.sck")]
    return found


def await_nothing_left(*hosts: Host) -> None:
    """A far end has answered to a stop, and may still be ending."""
    wait_until(lambda: not left_over(*hosts), 2, "nothing of alice's is left")


def write_profile(host: Host, site: str, text: str) -> None:
    """A profile of alice's, in the home of this host."""
    path = f"/home/alice/.config/gears/sites/{site}.toml"
    host.run(f"mkdir -p $(dirname {path}) && cat > {path}", input=text, check=True)


# --- what an sshd may forbid -----------------------------------------------------------------


FORBIDDING = ["AllowStreamLocalForwarding no", "AllowTcpForwarding no", "DisableForwarding yes"]


@pytest.mark.parametrize("line", FORBIDDING)
def test_forbidden_forwarding_is_named_and_nothing_stays(centre: Centre, line: str) -> None:
    centre.login1.reconfigure_sshd(f"{line}\n")
    try:
        began = time.monotonic()
        done = gears(centre.hub, "lab andes")
        assert done.returncode == 1
        assert time.monotonic() - began < 30
        assert "sshd on login1 forbids forwarding to sockets" in done.stderr
        assert line.split()[0] in done.stderr
        assert re.search(r"\n  next: \S*gears doctor andes\n", done.stderr)
        await_nothing_left(centre.hub, centre.login1)
    finally:
        centre.login1.reconfigure_sshd("")


def test_forwarding_forbidden_later_leaves_the_lab_alone(centre: Centre) -> None:
    """A hop that comes back to a host whose sshd forbids forwarding by now; then the centre repents."""
    gears(centre.hub, "lab andes", check=True)
    lab = lab_at(centre.hub)
    kernel, pid = Kernel(lab), status(centre.hub)["lab"]["pid"]
    kernel.run("a = 41")
    centre.login1.reconfigure_sshd("PermitOpen none\n")
    centre.hub.kill(*ssh_runs(centre.hub))
    wait_until(lambda: status(centre.hub)["state"] == "failed", 20, "the closed way is noticed")
    assert "PermitOpen" in lab.request("GET", "/lab", accept="text/html").text
    centre.login1.reconfigure_sshd("")
    gears(centre.hub, "lab andes", check=True)
    assert status(centre.hub)["lab"]["pid"] == pid
    assert Kernel(lab, kernel.id).run("print(a + 1)") == "42\n"
    gears(centre.hub, "stop andes", check=True)
    await_nothing_left(centre.hub, centre.login1)


def test_a_lab_that_fails_behind_a_hop_shows_why_and_starts_once_mended(centre: Centre) -> None:
    broken = "/home/alice/.jupyter/jupyter_server_config.py"
    centre.hub.run(f"mkdir -p ~/.jupyter && echo 'raise SystemExit(\"broken by hand\")' > {broken}", check=True)
    failed = gears(centre.hub, "lab andes")
    assert failed.returncode == 1
    assert re.search(r"login1: JupyterLab was not started: .*: SystemExit: broken by hand\n  next: ", failed.stderr)
    page = lab_at(centre.hub).request("GET", "/lab", accept="text/html")
    assert page.status == 503
    assert "broken by hand" in page.text
    centre.hub.run(f"rm {broken}", check=True)
    gears(centre.hub, "lab andes", check=True)
    assert Kernel(lab_at(centre.hub)).run("print(2)") == "2\n"
    gears(centre.hub, "stop andes", check=True)
    await_nothing_left(centre.hub, centre.login1)


# --- homes -----------------------------------------------------------------------------------


SEPARATE = """\
title = "Two homes"
[front]
host = "hub"
[lab]
host = "login1"
home = "separate"
root = "~/software/gears"
"""


def test_a_front_with_a_home_of_its_own(open_centre: OpenCentre) -> None:
    """The profile is on the front alone, and gears is elsewhere on the lab host."""
    centre = open_centre(separate_homes={"hub"}, profiles={})
    write_profile(centre.hub, "apart", SEPARATE)
    centre.login1.run("mkdir software && ln -s ../gears software/gears", check=True)
    shown = gears(centre.hub, "lab apart", check=True).stdout
    lab = lab_at(centre.hub, "apart")
    assert f"?token={lab.token}" in shown
    assert lab.request("GET", "/api/kernels").status == 200  # the token is the lab host's
    assert lab.token == centre.login1.path(f"{home()}/run/apart/token").read_text()
    kernel, found = Kernel(lab), status(centre.hub, "apart")
    kernel.run("a = 41")
    assert (found["lab"]["host"], found["lab"]["pid"]) == ("login1", record(centre.login1, "apart/lab.json")["pid"])
    centre.hub.kill(*ssh_runs(centre.hub))
    wait_until(lambda: ssh_runs(centre.hub) and lab.answers(), 10, "the hop is back")
    assert Kernel(lab, kernel.id).run("print(a + 1)") == "42\n"
    assert "already up" in gears(centre.hub, "lab apart", check=True).stderr
    gears(centre.hub, "stop apart", check=True)
    await_nothing_left(centre.hub, centre.login1)
    assert status(centre.hub, "apart")["state"] == "stopped"


def test_the_lab_hosts_own_stop_leaves_nothing_there(open_centre: OpenCentre) -> None:
    centre = open_centre(separate_homes={"hub"}, profiles={"apart": SEPARATE.replace("~/software/gears", "~/gears")})
    gears(centre.hub, "lab apart", check=True)
    gears(centre.login1, "stop apart", check=True)
    await_nothing_left(centre.login1)
    await_nothing_left(centre.hub)
    assert status(centre.hub, "apart")["state"] == "stopped"


# --- by proxy --------------------------------------------------------------------------------


def proxy_profile(jumps: str, proxy: str) -> str:
    return f'[front]\njump = [{jumps}]\nproxy = "{proxy}"\n[lab]\nhost = "login1"\n'


@pytest.fixture(scope="module")
def proxied(centre: Centre) -> Callable[[str, str], None]:
    """Writes the site `mpi` into every home; its lab runs on login1 from the first test on."""

    def write(jumps: str, proxy: str) -> None:
        for host in (centre.laptop, centre.login1):
            write_profile(host, "mpi", proxy_profile(jumps, proxy))
        assert gears(centre.login1, "lab mpi", check=True).returncode == 0

    return write


@pytest.mark.parametrize("jumps", ['"hub"', '"hub", "alice@login2"'], ids=["one jump", "two jumps"])
@pytest.mark.parametrize("proxy", ["-W", "jump", "nc"])
def test_the_stanza_leads_through_jump_hosts(
    centre: Centre, proxied: Callable[[str, str], None], jumps: str, proxy: str
) -> None:
    proxied(jumps, proxy)
    if proxy == "nc":
        centre.hub.reconfigure_sshd("AllowTcpForwarding no\n")
        centre.login2.reconfigure_sshd("AllowTcpForwarding no\n")
    gears(centre.laptop, "ssh-config mpi --write", check=True)
    session = centre.laptop.popen("ssh mpi-jupyter 'hostname; exec sleep 60'")
    try:
        way = lab_at(centre.laptop, where=38888)
        wait_until(way.answers, 10, "JupyterLab on the laptop")
        assert session.stdout
        assert session.stdout.readline() == "login1\n"
        assert {process.comm for process in centre.hub.processes("alice")} <= {"sshd", "nc"}
    finally:
        centre.laptop.end_popen(session)
        centre.hub.reconfigure_sshd("")
        centre.login2.reconfigure_sshd("")


def test_on_a_laptop_the_lab_is_not_started(centre: Centre) -> None:
    write_profile(centre.laptop, "mpi", proxy_profile('"hub"', "-W"))
    done = gears(centre.laptop, "lab mpi")
    assert done.returncode == 2
    assert re.search(r"start its lab on login1\n  next: \S*gears ssh-config mpi; ssh mpi-jupyter", done.stderr)
    assert left_over(centre.laptop) == []


# --- aliases ---------------------------------------------------------------------------------


def test_a_round_robin_alias_leads_back_to_the_same_lab(open_centre: OpenCentre) -> None:
    """With one session per connection allowed, as some centres have it."""
    centre = open_centre(max_sessions=dict.fromkeys(("hub", "login1", "login2"), 1))
    gears(centre.hub, "lab andes", check=True)
    lab = lab_at(centre.hub)
    kernel, pid = Kernel(lab), status(centre.hub)["lab"]["pid"]
    kernel.run("a = 41")
    centre.order("andes", ["login2", "login1"])
    centre.hub.kill(*ssh_runs(centre.hub))
    wait_until(lambda: ssh_runs(centre.hub) and lab.answers(), 10, "the hop is back")
    found = status(centre.hub)
    assert (found["hops"][0]["to"], found["lab"]["host"], found["lab"]["pid"]) == ("login1", "login1", pid)
    assert Kernel(lab, kernel.id).run("print(a + 1)") == "42\n"
    assert centre.login2.processes("alice") == []

    centre.hub.run("tmux -L gears kill-server", check=True)  # as after a reboot of the hub
    gears(centre.hub, "lab andes", check=True)
    found = status(centre.hub)
    assert (found["lab"]["host"], found["lab"]["pid"]) == ("login1", pid)
    gears(centre.hub, "stop andes", check=True)
    await_nothing_left(centre.hub, centre.login1, centre.login2)

    gears(centre.hub, "lab andes", check=True)
    assert status(centre.hub)["lab"]["host"] == "login2"
