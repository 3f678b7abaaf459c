"""Cleaners of /tmp while a lab is up: it goes on, is reached again, and no second one is started beside it."""

from collections.abc import Iterator

import pytest

from tests.centre import Centre, Host
from tests.helpers import Kernel, add_stanza, gears, home, lab_at, listening_ports, status, wait_until

SWEEP = "rm -rf /tmp/gears-alice-*"
PRIVATE = "mount -t tmpfs tmpfs /tmp && exec setpriv --reuid=alice --regid=alice --init-groups env HOME=/home/alice"


def labs(host: Host) -> list[int]:
    return [process.pid for process in host.processes("alice") if process.comm == "jupyter-lab"]


@pytest.fixture
def login1(centre: Centre) -> Iterator[Host]:
    """A lab of this machine alone, with a kernel."""
    host = centre.login1
    gears(host, "lab local", check=True)
    yield host
    gears(host, "stop local", check=True)
    assert not labs(host)
    assert not listening_ports(host)


def test_a_lab_whose_sockets_were_swept_away_is_reached_again(login1: Host) -> None:
    before = labs(login1)
    lab = lab_at(login1, "local")
    notebook = {"kernel": {"name": "python3"}, "name": "", "path": "mine.ipynb", "type": "notebook"}
    old = lab.request("POST", "/api/sessions", notebook).json()["kernel"]["id"]
    Kernel(lab, old).run("print(0)")
    login1.run(SWEEP, check=True)
    done = gears(login1, "lab local", check=True)
    assert labs(login1) == before
    assert "mine.ipynb can't be reached since its socket was removed" in done.stdout
    assert Kernel(lab).run("print(1)") == "1\n"
    assert lab.request("POST", f"/api/kernels/{old}/restart").status == 200
    assert Kernel(lab, old).run("print(2)") == "2\n"
    wait_until(lambda: not status(login1, "local")["lab"]["unreachable"], 15, "the kernel is there again")


@pytest.mark.parametrize("part", ["*/local.sck", "*/local.lab.*.sck", "*/local"])
def test_whatever_a_cleaner_took_comes_back(login1: Host, part: str) -> None:
    """systemd-tmpfiles takes links and not live sockets, tmpwatch and tmpreaper what they find."""
    before = labs(login1)
    login1.run(f"rm -rf /tmp/gears-alice-{part}", check=True)
    lab = lab_at(login1, "local")
    wait_until(lambda: lab.answers() and lab.request("POST", "/api/kernels", {}).status == 201, 15, "a kernel starts")
    assert Kernel(lab).run("print(3)") == "3\n"
    assert labs(login1) == before


def test_all_of_hers_in_tmp_is_taken_tmux_too(login1: Host) -> None:
    """As by a script at logout (`find /tmp -user $USER -delete`)."""
    before = labs(login1)
    login1.run("find /tmp -user alice -delete")
    found = status(login1, "local")
    assert (found["state"], found["lab"]["pid"]) in (("unknown", before[0]), ("up", before[0]))
    gears(login1, "lab local", check=True)
    assert "works" in gears(login1, "run local -- echo works", check=True).stdout
    assert Kernel(lab_at(login1, "local")).run("print(6)") == "6\n"
    assert labs(login1) == before


def test_a_cleaner_of_the_disk_that_gears_is_on(login1: Host) -> None:
    """Of files not read for so many days, as scratch disks have: the token is the one that JupyterLab asks for."""
    before, token = labs(login1), lab_at(login1, "local").token
    login1.run(f"find {home()}/run/local -type f -delete", check=True)
    assert token in gears(login1, "lab local", check=True).stdout
    assert Kernel(lab_at(login1, "local")).run("print(7)") == "7\n"
    assert labs(login1) == before


def test_a_swept_lab_is_ended_by_stop(login1: Host) -> None:
    login1.run(SWEEP, check=True)
    assert "stopped" in gears(login1, "stop local", check=True).stdout
    wait_until(lambda: not labs(login1), 5, "JupyterLab has ended")
    gears(login1, "lab local", check=True)


def test_a_relay_is_swept_at_both_ends(centre: Centre) -> None:
    add_stanza(centre)
    gears(centre.hub, "lab andes", check=True)
    before = labs(centre.login1)
    for host in (centre.login1, centre.hub):
        host.run(SWEEP, check=True)
    gears(centre.hub, "lab andes", check=True, timeout_s=90)
    assert labs(centre.login1) == before
    assert Kernel(lab_at(centre.hub)).run("print(4)") == "4\n"
    gears(centre.hub, "stop andes", check=True)
    assert not labs(centre.login1)


def test_a_tmp_that_only_one_session_sees(login1: Host) -> None:
    """pam_namespace, or PrivateTmp of a service: another session finds another /tmp."""
    typed = f"{PRIVATE} /home/alice/gears/.venv/bin/gears lab local"
    done = login1.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", typed], "root")
    assert done.returncode == 1
    assert "in a /tmp that only its own session can see" in done.stderr
    assert len(labs(login1)) == 1
