"""The laptop's ssh, by the stanza that gears printed."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.centre import Centre
from tests.helpers import gears, wait_until

PORT = 38888


@contextmanager
def laptop_connected(centre: Centre) -> Iterator[None]:
    """With the session that the docs ask for: `ssh -N` would make every new connection slower."""
    stanza = gears(centre.hub, "ssh-config andes", check=True).stdout
    centre.laptop.run("cat >> .ssh/config", input=stanza, check=True)
    ssh = centre.laptop.popen(["ssh", "andes-jupyter", "exec sleep 100000"])
    try:
        wait_until(lambda: [p for p in centre.hub.processes("alice") if p.comm == "sleep"], 10, "the laptop's session")
        yield
    finally:
        centre.laptop.end_popen(ssh)
