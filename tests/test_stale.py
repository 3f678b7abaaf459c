"""Whatever a crash leaves behind, and however many start and stop at once: the next start succeeds, with one lab."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.centre import Centre, Host
from tests.conftest import OpenCentre
from tests.helpers import Kernel, Lab, gears, home, lab_at, make, status, wait_until


@pytest.fixture(autouse=True)
def clear(centre: Centre) -> Iterator[None]:
    yield
    for host in (centre.hub, centre.login1, centre.login2):
        host.kill(*(process.pid for process in host.processes("alice")))
        host.run("rm -rf /tmp/gears-* /tmp/tmux-*", "root", check=True)
    centre.hub.run(f"find {home()}/run -mindepth 1 ! -name README.md -delete", check=True)


def crash(host: Host) -> None:
    """All that a user runs on a host ends at once; files stay."""
    while pids := [process.pid for process in host.processes("alice")]:
        host.kill(*pids)


def labs(*hosts: Host) -> list[int]:
    return [process.pid for host in hosts for process in host.processes("alice") if "jupyter-lab" in process.comm]


def hops(host: Host) -> list[int]:
    return [process.pid for process in host.processes("alice") if process.comm == "ssh"]


def check_one_of_each(centre: Centre) -> None:
    """One lab, one hop, and nothing beside them once all is up."""
    assert lab_at(centre.hub).answers()
    assert len(labs(centre.login1, centre.login2)) == 1
    wait_until(lambda: keepers(centre.hub, centre.login1) == 0, 10, "the keepers have left")
    assert len(hops(centre.hub)) == 1


def keepers(*hosts: Host) -> int:
    return sum(process.comm == "gears" for host in hosts for process in host.processes("alice"))


# --- what is left on disk --------------------------------------------------------------------

# What a full disk, a crash or a careless hand leaves.
CONTENTS: list[Callable[[bytes], bytes]] = [
    lambda content: content[: len(content) // 2],
    lambda _: b"",
    lambda _: b"\xff\x00{",
    lambda _: b"[1]",
    lambda _: b'{"number": "x", "host": 1, "pid": "2", "start": [], "site": [], "plan": 3}',
    lambda _: b"hub 1 1\n",  # the pid of somebody else's process
]


def damage(host: Host, shift: int) -> None:
    """Damage every file of ours on this host's disk, and every record in the home, each in another way."""
    for number, path in enumerate(sorted(host.path(f"{home()}/run/andes").glob("*.json"))):
        path.write_bytes(CONTENTS[(number + shift) % len(CONTENTS)](path.read_bytes()))
    local = [*host.path("/tmp").glob("gears-*/*"), *host.path("/tmp").glob("gears-*/andes/*")]
    for number, path in enumerate(sorted(path for path in local if not path.is_dir())):
        ways = len(CONTENTS) + 2
        way = (number + shift) % ways
        if path.is_symlink() or way == ways - 1:
            path.unlink()
            path.symlink_to("/nowhere/at/all")
        elif not path.is_file():  # a socket or a fifo
            path.unlink()
            path.write_text("not a socket")
        elif way == ways - 2:
            path.unlink()
        else:
            path.write_bytes(CONTENTS[way](path.read_bytes()))
    host.run(f"chown -hR alice: /tmp/gears-* {home()}/run", "root", check=True)


def test_damaged_files_on_the_hub(centre: Centre) -> None:
    gears(centre.hub, "lab andes", check=True)
    lab = lab_at(centre.hub)
    kernel, pid = Kernel(lab), status(centre.hub)["lab"]["pid"]
    kernel.run("a = 41")
    for shift in range(len(CONTENTS) + 2):
        crash(centre.hub)
        damage(centre.hub, shift)
        gears(centre.hub, "lab andes", check=True)
        found = wait_until(lambda: status(centre.hub)["lab"], 5, f"the lab is known (shift {shift})")
        assert found["pid"] == pid
        check_one_of_each(centre)
    assert Kernel(lab, kernel.id).run("print(a + 1)") == "42\n"


@pytest.mark.parametrize("shift", [0, 4])
def test_damaged_files_on_the_login_node(centre: Centre, shift: int) -> None:
    gears(centre.hub, "lab andes", check=True)
    crash(centre.hub)
    crash(centre.login1)
    damage(centre.login1, shift)
    gears(centre.hub, "lab andes", check=True)
    check_one_of_each(centre)


def test_a_start_after_a_crash_has_the_same_token_and_path(centre: Centre) -> None:
    gears(centre.hub, "lab andes", check=True)
    before = lab_at(centre.hub), gears(centre.hub, "url andes").stdout
    crash(centre.hub)
    crash(centre.login1)
    for damaged in ("id", "andes/token"):
        assert centre.hub.path(f"{home()}/run/{damaged}").stat().st_mode & 0o777 == 0o600
    centre.hub.path(f"{home()}/run/id").write_text("")  # the disk was full
    gears(centre.hub, "lab andes", check=True)
    assert (lab_at(centre.hub), gears(centre.hub, "url andes").stdout) == before


# --- a start that is killed ------------------------------------------------------------------


def kill_start(hub: Host, lines: int, site: str = "andes") -> bool:
    """Start, and kill it by force once it has printed so many lines. False if it printed fewer."""
    start = hub.popen(f"exec {home()}/.venv/bin/gears lab {site}")
    assert start.stderr
    said = [start.stderr.readline() for _ in range(lines)]
    hub.kill(*(process.pid for process in hub.processes("alice") if process.argv[-2:] == ("lab", site)))
    start.communicate(timeout=180)
    return all(said)


@pytest.mark.parametrize("all_dies", [False, True], ids=["the command alone", "all on the hub"])
def test_a_start_killed_after_each_line_it_prints(centre: Centre, all_dies: bool) -> None:
    lines = 1
    while kill_start(centre.hub, lines):
        if all_dies:
            crash(centre.hub)
        gears(centre.hub, "lab andes", check=True)
        check_one_of_each(centre)
        crash(centre.hub)
        crash(centre.login1)
        lines += 1
    assert lines >= 3


@pytest.mark.parametrize("all_dies", [False, True], ids=["the command alone", "all"])
def test_a_start_on_one_machine_killed_after_each_line_it_prints(centre: Centre, all_dies: bool) -> None:
    lines = 1
    while kill_start(centre.hub, lines, "local"):
        if all_dies:
            crash(centre.hub)
        gears(centre.hub, "lab local", check=True)
        assert lab_at(centre.hub, "local").answers()
        assert len(labs(centre.hub)) == 1
        crash(centre.hub)
        lines += 1
    assert lines >= 2


@pytest.mark.parametrize("after_s", [0.1, 0.5, 1.2])
def test_a_login_node_where_all_dies_during_the_start(centre: Centre, after_s: float) -> None:
    start = centre.hub.popen(f"exec {home()}/.venv/bin/gears lab andes")
    wait_until(lambda: centre.login1.processes("alice"), 10, "the start reaches the login node")
    time.sleep(after_s)  # any moment will do
    crash(centre.login1)
    start.communicate(timeout=180)
    gears(centre.hub, "lab andes", check=True)
    check_one_of_each(centre)


def test_a_stop_on_the_login_node_during_the_start(centre: Centre, request: pytest.FixtureRequest) -> None:
    """The hub learns of it, and does not start it again."""
    slow = "/home/alice/.jupyter/jupyter_server_config.py"
    centre.login1.run(f"mkdir -p ~/.jupyter && echo 'import time; time.sleep(60)' > {slow}", check=True)
    request.addfinalizer(lambda: centre.login1.run(["rm", slow]))
    start = centre.hub.popen(f"exec {home()}/.venv/bin/gears lab andes")
    wait_until(
        lambda: gears(centre.login1, "status andes").stdout.startswith("andes: starting"), 20, "JupyterLab starts"
    )
    gears(centre.login1, "stop andes", check=True)
    said = start.communicate(timeout=180)[1]
    assert (start.returncode, "ended before it was up" in said) == (1, True), said
    assert status(centre.hub)["state"] == "stopped"
    for host in (centre.hub, centre.login1):
        wait_until(lambda host=host: not host.processes("alice"), 10, f"nothing of hers is left on {host.name}")


# --- many at once ----------------------------------------------------------------------------


def test_ten_starts_at_once_make_one_lab(centre: Centre) -> None:
    starts = [centre.hub.popen("exec make andes-lab", cwd=home()) for _ in range(10)]
    ended = [(start.communicate(timeout=240), start.returncode) for start in starts]
    assert [code for _, code in ended] == [0] * 10, ended
    assert all("http://localhost:38888/lab?token=" in shown for (shown, _), _ in ended)
    check_one_of_each(centre)


def test_starts_and_stops_at_once_end_in_good_time(centre: Centre) -> None:
    for _ in range(3):
        words = ["lab", "stop", "lab", "stop"]
        random.shuffle(words)
        commands = [centre.hub.popen(f"exec {home()}/.venv/bin/gears {word} andes") for word in words]
        for word, command in zip(words, commands, strict=True):
            _, said = command.communicate(timeout=240)
            assert command.returncode in ((0, 1, 4) if word == "lab" else (0,)), said
            assert "Traceback" not in said
    gears(centre.hub, "lab andes", check=True)
    check_one_of_each(centre)
    gears(centre.hub, "stop andes", check=True)
    assert (labs(centre.login1, centre.login2), hops(centre.hub)) == ([], [])


# --- users and sites -------------------------------------------------------------------------

RELAY = '[front]\nhost = "hub"\n[lab]\nhost = "login1"\n'


def test_two_users_with_three_sites_each_do_not_meet(open_centre: OpenCentre) -> None:
    centre = open_centre(profiles={"one": RELAY, "two": RELAY})
    everyone = [(user, site) for user in ("alice", "bob") for site in ("local", "one", "two")]
    assert stanzas(centre.hub) == ["local-jupyter"]
    starts = [centre.hub.popen(f"exec {home(user)}/.venv/bin/gears lab {site}", user) for user, site in everyone]
    for start in starts:
        said = start.communicate(timeout=240)[1]
        assert start.returncode == 0, said
    assert stanzas(centre.hub) == ["local-jupyter", "one-jupyter", "two-jupyter"]
    ways = {key: lab_at(centre.hub, key[1], key[0]) for key in everyone}
    answers = {key: {way.request("GET", "/api/kernels").status for way in others(key, ways)} for key in everyone}
    assert answers == {key: {403} for key in everyone}
    kernels = {key: Kernel(way) for key, way in ways.items()}
    for key, kernel in kernels.items():
        kernel.run(f"mine = {key}")
    gears(centre.hub, "stop one", "bob", check=True)
    gears(centre.hub, "stop two", check=True)
    gears(centre.hub, "stop local", check=True)
    left = {("alice", "one"), ("bob", "two"), ("bob", "local")}
    assert {key for key, way in ways.items() if way.answers()} == left
    assert {key for key in left if kernels[key].run("print(mine)") == f"{key}\n"} == left
    for user, site in left:
        gears(centre.hub, f"stop {site}", user, check=True)
    for host in (centre.hub, centre.login1):
        wait_until(
            lambda host=host: all(process.user == "root" for process in host.processes()),
            10,
            f"nothing of theirs is left on {host.name}",
        )


def stanzas(host: Host) -> list[str]:
    """Whose stanzas `make ssh-config` prints: those of all sites that were started there, else of the default one."""
    printed = make(host, "ssh-config", check=True).stdout
    return [line.split()[1] for line in printed.splitlines() if line.startswith("Host ")]


def others(key: tuple[str, str], ways: dict[tuple[str, str], Lab]) -> list[Lab]:
    """All other ways, tried with the token of this one."""
    return [replace(way, token=ways[key].token) for other, way in ways.items() if other != key]
