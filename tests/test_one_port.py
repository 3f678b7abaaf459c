"""However many notebooks, clusters and dashboards: one forwarded port, and nothing more on laptop and hub."""

from collections.abc import Iterator

import pytest

from tests.bench.laptop import PORT, laptop_connected
from tests.centre import Centre
from tests.helpers import Lab, gears, listening_ports
from tests.notebooks import close_notebooks, count, forwarded_ports, laptop_lab, open_notebooks

LOOPBACK = "0100007F"
"""127.0.0.1, as proc(5) has it."""


@pytest.fixture(scope="module")
def lab(centre: Centre) -> Iterator[Lab]:
    gears(centre.hub, "lab andes", check=True)
    with laptop_connected(centre):
        yield laptop_lab(centre)


def test_four_notebooks_with_a_dashboard_each(centre: Centre, lab: Lab) -> None:
    """All four dashboards are open in the laptop's browser; without gears each would want a port of its own."""
    before = count(centre, lab, [])
    dashboards = open_notebooks(lab, 4)

    counted = count(centre, lab, dashboards)

    assert (counted.notebooks, counted.dashboards) == (4, 4)
    assert forwarded_ports(centre) == {PORT}
    assert counted.listeners["laptop"] == before.listeners["laptop"] == 1
    assert counted.listeners["hub"] == before.listeners["hub"] == 0
    assert counted.listeners["login1"] - before.listeners["login1"] >= 4, "dashboards are on the lab host alone"
    assert {address for address, _ in listening_ports(centre.login1)} == {LOOPBACK}
    close_notebooks(lab)
