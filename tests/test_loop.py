"""A shell loop whose directory was taken from under it, in the test centre."""

from tests.centre import Centre, Host
from tests.helpers import gears, lab_at, record, wait_until


def loops(host: Host) -> set[int]:
    found = host.processes("alice")
    return {process.pid for process in found if process.comm == "sh" and process.argv[-1].endswith("/lab.sh")}


def test_a_loop_that_was_replaced_ends_and_leaves_the_new_one_alone(centre: Centre) -> None:
    """Its JupyterLab was killed and its directory swept away before it could take its turn."""
    host = centre.login1
    gears(host, "lab local", check=True)
    old_loops, old = loops(host), record(host, "local/lab.json")
    host.kill(*old_loops, signal="STOP")
    host.kill(old["pid"])
    host.run("rm -rf /tmp/gears-alice-*", check=True)
    gears(host, "lab local", check=True)
    new = record(host, "local/lab.json")
    assert new["pid"] != old["pid"]
    host.kill(*old_loops, signal="CONT")
    wait_until(lambda: not old_loops & loops(host), 20, "the old loop has ended")
    assert lab_at(host, "local").answers()
    assert record(host, "local/lab.json") == new
    gears(host, "stop local", check=True)
    wait_until(lambda: not loops(host), 20, "no loop is left")
