"""Dask in the browser, through the whole tunnel: dashboards and panes draw; a stranger at their port gets nothing."""

import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.centre import Centre
from tests.centre.browser import CHROMIUM, Browser, Notebook
from tests.clusters import CONFIG, SITES, clear, up
from tests.conftest import Took, skip_or_fail
from tests.helpers import Kernel, Lab, add_stanza, dial, gears, home, lab_at, wait_until
from tests.jobs import queue
from tests.panes import DaskPanes, await_drawn, await_rows, open_page

CENTRE = SITES
ADDRESS = "http://localhost:38888"
WORK = "futures = client.map(lambda i: (__import__('time').sleep(0.05), i)[1], range({tasks}), pure=False)"

SQUAT = """
import socket, sys
address, port = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
listening = socket.create_server((address, int(port)), family=family)
print("listening", flush=True)
while True:
    connection, _ = listening.accept()
    print("got", connection.recv(65536), flush=True)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nstolen")
    connection.close()
"""
"""Answers every request at an address, and prints it."""

ECHO = """
import http.server, threading
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write((self.requestline + "\\n" + str(self.headers)).encode())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port)
"""


@pytest.fixture(scope="module")
def lab(centre: Centre) -> Lab:
    """Of andes, as the laptop's browser meets it."""
    if not Path(CHROMIUM).exists():
        skip_or_fail("the browser's tests need: apt-get install chromium")
    gears(centre.hub, "lab andes", check=True)
    add_stanza(centre)
    dial(centre)
    return Lab(centre.laptop, 38888, lab_at(centre.hub).token)


@pytest.fixture(scope="module")
def browser(centre: Centre, lab: Lab) -> Iterator[Browser]:
    with centre.browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def notebook(lab: Lab, browser: Browser) -> Notebook:
    """One page and one kernel for all."""
    return browser.open_notebook(token=lab.token, name="dashboards.ipynb")


# --- dashboards ------------------------------------------------------------------------------


def test_the_link_in_a_notebook_draws_while_it_computes(
    notebook: Notebook, browser: Browser, tmp_path: Path, took: Took
) -> None:
    """A cluster of the notebook's own, at the link as it stands."""
    notebook.run_cell("from dask.distributed import Client\nclient = Client()", timeout_s=60)
    link = notebook.run_cell("print(client.dashboard_link)")
    assert link.startswith("/proxy/")
    notebook.run_cell(WORK.format(tasks=400))
    began = time.monotonic()
    draws(browser, f"{ADDRESS}{link}", tmp_path / "local")
    took("task stream and workers drawn", began)
    assert int(notebook.run_cell("print(sum(client.gather(futures)))")) == sum(range(400))
    assert DaskPanes(browser.page).find() == link.removesuffix("status")
    notebook.run_cell("client.shutdown()")


def draws(browser: Browser, link: str, shots: Path) -> None:
    """Task stream and workers of a dashboard, while it has something to show."""
    page = open_page(browser.page, link)
    await_drawn(page, 50)
    page.screenshot(path=f"{shots}-status.png")
    page.goto(link.replace("/status", "/workers"))
    await_rows(page, 2)
    page.screenshot(path=f"{shots}-workers.png")
    page.close()


def test_the_users_cluster_draws_at_its_link(
    centre: Centre, lab: Lab, notebook: Notebook, browser: Browser, tmp_path: Path
) -> None:
    """Its dashboard has a secret prefix, which stands in no notebook; whoever does not know it sees nothing."""
    up(centre.hub, "andes", "--min=2 --max=2")
    notebook.run_cell("from dask.distributed import Client\nclient = Client()", timeout_s=60)
    link = notebook.run_cell("print(client.dashboard_link)")
    port = int(link.split("/")[2])
    assert link == f"/proxy/{port}/status"
    assert Lab(centre.login1, port).request("GET", "/status").status == 404
    notebook.run_cell(WORK.format(tasks=400))
    draws(browser, f"{ADDRESS}{link}", tmp_path / "shared")
    notebook.run_cell("client.close()")
    runs_the_example(centre)
    clear(centre, "andes")
    gone = lab.request("GET", link, accept="text/html")
    assert gone.status == 502
    assert f"Nothing listens at port {port} of login1" in gone.text


def runs_the_example(centre: Centre) -> None:
    """`slurm.ipynb` of the documentation, on the cluster that is up."""
    config = {"DASK_CONFIG": CONFIG.format(site="andes"), "GEARS_SITE": "andes"}
    command = (
        f"{home()}/.venv/bin/jupyter nbconvert --to notebook --execute --stdout {home()}/docs/examples/slurm.ipynb"
    )
    done = centre.login1.run(command, env=config, timeout_s=120)
    assert done.returncode == 0, done.stderr
    assert '<a href=\\"/proxy/' in done.stdout
    assert "Counter({'c" in done.stdout


# --- the panes of JupyterLab -----------------------------------------------------------------


@pytest.mark.usefixtures("notebook")
def test_new_starts_the_sites_cluster_and_its_panes_draw(
    centre: Centre, lab: Lab, browser: Browser, tmp_path: Path, took: Took
) -> None:
    panes = DaskPanes(browser.page)
    began = time.monotonic()
    panes.new_cluster()
    took("+NEW to a cluster", began)
    assert "SLURMCluster" in panes.shown()
    (model,) = lab.request("GET", "/dask/clusters").json()
    kernel = Kernel(lab)
    kernel.run(f"from dask.distributed import Client\nclient = Client({model['scheduler_address']!r})")
    kernel.run(WORK.format(tasks=600))
    await_drawn(panes.open("Task Stream"), 50, timeout_s=60)
    browser.screenshot(tmp_path / "task-stream.png")
    await_drawn(panes.open("Workers Memory"), 1)
    browser.screenshot(tmp_path / "workers-memory.png")
    assert lab.request("GET", f"/dask/dashboard/{model['id']}/individual-plots.json").status == 200
    assert kernel.run("print(sum(client.gather(futures)))") == f"{sum(range(600))}\n"
    panes.shut_down()
    wait_until(lambda: queue(centre) == [], 60, "its jobs are gone")


# --- strangers -------------------------------------------------------------------------------


def test_at_a_dead_dashboards_port_a_stranger_gets_nothing_and_shows_nothing(centre: Centre, lab: Lab) -> None:
    kernel = Kernel(lab)
    kernel.run("from dask.distributed import Client\nclient = Client()")
    link = kernel.run("print(client.dashboard_link)").strip()
    assert lab.request("GET", link).status == 200
    kernel.run("client.shutdown()")
    bob = centre.login1.spawn(["/usr/bin/python3", "-c", SQUAT, "127.0.0.1", link.split("/")[2]], "bob")
    bob.expect("listening")
    for words in (link, f"/proxy/127.0.0.1:{link.split('/')[2]}/status", link.replace("/proxy/", "/proxy/absolute/")):
        answer = lab.request("GET", words, accept="text/html")
        assert answer.status == 403, words
        assert "belongs to another user (uid" in answer.text
        assert "stolen" not in answer.text
    channel = lab.open_websocket(f"{link}/ws")
    assert channel.recv() in ("", b"")
    channel.shutdown()
    assert bob.expect(["got", pexpect.TIMEOUT], timeout=1) == 1
    bob.close()


def test_no_login_is_handed_on_and_a_stranger_on_ipv6_changes_nothing(centre: Centre, lab: Lab) -> None:
    port = int(Kernel(lab).run(ECHO))
    bob = centre.login1.spawn(["/usr/bin/python3", "-c", SQUAT, "::1", str(port)], "bob")
    bob.expect("listening")
    cookies = "_xsrf=2|a; username-localhost-38888=b; username-localhost-8888=c; mine=d"
    headers = {"Cookie": cookies, "Referer": f"{ADDRESS}/lab?token={lab.token}", "X-XSRFToken": "e"}
    answer = lab.request("GET", f"/proxy/{port}/page?token={lab.token}&a=1", headers=headers)
    assert answer.status == 200
    assert "GET /page?a=1 HTTP" in answer.text
    assert "Cookie: mine=d\n" in answer.text
    for word in (lab.token, "uthorization", "Referer", "Xsrf"):
        assert word not in answer.text
    bob.close()


# --- the end, last in this file --------------------------------------------------------------


def test_a_stop_of_the_lab_ends_the_clusters_of_the_button(centre: Centre, lab: Lab) -> None:
    """Those of its jobs that run, and those that wait."""
    model = lab.request("PUT", "/dask/clusters").json()
    lab.request("PATCH", f"/dask/clusters/{model['id']}", {"workers": 6})
    wait_until(lambda: {job["state"] for job in queue(centre)} == {"PENDING", "RUNNING"}, 30, "some jobs wait")
    gears(centre.login1, "stop andes", check=True)
    wait_until(lambda: queue(centre) == [], 20, "its jobs are gone")
