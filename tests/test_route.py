"""Which way leads to a lab, and what this host is on it."""

import json
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gears.errors import NothingRunning
from gears.sites.context import load_context, load_record, save_context
from gears.sites.load import load_site, to_json
from gears.sites.paths import RunDir
from gears.sites.profile import Front, Lab, Site
from gears.sites.route import Route, plan_route
from gears.system import host as host_module
from gears.system.host import Host, _Found, _is_ours, is_this_host, this_host

LOOPBACK = (socket.AF_INET, "127.0.0.1")
FOREIGN = (socket.AF_INET, "198.51.100.7")  # RFC 5737: nobody's


def host(*names: str) -> Host:
    return Host(names[0], names, user="alice", home="/home/alice")


def test_without_hosts_the_lab_is_here():
    site = Site(name="x")
    assert plan_route(site, host("box"), on_lab_host=False) == Route(
        site, kind="local", role="lab", here="box", front="box", lab="box"
    )


def test_with_a_front_before_the_lab_host_it_is_a_relay():
    site = load_site("andes")
    assert plan_route(site, host("hub4"), on_lab_host=False) == Route(
        site, kind="relay", role="front", here="hub4", front="hub.ccs.ornl.gov", lab="andes"
    )


@pytest.mark.parametrize(
    "names", [("andes-login3",), ("andes-login3.olcf.ornl.gov", "andes-login3"), ("x", "andes-login1")]
)
def test_a_host_that_matches_is_the_lab_host(names):
    assert plan_route(load_site("andes"), host(*names), on_lab_host=False).role == "lab"


def test_a_host_whose_address_says_so_is_the_lab_host():
    assert plan_route(load_site("andes"), host("unheard-of"), on_lab_host=True).role == "lab"


def test_patterns_are_compared_without_regard_to_case():
    site = Site(name="x", lab=Lab(host="login", match=("Login*",)))
    assert plan_route(site, host("login1"), on_lab_host=False).role == "lab"


@pytest.mark.parametrize("front", [None, "server"])
def test_where_the_lab_host_is_the_front_a_laptop_is_elsewhere(front):
    site = Site(name="x", front=Front(host=front, jump=("login",)), lab=Lab(host="server"))
    assert plan_route(site, host("laptop"), on_lab_host=False) == Route(
        site, kind="proxy", role="elsewhere", here="laptop", front="server", lab="server"
    )
    assert plan_route(site, host("server"), on_lab_host=True).role == "lab"


def test_this_host_has_its_short_name_and_the_full_one_if_asked(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Login1.Cluster")
    monkeypatch.setattr(host_module, "_resolve", lambda _: _Found("login1.cluster.example.org"))  # no resolver of ours
    assert this_host().names == ("login1.cluster", "login1")
    assert this_host(full_name=True).names == ("login1.cluster", "login1", "login1.cluster.example.org")


@pytest.mark.parametrize(
    ("hostname", "canonical", "full"),
    [
        ("box", "box.example.org", "box.example.org"),
        ("box.example.org", "box.example.org", "box.example.org"),
        ("box", "", "box"),
        ("box", "localhost.localdomain", "box"),  # of a hosts file that has one line for all
    ],
)
def test_the_full_name_is_what_others_can_dial(monkeypatch, hostname, canonical, full):
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)
    monkeypatch.setattr(host_module, "_resolve", lambda _: _Found(canonical))  # no resolver of ours
    assert this_host(full_name=True).full_name == full


def test_only_an_address_of_this_machine_is_ours():
    assert _is_ours(LOOPBACK)
    assert not _is_ours(FOREIGN)


def test_where_any_address_can_be_bound_the_way_to_it_tells(monkeypatch):
    monkeypatch.setattr(
        host_module, "_can_bind", lambda *_: True
    )  # net.ipv4.ip_nonlocal_bind, which the test can't set
    assert _is_ours(LOOPBACK)
    assert not _is_ours(FOREIGN)


@pytest.mark.parametrize(
    ("addresses", "ours", "expected"),
    [
        ((FOREIGN,), [], False),
        ((FOREIGN,), [FOREIGN], True),
        (((socket.AF_INET, "198.51.100.8"), FOREIGN), [FOREIGN], True),  # an alias for several hosts
        ((LOOPBACK,), [LOOPBACK], False),  # /etc/hosts says so of any name
        ((), [], False),
    ],
)
def test_a_name_is_me_if_an_address_of_it_is(monkeypatch, addresses, ours, expected):
    monkeypatch.setattr(host_module, "_resolve", lambda _: _Found("", addresses))  # no resolver of ours
    monkeypatch.setattr(host_module, "_is_ours", lambda address: address in ours)
    assert is_this_host("login", host("box")) is expected


def test_my_own_name_is_me_where_only_the_hosts_file_knows_it(monkeypatch):
    monkeypatch.setattr(host_module, "_resolve", lambda _: _Found("", ((socket.AF_INET, "127.0.1.1"),)))
    assert is_this_host("Box", host("box"))
    assert is_this_host("localhost", host("box"))


def test_a_name_that_nobody_knows_is_not_me():
    assert not is_this_host("no-such-host.invalid", host("box"))
    assert not is_this_host("a..b", host("box"))


def test_a_resolver_that_hangs_costs_no_more_than_the_limit(monkeypatch):
    release = threading.Event()

    def hang(*_, **__):
        release.wait(20)
        raise socket.gaierror

    monkeypatch.setattr(host_module, "LOOKUP_TIMEOUT_S", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", hang)  # no name servers in a test
    began = time.monotonic()
    assert not is_this_host("login", host("box"))
    assert time.monotonic() - began < 5
    release.set()


# --- the route on disk ------------------------------------------------------------------------

ROUTE = {
    "kind": "relay",
    "role": "front",
    "here": "hub4",
    "front": "hub.ccs.ornl.gov",
    "lab": "andes",
    "job": False,
    "lab_host": "andes",
    "home": "/ccs/home/alice/gears",
    "local": "/tmp/gears-alice-0123abcd",
}
"""As version 0.1.0 writes it, with `site`: the profile as JSON in one line."""


def test_a_loop_of_an_earlier_version_finds_its_route(tmp_path: Path) -> None:
    site = load_site("andes", environ={"HOME": str(tmp_path)})
    paths = RunDir(tmp_path, "andes", tmp_path)
    paths.here.mkdir()
    paths.route.write_text(json.dumps({**ROUTE, "site": to_json(site)}))
    context = load_context(paths.here)
    found = context.paths
    assert context.route == Route(site, "relay", "front", "hub4", front="hub.ccs.ornl.gov", lab="andes")
    assert found == RunDir(Path(ROUTE["home"]), "andes", Path(ROUTE["local"]))
    paths.route.unlink()
    save_context(replace(context, route=replace(context.route, job=True), paths=replace(paths, home=found.home)))
    saved = json.loads(paths.route.read_text())
    assert list(saved) == [*ROUTE, "site"]
    assert saved == {**ROUTE, "site": to_json(site), "job": True, "local": str(tmp_path)}


@pytest.mark.parametrize("text", ["", "{}", json.dumps(ROUTE), json.dumps({**ROUTE, "site": "{}", "role": "nobody"})])
def test_half_a_route_is_none(text: str, tmp_path: Path) -> None:
    paths = RunDir(tmp_path, "andes", tmp_path)
    paths.here.mkdir()
    paths.route.write_text(text)
    assert load_record(paths) is None
    with pytest.raises(NothingRunning):
        load_context(paths.here)
