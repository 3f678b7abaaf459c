"""What the loop of a job does next, and when it asks the scheduler: pure decisions, each with the rule it keeps."""

import time
from dataclasses import replace
from typing import Any

import pytest

from gears.lab.job.records import JobRecord, Life
from gears.lab.job.wait_for_exit import GONE
from gears.lab.jupyter.walltime_warning import plan_warnings
from gears.lab.state import Turn
from gears.lab.supervisor.job_policy import (
    DIAL_PAUSES_S,
    MOST_REFUSALS,
    QUEUE_PAUSES_S,
    RUNNING_PAUSE_S,
    Seen,
    after_life,
    plan_job_turn,
    should_ask,
)
from gears.schedulers.base import JobState
from gears.ssh.failures import Failure

JOB = JobRecord(number=1, id="7", host="login1", state=JobState.RUNNING, known=JobState.RUNNING, node="c1")
WAITS = replace(JOB, state=JobState.PENDING, known=JobState.PENDING, node=None)
RUNS = Life("c1", 1000.0, ("40", "99"))
NETWORK = Failure("network", "c1: Connection timed out")
REFUSED = Failure("refused", "c1 refused the login key (publickey)", "gears stop andes")


def seen(job: JobRecord | None, word: str, life: Life = RUNS, **others: Any) -> Seen:
    values = {"last": Turn(), "ended": None, "was_up": False, "reach": "ssh"} | others
    return Seen(word=word, job=job, life=life, **values)


def test_a_waiting_job_is_asked_about_with_growing_pauses() -> None:
    turn, pauses = plan_job_turn(seen(WAITS, "submit", Life())), []
    for _ in range(10):
        pauses.append(turn.pause_s)
        turn = plan_job_turn(seen(WAITS, "tick", Life(), last=turn))
    assert all(turn.pause_s >= 10 for turn in [turn])
    for pause_s, least in zip(pauses, (*QUEUE_PAUSES_S, *QUEUE_PAUSES_S[-1:] * 2), strict=True):
        assert least <= pause_s <= 1.2 * least + 0.1


def test_news_of_the_job_is_no_reason_to_ask() -> None:
    now = time.time()
    assert not should_ask(WAITS, Life(), "news", now=now)
    assert should_ask(WAITS, Life(), "tick", now=now)


@pytest.mark.parametrize("word", ["tick", "255", "0", "adopt"])
def test_of_a_running_job_the_scheduler_is_asked_once_a_minute_at_most(word: str) -> None:
    assert not should_ask(replace(JOB, asked=1000.0), RUNS, word, now=1000.0 + RUNNING_PAUSE_S - 1)
    assert should_ask(replace(JOB, asked=1000.0), RUNS, word, now=1000.0 + RUNNING_PAUSE_S)


def test_the_end_of_the_job_is_asked_about_at_once() -> None:
    assert should_ask(replace(JOB, asked=1000.0), Life("c1", 900.0, None, 1), "news", now=1001.0)
    assert should_ask(replace(JOB, asked=1000.0), RUNS, str(GONE), now=1001.0)
    assert not should_ask(replace(JOB, state=JobState.ENDED, asked=0.0), RUNS, str(GONE), now=1001.0)


def test_a_jupyterlab_that_is_gone_is_not_dialled_again_but_the_next_one() -> None:
    """Else each dial would end at once, and ask the scheduler."""
    dial = plan_job_turn(seen(JOB, "news"))
    assert (dial.plan, dial.pid, dial.pause_s) == ("dial", "40", 0.0)
    wait = plan_job_turn(seen(JOB, str(GONE), last=dial, ended=NETWORK, was_up=True))
    assert (wait.plan, wait.pause_s) == ("queue", RUNNING_PAUSE_S)
    assert plan_job_turn(seen(JOB, "tick", last=wait)).plan == "queue"
    restarted = Life("c1", 1000.0, ("55", "120"))
    assert plan_job_turn(seen(JOB, "news", restarted, last=wait)).pid == "55"


def test_a_missing_network_is_dialled_for_ever_and_a_refusal_is_not() -> None:
    turn = plan_job_turn(seen(JOB, "news"))
    for failures in range(1, 20):
        turn = plan_job_turn(seen(JOB, "255", last=turn, ended=NETWORK))
        longest = DIAL_PAUSES_S[min(failures, len(DIAL_PAUSES_S) - 1)]
        assert (turn.plan, turn.pause_s <= 1.2 * longest + 0.01) == ("dial", True)
    turn = plan_job_turn(seen(JOB, "news"))
    plans = []
    for _ in range(MOST_REFUSALS + 1):
        turn = plan_job_turn(seen(JOB, "255", last=turn, ended=REFUSED))
        plans.append(turn.plan)
    assert plans == ["dial"] * MOST_REFUSALS + ["ask"]


def test_a_job_that_is_over_asks_for_a_person_unless_a_person_ended_it() -> None:
    over = replace(JOB, state=JobState.ENDED)
    ended = Failure("job", "job 7: cancelled", "gears lab andes --job")
    assert plan_job_turn(seen(over, "news", Life("c1", 1000.0, None, 143, "TERM"), ended=ended)).plan == "ask"
    assert plan_job_turn(seen(over, "news", Life("c1", 1000.0, None, 0))).plan == "stop"
    assert plan_job_turn(seen(None, "news", Life())).why == "stopped"
    assert plan_job_turn(seen(None, "news", Life(), moved=True)).why == "moved"


def test_a_tunnel_is_waited_for_with_the_scheduler_in_reach() -> None:
    waits = plan_job_turn(seen(JOB, "news", reach="reverse"))
    assert (waits.plan, waits.socket) == ("queue", 1)
    meets = plan_job_turn(seen(JOB, "news", reach="reverse", tunnel=True))
    assert (meets.plan, meets.pause_s) == ("meet", 0.0)


def test_a_tunnel_that_has_ended_is_not_taken_for_another_one() -> None:
    """Its sshd may still listen, for minutes where the network was cut."""
    meets = plan_job_turn(seen(JOB, "news", reach="reverse", tunnel=True))
    after = plan_job_turn(seen(JOB, "0", last=meets, reach="reverse", tunnel=True))
    assert (after.plan, after.ended_meeting) == ("queue", 1)
    again = plan_job_turn(seen(JOB, "news", last=after, reach="reverse", tunnel=True))
    assert (again.plan, again.ended_meeting) == ("meet", 0)
    successor = plan_job_turn(seen(replace(JOB, number=2, id="8"), "0", last=meets, reach="reverse", tunnel=True))
    assert (successor.plan, successor.ended_meeting) == ("meet", 1)


def test_what_a_job_wrote_before_it_was_put_back_does_not_count() -> None:
    job = replace(WAITS, walltime_s=600, ends=None, requeued=1000.0)
    assert after_life(job, RUNS).state == "PENDING"
    again = after_life(job, Life("c2", 1100.0))
    assert (again.state, again.node, again.ends) == ("RUNNING", "c2", "1970-01-01T00:28:20Z")


@pytest.mark.parametrize(("walltime_s", "before_s"), [(7200, [600, 120]), (1200, [300, 60]), (60, [15, 3])])
def test_the_end_is_warned_of_twice(walltime_s: float, before_s: list[float]) -> None:
    assert plan_warnings(0.0, walltime_s) == [walltime_s - before for before in before_s]
