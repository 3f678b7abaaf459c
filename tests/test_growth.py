"""What a further lab costs the hosts: the processes of the first once more, and none that outlives it.

The figures, and those for many users, are of `make bench ARGS=growth`. That nobody asks the scheduler while a job is up
is tested in `test_job_failures`.
"""

from collections import Counter

from tests.centre import Centre, Host
from tests.centre.homes import PROFILES
from tests.helpers import gears, wait_until

SITES = {site: f"{PROFILES['andes']}[laptop]\nport = {port}\n" for site, port in {"one": 38901, "two": 38902}.items()}


def running(host: Host) -> Counter[str]:
    """Count alice's processes by name; Python's are one name, whatever their version."""
    return Counter(
        "python" if process.comm.startswith("python") else process.comm for process in host.processes("alice")
    )


def test_second_lab_costs_what_the_first_does(open_centre) -> None:  # type: ignore[no-untyped-def]
    centre: Centre = open_centre(profiles=SITES)
    hosts = (centre.hub, centre.login1)
    gears(centre.hub, "lab one", check=True)
    wait_until(lambda: not any(running(host)["gears"] for host in hosts), 20, "the command has ended")
    first = [running(host) for host in hosts]
    gears(centre.hub, "lab two", check=True)
    double = [Counter({name: 2 * count for name, count in found.items()}) for found in first]
    wait_until(lambda: all(running(host) <= most for host, most in zip(hosts, double, strict=True)), 20, "no more each")
    gears(centre.hub, "stop two", check=True)
    wait_until(lambda: all(running(host) <= one for host, one in zip(hosts, first, strict=True)), 20, "nothing is left")
