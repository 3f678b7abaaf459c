"""The stanza, whole, and as a real ssh reads it."""

import re
import subprocess

import pytest

from gears.errors import UnsafePath, UsageError
from gears.sites.load import load_site
from gears.sites.profile import Front, Lab, Laptop, Site
from gears.ssh.remote_gears import assumed_root
from gears.ssh.stanza import plan_stanza

CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr"
ROOT = "/home/alice/gears"

ANDES = f"""\
# JupyterLab on OLCF Andes. Made by `gears ssh-config andes` for OpenSSH 6.7 or later.
# Run `ssh andes-jupyter`, leave it open, and go to http://localhost:38888/lab
# Not `ssh -N`: without a session each new connection of the browser takes 44 ms longer.
Host andes-jupyter
  HostName hub.ccs.ornl.gov
  User alice
  LocalForward 38888 /ccs/home/alice/gears/run/andes.sck
  AddressFamily inet
  GatewayPorts no
  ExitOnForwardFailure yes
  ServerAliveInterval 5
  ServerAliveCountMax 2
  Ciphers {CIPHERS}
"""

MATAGORDA = f"""\
# JupyterLab on MPI-BGC Matagorda. Made by `gears ssh-config matagorda` for OpenSSH 6.7 or later.
# Run `ssh matagorda-jupyter`, leave it open, and go to http://localhost:38891/lab
# Not `ssh -N`: without a session each new connection of the browser takes 44 ms longer.
# Assumed: gears is in /home/alice/gears on matagorda.bgc-jena.mpg.de. If it is not, print this block there.
Host matagorda-jupyter
  HostName matagorda.bgc-jena.mpg.de
  User alice
  ProxyCommand ssh -q -W %h:%p matagorda-login
  ProxyUseFdpass no
  LocalForward 38891 /home/alice/gears/run/matagorda.sck
  AddressFamily inet
  GatewayPorts no
  ExitOnForwardFailure yes
  ServerAliveInterval 5
  ServerAliveCountMax 2
  Ciphers {CIPHERS}

Host matagorda-login
  HostName login.bgc-jena.mpg.de
  User alice
  Ciphers {CIPHERS}
"""

# Those ssh_config(5) of OpenSSH 6.7 has, and for proxy = "jump" that of 7.3.
KEYWORDS_OF_6_7 = {
    "Host",
    "HostName",
    "User",
    "ProxyCommand",
    "ProxyUseFdpass",
    "LocalForward",
    "AddressFamily",
    "GatewayPorts",
    "ExitOnForwardFailure",
    "ServerAliveInterval",
    "ServerAliveCountMax",
    "Ciphers",
}


def stanza(site: Site, **changes) -> str:
    return plan_stanza(site, **{"front_root": ROOT, "user": "alice"} | changes)


@pytest.fixture
def read_by_ssh(tmp_path):
    """What `ssh -G` says of a host when `text` is its configuration."""

    def read(text: str, alias: str) -> dict[str, str]:
        file = tmp_path / "config"
        file.write_text(text)
        done = subprocess.run(
            ["ssh", "-G", "-F", file, alias], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())

    return read


def test_the_stanza_of_a_relay():
    site = load_site("andes")
    assert plan_stanza(site, front_root=assumed_root(site, "alice"), user="alice") == ANDES


def test_the_stanza_of_a_proxy():
    site = load_site("matagorda")
    assert plan_stanza(site, front_root=assumed_root(site, "alice"), user="alice", assumed=True) == MATAGORDA


def test_ssh_reads_the_stanza_of_a_relay(read_by_ssh):
    said = read_by_ssh(ANDES, "andes-jupyter")
    assert (
        said
        | {
            "hostname": "hub.ccs.ornl.gov",
            "user": "alice",
            "localforward": "38888 /ccs/home/alice/gears/run/andes.sck",
            "addressfamily": "inet",
            "gatewayports": "no",
            "exitonforwardfailure": "yes",
            "serveraliveinterval": "5",
            "serveralivecountmax": "2",
            "ciphers": CIPHERS,
        }
        == said
    )


def test_ssh_reads_the_stanza_of_a_proxy(read_by_ssh):
    said = read_by_ssh(MATAGORDA, "matagorda-jupyter")
    assert said["hostname"] == "matagorda.bgc-jena.mpg.de"
    assert said["proxycommand"] == "ssh -q -W %h:%p matagorda-login"
    jump = read_by_ssh(MATAGORDA, "matagorda-login")
    assert (jump["hostname"], jump["user"]) == ("login.bgc-jena.mpg.de", "alice")
    assert "localforward" not in jump


def two_jumps(proxy) -> Site:
    front = Front(jump=("me@outer.example.org", "inner"), proxy=proxy)
    return Site(name="x", front=front, lab=Lab(host="server"), laptop=Laptop(40000))


@pytest.mark.parametrize(
    ("proxy", "last", "first"),
    [
        ("-W", "ssh -q -W %h:%p x-login2", "ssh -q -W %h:%p x-login1"),
        ("nc", "ssh x-login2 nc %h %p", "ssh x-login1 nc %h %p"),
    ],
)
def test_each_of_two_jumps_goes_through_the_one_before(read_by_ssh, proxy, last, first):
    text = stanza(two_jumps(proxy))
    assert read_by_ssh(text, "x-jupyter")["proxycommand"] == last
    inner = read_by_ssh(text, "x-login2")
    assert (inner["proxycommand"], inner["hostname"], inner["user"]) == (first, "inner", "alice")
    outer = read_by_ssh(text, "x-login1")
    assert (outer["hostname"], outer["user"]) == ("outer.example.org", "me")
    assert "proxycommand" not in outer


def test_with_proxyjump_the_whole_way_is_in_one_line(read_by_ssh):
    text = stanza(two_jumps("jump"))
    assert "for OpenSSH 7.3 or later" in text
    assert read_by_ssh(text, "x-jupyter")["proxyjump"] == "x-login1,x-login2"
    inner = read_by_ssh(text, "x-login2")
    assert inner["hostname"] == "inner"
    assert not {"proxyjump", "proxycommand"} & inner.keys()


def test_a_relay_may_have_jump_hosts_before_its_front(read_by_ssh):
    site = Site(name="x", front=Front(host="hub", jump=("gate",), proxy="nc"), lab=Lab(host="login"))
    said = read_by_ssh(stanza(site), "x-jupyter")
    assert (said["hostname"], said["proxycommand"]) == ("hub", "ssh x-login nc %h %p")


def test_the_stanza_of_a_lab_on_this_machine_dials_this_machine(read_by_ssh):
    text = stanza(load_site("local"), local_host="box.example.org", port=40001)
    said = read_by_ssh(text, "local-jupyter")
    assert (said["hostname"], said["localforward"]) == ("box.example.org", "40001 /home/alice/gears/run/local.sck")
    assert "http://localhost:40001/lab" in text


@pytest.mark.parametrize("proxy", ["-W", "nc", "jump"])
def test_only_keywords_of_the_promised_age_are_used(proxy):
    keywords = set(re.findall(r"^ *([A-Z][A-Za-z]+) ", stanza(two_jumps(proxy)), re.MULTILINE))
    assert keywords - ({"ProxyJump"} if proxy == "jump" else set()) <= KEYWORDS_OF_6_7


@pytest.mark.parametrize("proxy", ["-W", "nc", "jump"])
def test_names_of_jump_hosts_are_no_other_hosts_names(proxy):
    aliases = re.findall(r"^Host (.*)$", stanza(two_jumps(proxy)), re.MULTILINE)
    assert aliases == ["x-jupyter", "x-login1", "x-login2"]


def test_the_longest_path_ssh_takes_is_taken_and_one_more_is_not(read_by_ssh):
    root = "/" + "a" * (103 - len("/run/andes.sck") - 1)
    text = stanza(load_site("andes"), front_root=root)
    assert read_by_ssh(text, "andes-jupyter")["localforward"] == f"38888 {root}/run/andes.sck"
    with pytest.raises(UnsafePath) as caught:
        stanza(load_site("andes"), front_root=f"{root}a")
    assert "104 characters" in caught.value.message
    assert "GEARS_HOME" in caught.value.next


@pytest.mark.parametrize(
    "root", ["/home/al ice/gears", "/home/%u/gears", "/home/a\nb", '/home/"a"', "gears", "/a/../b", "/$HOME"]
)
def test_a_path_that_needs_quoting_is_refused(root):
    with pytest.raises(UnsafePath):
        stanza(load_site("andes"), front_root=root)


@pytest.mark.parametrize(
    "user", ["", "-oProxyCommand=x", "a b", "a%h", "a\nHost *", "a'b", 'a"b', "../x", "a;b", "a\\"]
)
def test_a_user_that_is_no_name_is_a_usage_error(user):
    with pytest.raises(UsageError) as caught:
        stanza(load_site("andes"), user=user)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("port", [0, 22, 1023, 65536, -1])
def test_a_port_out_of_range_is_a_usage_error(port):
    with pytest.raises(UsageError):
        stanza(load_site("andes"), port=port)


def test_a_local_host_that_is_no_name_is_a_usage_error():
    with pytest.raises(UsageError):
        stanza(load_site("local"), local_host="-x")


@pytest.mark.parametrize(
    ("root", "expected"),
    [("", "/home/alice/gears"), ("~/g", "/home/alice/g"), ("/u/{user}/gears", "/u/alice/gears"), ("/opt/g", "/opt/g")],
)
def test_where_gears_is_taken_to_be(root, expected):
    assert assumed_root(Site(name="x", front=Front(root=root)), "alice") == expected


def test_the_home_of_a_domains_user_is_taken_for_one_below_the_domain() -> None:
    assert assumed_root(load_site("matagorda"), "DOM\\alice") == "/home/DOM/alice/gears"
    assert assumed_root(load_site("matagorda"), "alice.b@ad.test") == "/home/alice.b@ad.test/gears"
