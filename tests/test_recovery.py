"""Whatever breaks between laptop and lab, the lab and its kernels go on, and the way comes back.

The tests share one centre, one lab and one kernel, which live through all of them until the login node itself goes.
"""

import re
import time
from dataclasses import dataclass
from typing import Any

import pexpect
import pytest

from tests.centre import Centre, Host, Process
from tests.conftest import Took
from tests.helpers import (
    Kernel,
    Lab,
    add_stanza,
    dial,
    fixed_path,
    gears,
    home,
    lab_at,
    make,
    record,
    status,
    wait_until,
)

CUT_S = 30
STATES = {"stopped", "starting", "queued", "connecting", "needs-login", "up", "failed", "unknown"}


@dataclass
class Work:
    """A person's work: the kernel and its lab, and the ssh in a terminal of the laptop through which it is seen."""

    centre: Centre
    lab: Lab
    kernel: Kernel
    pid: int
    terminal: "pexpect.spawn[str]"

    def dial(self) -> None:
        """Type `ssh andes-jupyter` on the laptop."""
        self.terminal = dial(self.centre)

    def goes_on(self) -> None:
        """The kernel has its variable, and JupyterLab is the process it was."""
        assert self.kernel.run("print(kept)") == "kept\n"
        assert record(self.centre.hub, "andes/lab.json")["pid"] == self.pid
        assert self.pid in pids(self.centre.login1, "jupyter-lab")

    def state(self) -> dict[str, Any]:
        return checked_status(self.centre.hub)


@pytest.fixture(scope="module")
def started(centre: Centre) -> Work:
    assert make(centre.hub, "andes-lab").returncode == 0
    add_stanza(centre)
    terminal = dial(centre)
    lab = Lab(centre.laptop, 38888, lab_at(centre.hub).token, timeout_s=2)
    kernel = Kernel(lab)
    kernel.run("kept = 'kept'")
    return Work(centre, lab, kernel, record(centre.hub, "andes/lab.json")["pid"], terminal)


@pytest.fixture
def work(started: Work) -> Work:
    """All is well at the start of each test, whatever the one before left behind."""
    for host in started.centre.hosts.values():
        host.boot()
        host.heal()
    if started.terminal.isalive() and started.lab.answers():
        return started
    assert make(started.centre.hub, "andes-lab").returncode == 0
    started.terminal.close()
    started.dial()
    return started


def find(host: Host, comm: str, argument: str = "") -> list[Process]:
    """Processes of alice, by the program's name and a part of its command line."""
    return [p for p in host.processes("alice") if p.comm == comm and argument in " ".join(p.argv)]


def pids(host: Host, comm: str, argument: str = "") -> list[int]:
    return [process.pid for process in find(host, comm, argument)]


def kill(host: Host, comm: str, argument: str = "") -> None:
    """Kill -9, and see it gone; fails where there is none."""
    found = pids(host, comm, argument)
    assert found, f"no {comm} {argument} on {host.name}"
    host.kill(*found, check=True)
    wait_until(lambda: not set(found) & set(pids(host, comm)), 5, f"{comm} is gone")


def checked_status(host: Host) -> dict[str, Any]:
    """`gears status --json`, with every key of the contract, and exit status and words as they belong together."""
    found = status(host)
    assert set(found) >= {"site", "state", "url", "route", "front", "hops", "lab", "job", "reason", "next"}
    assert set(found["front"]) >= {"host", "socket", "leads_to"}
    assert all(set(hop) >= {"from", "to", "state", "since", "reconnects"} for hop in found["hops"])
    if found["lab"]:
        assert set(found["lab"]) >= {"host", "pid", "port", "socket", "version", "started", "kernels"}
    assert (found["site"], found["route"], found["job"]) == ("andes", "relay", None)
    assert (found["front"]["host"], found["front"]["socket"]) == ("hub", fixed_path())
    assert found["state"] in STATES
    if found["state"] == "up":
        assert (found["url"], found["reason"], found["next"]) == ("http://localhost:38888/lab", None, None)
    else:
        assert found["url"] is None
        assert found["reason"] or found["state"] in ("starting", "connecting")
    return found


# --- nothing but the laptop's own ssh -------------------------------------------------------------


def test_status_while_all_is_well(work: Work) -> None:
    found = work.state()
    assert (found["state"], found["front"]["leads_to"]) == ("up", "hop")
    assert [(hop["from"], hop["to"], hop["state"]) for hop in found["hops"]] == [("hub", "login1", "up")]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["hops"][0]["since"])
    assert (found["lab"]["host"], found["lab"]["pid"], found["lab"]["kernels"]) == ("login1", work.pid, 1)
    assert gears(work.centre.hub, "status andes").returncode == 0


def test_laptops_ssh_killed(work: Work) -> None:
    kill(work.centre.laptop, "ssh")
    assert not work.lab.answers()
    work.dial()
    work.goes_on()


def test_hop_killed(work: Work, took: Took) -> None:
    before = work.state()["hops"][0]["reconnects"]
    began = time.monotonic()
    kill(work.centre.hub, "ssh", "-L")
    wait_until(work.lab.answers, 20, "JupyterLab answers again")
    took("hop killed, first answer", began)
    work.goes_on()
    wait_until(lambda: work.state()["hops"][0]["reconnects"] == before + 1, 5, "the keeper has counted it")


def test_hop_killed_where_python_does_not_start(work: Work) -> None:
    """The turn was planned while the hop was up: the loop needs no gears for it, and with gears its turns go on."""
    hub, environment = work.centre.hub, home() + "/.venv"
    hub.run(f"mkdir -p /run/none && mount --bind /run/none {environment}", "root", check=True)
    try:
        kill(hub, "ssh", "-L")
        wait_until(work.lab.answers, 10, "JupyterLab answers again")
        work.goes_on()
    finally:
        hub.run(["umount", environment], "root", check=True)
    assert work.state()["state"] == "up"
    for _ in range(2):
        before = work.state()["hops"][0]["reconnects"]
        kill(hub, "ssh", "-L")
        wait_until(work.lab.answers, 20, "JupyterLab answers again")
        wait_until(lambda before=before: work.state()["hops"][0]["reconnects"] == before + 1, 5, "it is counted")
    work.goes_on()


# --- no command at all ----------------------------------------------------------------------------


def test_far_end_of_the_hop_killed(work: Work) -> None:
    wait_until(lambda: find(work.centre.login1, "sh", "end of the hop"), 10, "the hop ends on login1")
    kill(work.centre.login1, "sh", "end of the hop")
    wait_until(lambda: find(work.centre.login1, "sh", "end of the hop"), 20, "a new hop ends on login1")
    wait_until(work.lab.answers, 20, "JupyterLab answers again")
    work.goes_on()


def test_link_to_the_login_node_cut(work: Work, took: Took) -> None:
    """Meanwhile the state and the waiting page are right; once it is healed the way comes back by itself."""
    hub, token = work.centre.hub, work.lab.token
    healed = time.monotonic() + CUT_S
    work.centre.login1.cut()
    silent = work.state()
    assert (silent["state"], silent["front"]["leads_to"], silent["hops"][0]["state"]) == ("unknown", "hop", "up")
    assert "login1 does not answer" in silent["reason"]

    wait_until(lambda: work.state()["front"]["leads_to"] == "wait", 20, "the waiting page is at the fixed path")
    down = work.state()
    assert (down["state"], down["hops"][0]["state"]) == ("unknown", "connecting")
    assert (down["hops"][0]["since"], "login1" in down["hops"][0]["to"]) == (None, True)
    assert "gears lab andes" in down["next"]
    assert gears(hub, "status andes").returncode == 5

    check_waiting_page(lab_at(hub), token)
    check_waiting_page(work.lab.patient, token)
    time.sleep(max(0, healed - time.monotonic()))
    work.centre.login1.heal()
    began = time.monotonic()
    wait_until(work.lab.answers, 30, "JupyterLab answers again")
    took("link hub–login1 healed after a cut, first answer", began)
    work.goes_on()
    assert work.state()["state"] == "up"


def check_waiting_page(lab: Lab, token: str) -> None:
    """For a browser and for programs; without the token, and as soon gone as it is asked again."""
    page = lab.request("GET", f"/lab?token={token}", accept="text/html,*/*")
    assert page.status == 503
    assert int(page.headers["Retry-After"]) > 0
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers.get_content_type() == "text/html"
    marks = dict(re.findall(r"<span[^>]*>(.)</span>([^<]*)</li>", page.text))
    assert marks == {"✓": "hub: reached", "…": "connection hub → andes", "·": "JupyterLab on login1"}
    assert "gears lab andes" in page.text

    told = lab.request("GET", f"/api/contents?token={token}")
    assert (told.status, told.headers.get_content_type()) == (503, "application/json")
    assert told.json()["gears"]["state"] == "unknown"
    posted = lab.request("POST", "/api/kernels", {"name": "python3"})
    assert (posted.status, posted.json()["gears"]["state"]) == (503, "unknown")
    for answer in (page, told, posted):
        assert token not in answer.text + str(answer.headers)


def test_link_to_the_laptop_cut(work: Work, took: Took) -> None:
    """Only the laptop's own ssh has to be typed again; the hop did not notice."""
    healed = time.monotonic() + CUT_S
    before = work.state()
    work.centre.laptop.cut()
    wait_until(lambda: not work.terminal.isalive(), CUT_S, "the laptop's ssh gave up")
    assert work.state() == before
    time.sleep(max(0, healed - time.monotonic()))
    work.centre.laptop.heal()
    began = time.monotonic()
    work.dial()
    wait_until(work.lab.answers, 20, "JupyterLab answers again")
    took("link laptop–hub healed and ssh typed again, first answer", began)
    work.goes_on()


def test_keeper_killed_while_it_is_needed(work: Work) -> None:
    """Its guard starts another; and where the guard is killed as well, the next dial does."""
    hub = work.centre.hub
    work.centre.login1.cut()
    kill(hub, "ssh", "-L")
    first = wait_until(lambda: keeper(hub), 10, "a keeper")
    at_hub = lab_at(hub)
    wait_until(at_hub.waits, 10, "the waiting page")
    hub.kill(first)
    wait_until(lambda: keeper(hub) not in (None, first) and at_hub.waits(), 10, "another keeper, with its page")
    hub.kill(*pids(hub, "gears", "_turn"))
    wait_until(at_hub.waits, 15, "the waiting page once more")
    work.centre.login1.heal()
    wait_until(work.lab.answers, 20, "JupyterLab answers again")
    work.goes_on()


def keeper(host: Host) -> int | None:
    """The pid of the process that serves the waiting page, if one lives."""
    words = host.run("cat /tmp/gears-alice-*/andes/keeper").stdout.split()
    return int(words[1]) if words and int(words[1]) in pids(host, "gears") else None


# --- one command ----------------------------------------------------------------------------------


def test_keeper_and_guard_killed_just_before_the_way_comes_up(work: Work) -> None:
    """The hop is up, and nobody is left to switch the path to it: the next command sees to that.

    Not of the first dial after the cut: the loop itself switches the path for that.
    """
    hub = work.centre.hub
    work.centre.login1.cut()
    kill(hub, "ssh", "-L")
    failed = "grep -q '\"failures\": *[12]' /tmp/gears-alice-*/andes/turn.json"
    wait_until(lambda: hub.run(failed).returncode == 0, 20, "a dial has failed")
    wait_until(lambda: keeper(hub) and find(hub, "ssh", "-L"), 10, "a keeper, and an ssh that dials")
    hub.kill(*pids(hub, "gears", "_turn"))
    work.centre.login1.heal()
    wait_until(lambda: work.state()["hops"][0]["state"] == "up", 10, "the hop is up")
    assert not work.lab.answers()
    brought_back(work)


def test_loop_on_the_hub_killed(work: Work) -> None:
    kill(work.centre.hub, "sh", "hop.sh")
    brought_back(work)


def test_tmux_on_the_hub_killed(work: Work) -> None:
    kill(work.centre.hub, "tmux: server")
    wait_until(lambda: not find(work.centre.hub, "sh", "hop.sh"), 5, "the hop ended with its terminal")
    found = work.state()
    assert (found["state"], found["hops"][0]["state"]) == ("unknown", "stopped")
    assert "login1 may be running" in found["reason"]
    assert work.centre.hub.run(found["next"]).returncode == 0, found["next"]
    brought_back(work)


def test_hub_rebooted(work: Work) -> None:
    """What was local to it is gone, /tmp included; the lab is found again through the record in the home."""
    hub = work.centre.hub
    hub.power_off(clean=True)
    wait_until(lambda: not work.terminal.isalive(), 10, "the laptop's ssh ended")
    hub.boot()
    assert (work.state()["state"], gears(hub, "status andes").returncode) == ("unknown", 5)
    brought_back(work, dial=True)


def test_sessions_on_the_hub_ended_as_by_its_time_limit(work: Work) -> None:
    """tmux stays, so the hop does: the laptop dials again, and nobody logs in to the login node."""
    before = work.state()["hops"]
    work.centre.hub.kill_sessions("alice")
    wait_until(lambda: not work.terminal.isalive(), 10, "the laptop's ssh ended")
    work.dial()
    assert work.lab.patient.answers()
    work.goes_on()
    assert work.state()["hops"] == before


def test_tmux_on_the_login_node_killed(work: Work) -> None:
    """JupyterLab and the loop around it ignore that their terminal hung up."""
    kill(work.centre.login1, "tmux: server")
    work.goes_on()
    assert find(work.centre.login1, "sh", "lab.sh")
    assert work.state()["state"] == "up"
    assert make(work.centre.hub, "andes-lab").returncode == 0
    work.goes_on()


def test_loop_on_the_login_node_killed(work: Work) -> None:
    kill(work.centre.login1, "sh", "lab.sh")
    work.goes_on()
    kill(work.centre.hub, "ssh", "-L")
    wait_until(work.lab.answers, 20, "JupyterLab answers again")
    work.goes_on()
    assert len(pids(work.centre.login1, "jupyter-lab")) == 1


def brought_back(work: Work, *, dial: bool = False) -> None:
    done = make(work.centre.hub, "andes-lab")
    assert done.returncode == 0, done.stderr
    if dial:
        work.dial()
    wait_until(work.lab.answers, 10, "JupyterLab answers again")
    work.goes_on()
    assert work.state()["state"] == "up"


# --- the login node itself ------------------------------------------------------------------------


def test_login_node_off(work: Work) -> None:
    """The alias still leads to login1 first. A new lab starts on login2; the address is the same."""
    hub = work.centre.hub
    work.centre.login1.power_off()
    kill(hub, "ssh", "-L")  # or it takes 15 s to notice
    wait_until(lambda: work.state()["state"] == "unknown" and work.lab.waits(), 10, "the waiting page")
    found = gears(hub, "status andes")
    assert (found.returncode, "andes: unknown" in found.stdout) == (5, True)
    assert "gears lab andes" in found.stdout

    done = make(hub, "andes-lab", timeout_s=120)
    assert done.returncode == 0, done.stderr
    assert "left on login1" in done.stderr
    wait_until(work.lab.answers, 10, "the new lab answers at the laptop")
    found = work.state()
    assert (found["lab"]["host"], found["hops"][0]["to"]) == ("login2", "login2")
    assert Kernel(work.lab).run("print(open('/proc/sys/kernel/hostname').read())").strip() == "login2"


def test_login_node_rebooted(work: Work, took: Took) -> None:
    """A lab that nobody stopped comes back by itself, with new kernels, on the host where it was."""
    before = work.state()["lab"]
    host = work.centre.hosts[before["host"]]
    host.power_off()
    host.boot()
    began = time.monotonic()
    wait_until(work.lab.answers, 40, "JupyterLab answers again")
    took("login node booted, first answer", began)
    found = work.state()["lab"]
    assert found["host"] == host.name
    assert (found["pid"], found["started"]) != (before["pid"], before["started"])
    assert Kernel(work.lab).run("print(1)") == "1\n"


def test_jupyterlab_killed(work: Work, took: Took) -> None:
    """It is started again, on the same port."""
    before = work.state()["lab"]
    began = time.monotonic()
    kill(work.centre.hosts[before["host"]], "jupyter-lab")
    wait_until(work.lab.waits, 10, "the waiting page")
    down = work.state()
    assert (down["state"], down["hops"][0]["state"], down["front"]["leads_to"]) == ("starting", "up", "hop")
    assert "killed by signal 9" in down["reason"]
    wait_until(work.lab.answers, 30, "JupyterLab answers again")
    took("JupyterLab killed, first answer", began)
    found = work.state()["lab"]
    assert (found["port"], found["pid"] != before["pid"]) == (before["port"], True)


def test_jupyterlab_and_its_loop_killed(work: Work) -> None:
    """The hop stays up, and leads nowhere. The next command has its far end start the lab again."""
    host = work.centre.hosts[work.state()["lab"]["host"]]
    kill(host, "sh", "lab.sh")
    kill(host, "jupyter-lab")
    found = work.state()
    assert (found["state"], found["hops"][0]["state"]) == ("unknown", "up")
    done = make(work.centre.hub, "andes-lab")
    assert done.returncode == 0, done.stderr
    wait_until(work.lab.answers, 10, "JupyterLab answers at the laptop")
    assert work.state()["state"] == "up"
    assert len(pids(host, "jupyter-lab")) == 1


def test_stop_after_all_that(work: Work) -> None:
    centre = work.centre
    assert gears(centre.hub, "stop andes").returncode == 0
    assert gears(centre.hub, "status andes").returncode == 4
    work.terminal.close()
    for host in (centre.hub, centre.login1, centre.login2):
        wait_until(lambda host=host: not host.processes("alice"), 5, f"nothing of alice's runs on {host.name}")


def test_a_stop_does_not_wait_for_what_a_browser_keeps_open(centre: Centre) -> None:
    """A connection through the hop that its far end leaves half open keeps ssh alive."""
    up = gears(centre.hub, "lab andes")
    assert up.returncode == 0, up.stderr
    lab = lab_at(centre.hub)
    channels = [lab.open_channels(Kernel(lab).id) for _ in range(3)]
    try:
        began = time.monotonic()
        assert gears(centre.hub, "stop andes").returncode == 0
        assert time.monotonic() - began < 30
    finally:
        for channel in channels:
            channel.close()
