"""A shell loop whose directory was taken from under it, in the test centre."""

from tests.centre import Centre, Host
from tests.helpers import gears, lab_at, record, wait_until


def loops(host: Host) -> set[int]:
    return {process.pid for process in host.processes("alice") if process.argv[-1].endswith("/lab.sh")}


def test_a_loop_that_lost_its_directory_ends_with_its_jupyterlab_and_leaves_the_new_one_alone(centre: Centre) -> None:
    host = centre.login1
    gears(host, "lab local", check=True)
    old_loops, old = loops(host), record(host, "local/lab.json")
    host.run("rm -rf /tmp/gears-alice-*", check=True)
    gears(host, "lab local", check=True)
    new = record(host, "local/lab.json")
    assert new["pid"] != old["pid"]
    host.kill(old["pid"])
    wait_until(lambda: not old_loops & loops(host), 20, "the old loop has ended")
    assert lab_at(host, "local").answers()
    assert record(host, "local/lab.json") == new
    gears(host, "stop local", check=True)
    wait_until(lambda: not loops(host), 20, "no loop is left")
