"""The old way, in which people divide ports among them: what a profile says is where things listen."""

import json
from collections.abc import Iterator

import pytest

from gears.dask.settings import fixed_ports
from gears.sites.load import from_json
from tests.centre import Centre
from tests.helpers import Kernel, gears, lab_at, listening_ports, record

LAB, SCHEDULER, DASHBOARD = 40101, 40102, 40103
PROFILE = f"[lab]\nport = {LAB}\n[dask]\nscheduler_port = {SCHEDULER}\ndashboard_port = {DASHBOARD}\n"
CENTRE = {"profiles": {"fixed": PROFILE}}


@pytest.fixture(scope="module")
def up(centre: Centre) -> Iterator[Centre]:
    assert gears(centre.login1, "lab fixed").returncode == 0
    yield centre
    gears(centre.login1, "dask down fixed")
    gears(centre.login1, "stop fixed")


def test_jupyterlab_has_its_port_again_after_a_stop(up: Centre) -> None:
    assert record(up.login1, "fixed/lab.json")["port"] == LAB
    assert gears(up.login1, "stop fixed").returncode == 0
    assert gears(up.login1, "lab fixed").returncode == 0
    assert record(up.login1, "fixed/lab.json")["port"] == LAB


def test_the_cluster_listens_where_the_profile_says(up: Centre) -> None:
    done = gears(up.login1, "dask up fixed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {("0100007F", SCHEDULER), ("0100007F", DASHBOARD)} <= listening_ports(up.login1)


def test_notebooks_find_the_numbers_in_their_environment(up: Centre) -> None:
    lab = lab_at(up.login1, "fixed")
    code = (
        "import os, json; print(json.dumps([os.environ.get(n) for n in ('my_scheduler_port', 'my_dashboard_address')]))"
    )
    assert json.loads(Kernel(lab).run(code)) == [str(SCHEDULER), f"127.0.0.1:{DASHBOARD}"]


def test_without_the_keys_there_are_none() -> None:
    assert fixed_ports(from_json('{"name": "plain"}')) == {}
