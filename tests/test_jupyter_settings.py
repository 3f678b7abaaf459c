"""Whatever a person has set for Jupyter: nobody else gets in, and JupyterLab works or says which line is in the way."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path

import pytest

from gears.lab.jupyter.settings import SERVER, find_line, says, take_out
from gears.laptop.forward import discover
from gears.laptop.forward.servers import Server, read_servers
from tests.centre import Centre, Host
from tests.helpers import (
    Kernel,
    Lab,
    gears,
    home,
    lab_at,
    listening_ports,
    listening_sockets,
    record,
    status,
    wait_until,
)

FILE = ".jupyter/jupyter_server_config.py"
SHOWN = f"/home/alice/{FILE}"

NO_LOGIN = """
from jupyter_server.auth.identity import IdentityProvider, User
class Anybody(IdentityProvider):
    def get_user(self, handler):
        return User("alice")
"""
OPENING = {
    "token": "c.ServerApp.token = ''",
    "identity token": "c.IdentityProvider.token = ''",
    "nested token": "c.ServerApp.PasswordIdentityProvider.token = ''",
    "both, and no password": "c.ServerApp.token = c.ServerApp.password = ''\n"
    "c.PasswordIdentityProvider.hashed_password = ''",
    "provider": f"{NO_LOGIN}c.ServerApp.identity_provider_class = Anybody",
    "login handler": "c.ServerApp.login_handler_class = 'jupyter_server.auth.login.LoginFormHandler'\n"
    "c.IdentityProvider.token = ''",
    "unauthenticated": "c.ServerApp.allow_unauthenticated_access = True\nc.ServerApp.authenticate_prometheus = False",
    "origin": "c.ServerApp.allow_origin = '*'\nc.ServerApp.allow_credentials = c.ServerApp.disable_check_xsrf = True",
    "all addresses": "c.ServerApp.ip = '0.0.0.0'\nc.ServerApp.allow_remote_access = True",
    "kernels": "c.ServerKernelManager.transport = c.KernelManager.transport = 'tcp'\nc.KernelManager.ip = '0.0.0.0'",
    "tornado": 'c.ServerApp.tornado_settings = {"disable_check_xsrf": True, "cookie_secret": b"known"}\n'
    "c.ServerApp.cookie_secret = b'known'",
    "a socket for all": "c.ServerApp.sock = '/tmp/all.sock'\nc.ServerApp.sock_mode = '0666'",
}

HERS = (
    "from jupyter_server.auth import identity\nidentity.IdentityProvider.get_user = lambda *_: identity.User('alice')"
)
IN_THE_WAY = {
    "a login that lets everybody in": (HERS, "JupyterLab would be open to others"),
    "import error": ("import nowhere_at_all", f"{SHOWN}:1: ModuleNotFoundError"),
    "syntax error": ("c.ServerApp.ip = (", f"{SHOWN}:1: SyntaxError"),
    "root_dir that is not there": ("\nc.ServerApp.root_dir = '/not/there'", f"{SHOWN}:2: a setting has a wrong value"),
}


@pytest.fixture
def login1(centre: Centre) -> Iterator[Host]:
    yield centre.login1
    gears(centre.login1, "stop local")
    centre.login1.run(f"rm -rf ~/.jupyter {home()}/run/local")


def configure(host: Host, text: str, file: str = FILE) -> None:
    host.run(f"mkdir -p ~/$(dirname {file}) && cat > ~/{file}", input=text, check=True)


def statuses(lab: Lab) -> set[int]:
    """What somebody else gets who tries without a login."""
    pair = {"Cookie": f"_xsrf={'0' * 32}", "X-XSRFToken": "0" * 32}
    tried = [("GET", "/api/contents"), ("GET", "/api/contents?token="), ("GET", "/api/sessions"), ("GET", "/metrics")]
    tried += [("POST", "/api/kernels"), ("POST", "/api/terminals"), ("GET", "/files/.bashrc")]
    found = {lab.request(method, target, headers=pair).status for method, target in tried}
    return found | {lab.request("GET", "/api/contents", headers={"Origin": "https://anybody.invalid"} | pair).status}


def assert_closed(host: Host) -> None:
    """Every listener of alice's, tried as bob."""
    for path in listening_sockets(host):
        assert not path.startswith("@")
        assert not host.connect_unix(path, "bob"), path
    ports = listening_ports(host)
    assert ports
    assert {address for address, _ in ports} == {"0100007F"}
    of_the_lab = record(host, "local/lab.json")["port"]
    for _, port in ports:
        if port == of_the_lab:
            assert statuses(Lab(host, port).patient) <= {302, 403}
            continue
        with suppress(OSError, HTTPException):  # a kernel's pipe says nothing at all
            assert statuses(Lab(host, port, timeout_s=5)) <= {302, 403}


@pytest.mark.parametrize("case", OPENING)
def test_no_setting_lets_others_in(login1: Host, case: str) -> None:
    configure(login1, OPENING[case])
    done = gears(login1, "lab local", check=True)
    assert f"{SHOWN}:" in done.stdout
    assert "is not used" in done.stdout
    lab = lab_at(login1, "local")
    kernel = Kernel(lab)
    assert kernel.run("print(1 + 1)") == "2\n"
    assert_closed(login1)
    assert replace(lab, token="").request("GET", "/api/contents").status == 403


def test_a_variable_is_no_way_in_either(login1: Host) -> None:
    variables = "JUPYTER_TOKEN= JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS=yes JUPYTER_ALLOW_INSECURE_WRITES=1"
    login1.run(f"env {variables} {home()}/.venv/bin/gears lab local", check=True)
    assert Kernel(lab_at(login1, "local")).run("print(1)") == "1\n"
    assert_closed(login1)
    login1.run("! find /tmp/gears-alice-*/local/runtime -type f -perm /077 | grep .", check=True)


def test_the_doctor_tries_it(login1: Host) -> None:
    configure(login1, OPENING["token"])
    gears(login1, "lab local", check=True)
    found = json.loads(gears(login1, "doctor local --json").stdout)
    causes = {(finding["what"], finding["level"]): finding["cause"] for finding in found}
    assert "requires a login" in causes["access", "ok"]
    assert f"{SHOWN}:1: ServerApp.token is not used" in causes["Jupyter settings", "warning"]


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_is_in_the_way_is_named_at_once(login1: Host, case: str) -> None:
    text, reason = IN_THE_WAY[case]
    configure(login1, text)
    done = gears(login1, "lab local")
    assert done.returncode == 1
    assert reason in done.stderr
    assert SHOWN in done.stderr
    assert not listening_ports(login1)
    assert login1.run("find /tmp/gears-alice-*/local/runtime -name 'kernel-*'").stdout == ""  # none was started
    login1.run(f"rm ~/{FILE}", check=True)
    gears(login1, "lab local", check=True)


def test_a_broken_json_file_is_named(login1: Host) -> None:
    configure(login1, '{"ServerApp": ', ".jupyter/jupyter_server_config.json")
    assert "/home/alice/.jupyter/jupyter_server_config.json:1: " in gears(login1, "lab local").stderr


def test_what_is_hers_is_used(login1: Host) -> None:
    login1.run("mkdir -p ~/work && touch ~/work/mine", check=True)
    hers = ["base_url = '/jup/'", "root_dir = '/home/alice/work'", "local_hostnames = ['other']"]
    ways = ["certfile = '/nowhere.pem'", "keyfile = '/nowhere.key'", "sock = '/tmp/x.sock'", "open_browser = False"]
    configure(login1, "\n".join(f"c.ServerApp.{line}" for line in [*hers, *ways]))
    done = gears(login1, "lab local", check=True)
    lab = lab_at(login1, "local")
    assert [entry["name"] for entry in lab.request("GET", "/api/contents").json()["content"]] == ["mine"]
    assert Kernel(lab).run("print(1)") == "1\n"
    assert lab.request("GET", "/jup/api").status == lab.request("GET", "/api").status == 200
    assert '"baseUrl": "/jup/"' in lab.request("GET", "/lab", accept="text/html").text
    assert status(login1, "local")["lab"]["kernels"] == 1
    notes = [line.split()[2] for line in done.stdout.splitlines() if "is not used" in line]
    assert notes == ["ServerApp.certfile", "ServerApp.keyfile", "ServerApp.sock"]


def test_forward_tells_a_server_of_hers_that_asks_for_no_login(tmp_path: Path) -> None:
    """One that gears did not start is left as it is, and said."""
    environ = os.environ | {"JUPYTER_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "JUPYTER_TOKEN": ""}
    words = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.port=0",
        "--IdentityProvider.token=",
        f"--notebook-dir={tmp_path}",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", *words], env=environ, stderr=subprocess.DEVNULL
    ) as server:
        try:
            wait_until(lambda: [found for found in find_servers(environ) if found.open], 60, "it is found, and open")
        finally:
            server.terminate()


def find_servers(environ: dict[str, str]) -> list[Server]:
    said = subprocess.run(
        [sys.executable, "-IS", discover.__file__], env=environ, input="", capture_output=True, text=True
    )
    return read_servers(json.loads(said.stdout.strip().splitlines()[-1])["gears"])


# --- the table, without a server ---------------------------------------------------------------


def test_a_setting_is_found_where_it_stands() -> None:
    texts = [("a.py", "# c.ServerApp.ip = '1'\nc.ServerApp.ip = '0.0.0.0'"), ("b.json", '{\n "ip": "::"}')]
    assert find_line(texts, "ServerApp.ip") == ("a.py:2", "c.ServerApp.ip = '0.0.0.0'")
    assert find_line(texts[1:], "ServerApp.ip")[0] == "b.json:2"
    assert find_line(texts, "ServerApp.sock") == ("", "")


def test_a_line_that_says_what_gears_says_needs_no_word() -> None:
    assert says("c.ServerApp.open_browser = False", False)
    assert says('  "open_browser": false,', False)
    assert says("c.ServerApp.ip = 'localhost'", SERVER["ip"][0])
    assert not says("c.ServerApp.ip = '*'", SERVER["ip"][0])


def test_the_page_says_of_every_setting_what_becomes_of_it() -> None:
    from jupyter_server.serverapp import ServerApp

    page = (Path(__file__).parents[1] / "docs/reference/jupyter-settings.md").read_text()
    ours, _, others = page.partition("In other classes:")
    theirs = others.partition("## Settings that are yours")[2]
    table = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in ours.splitlines() if line[:3] == "| `")))
    rest = set(re.findall(r"`(\w+)`", theirs))
    assert {
        *SERVER,
        "allow_origin",
        "allow_origin_pat",
        "cookie_secret_file",
        "port",
        "sock",
        "tornado_settings",
    } == table
    assert table | rest == set(ServerApp.class_traits(config=True))
    assert not table & rest


def test_what_is_of_other_classes_stays() -> None:
    from traitlets.config import Config

    config = Config({"GatewayClient": {"token": "x"}, "ServerProxy": {"ip": "x"}, "ServerApp": {"ip": "*", "port": 1}})
    config.ServerApp.IdentityProvider.token = ""
    assert {found.name for found in take_out(config)} == {"ServerApp.ip", "IdentityProvider.token"}
    assert config.ServerApp.port == 1
    assert config.GatewayClient.token == config.ServerProxy.ip == "x"
