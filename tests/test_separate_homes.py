"""Front and login node that share no home: what docs/how-to/separate-homes.md promises."""

from tests.conftest import OpenCentre
from tests.helpers import Kernel, Lab, fixed_path, gears, status, wait_until

PROFILE = """\
[front]
host = "hub"
[lab]
host = "login1"
match = ["login1"]
home = "separate"
root = "~/gears"
"""


def test_a_lab_in_another_home(open_centre: OpenCentre) -> None:
    centre = open_centre(separate_homes={"login1"}, profiles={"mysite": PROFILE})
    centre.login1.path("/home/alice/.config/gears/sites/mysite.toml").unlink()  # the front hands its own over
    started = gears(centre.hub, "lab mysite", check=True).stdout
    assert "JupyterLab of mysite is up on login1." in started
    token = gears(centre.hub, "url mysite", check=True).stdout.strip().partition("?token=")[2]
    assert token
    assert Kernel(Lab(centre.hub, fixed_path("mysite"), token)).run("print(6 * 7)") == "42\n"
    seen = status(centre.hub, "mysite")
    assert (seen["state"], seen["lab"]["host"], seen["lab"]["kernels"]) == ("up", "login1", 1)
    examined = gears(centre.hub, "doctor mysite")
    assert (examined.returncode, [line for line in examined.stdout.splitlines() if line[:1] in "!✗"]) == (0, [])
    gears(centre.hub, "stop mysite", check=True)
    for host in (centre.hub, centre.login1):
        assert host.run("ls -d /tmp/gears-*").stdout == ""
        wait_until(lambda host=host: not host.processes("alice"), 10, f"nothing of hers is left on {host.name}")
