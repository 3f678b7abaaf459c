"""Nobody else on the shared hosts gets in: bob against alice's lab, in a home that others may enter."""

import re
from collections.abc import Iterator

import pytest

from tests.centre import Centre, Host
from tests.helpers import (
    Kernel,
    fixed_path,
    gears,
    home,
    lab_at,
    listening_ports,
    listening_sockets,
    record,
    wait_until,
)

RUN = f"{home()}/run"
ALL = "\\( -type f -o -type d -o -type s -o -type p \\)"


@pytest.fixture(scope="module")
def open_home(centre: Centre) -> Centre:
    """A home as many centres have it: others may enter and look around."""
    centre.hub.run("chmod 755 ~ ~/gears", check=True)
    return centre


@pytest.fixture(scope="module")
def up(open_home: Centre) -> Iterator[Centre]:
    """The lab of andes is up, with a kernel that has run a cell."""
    gears(open_home.hub, "lab andes", check=True)
    Kernel(lab_at(open_home.hub)).run("print(1)")
    yield open_home
    gears(open_home.hub, "stop andes", check=True)


def local_directory(host: Host) -> str:
    """Where alice's sockets are on a host."""
    return host.run(f"dirname $(readlink {fixed_path()})", check=True).stdout.strip()


# --- sockets, files, processes ---------------------------------------------------------------


def test_bob_connects_to_none_of_her_sockets(up: Centre) -> None:
    sockets = {host: listening_sockets(host) for host in (up.hub, up.login1)}
    assert [path for path in sockets[up.hub] if ".hop." in path]
    assert [path for path in sockets[up.login1] if ".lab." in path]
    assert len([path for path in sockets[up.login1] if "/kernel-" in path]) >= 5
    for host, paths in sockets.items():
        assert not [path for path in paths if path.startswith("@")], "an abstract socket is open to everybody"
        local = local_directory(host)
        for path in (*paths, fixed_path(), f"{local}/andes.sck"):
            assert not host.connect_unix(path, "bob"), path
        assert host.connect_unix(fixed_path(), "alice")


def test_bob_reads_nothing_of_hers(up: Centre) -> None:
    for host in (up.hub, up.login1):
        local = local_directory(host)
        assert host.run(f"ls {home()}", "bob").returncode == 0
        for path in (RUN, f"{RUN}/andes", f"{RUN}/andes/token", f"{RUN}/andes/lab.log", local, f"{local}/andes"):
            command = f"ls -d {path}/. || cat {path}"
            assert host.run(command).returncode == 0, path
            assert "Permission denied" in host.run(command, "bob").stderr, path


def test_all_she_has_is_closed(up: Centre) -> None:
    for host in (up.hub, up.login1):
        places = f"{RUN} {local_directory(host)} -not -path '*/runtime/*' -not -name README.md"
        assert len(host.run(f"find {places} {ALL}", check=True).stdout.split()) > 10
        assert host.run(f"find {places} {ALL} -perm /077", check=True).stdout == ""


def test_bob_sees_no_secret_among_the_processes(up: Centre) -> None:
    seen = {name: host.run("ps -efww", "bob", check=True).stdout for name, host in up.hosts.items()}
    assert "-L /tmp/gears-alice" in seen["hub"]
    assert re.search(rf"^alice +{record(up.hub, 'andes/lab.json')['pid']} ", seen["login1"], re.MULTILINE)
    for name in ("token", "cookie-secret"):
        secret = up.hub.path(f"{RUN}/andes/{name}").read_text().strip()
        assert len(secret) > 30
        assert not [host for host, processes in seen.items() if secret in processes]


def test_only_the_lab_listens_on_tcp_and_only_within_its_host(up: Centre) -> None:
    assert not listening_ports(up.hub)
    ports = listening_ports(up.login1)
    assert record(up.hub, "andes/lab.json")["port"] in {port for _, port in ports}
    assert {address for address, _ in ports} == {"0100007F"}


# --- listen = "socket" -----------------------------------------------------------------------


@pytest.fixture
def socket_only(open_home: Centre) -> Iterator[Centre]:
    hub, profile = open_home.hub, "~/.config/gears/sites/andes.toml"
    gears(hub, "stop andes", check=True)
    before = hub.run(f"cat {profile}", check=True).stdout
    hub.run(f"cat > {profile}", input=before + 'listen = "socket"\n', check=True)
    gears(hub, "lab andes", check=True)
    yield open_home
    gears(hub, "stop andes", check=True)
    hub.run(f"cat > {profile}", input=before, check=True)


def test_with_listen_socket_no_port_of_hers_is_open_anywhere(socket_only: Centre) -> None:
    assert Kernel(lab_at(socket_only.hub)).run("print(2)") == "2\n"
    assert [path for path in listening_sockets(socket_only.login1) if "/kernel-" in path]
    assert not listening_ports(socket_only.hub)
    assert not listening_ports(socket_only.login1)


# --- what is refused -------------------------------------------------------------------------


def refused(host: Host, words: str) -> str:
    """The error of a command that fails with 1; its cure is then typed."""
    done = gears(host, words)
    assert done.returncode == 1, done.stderr
    cure = done.stderr.rpartition("next: ")[2].partition("   (")[0]
    host.run(cure, check=True)
    return done.stderr


def assert_starts(host: Host) -> None:
    """A lab starts now; it is stopped at once, long before it is up."""
    gears(host, "lab local --no-wait", check=True)
    assert "stopped" in gears(host, "stop local", check=True).stdout
    wait_until(lambda: not host.processes("alice"), 2, "nothing of hers is left")


def left(host: Host) -> list[str]:
    """alice's processes and directories, and her fixed paths."""
    found = host.run(f"ls -d /tmp/gears-alice-* /tmp/tmux-20001/* {RUN}/*.sck {RUN}/*/ 2>/dev/null")
    return [process.comm for process in host.processes("alice")] + found.stdout.split()


@pytest.fixture
def fresh(open_home: Centre) -> Iterator[Centre]:
    """As before the first start."""
    hosts = (open_home.hub, open_home.login1)
    gears(open_home.hub, "stop andes", check=True)
    open_home.login1.run(f"find {RUN} -mindepth 1 -not -name README.md -delete && chmod 755 {RUN}", check=True)
    for host in hosts:
        host.run("rm -rf /tmp/tmux-20001", check=True)
    yield open_home
    gears(open_home.hub, "stop andes", check=True)
    for host in hosts:
        host.run("rm -rf /tmp/gears-alice-0badcafe", "root", check=True)


def squat(host: Host) -> None:
    host.run(f"chmod 700 {RUN} && echo 0badcafe > {RUN}/id", check=True)
    host.run("mkdir -m 777 /tmp/gears-alice-0badcafe", "bob", check=True)


def test_a_directory_of_tmux_that_bob_took_is_named(fresh: Centre) -> None:
    fresh.hub.run("mkdir -m 700 /tmp/tmux-$(id -u alice)", "bob", check=True)
    try:
        done = gears(fresh.hub, "lab andes")
        assert done.returncode == 1
        assert re.search(r"directory (/tmp/tmux-\d+) has unsafe permissions\n  next: chmod 700 \1   \(if", done.stderr)
        assert fresh.hub.run("ls -d /tmp/gears-*").stdout == ""
    finally:
        fresh.hub.run("rmdir /tmp/tmux-*", "root", check=True)
    assert_starts(fresh.hub)


def test_a_directory_bob_took_is_refused_until_another_name_is_chosen(fresh: Centre) -> None:
    squat(fresh.login1)
    words = gears(fresh.login1, "lab local").stderr
    assert "/tmp/gears-alice-0badcafe: belongs to someone else" in words
    assert left(fresh.login1) == ["/tmp/gears-alice-0badcafe"]
    assert fresh.login1.run("ls -A /tmp/gears-alice-0badcafe", "bob").stdout == ""
    refused(fresh.login1, "lab local")
    assert_starts(fresh.login1)


def test_a_directory_bob_took_on_the_login_node_is_told_on_the_hub(fresh: Centre) -> None:
    squat(fresh.login1)
    done = gears(fresh.hub, "lab andes")
    assert done.returncode == 1
    assert "/tmp/gears-alice-0badcafe: belongs to someone else" in done.stderr
    assert f"rm {RUN}/id" in done.stderr.rpartition("next: ")[2]
    assert fresh.login1.run("ls -A /tmp/gears-alice-0badcafe", "bob").stdout == ""
    wait_until(lambda: not fresh.login1.processes("alice"), 2, "nothing of hers is left")


@pytest.mark.parametrize(("path", "mode"), [("run", "777"), ("run/local", "770"), ("run/local", "702")])
def test_a_run_directory_others_can_write_to_is_refused(fresh: Centre, path: str, mode: str) -> None:
    login1 = fresh.login1
    directory = f"{home()}/{path}"
    login1.run(f"mkdir -p {directory} && chmod {mode} {directory}", check=True)
    assert f"{directory}: writable by other users" in refused(login1, "lab local")
    assert left(login1) == [f"{RUN}/local/"] * (path == "run/local")
    assert_starts(login1)
