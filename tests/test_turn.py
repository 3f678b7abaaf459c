"""What the loops do next: pure decisions, each compared with the rule it keeps."""

from pathlib import Path

import pytest

from gears.lab.state import Plan, Turn
from gears.lab.stop import _has_next_turn
from gears.lab.supervisor.policy import MOST_CRASHES, NETWORK_PAUSES_S, plan_hop_turn, plan_lab_turn
from gears.sites.paths import RunDir
from gears.ssh.failures import Failure
from gears.system.files import write_record

NETWORK = Failure("network", "login1: Connection timed out", "gears lab andes")
LOGIN = Failure("login", "login1 requires a passcode", "gears lab andes")
DIED = Failure("died", "JupyterLab was killed by signal 9", "gears logs andes")


def test_a_new_loop_dials_without_a_prompt_and_may_start_a_lab() -> None:
    turn = plan_hop_turn(Turn(), "start", None, False)
    assert (turn.plan, turn.how, turn.pause_s, turn.number) == ("dial", "asked", 0.0, 1)


def test_only_a_person_brings_a_prompt() -> None:
    assert plan_hop_turn(Turn(number=4), "person", None, False).how == "person"
    assert plan_hop_turn(Turn(number=4), "again", None, False).how == "asked"
    after_a_prompt = Turn(number=5, how="person", plan=Plan.DIAL)
    assert plan_hop_turn(after_a_prompt, "255", NETWORK, True).how == "batch"
    assert plan_hop_turn(after_a_prompt, "255", LOGIN, False).plan == "ask"


def test_a_hop_that_was_up_is_dialled_again_at_once() -> None:
    turn = plan_hop_turn(Turn(number=7, failures=3, ever_up=True), "255", NETWORK, True)
    assert (turn.plan, turn.failures, turn.pause_s, turn.how) == ("dial", 0, 0.0, "batch")


def test_pauses_grow_while_the_network_is_missing_and_stop_growing() -> None:
    turn = Turn(number=1)
    for failures in range(1, 12):
        turn = plan_hop_turn(turn, "255", NETWORK, False)
        longest = NETWORK_PAUSES_S[min(failures, len(NETWORK_PAUSES_S) - 1)]
        assert turn.failures == failures
        assert 0.8 * longest - 0.01 <= turn.pause_s <= 1.2 * longest + 0.01


def test_time_in_which_ssh_tried_is_part_of_the_pause() -> None:
    turn = plan_hop_turn(Turn(number=9, failures=8), "255", NETWORK, False, lasted_s=3.0)
    assert 0.8 * 5.0 - 3.01 <= turn.pause_s <= 1.2 * 5.0 - 2.99
    assert plan_hop_turn(Turn(number=9, failures=8), "255", NETWORK, False, lasted_s=9.0).pause_s == 0.0


@pytest.mark.parametrize("kind", ["login", "refused", "hostkey", "hostkey-unknown", "forward", "config", "remote"])
def test_what_the_network_is_not_to_blame_for_waits_for_a_person(kind: str) -> None:
    assert plan_hop_turn(Turn(number=1, ever_up=True), "255", Failure(kind, "why"), True).plan == "ask"


def test_a_name_that_stops_resolving_is_an_outage_only_where_it_once_resolved() -> None:
    unknown = Failure("unknown-host", "cannot resolve host name andes")
    assert plan_hop_turn(Turn(number=1), "255", unknown, False).plan == "ask"
    assert plan_hop_turn(Turn(number=1, ever_up=True), "255", unknown, False).plan == "dial"


def test_a_lab_that_was_shut_down_is_over() -> None:
    stopped = Failure("stopped", "JupyterLab was shut down")
    assert plan_lab_turn(Turn(number=1), stopped, True, now=1000.0).plan == "stop"
    assert plan_hop_turn(Turn(number=1), "4", stopped, True).plan == "stop"


def test_a_lab_that_was_up_and_died_is_started_again_at_once_within_bounds() -> None:
    turn = plan_lab_turn(Turn(number=1), DIED, True, now=1000.0)
    assert (turn.plan, turn.pause_s) == ("run", 0.0)
    plans = []
    for crash in range(1, MOST_CRASHES + 1):
        turn = plan_lab_turn(turn, DIED, True, now=1000.0 + crash)
        plans.append(turn.plan)
    assert plans == ["run"] * (MOST_CRASHES - 1) + ["ask"]


def test_crashes_long_ago_do_not_count() -> None:
    old = Turn(number=9, crashes=(1.0,) * MOST_CRASHES)
    assert plan_lab_turn(old, DIED, True, now=10_000.0).crashes == (10_000.0,)


def test_a_lab_that_never_comes_up_is_tried_three_times() -> None:
    turn = Turn(number=1)
    plans = []
    for second in range(3):
        turn = plan_lab_turn(turn, DIED, False, now=1000.0 + second)
        plans.append(turn.plan)
    assert plans == ["run", "run", "ask"]


def test_the_last_turn_of_a_loop_is_no_new_one(tmp_path: Path) -> None:
    """`gears stop` then waits for the end of the loop, and needs no ssh of its own to tell the lab host."""
    paths = RunDir(tmp_path, "x", tmp_path)
    paths.here.mkdir()
    for turn, goes_on in [({"number": 2, "plan": "dial"}, True), ({"number": 2, "plan": "stop"}, False), ({}, False)]:
        write_record(paths.turn, turn)
        assert _has_next_turn(paths, 1) is goes_on
