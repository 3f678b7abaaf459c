"""What a person may get wrong: a clear error, the next command, the right exit status, and nothing left half done."""

import re
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess

import pytest

from tests.centre import Centre, Host
from tests.helpers import add_stanza, gears, home, lab_at, make

PROFILE = "/home/alice/.config/gears/sites/odd.toml"
BIN = "/home/alice/bin"


def refused(done: CompletedProcess[str], status: int, *fragments: str) -> str:
    """The complaint: an exit status, the words expected, and a next command; never a traceback."""
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    for fragment in fragments:
        assert fragment in done.stderr
    return done.stderr


def traces(host: Host) -> list[str]:
    files = [str(path) for path in host.path("/tmp").glob("gears-*/*.sck")]
    return [str(process) for process in host.processes("alice")] + files


@pytest.fixture
def hub(centre: Centre) -> Iterator[Host]:
    """The hub before and after: nothing of alice's runs, nothing listens."""
    assert not traces(centre.hub)
    yield centre.hub
    centre.hub.run(f"rm -rf {PROFILE} {BIN} ~/.config/gears/config.toml")
    gears(centre.hub, "stop odd")
    assert not traces(centre.hub)
    assert not traces(centre.login1)


def write(host: Host, path: str, text: str, *, mode: str = "600") -> None:
    host.run(f"mkdir -p $(dirname {path}) && cat > {path} && chmod {mode} {path}", input=text, check=True)


def odd_site(hub: Host, lab_host: str = "login1") -> None:
    write(hub, PROFILE, f'[front]\nhost = "hub"\n[lab]\nhost = "{lab_host}"\n')


# --- names and profiles ----------------------------------------------------------------------


@pytest.mark.parametrize("command", ["lab", "status", "stop", "ssh-config", "url", "logs", "attach", "doctor"])
@pytest.mark.parametrize("name", ["../x", "-- -oProxyCommand=x", "'a b'", "nowhere", "'$(touch x)'", "x%h"])
def test_a_site_that_is_none(hub: Host, command: str, name: str) -> None:
    assert "next: " in refused(gears(hub, f"{command} {name}"), 2)


@pytest.mark.parametrize("target", ["../x-lab", "-- -oX-lab", "nowhere-lab-shutdown"])
def test_a_target_whose_site_is_none(hub: Host, target: str) -> None:
    done = make(hub, target)
    assert "Error 2" in refused(done, 2)


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "--nonsense"])
def test_an_option_that_is_none(hub: Host, name: str) -> None:
    refused(gears(hub, f"lab {name}"), 2, "usage: gears")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[lab]\nhost = "-oProxyCommand=x"\n', "lab.host: "),
        ('[lab]\nhost = "login1"\nlisten = "tcp"\n', "lab.listen: "),
        ('[lab]\nhots = "login1"\n', "lab.hots: "),
        ("[laptop]\nport = 22\n", "laptop.port: "),
        ("[lab\n", "line 1: "),
        ('local = "relative"\n', "local: "),
    ],
)
def test_a_wrong_profile_is_named_by_file_key_and_reason(hub: Host, text: str, complaint: str) -> None:
    write(hub, PROFILE, text)
    refused(gears(hub, "lab odd"), 2, f"{PROFILE}: {complaint}")


# --- programs --------------------------------------------------------------------------------


def path_without(host: Host, program: str) -> str:
    """A PATH on which all is found but one program."""
    links = f"mkdir -p {BIN} && ln -sf /usr/bin/* /bin/* {BIN}/ && rm -f {BIN}/{program}"
    host.run(links, check=True)
    return f"PATH={BIN}"


@pytest.mark.parametrize(("program", "package"), [("ssh", "openssh-client"), ("tmux", "tmux")])
def test_a_program_that_is_missing(hub: Host, program: str, package: str) -> None:
    done = hub.run(f"{path_without(hub, program)} {home()}/.venv/bin/gears lab andes")
    refused(done, 1, f"{program} is not installed", f"next: sudo apt install {package}")


def test_a_tmux_that_is_too_old(hub: Host) -> None:
    """A stand-in for tmux 2.9, which no package index here has: it answers `tmux -V` as that one does."""
    path = path_without(hub, "tmux")
    write(hub, f"{BIN}/tmux", "#!/bin/sh\necho tmux 2.9a\n", mode="700")
    done = hub.run(f"{path} {home()}/.venv/bin/gears lab andes")
    refused(done, 1, "tmux 2.9a is too old: gears needs 3.2a or later", "next: ")


def test_a_tmux_that_does_nothing(hub: Host) -> None:
    path = path_without(hub, "tmux")
    script = "#!/bin/sh\n[ $1 != -V ] || exec echo tmux 3.3a\necho no server >&2; exit 1\n"
    write(hub, f"{BIN}/tmux", script, mode="700")
    done = hub.run(f"{path} {home()}/.venv/bin/gears lab andes")
    refused(done, 1, "tmux could not create session andes: no server", "next: ")


def test_an_ssh_configuration_that_is_wrong(hub: Host) -> None:
    write(hub, "/home/alice/.ssh/config", "Nonsense yes\n")
    try:
        refused(gears(hub, "lab andes"), 1, ".ssh/config: line 1: Bad configuration option: nonsense", "next: ssh -G")
        assert not traces(hub)
    finally:
        hub.run("rm ~/.ssh/config", check=True)


def test_a_lab_host_without_gears(hub: Host) -> None:
    write(hub, PROFILE, '[front]\nhost = "hub"\n[lab]\nhost = "login1"\nroot = "~/nowhere"\n')
    refused(gears(hub, "lab odd"), 1, "gears is not installed on login1", "next: ssh login1   (there: git clone")


# --- paths -----------------------------------------------------------------------------------


def test_a_home_too_long_for_a_socket(hub: Host) -> None:
    deep = f"/home/alice/{'d' * 140}"
    done = hub.run(f"mkdir -p {deep} && GEARS_HOME={deep} {home()}/.venv/bin/gears lab andes")
    refused(done, 1, "bytes long; the limit for a socket path is", "next: ")
    assert hub.run(f"ls -A {deep}/run | grep -v '^id$'").stdout == ""
    hub.run(f"rm -r {deep}", check=True)


def test_a_run_directory_that_cannot_be_written(hub: Host) -> None:
    hub.run(f"chmod 500 {home()}/run", check=True)
    try:
        refused(gears(hub, "lab andes"), 1, f"{home()}/run: not writable", "next: chmod")
    finally:
        hub.run(f"chmod 700 {home()}/run", check=True)


def test_a_home_that_is_full(hub: Host) -> None:
    full = "/var/tmp/full"
    fill = f"mount -t tmpfs -o size=32k,mode=1777 full {full}; dd if=/dev/zero of={full}/all 2>/dev/null"
    hub.run(f"mkdir {full} && {fill}; test -s {full}/all", "root", check=True)
    try:
        for site in ("local", "andes"):
            done = hub.run(f"GEARS_HOME={full}/gears {home()}/.venv/bin/gears lab {site}")
            refused(done, 1, f"{full}/gears/run/", "No space left on device", "next: ")
    finally:
        hub.run(f"umount {full} && rmdir {full}", "root", check=True)


# --- hosts -----------------------------------------------------------------------------------


def test_a_host_that_nobody_knows(hub: Host) -> None:
    odd_site(hub, "nowhere")
    refused(gears(hub, "lab odd"), 1, "cannot resolve host name nowhere", "next: ssh nowhere")


def test_a_host_key_that_is_not_known(hub: Host) -> None:
    hub.run("cp ~/.ssh/known_hosts ~/.ssh/kept && ssh-keygen -R login1", check=True)
    try:
        odd_site(hub)
        refused(gears(hub, "lab odd"), 3, "the host key of login1 is unknown", "next: ")
    finally:
        gears(hub, "stop odd")
        hub.run("mv ~/.ssh/kept ~/.ssh/known_hosts", check=True)


def test_a_host_key_that_has_changed(hub: Host) -> None:
    other = "login1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
    hub.run("cp ~/.ssh/known_hosts ~/.ssh/kept && cat > ~/.ssh/known_hosts", input=other, check=True)
    try:
        odd_site(hub)
        refused(gears(hub, "lab odd"), 1, "the host key of login1 has changed", "ssh-keygen -R login1")
    finally:
        hub.run("mv ~/.ssh/kept ~/.ssh/known_hosts", check=True)


def test_a_key_that_is_refused(centre: Centre, hub: Host) -> None:
    odd_site(hub)
    centre.login1.run("mv ~/.ssh/authorized_keys ~/.ssh/kept", check=True)
    try:
        refused(gears(hub, "lab odd"), 1, "login1 refused the login key", "next: ssh login1")
    finally:
        centre.login1.run("mv ~/.ssh/kept ~/.ssh/authorized_keys", check=True)


def test_after_all_that_the_right_command_works(centre: Centre, hub: Host) -> None:
    odd_site(hub)
    gears(hub, "lab odd", check=True)
    assert lab_at(hub, "odd").answers()
    gears(hub, "stop odd", check=True)


# --- the laptop ------------------------------------------------------------------------------


def test_a_port_taken_on_the_laptop_is_loud(centre: Centre, hub: Host, taken: Callable[[int], None]) -> None:
    add_stanza(centre)
    taken(38888)
    done = centre.laptop.run("ssh andes-jupyter true")
    assert done.returncode == 255
    assert re.search(r"bind \[127\.0\.0\.1\]:38888: Address already in use", done.stderr)


@pytest.fixture
def taken(centre: Centre) -> Iterator[Callable[[int], None]]:
    """Take a port of the laptop for the test."""
    listeners = []

    def take(port: int) -> None:
        listener = centre.laptop.popen(["nc", "-l", "127.0.0.1", str(port)])
        listeners.append(listener)
        while centre.laptop.run(f"ss -Hltn sport = :{port}").stdout == "":
            assert listener.poll() is None

    yield take
    for listener in listeners:
        centre.laptop.end_popen(listener)
