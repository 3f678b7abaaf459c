"""What a far host says of its servers gets onto a command line and a screen here: only what has been checked does."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from gears.laptop.forward import discover, records
from gears.laptop.forward.servers import Server, read_servers

GOOD: dict[str, Any] = {"kind": "jupyter", "target": ["127.0.0.1", 8888], "path": "/", "token": "abc", "about": "/home"}


def read(**changed: Any) -> list[Server]:
    return read_servers({"servers": [GOOD | changed]})


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (["127.0.0.1", 8888], "127.0.0.1:8888"),
        (["::1", 8888], "[::1]:8888"),
        ("/tmp/x y/lab.sck", "/tmp/x y/lab.sck"),
    ],
)
def test_targets_are_as_ssh_wants_them(target: object, expected: str) -> None:
    assert [server.target for server in read(target=target)] == [expected]


@pytest.mark.parametrize(
    "target",
    [
        "",
        "-x",
        "relative",
        "/a:b",
        "/a\nb",
        "/" + 103 * "x",
        None,
        8888,
        ["host", 1],
        ["-oX", 1],
        ["127.0.0.1", "1"],
        [],
    ],
)
def test_other_targets_are_left_out(target: object) -> None:
    assert read(target=target) == []


def test_reports_of_another_shape_are_empty() -> None:
    for report in ({}, {"servers": None}, {"servers": ["x", 1]}, {"servers": [{}]}):
        assert read_servers(report) == []
    assert read(kind="other") == read(path="x") == []


def test_an_address_holds_nothing_a_terminal_obeys() -> None:
    [server] = read(path="/a\x1b[2J b", token="t&k\x1b", about="dir\x1b]0;x\x07", secure=True)
    assert server.address(20001, with_token=True) == "https://localhost:20001/a%1B%5B2J%20b?token=t%26k%1B"
    assert server.address(20001, with_token=False).endswith("b")
    assert server.about == "dir]0;x"


def test_the_far_hosts_python_may_be_old() -> None:
    ast.parse(Path(discover.__file__).read_text(), feature_version=(3, 6))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000", "127.0.0.1"),
        ("0B024D0A", "10.77.2.11"),
        ("00000000000000000000000000000000", "::1"),
        ("00000000000000000000000001000000", "::1"),
    ],
)
def test_addresses_of_proc_net_tcp(address: str, expected: str) -> None:
    assert discover.dialled(address) == expected


def test_ports_of_a_server_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own; then what follows from its name, without those of others."""
    monkeypatch.setattr(records, "port_is_free", lambda _: True)  # whatever runs on this machine
    first, second, *_ = plain = list(records.ports_of("a", {}))
    assert len(plain) == len(set(plain)) == records.PORTS
    assert next(records.ports_of("a", {"a": 12345})) == 12345
    assert next(records.ports_of("a", {"b": first})) == second
    monkeypatch.setattr(records, "port_is_free", lambda port: port != 12345)
    assert next(records.ports_of("a", json.loads('{"a": 12345}'))) == first
