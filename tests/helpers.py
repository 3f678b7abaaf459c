"""What the tests of the outside share: await a condition, type a command, talk to a lab, compute in its kernels."""

import ctypes
import http.client
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, TypeVar

import pexpect
import websocket

from tests.centre import Centre, Host
from tests.centre.accounts import ACCOUNTS

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
"""setns(2)"""
PATIENCE = 3
"""How many times longer a slow machine that does other things as well may take than this one alone."""

CELL_TIMEOUT_S = 120
"""For each message of a cell: one that waits for a job prints nothing meanwhile."""


def wait_until(condition: Callable[[], T], timeout_s: float, what: str) -> T:
    """What `condition` says, once that is true; fails the test, with what it said last, after `timeout_s`, which is
    what a machine needs that has nothing else to do, and PATIENCE."""
    limit_s = PATIENCE * timeout_s
    began = time.monotonic()
    while True:
        asked = time.monotonic()
        if said := condition():
            return said
        now = time.monotonic()
        assert now < began + limit_s, f"not within {limit_s:g} s: {what} (last: {said!r})"
        # To ask may start a program: two thirds of the time are for others, and more after a long wait.
        time.sleep(max(0.05, min(2 * (now - asked), 1), min((now - began) / 20, 0.5)))


# --- commands --------------------------------------------------------------------------------


def home(user: str = "alice") -> str:
    """Where the users of the centre have gears."""
    return f"{ACCOUNTS[user].home}/gears"


def gears(host: Host, words: str, user: str = "alice", **options: Any) -> CompletedProcess[str]:
    """`gears WORDS` as a person types it; `options` are those of `Host.run`."""
    return host.run(f"exec {home(user)}/.venv/bin/gears {words}", user, **options)


def make(host: Host, target: str, user: str = "alice", **options: Any) -> CompletedProcess[str]:
    return host.run(f"exec make {target}", user, cwd=home(user), **options)


def status(host: Host, site: str = "andes", user: str = "alice") -> dict[str, Any]:
    """`gears status SITE --json`."""
    found: dict[str, Any] = json.loads(gears(host, f"status {site} --json", user).stdout)
    return found


def fixed_path(site: str = "andes", user: str = "alice") -> str:
    return f"{home(user)}/run/{site}.sck"


def record(host: Host, name: str, user: str = "alice") -> dict[str, Any]:
    """A record under run/, such as andes/lab.json."""
    found: dict[str, Any] = json.loads(host.path(f"{home(user)}/run/{name}").read_text())
    return found


def change_shell(centre: Centre, shell: str) -> None:
    """Give alice another login shell on the hosts that she logs in to."""
    for host in (centre.hub, centre.login1, centre.login2):
        host.run(["sed", "-i", f"/^alice:/s#[^:]*$#/bin/{shell}#", "/etc/passwd"], "root", check=True)


# --- the laptop ------------------------------------------------------------------------------


def add_stanza(centre: Centre, site: str = "andes") -> None:
    """Put what the front prints into the laptop's ~/.ssh/config."""
    stanza = make(centre.hub, f"ssh-config SITE={site}").stdout
    centre.laptop.run("cat >> ~/.ssh/config", input=stanza, check=True)


def dial(centre: Centre, site: str = "andes") -> "pexpect.spawn[str]":
    """`ssh SITE-jupyter` in a terminal of the laptop; returns once the prompt is there, and so the forward."""
    terminal = centre.laptop.spawn(f"ssh {site}-jupyter")
    terminal.expect(r"\$ $")
    return terminal


# --- a lab, as a browser meets it ------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Lab:
    """What answers on `host` at `where`: a port of 127.0.0.1, or the path of a UNIX socket (links are followed)."""

    host: Host
    where: int | str
    token: str = ""
    timeout_s: float = 20

    def request(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """`body`: text as it is, else as JSON. Raises OSError or http.client.HTTPException where nobody answers."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = connect(self.host, self.where, self.timeout_s)
        sent = {"Accept": accept, "Connection": "close"} | self._authorization() | dict(headers or {})
        content = body if body is None or isinstance(body, str) else json.dumps(body)
        try:
            connection.request(method, target, content, sent)
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read().decode(errors="replace"))
        finally:
            connection.close()

    @property
    def patient(self) -> "Lab":
        """The same, which may take long to answer, as on a busy machine."""
        return replace(self, timeout_s=PATIENCE * 20)

    def answers(self) -> bool:
        """Whether JupyterLab is behind it now."""
        try:
            return self.request("GET", "/api").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def waits(self) -> bool:
        """Whether the waiting page is behind it now."""
        try:
            return self.request("GET", "/").status == 503
        except (OSError, http.client.HTTPException):
            return False

    def kernels(self) -> list[str]:
        return [kernel["id"] for kernel in self.request("GET", "/api/kernels").json()]

    def open_channels(self, kernel: str) -> websocket.WebSocket:
        return self.open_websocket(f"/api/kernels/{kernel}/channels")

    def open_websocket(self, target: str) -> websocket.WebSocket:
        headers = [f"{name}: {value}" for name, value in self._authorization().items()]
        connection = connect(self.host, self.where)
        return websocket.create_connection(f"ws://localhost{target}", socket=connection, header=headers, timeout=30)

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"} if self.token else {}


def lab_at(host: Host, site: str = "andes", user: str = "alice", *, where: int | str | None = None) -> Lab:
    """The lab of a site through the fixed path on `host`, or `where`; with its token if one is in this host's home."""
    token = host.path(f"{home(user)}/run/{site}/token")
    return Lab(host, where or fixed_path(site, user), token.read_text() if token.exists() else "")


class Kernel:
    """A Python kernel of a lab: `name` says which. It stays when this object goes."""

    def __init__(self, lab: Lab, kernel: str = "", *, name: str = "python3") -> None:
        self.lab = lab
        self.id: str = kernel or _start_kernel(lab, name)

    def run(self, code: str) -> str:
        """What a cell prints. Raises RuntimeError where it fails."""
        channels = self.lab.open_channels(self.id)
        channels.settimeout(CELL_TIMEOUT_S)
        message, request = execute_request(code)
        try:
            channels.send(request)
            return _printed(channels, message)
        finally:
            channels.close()


def execute_request(code: str) -> tuple[str, str]:
    """The id and the text of the message with which a page runs a cell."""
    message = uuid.uuid4().hex
    header = {
        "msg_id": message,
        "msg_type": "execute_request",
        "session": message,
        "username": "",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    return message, json.dumps(request)


def _start_kernel(lab: Lab, name: str) -> str:
    return str(lab.patient.request("POST", "/api/kernels", {"name": name}).json()["id"])


def _printed(channels: websocket.WebSocket, message: str) -> str:
    printed = ""
    while True:
        reply = json.loads(channels.recv())
        if reply["parent_header"].get("msg_id") != message:
            continue
        content = reply["content"]
        if reply["msg_type"] == "stream":
            printed += content["text"]
        elif reply["msg_type"] == "display_data":
            printed += content["data"]["text/plain"] + "\n"
        elif reply["msg_type"] == "error":
            raise RuntimeError("\n".join(content["traceback"]))
        elif reply["msg_type"] == "status" and content["execution_state"] == "idle":
            return printed


# --- what listens on a host ------------------------------------------------------------------


def listening_sockets(host: Host) -> set[str]:
    """Paths of the UNIX sockets in use, by anyone (proc(5): /proc/net/unix, of the host's network namespace)."""
    lines = Path(f"/proc/{host.pid}/net/unix").read_text().splitlines()[1:]
    return {words[7] for line in lines if len(words := line.split(maxsplit=7)) == 8}


def listening_ports(host: Host, user: str = "alice") -> set[tuple[str, int]]:
    """Address, in hexadecimal, and port of each TCP socket on which the user listens (proc(5): state 0A)."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/{host.pid}/net/{name}").read_text().splitlines()]
    found = [words[1].split(":") for line in lines if (words := line.split())[3] == "0A" and words[7] == _uid(user)]
    return {(address, int(port, 16)) for address, port in found}


def _uid(user: str) -> str:
    return str(ACCOUNTS[user].uid)


# --- connections into a host -----------------------------------------------------------------


def connect(host: Host, where: int | str, timeout_s: float = 20) -> socket.socket:
    """A socket connected as if on `host`."""
    if isinstance(where, int):
        with ThreadPoolExecutor(1) as pool:  # a namespace is entered by a thread, which then ends
            return pool.submit(_connect_port, host, where, timeout_s).result()
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        connection.connect(str(host.path(_follow(host, where))))
    except OSError:
        connection.close()
        raise
    return connection


def _connect_port(host: Host, port: int, timeout_s: float) -> socket.socket:
    with open(f"/proc/{host.pid}/ns/net") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return socket.create_connection(("127.0.0.1", port), timeout=timeout_s)


def _follow(host: Host, path: str) -> str:
    for _ in range(10):
        if not host.path(path).is_symlink():
            return path
        path = str(Path(path).parent / os.readlink(host.path(path)))
    raise OSError(f"{path}: too many links")
