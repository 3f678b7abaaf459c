"""The proof that a server is closed starts nothing in one that is open: it would outlive the start that is refused."""

import asyncio
from pathlib import Path

import pytest
from tornado.web import Application, RequestHandler

from gears.lab.jupyter.closed import Open, prove


class Recorder(RequestHandler):
    """Notes what is asked, and answers after a moment: with a refusal, or to anybody."""

    def initialize(self, asked: list[str], status: int) -> None:
        self.asked, self.status = asked, status

    async def get(self, _path: str) -> None:
        self.asked.append(str(self.request.method))
        await asyncio.sleep(0.2)
        self.set_status(self.status)

    post = get

    def check_xsrf_cookie(self) -> None:
        pass


def answering(status: int) -> tuple[Application, list[str]]:
    """A server that answers all with `status`, and the methods that it was asked with."""
    asked: list[str] = []
    return Application([("/(.*)", Recorder, {"asked": asked, "status": status})]), asked


def test_an_open_server_is_asked_for_no_kernel_and_no_terminal(tmp_path: Path) -> None:
    application, asked = answering(200)
    with pytest.raises(Open, match="without a login was answered with 200"):
        asyncio.run(prove(application, "/", tmp_path))
    assert set(asked) == {"GET"}


def test_a_closed_server_is_asked_for_both(tmp_path: Path) -> None:
    application, asked = answering(403)
    asyncio.run(prove(application, "/", tmp_path))
    assert asked.count("POST") == 2
    assert list(tmp_path.iterdir()) == []
