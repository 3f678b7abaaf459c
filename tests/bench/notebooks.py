"""Ports: n notebooks, each with a Dask cluster and its dashboard open on the laptop; 1, 4 and 16 of them."""

from collections.abc import Iterator

from tests.bench.laptop import laptop_connected
from tests.bench.rows import Row
from tests.centre import Centre
from tests.helpers import gears
from tests.notebooks import close_notebooks, count, laptop_lab, open_notebooks

NUMBERS = (1, 4, 16)


def measure(centre: Centre, _rounds: int) -> Iterator[Row]:
    """Against as many ports as one would forward by hand: JupyterLab's, and one for each dashboard that answers."""
    gears(centre.hub, "lab andes", check=True)
    with laptop_connected(centre):
        lab = laptop_lab(centre)
        for number in NUMBERS:
            counted = count(centre, lab, open_notebooks(lab, number))
            what = f"{number} notebooks with a cluster and dashboard each"
            by_hand = [1 + counted.dashboards]
            yield Row(f"{what}: forwarded ports", "", [counted.forwarded], "a port for each by hand", by_hand, "1")
            for host, listeners in counted.listeners.items():
                yield Row(f"{what}: TCP listeners of the user, {host}", "", [listeners])
            close_notebooks(lab)
