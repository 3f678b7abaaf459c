"""`gears forward` on the laptop: every server of mine on two login nodes at an address here; nothing of bob's."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest
from jupyter_server.auth import passwd

from tests.centre import Centre, Host
from tests.helpers import Lab, connect, gears, home, listening_ports, wait_until

PROFILE = 'title = "A server behind a login node"\n[front]\njump = ["hub"]\n[lab]\nhost = "{0}"\nmatch = ["{0}"]\n'
TWICE = '[front]\njump = ["hub", "alice@login2"]\nproxy = "{}"\nuser = "alice"\n[lab]\nhost = "login1"\n'
RELAY = '[front]\nhost = "hub"\nroot = "~/gears"\n[lab]\nhost = "andes"\nmatch = ["login*"]\n'
CENTRE = {
    "profiles": {
        "matagorda": PROFILE.format("login1"),
        "antakya": PROFILE.format("login2"),
        "andes": RELAY,
        **{f"twice-{number}": TWICE.format(proxy) for number, proxy in enumerate(("-W", "jump", "nc"))},
    },
    # One session per connection: nothing may need a second one.
    "max_sessions": {"hub": 1, "login1": 1, "login2": 1},
}
BASE = f"{home()}/.venv/bin/python"
OTHER = "/home/alice/other/bin/python"
JUPYTER = ("-m", "jupyterlab", "--no-browser")
SCHEDULER = (
    "-m distributed.cli.dask_scheduler --host 127.0.0.1 --port 0 --dashboard-address 127.0.0.1:0 >~/dask.log 2>&1"
)
DEFAULT = "/home/alice/.local/share/jupyter/runtime"
BOBS = "/home/bob/.local/share/jupyter/runtime"
RECORDS = (("login1", DEFAULT), ("login1", "/tmp/other"), ("login2", "/home/alice/data/runtime"), ("login1", BOBS))
ADDRESS = re.compile(r"  (\w+) +http://localhost:(\d+)(/[^\s?]*)(?:\?token=(\w+))?(?:   (.*))?")


@pytest.fixture(scope="module")
def servers(centre: Centre) -> Iterator[Centre]:
    """As people start them by hand: three of alice's, one of them in another environment and with the record of a
    classic notebook, one with a password; her two Dask dashboards, that of gears' own cluster and that of a scheduler;
    a dead record, and one whose process number another program has now; and bob's."""
    login1, login2 = centre.login1, centre.login2
    make_environment(login1)
    word = f"--PasswordIdentityProvider.hashed_password={passwd('sesame', 'sha1')}"
    started = [
        login1.popen([BASE, *JUPYTER]),
        login1.popen([OTHER, *JUPYTER], env={"JUPYTER_RUNTIME_DIR": "/tmp/other"}),
        login2.popen([BASE, *JUPYTER, word], env={"JUPYTER_DATA_DIR": "/home/alice/data"}),
        login1.popen([f"{home('bob')}/.venv/bin/python", *JUPYTER], "bob"),
        login2.popen(f"exec {BASE} {SCHEDULER} >~/dask.log 2>&1"),
        login1.popen(f"exec {home('bob')}/.venv/bin/python {SCHEDULER} >~/dask.log 2>&1", "bob"),
    ]
    gears(login1, "dask up matagorda", timeout_s=120, check=True)
    ports = [wait_for_server(centre.hosts[host], directory) for host, directory in RECORDS]
    make_classic(login1, Path("/tmp/other"))
    reused = [process.pid for process in login1.processes("alice") if process.argv[0] == OTHER]
    for number, pid in enumerate((99999, reused[0]), start=1):
        dead = {"pid": pid, "port": ports[0], "base_url": "/", "token": "dead", "root_dir": "/dead", "secure": False}
        login1.run(f"cat >{DEFAULT}/jpserver-{number}.json", input=json.dumps(dead), check=True)
    for host, user in ((login2, "alice"), (login1, "bob")):
        wait_until(lambda host=host, user=user: "dashboard at" in scheduler_log(host, user), 60, "a scheduler listens")
    yield centre
    for process in started:
        login1.end_popen(process)
    gears(login1, "dask down matagorda", timeout_s=120, check=True)
    assert "Error" not in scheduler_log(login2)  # as after a request to the port of Dask's own protocol


def scheduler_log(host: Host, user: str = "alice") -> str:
    log = host.path(f"/home/{user}/dask.log")
    return log.read_text() if log.exists() else ""


def make_environment(host: Host) -> None:
    """A venv that finds the packages of gears' own."""
    host.run(["/usr/bin/python3", "-m", "venv", "--without-pip", "/home/alice/other"], check=True)
    where = [BASE, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = host.run(where, check=True).stdout
    host.run("cat >$(echo ~/other/lib/python*/site-packages)/base.pth", input=packages, check=True)


def record_files(host: Host, directory: str) -> list[Path]:
    return [file for file in host.path(directory).glob("jpserver-*.json") if file.stat().st_size]


def wait_for_server(host: Host, directory: str) -> int:
    """Its port, once it answers there."""
    [file] = wait_until(lambda: record_files(host, directory), 60, f"a record in {directory}")
    port: int = json.loads(file.read_text())["port"]
    wait_until(Lab(host, port).answers, 60, f"the server of {directory} answers")
    return port


def make_classic(host: Host, directory: Path) -> None:
    """What notebook 6 and older write has another name, and another key for the directory."""
    [file] = record_files(host, str(directory))
    record = json.loads(file.read_text())
    record["notebook_dir"] = record.pop("root_dir")
    file.write_text(json.dumps(record))
    file.rename(file.with_name(file.name.replace("jpserver", "nbserver")))


@dataclass(frozen=True)
class Shown:
    kind: str
    port: int
    path: str
    token: str
    about: str


def shown(text: str) -> list[Shown]:
    found = [re.match(ADDRESS, line) for line in text.replace("\r", "").splitlines()]
    return [Shown(one[1], int(one[2]), one[3], one[4] or "", one[5]) for one in found if one]


def start(centre: Centre, *names: str, user: str = "alice") -> tuple["pexpect.spawn[str]", list[Shown]]:
    """`gears forward` in a terminal of the laptop, once it stands."""
    terminal = centre.laptop.spawn([f"{home(user)}/.venv/bin/gears", "forward", *names], user)
    terminal.expect("press Ctrl-C to end these forwards")
    return terminal, shown(terminal.before or "")


def end(terminal: "pexpect.spawn[str]") -> str:
    terminal.send("\x03")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    return terminal.before or ""


def check_nothing_left(centre: Centre) -> None:
    wait_until(lambda: not centre.laptop.processes("alice"), 10, "no ssh of ours, nor anything else, is left")
    assert listening_ports(centre.laptop) == set()
    assert list(centre.laptop.path("/tmp").glob("gears-*")) == []
    for host in (centre.hub, centre.login1, centre.login2):
        wait_until(lambda host=host: not at_far_end(host), 10, f"nothing of ours is left on {host.name}")


def at_far_end(host: Host) -> list[str]:
    return [process.comm for process in host.processes("alice") if process.comm in ("sshd", "cat", "ssh")]


def answers(centre: Centre, one: Shown) -> bool:
    """As the page that it says it is, for whoever types the address."""
    lab = Lab(centre.laptop, one.port, one.token)
    if one.kind == "Dask":
        return "<title>Dask Diagnostic UI</title>" in lab.request("GET", one.path).text
    logged_in = lab.request("GET", "/api/status").status == 200
    return lab.answers() and logged_in == bool(one.token)


def test_five_servers_five_addresses_and_nothing_of_others(servers: Centre) -> None:
    terminal, found = start(servers, "matagorda", "antakya")
    assert sorted((one.kind, bool(one.token)) for one in found) == [
        *[("Dask", False)] * 2,
        ("Jupyter", False),
        *[("Jupyter", True)] * 2,
    ]
    assert all(answers(servers, one) for one in found)
    assert [one.about for one in found if one.kind == "Jupyter" and not one.token] == [
        "/home/alice; log in with its password"
    ]
    assert listening_ports(servers.laptop) == {("0100007F", one.port) for one in found}
    secret = servers.login1.path(f"{home()}/run/matagorda/dask/prefix").read_text().strip()
    dashboards = [(one.path, one.about.partition(":")[0]) for one in found if one.kind == "Dask"]
    assert sorted(dashboards) == sorted([(f"/{secret}/status", "tls"), ("/status", "tcp")])
    assert "forwards ended" in end(terminal)
    check_nothing_left(servers)


def test_an_address_stays_good(servers: Centre) -> None:
    terminal, before = start(servers, "antakya")
    end(terminal)
    ports = servers.laptop.path(f"{home()}/run/forward/ports.json")
    known = {key: port + 1 for key, port in json.loads(ports.read_text()).items() if key.startswith("antakya ")}
    assert {one.port + 1 for one in before} == set(known.values())
    ports.write_text(json.dumps(known))
    for _ in range(2):
        terminal, found = start(servers, "antakya")
        assert [one.port for one in found] == [one.port + 1 for one in before]
        end(terminal)
    ports.unlink()
    terminal, after = start(servers, "antakya")
    assert after == before
    end(terminal)


def test_cancel_frees_one_port_and_then_all(servers: Centre) -> None:
    terminal, found = start(servers, "matagorda", "antakya")
    one, *others = found
    done = gears(servers.laptop, f"forward cancel {one.port}", check=True)
    assert done.stdout.startswith(f"cancelled  {one.port} ")
    assert listening_ports(servers.laptop) == {("0100007F", other.port) for other in others}
    assert all(answers(servers, other) for other in others)
    listed = gears(servers.laptop, "forward list", check=True).stdout
    assert {int(line.split()[0]) for line in listed.splitlines()} == {other.port for other in others}
    assert "token" not in listed
    assert gears(servers.laptop, f"forward cancel {one.port}").returncode == 4
    gears(servers.laptop, "forward cancel", check=True)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    check_nothing_left(servers)
    assert gears(servers.laptop, "forward list").returncode == 4


def test_typed_twice_it_says_what_is_there(servers: Centre) -> None:
    terminal, found = start(servers, "antakya")
    done = gears(servers.laptop, "forward antakya", check=True)
    assert [(one.port, one.about.endswith("already forwarded")) for one in shown(done.stdout)] == [
        (one.port, True) for one in found
    ]
    end(terminal)


def test_no_token_but_on_a_screen_and_no_file_holds_one(servers: Centre) -> None:
    terminal, found = start(servers, "matagorda")
    secrets = [one.token or one.path.split("/")[1] for one in found]
    assert len(secrets) == 3
    printed = gears(servers.laptop, "forward matagorda", check=True).stdout
    assert "/SECRET/status" in printed
    assert "token" not in printed
    listed = gears(servers.laptop, "forward list", check=True).stdout
    kept = servers.laptop.run("grep -r . ~/gears/run/forward /tmp").stdout
    assert "control" in kept
    argv = " ".join(word for process in servers.laptop.processes() for word in process.argv)
    assert not any(secret in text for secret in secrets for text in (printed, listed, kept, argv))
    modes = servers.laptop.run("find ~/gears/run/forward -printf '%y %m\\n' | sort -u", check=True).stdout
    assert modes == "d 700\nf 600\n"
    end(terminal)


def test_a_port_that_is_taken_is_left_and_another_is_used(servers: Centre) -> None:
    terminal, before = start(servers, "antakya")
    end(terminal)
    rival = servers.laptop.popen(["/usr/bin/python3", "-m", "http.server", "-b", "127.0.0.1", str(before[0].port)])
    wait_until(lambda: listening_ports(servers.laptop), 20, "something else is at that port")
    terminal, found = start(servers, "antakya")
    assert found[0].port != before[0].port
    assert found[1:] == before[1:]
    assert all(answers(servers, one) for one in found)
    end(terminal)
    servers.laptop.end_popen(rival)


def test_a_broken_connection_is_dialled_again(servers: Centre) -> None:
    terminal, found = start(servers, "matagorda")
    servers.hub.kill_sessions("alice")
    terminal.expect("reconnecting")
    terminal.expect("reconnected")
    assert all(answers(servers, one) for one in found)
    end(terminal)
    check_nothing_left(servers)


def test_one_that_is_stopped_in_its_terminal_is_still_there(servers: Centre) -> None:
    terminal, found = start(servers, "antakya")
    ssh = [process.pid for process in servers.laptop.processes("alice") if process.comm == "ssh"]
    servers.laptop.kill(*ssh, signal="STOP")
    assert str(found[0].port) in gears(servers.laptop, "forward list", timeout_s=60).stdout
    servers.laptop.kill(*ssh, signal="CONT")
    assert str(found[0].port) in gears(servers.laptop, "forward list").stdout
    end(terminal)
    check_nothing_left(servers)


def test_a_closed_terminal_ends_it(servers: Centre) -> None:
    terminal, _ = start(servers, "antakya")
    terminal.close()
    wait_until(lambda: not servers.laptop.processes("alice"), 15, "all of it has ended")
    check_nothing_left(servers)


def test_ctrl_c_ends_one_that_began_with_it_ignored(servers: Centre) -> None:
    """As in the background of a script."""
    terminal = servers.laptop.spawn(f"trap '' INT; exec {home()}/.venv/bin/gears forward antakya")
    terminal.expect("press Ctrl-C to end these forwards")
    assert "forwards ended" in end(terminal)
    check_nothing_left(servers)


def test_a_plain_kill_ends_it_whatever_goes_through_it(servers: Centre) -> None:
    laptop = servers.laptop
    terminal = laptop.spawn(f"{home()}/.venv/bin/gears forward antakya; echo it has ended; read _")
    terminal.expect("press Ctrl-C to end these forwards")
    with connect(laptop, shown(terminal.before or "")[0].port) as connection:
        connection.sendall(b"GET ")
        [pid] = [process.pid for process in laptop.processes("alice") if process.comm == "gears"]
        laptop.kill(pid, signal="TERM")
        terminal.expect("it has ended")
        assert [process.comm for process in laptop.processes("alice")] == ["sh"]
        assert listening_ports(laptop) == set()
    terminal.close()
    check_nothing_left(servers)


def test_a_passcode_is_typed_once_for_all(servers: Centre) -> None:
    servers.hub.reconfigure_sshd(totp=True)
    try:
        assert gears(servers.laptop, "forward matagorda").returncode == 3
        terminal = servers.laptop.spawn([f"{home()}/.venv/bin/gears", "forward", "matagorda"])
        terminal.expect("Verification code: ")
        terminal.sendline(servers.passcode())
        terminal.expect("press Ctrl-C to end these forwards")
        found = shown(terminal.before or "")
        assert len(found) == 3
        assert all(answers(servers, one) for one in found)
        servers.hub.kill_sessions("alice")
        terminal.expect("requires a passcode")  # and asks for none by itself
        terminal.expect(pexpect.EOF)
    finally:
        servers.hub.reconfigure_sshd(totp=False)


def test_a_relay_and_a_host_that_ssh_knows(servers: Centre) -> None:
    """The login node behind the hub, by the site; and from the hub itself, by either name."""
    terminal, found = start(servers, "andes")
    assert len(found) == 3
    assert all(answers(servers, one) for one in found)
    end(terminal)
    for name in ("login2", "alice@login2"):
        hub = servers.hub.spawn([f"{home()}/.venv/bin/gears", "forward", name])
        hub.expect("press Ctrl-C to end these forwards")
        assert len(shown(hub.before or "")) == 2
        end(hub)


@pytest.mark.parametrize("site", ["twice-0", "twice-1", "twice-2"])
def test_two_jump_hosts(servers: Centre, site: str) -> None:
    before = logins(servers.login2)
    terminal, found = start(servers, site)
    assert logins(servers.login2) == before + 1
    assert len(found) == 3
    assert all(answers(servers, one) for one in found)
    end(terminal)
    check_nothing_left(servers)


def logins(host: Host) -> int:
    return host.path("/var/log/sshd.log").read_text().count("Accepted publickey for alice")


@pytest.mark.parametrize("site", ["antakya", "andes"])
def test_what_the_person_changed_in_the_stanza_counts(servers: Centre, site: str) -> None:
    """Her jump host, or front, has another name in it than in the profile; and the stanza's own forward is left out."""
    config = servers.laptop.path("/home/alice/.ssh/config")
    gears(servers.laptop, f"ssh-config {site} --write", check=True)
    config.write_text(config.read_text().replace("HostName hub\n", "HostName hub.ccs.ornl.gov\n"))
    servers.laptop.install("ssh", '#!/bin/sh\necho "$*" >>/tmp/calls\nexec /usr/bin/ssh "$@"\n')
    try:
        terminal, found = start(servers, site)
        assert all(answers(servers, one) for one in found)
        assert listening_ports(servers.laptop) == {("0100007F", one.port) for one in found}
        calls = servers.laptop.path("/tmp/calls").read_text().splitlines()
        assert any(f"{site}-jupyter" in call for call in calls if not call.startswith("-G"))
        end(terminal)
    finally:
        servers.laptop.path("/usr/local/bin/ssh").unlink()
        config.unlink()


def test_on_the_host_itself_nothing_is_forwarded(servers: Centre) -> None:
    done = gears(servers.login2, "forward antakya", check=True)
    assert "nothing is forwarded" in done.stdout
    assert {one.port for one in shown(done.stdout)} <= {port for _, port in listening_ports(servers.login2)}


def test_a_lab_of_gears_without_a_port(servers: Centre) -> None:
    """It is forwarded by the link that stays the same at each of its starts."""
    login2 = servers.login2
    profile = login2.path("/home/alice/.config/gears/sites/antakya.toml")
    profile.write_text(profile.read_text() + 'listen = "socket"\n')
    gears(login2, "lab antakya", check=True)
    terminal, found = start(servers, "antakya")
    listed = gears(servers.laptop, "forward list").stdout
    assert re.search(r"→ /tmp/gears-alice-\w+/antakya.sck$", listed, re.MULTILINE)
    assert len(found) == 3
    assert all(answers(servers, one) for one in found)
    end(terminal)
    gears(login2, "stop antakya", check=True)


def test_where_nothing_runs_it_says_so(servers: Centre) -> None:
    servers.laptop.run("printf 'Host c1\n  ProxyCommand ssh -W %%h:%%p hub\n' >>~/.ssh/config", check=True)
    done = gears(servers.laptop, "forward c1")
    assert (done.returncode, done.stdout) == (4, "")
    assert "no Jupyter server or Dask dashboard of yours found on c1" in done.stderr
    assert gears(servers.laptop, "forward nowhere").returncode != 0
    assert gears(servers.laptop, "forward -- -oProxyCommand=x").returncode == 2
    check_nothing_left(servers)
