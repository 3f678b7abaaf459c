"""What a person types, with a ~/.ssh/config on laptop and hub that would have forwards, a tunnel, commands, shared
connections and little to say for every host: each command works, and nothing of that rides along."""

from collections.abc import Iterator

import pexpect
import pytest

from tests.centre import Centre, Host
from tests.helpers import Lab, gears, home, listening_ports
from tests.opening import await_up, type_open
from tests.ssh_configuration import write

HUB = """\
[front]
host = "hub"
root = "~/gears"
[lab]
host = "andes"
match = ["login*"]
[dask]
cores = 1
"""
JUMP = '[front]\njump = ["hub"]\nproxy = "{}"\n[lab]\nhost = "login2"\nmatch = ["login2"]\n'
PROXIES = {"plain": "-W", "jump": "jump", "nc": "nc"}
CENTRE = {"profiles": {"hpc": HUB, **{site: JUMP.format(proxy) for site, proxy in PROXIES.items()}}}

TAKEN, FREE = (40001, 40002, 40003), (40011, 40012, 40013)
HERS = """\
Host *
  LocalForward 40001 localhost:22
  RemoteForward 40002 localhost:22
  DynamicForward 40003
  LocalForward 40011 localhost:22
  RemoteForward 40012 localhost:22
  DynamicForward 40013
  Tunnel point-to-point
  PermitLocalCommand yes
  LocalCommand echo local >>/tmp/hers-ran
  RemoteCommand echo remote >>/tmp/hers-ran
  RequestTTY force
  SessionType none
  StdinNull yes
  ForkAfterAuthentication yes
  ControlMaster auto
  ControlPath /tmp/hers-%n
  ControlPersist 60
  LogLevel QUIET
  ForwardAgent yes
  ForwardX11 yes
  ForwardX11Trusted yes
  GSSAPIAuthentication yes
  GSSAPIDelegateCredentials yes
  ProxyUseFdpass yes
  ProxyCommand nc -F %h %p
"""
"""A port that is taken ends an ssh that wants all its forwards; one that is free would be listened at."""

STALE = "import socket; socket.socket(socket.AF_UNIX).bind('/tmp/hers-{}')"
NAMES = ("andes", "hub", "hpc-jupyter", "plain-jupyter")
LISTEN = (
    f"import socket, time; kept = [socket.create_server(('127.0.0.1', port)) for port in {TAKEN}];"
    "print('ready', flush=True); time.sleep(600)"
)
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def hers(centre: Centre) -> Iterator[Centre]:
    """Another one's programs have the ports that are taken; an agent of hers would be forwarded, and a display."""
    for host in centre.hosts.values():
        rival = host.popen([PYTHON, "-c", LISTEN], "bob")
        assert rival.stdout
        assert rival.stdout.readline() == "ready\n"
    for host in (centre.laptop, centre.hub):
        write(host, HERS)
        for name in NAMES:
            host.run([PYTHON, "-c", STALE.format(name)], check=True)
        host.popen("exec ssh-agent -D -a /tmp/hers-agent")
    gears(centre.laptop, "ssh-config hpc --write", check=True)
    gears(centre.hub, "lab hpc", env=environment(centre.hub), check=True)
    yield centre
    gears(centre.hub, "stop hpc", check=True)
    assert rode_along(centre) == []


@pytest.fixture(autouse=True)
def alone(hers: Centre) -> Iterator[None]:
    yield
    assert rode_along(hers) == []


def environment(host: Host) -> dict[str, str]:
    return {"SSH_AUTH_SOCK": "/tmp/hers-agent", "DISPLAY": ":0"}


def rode_along(centre: Centre) -> list[str]:
    """Ports that alice listens at, what her commands wrote, agents and displays at the far end."""
    found = []
    for host in centre.hosts.values():
        ports = {port for _, port in listening_ports(host)}
        found += [f"{host.name}: port {port}" for port in sorted(ports & {*TAKEN, *FREE, *range(6010, 6020)})]
        if (ran := host.path("/tmp/hers-ran")).exists():
            found.append(f"{host.name}: {ran.read_text()}")
            ran.unlink()
        found += [f"{host.name}: {path}" for path in host.path("/tmp").glob("ssh-*/agent.*")]
    return found


def typed(host: Host, words: str, status: int = 0) -> str:
    done = gears(host, words, env=environment(host), timeout_s=120)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=["laptop", "hub"])
def place(request: pytest.FixtureRequest, hers: Centre) -> Host:
    return hers.hosts[request.param]


def end(terminal: "pexpect.spawn[str]", keys: str) -> None:
    terminal.send(keys)
    terminal.expect(pexpect.EOF)
    terminal.close()


def test_run(place: Host) -> None:
    assert typed(place, "run hpc -- echo ran here") == "ran here\n"


def test_doctor(place: Host) -> None:
    found = typed(place, "doctor hpc")
    assert "without a passcode" in found
    assert "✗" not in found


def test_shell(place: Host) -> None:
    terminal = place.spawn(f"exec {home()}/.venv/bin/gears shell hpc", env=environment(place))
    terminal.send("echo 4$((1 + 1)) $SSH_AUTH_SOCK.\r")
    terminal.expect(r"42 \.")
    end(terminal, "\x02d")
    assert terminal.exitstatus == 0


def test_forward(place: Host) -> None:
    terminal = place.spawn(f"exec {home()}/.venv/bin/gears forward hpc", env=environment(place))
    terminal.expect(r"Jupyter +http://localhost:(\d+)/\S*token=(\w+)")
    assert terminal.match
    assert Lab(place, int(terminal.match[1]), terminal.match[2]).answers()
    end(terminal, "\x03")
    assert terminal.exitstatus == 130


@pytest.mark.parametrize("site", PROXIES)
def test_through_a_jump_host(hers: Centre, site: str) -> None:
    """By the profile, then by the stanza; each proxy of its own."""
    assert typed(hers.laptop, f"run {site} -- echo ran here") == "ran here\n"
    typed(hers.laptop, f"ssh-config {site} --write")
    assert typed(hers.laptop, f"run {site} -- echo ran again") == "ran again\n"
    assert site != "nc" or "✗" not in typed(hers.laptop, f"doctor {site}")


def test_open(hers: Centre) -> None:
    opened = await_up(hers.laptop, type_open(hers.laptop, "hpc", **environment(hers.laptop)))
    assert opened.lab.answers()
    assert rode_along(hers) == []
    assert opened.close() == 130


def test_dask(hers: Centre) -> None:
    assert "is up on" in typed(hers.laptop, "dask up hpc --min=1")
    for host in (hers.laptop, hers.hub):
        assert "up" in typed(host, "dask status hpc")
    assert "has ended" in typed(hers.hub, "dask down hpc")
    assert "no Dask cluster was up" in typed(hers.laptop, "dask down hpc")
