"""What JupyterLab's proxy hands on: no login, and only to a port that is the person's own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tornado.httputil import HTTPHeaders

from gears.lab.jupyter import proxy_guard
from gears.system import files, processes
from gears.system.listeners import Found, Listener, choose, look, read

SECRET = "s3cr3t"
ME, OTHER = 1000, 1001
V4, ANY4, V6, ANY6 = "0100007F", "00000000", "0" * 24 + "01000000", "0" * 32
MAPPED = "0" * 16 + "FFFF0000" + V4


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


# --- whose the port is -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listeners", "found"),
    [
        ([], Found()),
        ([Listener(V4, ME)], Found("127.0.0.1")),
        ([Listener(ANY4, ME)], Found("127.0.0.1")),
        ([Listener(ANY6, ME)], Found("127.0.0.1")),
        ([Listener(MAPPED, ME)], Found("127.0.0.1")),
        ([Listener(V6, ME)], Found("[::1]")),
        ([Listener(V4, OTHER)], Found(other=OTHER)),
        ([Listener(V6, OTHER)], Found(other=OTHER)),
        ([Listener(V4, ME), Listener(V6, OTHER)], Found("127.0.0.1")),
        ([Listener(V4, OTHER), Listener(V6, ME)], Found(other=OTHER)),
        ([Listener(V4, ME), Listener(ANY6, OTHER)], Found(other=OTHER)),
        ([Listener(V4, 0)], Found(other=0)),
        ([Listener("0A4D020B", ME)], Found()),
    ],
)
def test_a_port_is_the_persons_or_it_is_not(listeners: list[Listener], found: Found) -> None:
    assert choose(listeners, ME) == found


def test_a_real_listener_is_told_and_gone_when_it_is_closed(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert read(port) == [Listener(V4, os.getuid())]
    assert look(port) == Found("127.0.0.1")
    with socket.create_connection(("127.0.0.1", port)):
        assert read(port) == [Listener(V4, os.getuid())], "connections don't listen"
    listener.close()
    assert look(port) == Found()


# --- what is handed on -----------------------------------------------------------------------


def test_what_logs_in_is_taken_out_and_the_rest_stays() -> None:
    headers = HTTPHeaders(
        {
            "Authorization": f"token {SECRET}",
            "X-XSRFToken": "2|a|b",
            "Referer": f"http://localhost:38888/lab?token={SECRET}",
            "Cookie": "_xsrf=2|a; username-localhost-38888=x; username-localhost-8888=y; mine=1; login=z; also=2",
            "Accept": "text/html",
        }
    )
    proxy_guard.clean(headers, SECRET, "login")
    assert dict(headers) == {"Cookie": "mine=1; also=2", "Accept": "text/html"}


def test_a_header_of_login_cookies_alone_goes_and_no_token_is_no_reason() -> None:
    headers = HTTPHeaders({"Cookie": "_xsrf=1", "Referer": "http://localhost:38888/lab"})
    proxy_guard.clean(headers, "")
    assert dict(headers) == {"Referer": "http://localhost:38888/lab"}


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("", ""),
        ("token=other&a=%20b", "token=other&a=%20b"),
        (f"a=1&token={SECRET}&b=", "a=1&b="),
        (f"next=%2Flab%3Ftoken%3D{SECRET}", ""),
    ],
)
def test_the_token_is_taken_out_of_an_address(query: str, left: str) -> None:
    assert proxy_guard.without(query, SECRET) == left


def test_another_release_of_the_proxy_is_not_run_without_its_guard() -> None:
    rebuilt = SimpleNamespace(ProxyHandler=type("ProxyHandler", (), {"proxy": None}))
    with pytest.raises(AttributeError):
        proxy_guard.guard(rebuilt, proxy_guard.Own(SECRET, Path("/nowhere")))


# --- the prefix of a cluster's dashboard -----------------------------------------------------


def test_the_prefix_is_that_of_a_cluster_that_lives_at_this_port(tmp_path: Path) -> None:
    me, file = processes.this_process(), tmp_path / "cluster.json"
    dashboard = {"port": 4711, "prefix": "secret"}
    record = {"id": "1", "site": "x", "host": me.host, "pid": me.pid, "start": me.start, "dashboard": dashboard}
    files.write_record(file, record)
    assert proxy_guard.prefix_of(4711, [tmp_path / "none.json", file]) == "secret"
    assert proxy_guard.prefix_of(4712, [file]) == ""
    for changed in ({"start": "1"}, {"host": "another"}):
        files.write_record(file, record | changed)
        assert proxy_guard.prefix_of(4711, [file]) == "", changed


# --- loaded late -----------------------------------------------------------------------------

CODE = """
import sys
from types import SimpleNamespace
from gears.lab.jupyter import deferred_extensions as late
late.put_off_extensions()
import dask_labextension, jupyter_server_proxy
for extension in (dask_labextension, jupyter_server_proxy):
    points = extension._jupyter_server_extension_points()
    extension._load_jupyter_server_extension(None)
    assert points == [{"module": extension.__name__}]
    assert not hasattr(extension, "_link_jupyter_server_extension")
assert not {"distributed", "aiohttp"} & set(sys.modules)
from jupyter_server_proxy.config import ServerProxy
import jupyter_server_proxy
print(late.noted, ServerProxy.__name__, jupyter_server_proxy.setup_handlers.__name__, "aiohttp" in sys.modules)
"""


def test_the_slow_extensions_are_noted_and_real_once_something_is_asked_of_them() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=240)
    assert ran.stdout == "['dask_labextension', 'jupyter_server_proxy'] ServerProxy setup_handlers True\n", ran.stderr
