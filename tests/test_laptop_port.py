"""The laptop's port: the page's or ssh's, and nobody else's, at none of the addresses that localhost may be."""

import socket

import pytest

from gears.errors import GearsError
from gears.lab.status.model import Page
from gears.laptop.forward.records import ports_of
from gears.laptop.open.port import LaptopPort
from gears.system.ports import free_port, port_is_free

LOCALHOST = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


@pytest.mark.parametrize(("family", "address"), LOCALHOST)
def test_a_port_that_somebody_has_is_not_taken_for_free(family: socket.AddressFamily, address: str) -> None:
    with socket.create_server((address, 0), family=family) as theirs:
        number = theirs.getsockname()[1]
        assert not port_is_free(number)
        assert free_port(number) != number
        assert next(ports_of("matagorda 127.0.0.1:8888", {"matagorda 127.0.0.1:8888": number})) != number
        with pytest.raises(GearsError, match=rf"port {number} of this machine is in use by \S+ \(pid \d+\)") as refused:
            LaptopPort(number, Page(), "gears open andes")
        assert refused.value.next
        assert "gears open andes --port " in refused.value.next
    LaptopPort(number, Page(), "gears open andes").close()
