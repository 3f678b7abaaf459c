"""`show_dashboard`: a link that works where one is, or the words that make it one."""

import ast
import getpass
import http.server
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from gears import notebook
from gears.notebook import Dashboard, forward_hint, link_of, scheduler_host

SSH = "10.0.0.7 50022 192.0.2.4 22"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one's own machine, in no notebook."""
    for name in ("GEARS_SITE", "SSH_CONNECTION", "JUPYTER_RUNTIME_DIR", "JPY_PARENT_PID", "DASK_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("USER", "alice")
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setattr(socket, "gethostname", lambda: "node7")
    monkeypatch.setattr(socket, "getfqdn", lambda name="": name or "node7.example.org")


class Answering(http.server.BaseHTTPRequestHandler):
    status, asked = 200, ""

    def do_GET(self) -> None:
        type(self).asked = f"{self.path}\n{self.headers}"
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Answering]]:
    """A server that has written down that it is this process's parent, and that answers with `status`."""
    monkeypatch.setattr(notebook, "_in_jupyter", lambda: True)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        record = {"base_url": "/user/a/", "port": server.server_port, "sock": "", "token": "s3cr3t"}
        (tmp_path / f"jpserver-{os.getppid()}.json").write_text(json.dumps(record))
        yield Answering
        server.shutdown()


# --- a Jupyter with the proxy, or without ----------------------------------------------------


@pytest.mark.parametrize("status", [200, 302, 403])
def test_below_a_jupyter_that_has_the_proxy_it_is_a_link(jupyter: type[Answering], status: int) -> None:
    jupyter.status = status
    shown = Dashboard("http://127.0.0.1:8787/status")
    assert shown.path == "/user/a/proxy/8787/status"
    assert 'href="/user/a/proxy/8787/status"' in str(shown._repr_html_())
    assert jupyter.asked.startswith("/user/a/server-proxy/servers-info\n")
    assert "s3cr3t" not in jupyter.asked


def test_below_a_jupyter_without_it_is_the_command(jupyter: type[Answering], monkeypatch: pytest.MonkeyPatch) -> None:
    jupyter.status = 404
    monkeypatch.setenv("SSH_CONNECTION", SSH)
    words = "ssh -L 8787:localhost:8787 alice@node7.example.org"
    shown = Dashboard("http://127.0.0.1:8787/status")
    assert words in str(shown)
    assert f"<pre>On your own machine:  {words}\n" in str(shown._repr_html_())
    assert str(shown).endswith("http://localhost:8787/status")


# --- what is shown ---------------------------------------------------------------------------


def test_the_link_of_a_lab_of_gears_is_below_the_address_of_its_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEARS_SITE", "andes")
    assert str(Dashboard("/proxy/4711/status")) == "Dask's dashboard: http://localhost:38888/proxy/4711/status"


def test_on_ones_own_machine_the_link_is_as_it_stands() -> None:
    assert str(Dashboard("http://127.0.0.1:8787/status")) == "Dask's dashboard: http://localhost:8787/status"
    assert str(Dashboard("https://hub.example.org/x")) == "https://hub.example.org/x"


def test_the_command_goes_the_way_of_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEARS_SITE", "andes")
    assert "ssh -L 8787:localhost:8787 -J hub.ccs.ornl.gov alice@node7\n" in forward_hint("127.0.0.1", 8787, "/status")
    monkeypatch.setenv("GEARS_SITE", "matagorda")
    assert "-J login.bgc-jena.mpg.de alice@matagorda" in forward_hint("127.0.0.1", 8787, "/status")


def test_the_command_goes_back_where_the_login_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.7 50022 192.0.2.4 2222")
    monkeypatch.setattr(socket, "getfqdn", lambda name="": name or "node7")
    assert "ssh -L 8787:192.0.2.99:8787 -p 2222 alice@192.0.2.4\n" in forward_hint("192.0.2.99", 8787, "/status")


def test_a_shell_reads_the_name_of_a_directory_service_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.7 50022 192.0.2.4 22")
    monkeypatch.setattr(socket, "getfqdn", lambda name="": name or "node7")
    monkeypatch.setattr(getpass, "getuser", lambda: "DOM\\alice")
    command = forward_hint("127.0.0.1", 8787, "/status").splitlines()[0].partition(":  ")[2]
    assert shlex.split(command) == ["ssh", "-L", "8787:localhost:8787", "DOM\\alice@192.0.2.4"]


def test_a_dashboard_of_another_host_is_not_linked_to_here() -> None:
    other = SimpleNamespace(dashboard_link="/proxy/4711/status", scheduler_address="tls://192.0.2.99:1")
    assert scheduler_host(other) == "192.0.2.99"
    assert str(Dashboard(other)) == "Dask's dashboard is on 192.0.2.99, this Jupyter on node7: gears dask status"


# --- anything that has a dashboard -----------------------------------------------------------

CODE = """
import dask, sys
from distributed import Client, LocalCluster
from gears.notebook import Dashboard, show_dashboard
dask.config.set({"distributed.dashboard.link": "http://{host}:{port}/{ABSENT_VARIABLE}/status"})
with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp") as cluster:
    with Client(cluster) as client, Client(cluster.scheduler_address) as other:
        port = cluster.scheduler.http_server.port
        print({str(Dashboard(what)).replace(str(port), "PORT") for what in (client, other, cluster, cluster.scheduler)})
        dask.config.set({"distributed.dashboard.link": "/proxy/{port}/status"})
        for what in (client, other, cluster):
            assert Dashboard(what).path == f"/proxy/{port}/status", Dashboard(what)
"""


def test_clients_clusters_and_schedulers_have_one_whatever_the_pattern(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=240, env=environment)
    assert ran.stdout == '{"Dask\'s dashboard: http://localhost:PORT/status"}\n', ran.stderr


def test_what_has_none_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    notebook.show_dashboard(object())
    assert "There is no dashboard" in capsys.readouterr().out
    assert link_of(SimpleNamespace(dashboard_link="")) == ""


# --- in any environment ----------------------------------------------------------------------


def test_it_imports_the_standard_library_only_and_is_read_by_an_old_python() -> None:
    tree = ast.parse(Path(notebook.__file__).read_text(), feature_version=(3, 8))
    names = {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
    names |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
