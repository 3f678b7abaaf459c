"""What JupyterLab sends is compressed for who accepts it, and else as without gears. A real server, real files."""

import gzip
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import brotli
import pytest
from playwright.sync_api import Request, sync_playwright

from gears.lab.jupyter import first_page
from gears.lab.jupyter.compressed import accepted
from tests.centre.browser import CHROMIUM, QUIET
from tests.conftest import skip_or_fail
from tests.helpers import wait_until
from tests.pages import ROOT

TOKEN = "5d41402abc4b2a76b9719d911017c592"
STATIC = Path(sys.prefix, "share/jupyter/lab/static")
OWN = {"Authorization": f"token {TOKEN}"}
DECODE = {"br": brotli.decompress, "gzip": gzip.decompress, "": bytes}
KNOWN = json.loads((first_page.BROWSER / "scripts.json").read_text())


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def encoding(self) -> str:
        return self.headers.get("Content-Encoding", "")

    def decoded(self) -> bytes:
        return DECODE[self.encoding](self.body)


@dataclass(frozen=True)
class Running:
    """A lab's JupyterLab on a socket. `home`: her home, with an extension of her own; `pages`: the copies in it."""

    sock: Path
    home: Path
    pages: Path
    port: int = 0

    def ask(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        try:
            connection.sock.connect(str(self.sock))
            connection.request(method, path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def encoded(self, path: str, accept: str) -> Answer:
        """The answer once the copy is made."""
        return wait_until(
            lambda: found if (found := self.ask(path, {"Accept-Encoding": accept})).encoding else None, 60, path
        )

    def extension(self) -> Path:
        return self.home / ".local/share/jupyter/labextensions/hers/static"


HERS = "/lab/extensions/hers/static/"


def start(directory: Path, name: str, listen: str) -> subprocess.Popen[str]:
    """As the loop of a lab does, with its socket `name`. `listen`: an option."""
    home, run = directory / "home", directory / "run"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "JUPYTER_TOKEN_FILE": str(run / "site/token"),
        "JUPYTER_RUNTIME_DIR": str(directory / f"{name}.runtime"),
        "GEARS_LAB_SOCKET": str(directory / name),
        "GEARS_LAB_RECORDS": str(directory / f"{name}.json"),
    }
    command = [
        sys.executable,
        "-m",
        "gears.lab",
        "--no-browser",
        f"--ServerApp.{listen}",
        "--allow-root",
    ]
    with (directory / f"{name}.log").open("w") as log:
        return subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log, text=True)


def await_answer(server: Running, process: "subprocess.Popen[str]") -> None:
    def answers() -> bool:
        assert process.poll() is None, server.sock.with_name(f"{server.sock.name}.log").read_text()[-2000:]
        try:
            return server.ask("/api").status == 200
        except (OSError, http.client.HTTPException):
            return False

    wait_until(answers, 60, "JupyterLab")


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Running, Running]]:
    """Two at once, of one person."""
    with tempfile.TemporaryDirectory(prefix="gp-", dir="/tmp") as name:
        directory = Path(name)
        places = directory / "home", directory / "run/pages"
        servers = [Running(directory / name, *places) for name in "ab"]
        servers[0].extension().mkdir(parents=True)
        for file, size in (("one.js", 40_000), ("two.js", 60_000), ("small.js", 100)):
            (servers[0].extension() / file).write_text("/* of hers */\n" * (size // 14))
        (directory / "run/site").mkdir(parents=True, mode=0o700)
        (directory / "run").chmod(0o700)
        (directory / "run/site/token").write_text(TOKEN)
        (directory / "home/big.txt").write_text("".join(f"line {number}\n" for number in range(300_000)))
        listen = ["port=0", f"sock={servers[1].sock}"]
        processes = [start(directory, *words) for words in zip("ab", listen, strict=True)]
        try:
            for server, process in zip(servers, processes, strict=True):
                await_answer(server, process)
            port = json.loads((directory / "a.json").read_text())["port"]
            yield replace(servers[0], port=port), servers[1]
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)


@pytest.fixture
def server(pair: tuple[Running, Running]) -> Running:
    return pair[0]


@pytest.mark.parametrize("accept", ["br", "gzip", "gzip, deflate, br, zstd", "br;q=0, gzip;q=0.5"])
def test_every_encoding_is_the_same_file(server: Running, accept: str) -> None:
    svg = next(STATIC.glob("*.svg"))
    for path, file in (
        (f"/static/lab/{KNOWN['main']}", STATIC / KNOWN["main"]),
        (f"/static/lab/{svg.name}", svg),
        (f"{HERS}one.js", server.extension() / "one.js"),
    ):
        answer = server.encoded(path, accept)
        assert answer.encoding == accepted(accept)
        assert answer.decoded() == file.read_bytes()
        assert len(answer.body) < 0.6 * file.stat().st_size
        assert int(answer.headers["Content-Length"]) == len(answer.body)
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert "immutable" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("accept", ["", "identity", "deflate", "br;q=0", "zstd"])
def test_who_accepts_none_gets_the_file(server: Running, accept: str) -> None:
    server.encoded(f"{HERS}one.js", "br")
    answer = server.ask(f"{HERS}one.js", {"Accept-Encoding": accept} if accept else {})
    assert (answer.status, answer.encoding) == (200, "")
    assert answer.body == (server.extension() / "one.js").read_bytes()
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "Etag" not in answer.headers  # as without gears


def test_small_files_and_pictures_are_sent_as_they_are(server: Running) -> None:
    for path in (f"{HERS}small.js", f"/static/lab/{next(STATIC.glob('*.woff2')).name}"):
        for _ in range(2):
            assert server.ask(path, {"Accept-Encoding": "br"}).encoding == ""


def test_conditional_requests_and_head(server: Running) -> None:
    path = f"{HERS}one.js"
    br, zipped = server.encoded(path, "br"), server.encoded(path, "gzip")
    tag = br.headers["Etag"]
    assert tag != zipped.headers["Etag"]
    assert server.ask(path, {"Accept-Encoding": "br", "If-None-Match": tag}).status == 304
    assert server.ask(path, {"Accept-Encoding": "gzip", "If-None-Match": tag}).status == 200
    assert server.ask(path, {"If-None-Match": tag}).status == 200
    assert server.ask(path, {"If-Modified-Since": br.headers["Last-Modified"]}).status == 304
    head = server.ask(path, {"Accept-Encoding": "br"}, "HEAD")
    assert not head.body
    for name in ("Content-Encoding", "Content-Length", "Etag", "Vary", "Cache-Control", "Content-Type"):
        assert head.headers[name] == br.headers[name]


def test_ranges_are_of_the_file_itself(server: Running) -> None:
    path, content = f"{HERS}one.js", (server.extension() / "one.js").read_bytes()
    tag = server.encoded(path, "br").headers["Etag"]
    part = server.ask(path, {"Accept-Encoding": "br", "Range": "bytes=7-99"})
    assert (part.status, part.encoding, part.body) == (206, "", content[7:100])
    whole = server.ask(path, {"Accept-Encoding": "br", "Range": "bytes=7-99", "If-Range": tag})
    assert (whole.status, whole.decoded()) == (200, content)


def test_a_changed_file_is_noticed(server: Running) -> None:
    file, path = server.extension() / "two.js", f"{HERS}two.js"
    before = server.encoded(path, "br")
    info = file.stat()
    file.write_bytes(file.read_bytes().replace(b"of hers", b"changed"))  # of the same size
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns + 1))
    assert server.ask(path, {"Accept-Encoding": "br"}).decoded() == file.read_bytes()
    after = server.encoded(path, "br")
    assert after.decoded() == file.read_bytes()
    assert after.headers["Etag"] != before.headers["Etag"]


def test_two_servers_make_the_same_copies(pair: tuple[Running, Running]) -> None:
    name = f"both-{os.getpid()}.js"
    (pair[0].extension() / name).write_text("// both\n" * 100_000)
    for server in pair:
        server.ask(HERS + name, {"Accept-Encoding": "br"})
    answers = [server.encoded(HERS + name, "br") for server in pair]
    assert answers[0].body == answers[1].body

    def copies() -> list[Path]:
        paths = list(pair[0].pages.iterdir())  # once, since copies of other files may just be made
        return [] if any(path.name.startswith(".") for path in paths) else paths

    assert {path.stat().st_mode & 0o777 for path in wait_until(copies, 60, "no temporary copy is left")} == {0o600}


def test_after_a_cleaner_files_are_sent_as_they_are_until_the_copies_are_back(server: Running) -> None:
    path = f"{HERS}one.js"
    server.encoded(path, "br")
    server.pages.rename(server.pages.with_name("swept"))  # at once, since other copies may just be made
    answer = server.ask(path, {"Accept-Encoding": "br"})
    assert (answer.status, answer.decoded()) == (200, (server.extension() / "one.js").read_bytes())
    assert server.encoded(path, "br").decoded() == answer.decoded()


def test_nothing_else_can_be_read(server: Running) -> None:
    """Without a login; and of the copies only the scripts that the page names."""
    server.encoded(f"{HERS}one.js", "br")
    copy = next(path for path in server.pages.iterdir() if path.suffix == ".br")
    for path in (copy.name, f"../{copy.name}", "../site/token", "first.0123456789abcdef.js", "early.js"):
        assert server.ask(f"/static/gears/{path}", {"Accept-Encoding": "br"}).status in (403, 404), path
    assert (
        server.ask(f"{HERS}..%2f..%2f..%2f..%2f..%2f..%2frun%2fsite%2ftoken", {"Accept-Encoding": "br"}).status != 200
    )
    for path in ("/api/contents", "/lab/api/settings", "/files/big.txt"):
        assert server.ask(path, {"Accept-Encoding": "br", "Sec-Fetch-Site": "same-origin"}).status in (302, 403), path


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_answers_of_the_api_are_compressed(server: Running, encoding: str) -> None:
    """The second one is large, so it is compressed in a thread."""
    for path, least in (("/lab/api/settings", 3), ("/api/contents/big.txt?content=1", 3)):
        plain, small = server.ask(path, OWN), server.ask(path, OWN | {"Accept-Encoding": encoding})
        assert (plain.encoding, small.encoding) == ("", encoding)
        assert json.loads(small.decoded()) == json.loads(plain.body)
        assert least * len(small.body) < len(plain.body)
        assert small.headers["Etag"] != plain.headers["Etag"]
        again = server.ask(path, OWN | {"Accept-Encoding": encoding, "If-None-Match": small.headers["Etag"]})
        assert (again.status, again.body) == (304, b"")


def test_what_another_page_asks_for_is_not_compressed(server: Running) -> None:
    """Nor is JupyterLab's page, with its token."""
    cookie = {"Cookie": server.ask("/lab", OWN).headers["Set-Cookie"].partition(";")[0], "Accept-Encoding": "br, gzip"}
    login = server.ask(f"/lab?token={TOKEN}")
    cookie["Cookie"] = "; ".join(line.partition(";")[0] for line in login.headers.get_all("Set-Cookie", []))
    for site, encoding in (("same-origin", "br"), ("same-site", ""), ("cross-site", ""), ("none", ""), (None, "")):
        headers = cookie | ({"Sec-Fetch-Site": site} if site else {})
        answer = server.ask("/lab/api/settings", headers)
        assert (answer.status, answer.encoding) == (200, encoding), site
        assert server.ask("/lab", headers).encoding == ""


def test_the_page_loads_its_scripts_in_one(server: Running) -> None:
    def script() -> str:
        html = server.ask("/lab", OWN).body.decode()
        return html.partition('src="/static/gears/')[2].partition('"')[0]

    name = wait_until(script, 90, "the script is made")
    answer = server.encoded(f"/static/gears/{name}", "br, gzip")
    assert answer.decoded() == first_page.join(first_page.plan_scripts(STATIC))
    assert "immutable" in answer.headers["Cache-Control"]
    html = server.ask("/lab", OWN).body.decode()
    launcher = html.partition('"load": "../../..')[2].partition('"')[0]
    assert server.ask(launcher).body == (first_page.BROWSER / "launcher.js").read_bytes()


PATIENT = """const real = window.setTimeout;
window.setTimeout = (call, after, ...rest) => after === 20000 ? 0 : real(call, after, ...rest);"""
"""Early answers are kept however slow this machine is."""


def test_the_page_in_a_browser(server: Running) -> None:
    """Each answer is asked for once, the scripts come in one file; and a file in the address is opened, no launcher."""
    if not Path(CHROMIUM).exists():
        skip_or_fail("the browser's tests need: apt-get install chromium")
    wait_until(lambda: b"/static/gears/first." in server.ask("/lab", OWN).body, 90, "the script is made")
    (server.home / "one.txt").write_text("text")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, "--no-sandbox"])
        page = chromium.new_page()
        page.add_init_script(PATIENT)
        requests: list[Request] = []
        page.on("request", lambda request: requests.append(request))
        page.goto(f"http://localhost:{server.port}/lab/workspaces/first?token={TOKEN}")
        page.wait_for_selector(".jp-LauncherCard", timeout=120_000)
        before = list(takewhile(lambda request: request.method == "GET", requests))
        asked = [re.sub(r"[?&]\d{12,}$", "", request.url.partition(f":{server.port}")[2]) for request in before]
        assert not set(KNOWN["scripts"]) & {url.rpartition("/")[2].partition("?")[0] for url in asked}
        for path in ("/lab/api/settings", "/lab/api/workspaces/first", "/api/me", "/api/kernelspecs"):
            assert asked.count(path) == 1, path
        page.goto(f"http://localhost:{server.port}/lab/workspaces/second/tree/one.txt")
        page.wait_for_selector(".jp-FileEditor", timeout=120_000)
        assert page.locator(".jp-Launcher").count() == 0
        chromium.close()
