"""`make lab` on one machine, with no configuration and no ssh: login1 of the centre, where alice has a fresh clone."""

import json
import re
from collections.abc import Iterator
from http.client import HTTPMessage
from urllib.parse import urlencode

import pytest

from tests.centre import Centre, Host
from tests.helpers import (
    Kernel,
    Lab,
    fixed_path,
    gears,
    home,
    lab_at,
    listening_ports,
    listening_sockets,
    make,
    record,
    status,
    wait_until,
)

LOOPBACK = "0100007F"
CONFIG = "/home/alice/.jupyter"
BROKEN = 'raise SystemExit("broken by hand")\n'
FORKS = """
import multiprocessing, os, sys
def say(word): print(word, flush=True)
if (pid := os.fork()) == 0:
    say("forked")
    os._exit(0)
os.waitpid(pid, 0)
child = multiprocessing.get_context("fork").Process(target=say, args=["in a process"])
child.start()
child.join()
"""
OTHER_SERVER = r"""
import re, subprocess, sys, time, urllib.request
command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.port=0"]
with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
    port = next(found[1] for line in server.stderr if (found := re.search(r"localhost:(\d+)/", line)))
    for _ in range(200):
        try:
            print(urllib.request.urlopen(f"http://localhost:{port}/api").status)
            break
        except OSError:
            time.sleep(0.05)
    server.kill()
"""


@pytest.fixture(scope="module")
def login1(centre: Centre) -> Host:
    return centre.login1


@pytest.fixture
def lab(login1: Host) -> Lab:
    """The lab of `local`: started now, or found where the test before left it."""
    gears(login1, "lab local", check=True)
    return lab_at(login1, "local")


def stop(login1: Host) -> None:
    gears(login1, "stop local", check=True)


def home_file(login1: Host, name: str, text: str) -> None:
    login1.run(f"mkdir -p $(dirname ~/{name}) && cat > ~/{name}", input=text, check=True)


def traces(login1: Host) -> list[str]:
    """What a lab leaves on its host: alice's processes, sockets in use, files outside her home, the fixed path.

    tmux leaves the file of its own socket (/tmp/tmux-UID/gears), in use by nobody.
    """
    processes = [str(process) for process in login1.processes("alice")]
    sockets = [path for path in listening_sockets(login1) if "gears" in path]
    files = [str(path) for path in login1.path("/tmp").iterdir() if path.name.startswith("gears")]
    link = [fixed_path("local")] if login1.path(fixed_path("local")).is_symlink() else []
    return processes + sockets + files + link


# --- a fresh machine -------------------------------------------------------------------------


def test_make_lab_starts_it_and_says_how_to_go_on(login1: Host) -> None:
    wait_until(lambda: not traces(login1), 2, "nothing is left")
    said = make(login1, "lab", check=True).stdout
    lab, found = lab_at(login1, "local"), record(login1, "local/lab.json")
    address = f"http://localhost:{found['port']}/lab?token={lab.token}\n"
    assert address in said
    assert gears(login1, "url local", check=True).stdout == address
    assert "with the token" in said
    assert "gears password" in said
    assert "gears ssh-config local" in said
    assert "gears stop local" in said
    assert "JupyterLab" in lab.request("GET", f"/lab?token={lab.token}", accept="text/html").text
    assert Kernel(lab).run("print(6 * 7)") == "42\n"
    assert Lab(login1, found["port"], lab.token).answers()
    assert (LOOPBACK, found["port"]) in listening_ports(login1)
    assert {address for address, _ in listening_ports(login1)} == {LOOPBACK}


def test_the_stanza_it_names_leads_to_the_socket(lab: Lab, login1: Host) -> None:
    stanza = gears(login1, "ssh-config local", check=True).stdout
    assert re.search(rf"LocalForward \d+ {re.escape(fixed_path('local'))}\n", stanza)


def test_second_make_lab_finds_the_first(lab: Lab, login1: Host) -> None:
    before = status(login1, "local")["lab"]
    done = make(login1, "lab", check=True)
    assert "already up" in done.stderr
    assert lab.token in done.stdout
    assert status(login1, "local")["lab"] == before


def test_logs_go_on_as_they_grow(lab: Lab, login1: Host) -> None:
    terminal = login1.spawn([f"{home()}/.venv/bin/gears", "logs", "local", "-f"])
    terminal.expect("lab.log")
    terminal.expect("is running at")
    lab.request("GET", "/api/contents/nowhere")
    terminal.expect("404 GET /api/contents/nowhere")
    terminal.sendintr()
    assert "interrupted" in terminal.read()
    terminal.close()
    assert terminal.exitstatus == 130
    assert gears(login1, "logs ../local").returncode == 2


def test_attach_shows_the_session_until_one_leaves_it(lab: Lab, login1: Host) -> None:
    terminal = login1.spawn([f"{home()}/.venv/bin/gears", "attach", "local"])
    terminal.expect(r"\[local\].*0:lab\*")  # tmux's status line: the session, and its window
    terminal.send("\x02d")
    terminal.expect("detached")
    terminal.wait()
    assert terminal.exitstatus == 0
    assert lab.answers()
    done = gears(login1, "attach local")
    assert done.returncode == 2
    assert "next: tmux -L gears attach-session -t =local" in done.stderr


def test_status_shows_every_change_until_interrupted(lab: Lab, login1: Host) -> None:
    terminal = login1.spawn([f"{home()}/.venv/bin/gears", "status", "local", "--watch"])
    terminal.expect("local: up")
    stop(login1)
    terminal.expect("local: stopped")
    terminal.sendintr()
    terminal.expect("interrupted")
    terminal.wait()
    assert terminal.exitstatus == 130
    assert gears(login1, "attach local").returncode == 4


def test_shutdown_leaves_nothing(lab: Lab, login1: Host) -> None:
    Kernel(lab).run("import subprocess; subprocess.Popen(['sleep', '991'])")
    type_in_terminal(lab, "sleep 992 &\n")
    wait_until(lambda: [p for p in login1.processes("alice") if p.argv == ("sleep", "992")], 10, "the terminal's sleep")
    assert traces(login1)
    assert "stopped" in make(login1, "lab-shutdown", check=True).stdout
    wait_until(lambda: not traces(login1), 2, "nothing is left")
    assert "nothing was running" in make(login1, "lab-shutdown", check=True).stdout
    assert gears(login1, "status local").returncode == 4


def type_in_terminal(lab: Lab, words: str) -> None:
    """Into a new terminal of JupyterLab, once its shell is ready."""
    name = lab.request("POST", "/api/terminals").json()["name"]
    terminal = lab.open_websocket(f"/terminals/websocket/{name}")
    seen = ""
    while "$" not in seen:
        kind, *words_seen = json.loads(terminal.recv())
        seen += str(words_seen) if kind == "stdout" else ""
    terminal.send(json.dumps(["stdin", words]))
    terminal.close()


# --- what it outlives ------------------------------------------------------------------------


def test_it_outlives_the_terminal_and_tmux(login1: Host) -> None:
    stop(login1)
    terminal = login1.spawn(["bash", "-i"], cwd=home())
    terminal.sendline("make lab")
    terminal.expect("JupyterLab of local is up", timeout=60)
    lab, before = lab_at(login1, "local"), status(login1, "local")["lab"]
    kernel = Kernel(lab)
    kernel.run("x = 41")
    terminal.close()
    wait_until(lambda: not [p for p in login1.processes("alice") if p.comm == "bash"], 10, "the terminal's end")
    assert kernel.run("print(x)") == "41\n"
    login1.run("tmux -L gears kill-server", check=True)
    wait_until(lambda: not [p for p in login1.processes("alice") if p.comm.startswith("tmux")], 10, "the end of tmux")
    assert kernel.run("print(x + 1)") == "42\n"
    assert "already up" in gears(login1, "lab local", check=True).stderr
    assert status(login1, "local")["lab"] == before | {"kernels": 1}
    stop(login1)
    wait_until(lambda: not traces(login1), 2, "nothing is left")


def test_killed_jupyterlab_is_started_again_without_tmux_too(lab: Lab, login1: Host) -> None:
    before = record(login1, "local/lab.json")
    login1.kill(*[process.pid for process in login1.processes("alice") if process.comm.startswith("tmux")])
    login1.kill(before["pid"])
    wait_until(lambda: record(login1, "local/lab.json")["pid"] != before["pid"], 30, "the next JupyterLab")
    wait_until(lab.answers, 30, "its first answer")
    after = record(login1, "local/lab.json")
    assert (after["port"], after["host"]) == (before["port"], before["host"])
    assert lab_at(login1, "local").token == lab.token
    assert login1.path(f"{home()}/run/local/lab.log").read_text().count("is running at") >= 2
    assert "is running at" in gears(login1, "logs local", check=True).stdout
    assert Kernel(lab).run("print(1)") == "1\n"
    stop(login1)
    wait_until(lambda: not traces(login1), 2, "nothing is left")


# --- how it ends -----------------------------------------------------------------------------


def test_file_shut_down_ends_it_for_good(lab: Lab, login1: Host) -> None:
    assert lab.request("POST", "/api/shutdown").status == 200
    wait_until(lambda: not traces(login1), 20, "the end of everything")
    assert status(login1, "local")["state"] == "stopped"


def test_lab_that_cannot_start_shows_why_and_starts_once_mended(login1: Host) -> None:
    stop(login1)
    home_file(login1, ".jupyter/jupyter_server_config.py", BROKEN)
    failed = gears(login1, "lab local")
    assert failed.returncode == 1
    *_, headline, cure = failed.stderr.splitlines()
    assert headline.endswith(f"{CONFIG}/jupyter_server_config.py:1: SystemExit: broken by hand")
    assert re.fullmatch(r"  next: .*gears lab local .*gears logs local.*", cure)
    found = status(login1, "local")
    assert (found["state"], found["lab"]) == ("failed", None)
    assert "broken by hand" in found["reason"]
    page = lab_at(login1, "local").request("GET", "/lab", accept="text/html")
    assert page.status == 503
    assert "broken by hand" in page.text
    login1.run(f"rm {CONFIG}/jupyter_server_config.py", check=True)
    gears(login1, "lab local", check=True)
    assert Kernel(lab_at(login1, "local")).run("print(2)") == "2\n"


# --- token and password ----------------------------------------------------------------------


def test_token_stays_and_is_shown_to_nobody(lab: Lab, login1: Host) -> None:
    assert login1.path(f"{home()}/run/local/token").stat().st_mode & 0o777 == 0o600
    assert Lab(login1, lab.where).request("GET", "/api/status").status == 403
    for target in ("/api/contents/none", "/api/none", "/files/none", "/api/kernels/none/channels"):
        assert lab.request("GET", f"{target}?token={lab.token}").status >= 400
    stop(login1)
    gears(login1, "lab local", check=True)
    assert lab_at(login1, "local").token == lab.token
    assert lab.request("GET", "/api/status").status == 200
    assert lab.token not in login1.run("ps -efww", check=True).stdout
    holders = login1.run(f"grep -rl {lab.token} {home()}/run").stdout.split()
    assert holders == [f"{home()}/run/local/token"]


@pytest.fixture
def no_password(login1: Host) -> Iterator[None]:
    yield
    login1.run(f"rm -rf {CONFIG}", check=True)
    stop(login1)


def test_password_is_asked_twice_hashed_and_replaces_the_token(lab: Lab, login1: Host, no_password: None) -> None:
    assert "terminal" in gears(login1, "password").stderr
    stored = login1.path(f"{CONFIG}/jupyter_server_config.json")
    assert type_passwords(login1, "open sesame", "open sesam") == 2
    assert not stored.exists()
    home_file(login1, ".jupyter/jupyter_server_config.json", "{half")
    assert type_passwords(login1, "open sesame", "open sesame") == 1
    assert stored.read_text() == "{half"
    login1.run(f"rm {CONFIG}/jupyter_server_config.json", check=True)
    assert type_passwords(login1, "open sesame", "open sesame") == 0
    assert stored.stat().st_mode & 0o777 == 0o600
    assert "argon2:" in stored.read_text()
    assert "open sesame" not in stored.read_text()
    stop(login1)
    said = gears(login1, "lab local", check=True).stdout
    assert "with your password" in said
    assert lab.token not in said + gears(login1, "url local", check=True).stdout
    assert lab.request("GET", "/api/status").status == 403
    assert log_in(lab, "open barley") == 401
    assert log_in(lab, "open sesame") == 200
    assert log_in(lab, lab.token) == 401
    assert stored.read_text().split('"')[-2] not in login1.run("ps -efww", "bob", check=True).stdout


def type_passwords(login1: Host, *words: str) -> int:
    terminal = login1.spawn([f"{home()}/.venv/bin/gears", "password"])
    for word, prompt in zip(words, ("Password.*: ", "Repeat the password: "), strict=True):
        terminal.expect(prompt)
        terminal.sendline(word)
    shown = terminal.read()
    terminal.close()
    assert words[0] not in shown
    return int(terminal.exitstatus)


def log_in(lab: Lab, password: str) -> int:
    """Through JupyterLab's own form: the form's status where it refuses, else that of a request with its cookie."""
    stranger = Lab(lab.host, lab.where)
    cookie = cookies(stranger.request("GET", "/login").headers)
    token = re.sub(r".*_xsrf=([^;]*).*", r"\1", cookie)
    form = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    answer = stranger.request("POST", "/login", urlencode({"password": password, "_xsrf": token}), headers=form)
    if answer.status != 302:
        return answer.status
    return stranger.request("GET", "/api/status", headers={"Cookie": cookies(answer.headers)}).status


def cookies(headers: HTTPMessage) -> str:
    return "; ".join(value.partition(";")[0] for value in headers.get_all("Set-Cookie") or [])


# --- variations ------------------------------------------------------------------------------


def test_another_jupyterlab_started_inside_takes_nothing_over(lab: Lab, login1: Host) -> None:
    before = record(login1, "local/lab.json")
    assert Kernel(lab).run(OTHER_SERVER) == "200\n"
    assert record(login1, "local/lab.json") == before
    assert lab.answers()


def test_root_is_cautioned_and_served(login1: Host) -> None:
    root = {"HOME": "/tmp/root", "GEARS_HOME": "/tmp/root/gears"}
    login1.run("mkdir /tmp/root", "root", check=True)
    done = login1.run(f"{home()}/.venv/bin/gears lab local", "root", env=root, check=True)
    assert "you are root" in done.stderr
    token = login1.path("/tmp/root/gears/run/local/token").read_text()
    lab = Lab(login1, "/tmp/root/gears/run/local.sck", token)
    assert Kernel(lab).run("import os; print(os.getuid())") == "0\n"
    login1.run(f"{home()}/.venv/bin/gears stop local", "root", env=root, check=True)
    assert not lab.answers()
    assert not login1.run("ls -d /tmp/gears-root*", "root").stdout


@pytest.fixture
def socket_only(login1: Host) -> Iterator[None]:
    profile = ".config/gears/sites/local.toml"
    stop(login1)
    home_file(login1, profile, '[lab]\nlisten = "socket"\n')
    yield
    login1.run(f"rm ~/{profile}", check=True)
    stop(login1)


def test_with_listen_socket_there_is_no_tcp_port(socket_only: None, lab: Lab, login1: Host) -> None:
    kernel = Kernel(lab)
    assert kernel.run(FORKS).split("\n") == ["forked", "in a process", ""]
    assert not listening_ports(login1)
    assert record(login1, "local/lab.json")["port"] is None
    assert lab.request("POST", f"/api/kernels/{kernel.id}/restart").status == 200
    assert kernel.run("print(3)") == "3\n"
    assert kernel.run("import sys; print([p for p in sys.path if 'gears/gears' in p])") == "[]\n"
    assert not listening_ports(login1)
