"""`gears doctor` on the real programs: what is wrong is named with its cure, and a healthy route has nothing wrong."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.centre import Centre, Host
from tests.conftest import OpenCentre
from tests.helpers import PATIENCE, gears, home, status, wait_until

Finding = dict[str, Any]

OTHER_CLOCK = """\
import time
now = time.time
time.time = lambda: now() + 300
"""


class Report:
    """The findings of one run."""

    def __init__(self, host: Host, site: str = "andes", **options: Any) -> None:
        ran = gears(host, f"doctor {site} --json", **options)
        assert not ran.stderr
        self.exit_status = ran.returncode
        self.findings: list[Finding] = json.loads(ran.stdout)

    def wrong(self) -> list[tuple[str, str, str]]:
        """Level, host and what, of all that is not ok."""
        wrong = [found for found in self.findings if found["level"] != "ok"]
        print(*wrong, sep="\n")  # pytest shows it where the test fails
        return [(found["level"], found["host"], found["what"]) for found in wrong]

    def of(self, host: str, what: str) -> Finding:
        found = [found for found in self.findings if (found["host"], found["what"]) == (host, what)]
        assert len(found) == 1, self.findings
        return found[0]


def write_profile(host: Host, site: str, text: str) -> None:
    host.run(["tee", f".config/gears/sites/{site}.toml"], input=text, check=True)


@pytest.fixture(scope="module")
def up(centre: Centre) -> Centre:
    """The relay with its lab up; each test takes back what it changed."""
    gears(centre.hub, "lab andes", check=True)
    return centre


@pytest.fixture
def healthy(up: Centre) -> Iterator[Centre]:
    """As `up`, and found healthy again afterwards; a hop that met what a test broke waits for a person."""
    yield up
    gears(up.hub, "lab andes", check=True)
    assert Report(up.hub).wrong() == []


# --- nothing wrong ---------------------------------------------------------------------------


def test_healthy_relay_is_all_ok_on_both_hosts(up: Centre) -> None:
    report = Report(up.hub)
    assert report.wrong() == []
    assert report.exit_status == 0
    assert all(found["cause"] and found["cure"] is None for found in report.findings)
    assert {found["host"] for found in report.findings} == {"hub", "login1"}
    assert Report(up.login1).wrong() == []


def test_it_leaves_everything_as_it_was(up: Centre) -> None:
    leaving = re.compile(r"\.wait\.[1-9]")  # the loop's own, .wait.0, stays

    def everything() -> list[str]:  # but for the log of JupyterLab, and its compressed copies
        hosts = (up.hub, up.login1)
        unlike = "-not -name lab.log -not -path '*/run/pages*'"
        look = f"find /tmp ~/gears/run ~/.ssh ~/.config {unlike} -printf '%p %m %s %l\n' | sort"
        files = [line for host in hosts for line in host.run(look).stdout.splitlines()]
        return [*files, *(f"{host.name} {one.pid} {one.argv}" for host in hosts for one in host.processes("alice"))]

    def at_rest() -> list[str]:
        found = everything()
        return found if not leaving.search("\n".join(found)) and everything() == found else []

    before = wait_until(at_rest, 10, "the keepers of the tests before left")
    Report(up.hub)
    deadline = time.monotonic() + PATIENCE * 5
    while (after := everything()) != before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert after == before


def test_text_shows_each_finding_and_counts(up: Centre) -> None:
    lines = gears(up.hub, "doctor andes", check=True).stdout.splitlines()
    findings = Report(up.hub).findings
    assert [line.split(": ")[:2] for line in lines[:-1]] == [[f"✓ {f['host']}", f["what"]] for f in findings]
    assert lines[-1] == f"{len(findings)} ok"


def test_local_site_needs_no_ssh(centre: Centre) -> None:
    report = Report(centre.c1, "local")
    assert report.wrong() == []
    assert {found["host"] for found in report.findings} == {"c1"}


# --- sshd ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("AllowTcpForwarding no", "AllowTcpForwarding local"),
        ("AllowTcpForwarding remote", "AllowTcpForwarding local"),
        ("AllowStreamLocalForwarding no", "AllowStreamLocalForwarding local"),
        ("PermitOpen localhost:1", "PermitOpen any"),
        ("DisableForwarding yes", "DisableForwarding no"),
    ],
)
def test_option_that_forbids_forwarding_is_named(healthy: Centre, option: str, wanted: str) -> None:
    healthy.login1.reconfigure_sshd(f"{option}\n")
    report = Report(healthy.hub)
    healthy.login1.reconfigure_sshd("")
    assert report.wrong() == [("failed", "login1", "forwarding")]
    assert report.exit_status == 1
    found = report.of("login1", "forwarding")
    assert option in found["cause"]
    assert wanted in found["cure"]


def test_forbidden_forwarding_is_found_where_sshd_config_is_not_readable(healthy: Centre) -> None:
    healthy.login1.reconfigure_sshd("AllowTcpForwarding no\n")
    healthy.login1.run("chmod 600 /etc/ssh/sshd_config", "root", check=True)
    report = Report(healthy.hub)
    healthy.login1.run("chmod 644 /etc/ssh/sshd_config", "root", check=True)
    healthy.login1.reconfigure_sshd("")
    assert report.wrong() == [("failed", "login1", "forwarding")]
    assert "AllowStreamLocalForwarding, AllowTcpForwarding, PermitOpen" in report.of("login1", "forwarding")["cause"]


def test_front_that_forbids_the_laptops_forward_is_named(healthy: Centre) -> None:
    healthy.hub.reconfigure_sshd("Match User alice\nAllowStreamLocalForwarding no\nMatch all\n")
    report = Report(healthy.hub)
    healthy.hub.reconfigure_sshd("")
    assert report.wrong() == [("failed", "hub", "forwarding")]
    assert "AllowStreamLocalForwarding no" in report.of("hub", "forwarding")["cause"]


# --- logging in ------------------------------------------------------------------------------


def test_passcode_is_no_fault_and_the_clock_is_that_of_the_lab(healthy: Centre) -> None:
    healthy.login1.reconfigure_sshd(totp=True)
    report = Report(healthy.hub)
    healthy.login1.reconfigure_sshd(totp=False)
    assert report.wrong() == []
    assert "requires a passcode" in report.of("login1", "login")["cause"]
    assert report.of("login1", "clock")["level"] == "ok"


def test_passcode_before_the_first_login_is_a_warning(open_centre: OpenCentre) -> None:
    centre = open_centre(totp={"login1", "login2"})
    report = Report(centre.hub)
    assert report.wrong() == [("warning", "andes", "login")]
    assert report.exit_status == 0
    assert "gears lab andes" in report.of("andes", "login")["cure"]


def test_refused_key_changed_host_key_and_modes_of_the_keys(open_centre: OpenCentre) -> None:
    centre = open_centre()
    centre.hub.run("chmod 646 .ssh/authorized_keys", check=True)
    report = Report(centre.hub)
    assert report.wrong() == [("failed", "hub", "modes of the keys"), ("failed", "andes", "login")]
    assert "refused the login key" in report.of("andes", "login")["cause"]
    centre.hub.run(report.of("hub", "modes of the keys")["cure"], check=True)
    wait_until(lambda: not Report(centre.hub).wrong(), 5, "seen by the login node, whose home remembers modes for 1 s")
    centre.login1.change_host_key()
    changed = Report(centre.hub)
    assert changed.exit_status == 1
    assert "host key" in changed.of("andes", "login")["cause"]
    assert "ssh-keygen -R andes" in changed.of("andes", "login")["cure"]


def test_silent_login_node_takes_no_longer_than_15_seconds(up: Centre) -> None:
    up.login1.cut()
    began = time.monotonic()
    report = Report(up.hub)
    took_s = time.monotonic() - began
    up.login1.heal()
    assert took_s < 15
    assert report.wrong() == [("failed", "login1", "login"), ("failed", "hub", "lab")]
    assert report.exit_status == 1
    assert "timed out" in report.of("login1", "login")["cause"]
    dial_anew(up)


def dial_anew(centre: Centre) -> None:
    """A hop that was silent may end by itself some seconds later, in the middle of the next test."""
    before = [process.pid for process in centre.hub.processes("alice") if process.comm == "ssh"]
    centre.hub.kill(*before)

    def is_up_anew() -> bool:
        now = [process.pid for process in centre.hub.processes("alice") if process.comm == "ssh"]
        reported = "gears" in centre.hub.run("cat /tmp/gears-*/andes/hop.out").stdout  # the far end looked at its modes
        return bool(now) and now != before and reported and status(centre.hub)["state"] == "up"

    wait_until(is_up_anew, 30, "up again")


# --- this host and the next ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "mode", "what", "host"),
    [
        ("gears/run", "777", "modes in the home", "hub"),
        ("gears/run/andes", "755", "modes in the home", "hub"),
        ("gears/run/andes/token", "644", "modes in the home", "hub"),
        ("$(dirname $(readlink gears/run/andes.sck))", "770", "modes on this host", "login1"),
    ],
)
def test_what_is_open_to_others_is_closed_by_the_cure(
    healthy: Centre, path: str, mode: str, what: str, host: str
) -> None:
    healthy.hosts[host].run(f"chmod {mode} {path}", check=True)
    report = Report(healthy.hub)
    healthy.hosts[host].run(report.of(host, what)["cure"], check=True)
    assert report.wrong() == [("failed", host, what)]


def test_somebody_elses_directory_in_the_place_of_ours(open_centre: OpenCentre) -> None:
    centre = open_centre()
    centre.hub.run("echo 01234567 > gears/run/id && chmod 700 gears/run", check=True)
    centre.hub.run("mkdir -m 777 /tmp/gears-alice-01234567", "bob", check=True)
    report = Report(centre.hub)
    assert "belongs to someone else" in report.of("hub", "modes on this host")["cause"]
    assert report.exit_status == 1


def test_leftovers_of_a_crash_are_a_warning_and_go_with_the_cure(healthy: Centre) -> None:
    healthy.hub.kill(*(process.pid for process in healthy.hub.processes("alice")))
    old = "/tmp/gears-alice-01234567"
    healthy.hub.run(f"mkdir -m 700 {old}", check=True)
    report = Report(healthy.hub)
    assert {level for level, _, what in report.wrong() if what == "leftovers"} == {"warning"}
    causes = " ".join(found["cause"] for found in report.findings if found["what"] == "leftovers")
    assert "the loop of andes" in causes
    assert "no process listens" in causes
    assert old in causes
    healthy.hub.run(f"rm -r {old}", check=True)
    gears(healthy.hub, "lab andes", check=True)


@pytest.mark.parametrize(
    ("main", "drop_in", "wrong"),
    [
        ("#KillUserProcesses=no", "KillUserProcesses = yes", [("failed", "login1", "logout")]),
        ("#KillUserProcesses=yes", "", [("failed", "login1", "logout")]),
        ("KillUserProcesses=yes", "KillUserProcesses=no", []),
        ("KillUserProcesses=yes", "KillExcludeUsers=root alice", []),
    ],
)
def test_logout_that_ends_tmux_is_told_by_host(
    healthy: Centre, main: str, drop_in: str, wrong: list[tuple[str, str, str]]
) -> None:
    directory = "/etc/systemd/logind.conf.d"
    script = 'mkdir -p "$0" && echo "$1" > "$0/../logind.conf" && echo "$2" > "$0/kill.conf"'
    healthy.login1.run(["sh", "-c", script, directory, main, drop_in], "root", check=True)
    report = Report(healthy.hub)
    healthy.login1.run(["rm", f"{directory}/kill.conf", f"{directory}/../logind.conf"], "root", check=True)
    assert report.wrong() == wrong
    assert not wrong or "loginctl enable-linger" in report.of("login1", "logout")["cure"]


def test_old_tmux_and_where_to_get_one(healthy: Centre) -> None:
    script = "mkdir -p old && printf '#!/bin/sh\\necho tmux 2.7\\n' > old/tmux && chmod +x old/tmux"
    healthy.hub.run(script, check=True)
    report = Report(healthy.hub, env={"PATH": "/home/alice/old:/usr/bin:/bin"})
    assert report.wrong() == [("failed", "hub", "tmux")]
    found = report.of("hub", "tmux")
    assert "tmux 2.7 is too old: gears needs 3.2a" in found["cause"]
    assert "conda install" in found["cure"]


def test_programs_that_are_absent(up: Centre) -> None:
    up.hub.run("mkdir few && ln -s /bin/sh few/sh", check=True)
    report = Report(up.hub, env={"PATH": "/home/alice/few"})
    failures = {found["what"]: found for found in report.findings if found["level"] == "failed"}
    assert set(failures) == {"ssh", "tmux", "login"}
    assert "openssh-client" in failures["ssh"]["cure"]


def test_full_disk_is_a_failure(up: Centre) -> None:
    up.hub.run("mkdir /var/tmp/full && mount -t tmpfs -o nr_inodes=1,mode=1777 full /var/tmp/full", "root", check=True)
    write_profile(up.hub, "full", 'local = "/var/tmp/full"\n')
    report = Report(up.hub, "full")
    assert report.wrong() == [("failed", "hub", "room on this host")]
    found = report.of("hub", "room on this host")
    assert "No space left" in found["cause"]
    assert "df -i /var/tmp/full" in found["cure"]


def test_few_inodes_left_are_a_warning(up: Centre) -> None:
    up.hub.run("mkdir /var/tmp/few && mount -t tmpfs -o nr_inodes=50,mode=1777 few /var/tmp/few", "root", check=True)
    write_profile(up.hub, "few", 'local = "/var/tmp/few"\n')
    report = Report(up.hub, "few")
    assert report.wrong() == [("warning", "hub", "room on this host")]
    assert "inodes" in report.of("hub", "room on this host")["cause"]


def test_path_too_long_for_a_socket(up: Centre) -> None:
    report = Report(up.hub, env={"GEARS_HOME": f"/home/alice/{'x' * 150}"})
    found = next(found for found in report.findings if found["what"] == "paths")
    assert found["level"] == "failed"
    assert "GEARS_HOME" in found["cure"]


def test_terminal_unknown_to_the_host(up: Centre) -> None:
    command = f"{home()}/.venv/bin/gears doctor andes"
    terminal = up.hub.spawn(command, env={"TERM": "nonsense"})
    terminal.expect("! hub: terminal: .* nonsense")
    terminal.expect("export TERM=xterm-256color")
    terminal.close()


# --- both ends -------------------------------------------------------------------------------


def test_home_that_is_separate_against_the_profile(open_centre: OpenCentre) -> None:
    centre = open_centre(separate_homes={"login1", "login2"})
    report = Report(centre.hub)
    assert report.wrong() == [("failed", "login1", "home")]
    assert 'home = "separate"' in report.of("login1", "home")["cure"]
    write_profile(centre.hub, "andes", '[front]\nhost = "hub"\n[lab]\nhost = "andes"\nhome = "separate"\n')
    assert Report(centre.hub).wrong() == []


def test_home_that_is_shared_against_the_profile(up: Centre) -> None:
    write_profile(up.hub, "apart", '[front]\nhost = "hub"\n[lab]\nhost = "andes"\nhome = "separate"\n')
    report = Report(up.hub, "apart")
    assert report.wrong() == [("warning", "login1", "home")]
    assert 'home = "shared"' in report.of("login1", "home")["cure"]


def test_gears_missing_on_the_lab_host(up: Centre) -> None:
    write_profile(up.hub, "bare", '[front]\nhost = "hub"\n[lab]\nhost = "andes"\nroot = "~/nowhere"\n')
    report = Report(up.hub, "bare")
    assert report.wrong() == [("failed", "andes", "gears")]
    assert "lab.root" in report.of("andes", "gears")["cure"]


def test_clocks_that_differ(up: Centre) -> None:
    """The far gears is the real one, in a Python whose clock is five minutes ahead."""
    up.login1.run("mkdir -p fast/.venv/bin clock", check=True)
    up.login1.run(["tee", "clock/sitecustomize.py"], input=OTHER_CLOCK, check=True)
    script = f'#!/bin/sh\nPYTHONPATH=~/clock exec {home()}/.venv/bin/python -m gears "$@"\n'
    up.login1.run(["tee", "fast/.venv/bin/gears"], input=script, check=True)
    up.login1.run("chmod +x fast/.venv/bin/gears", check=True)
    write_profile(up.hub, "fast", '[front]\nhost = "hub"\n[lab]\nhost = "andes"\nroot = "~/fast"\n')
    report = Report(up.hub, "fast")
    found = report.of("login1", "clock")
    assert found["level"] == "failed"
    assert "300 s ahead of" in found["cause"]


# --- from the laptop -------------------------------------------------------------------------


def test_laptop_of_a_proxy_route(up: Centre) -> None:
    write_profile(up.laptop, "mpi", '[front]\njump = ["hub"]\n[lab]\nhost = "login1"\n[laptop]\nport = 38901\n')
    missing = Report(up.laptop, "mpi")
    assert missing.wrong() == [("failed", "laptop", "stanza")]
    up.laptop.run(missing.of("laptop", "stanza")["cure"], check=True)
    report = Report(up.laptop, "mpi")
    assert report.wrong() == []
    assert report.of("login1", "login")["level"] == "ok"
    assert report.of("login1", "tmux")["level"] == "ok"

    up.hub.reconfigure_sshd("AllowTcpForwarding no\n")
    forbidden = Report(up.laptop, "mpi")
    up.hub.reconfigure_sshd("")
    assert forbidden.wrong() == [("failed", "mpi-login", "jump host"), ("failed", "login1", "login")]
    assert 'proxy = "nc"' in forbidden.of("mpi-login", "jump host")["cure"]


def test_laptop_of_a_relay(up: Centre) -> None:
    missing = Report(up.laptop, "andes")
    assert missing.wrong() == [("failed", "laptop", "stanza")]
    up.laptop.run(missing.of("laptop", "stanza")["cure"], check=True)
    report = Report(up.laptop, "andes")
    assert report.wrong() == []
    assert report.of("hub", "login")["level"] == "ok"
    assert report.of("login1", "login")["level"] == "ok"
    assert report.of("login1", "tmux")["level"] == "ok"

    up.hub.cut()
    cut = Report(up.laptop, "andes")
    up.hub.heal()
    assert cut.wrong() == [("failed", "hub", "login")]
    assert cut.of("hub", "login")["cure"]
