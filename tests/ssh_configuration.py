"""What the tests of a person's ~/.ssh/config share: it is written, and hops are dialled anew."""

from tests.centre import Centre, Host
from tests.helpers import lab_at, wait_until

CONFIG = "/home/alice/.ssh/config"
KNOWN = "/home/alice/.ssh/known_hosts"


def write(host: Host, text: str) -> None:
    host.run(f"cat > {CONFIG} && chmod 600 {CONFIG}", input=text, check=True)


def ssh_runs(host: Host) -> list[int]:
    return [process.pid for process in host.processes("alice") if process.comm == "ssh"]


def redial(centre: Centre, site: str = "andes") -> None:
    centre.hub.kill(*ssh_runs(centre.hub))
    wait_until(lambda: ssh_runs(centre.hub) and lab_at(centre.hub, site).answers(), 20, "the hop is back")
