"""A login by a ticket of Kerberos, which is good for a host's name and for no address."""

from tests.centre import CentreUnavailable, kerberos
from tests.centre.requirements import check_requirements
from tests.conftest import OpenCentre, skip_or_fail
from tests.helpers import Kernel, gears, lab_at, status, wait_until
from tests.ssh_configuration import redial, write

GSSAPI = "Host *\n  GSSAPIAuthentication yes\n  GSSAPIDelegateCredentials yes\n"


def test_a_ticket_lets_in_again(open_centre: OpenCentre) -> None:
    try:
        check_requirements(kerberos.PROGRAMS)
    except CentreUnavailable as unavailable:
        skip_or_fail(str(unavailable))
    centre = open_centre()
    kerberos.bring_up(centre)
    write(centre.hub, GSSAPI)
    gears(centre.hub, "lab andes", check=True)
    kernel, lab = Kernel(lab_at(centre.hub)), status(centre.hub)["lab"]
    kernel.run("a = 41")
    assert gears(centre.hub, "run andes -- uname -n", check=True).stdout == f"{lab['host']}\n"
    assert "✗" not in gears(centre.hub, "doctor andes").stdout
    redial(centre)
    assert Kernel(lab_at(centre.hub), kernel.id).run("print(a + 1)") == "42\n"
    centre.hub.run("tmux -L gears kill-server", check=True)
    gears(centre.hub, "stop andes", check=True)
    wait_until(lambda: not centre.login1.processes("alice"), 2, "nothing of hers is left")
