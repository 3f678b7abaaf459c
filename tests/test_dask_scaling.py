"""Which jobs of a cluster are closed, and when the batch system is asked again. Pure."""

from gears.dask.anywhere.gears_dask_scaling import Job, Trouble, choose

NOW = 1000.0


def waits(name: str, since: float = 0) -> Job:
    return Job(name, id=name, requested=NOW - since, idle_since=NOW - since)


def idle(name: str, since: float = 100, held: int = 0) -> Job:
    return Job(name, id=name, requested=0, connected=1, idle_since=NOW - since, workers=2, held=held, limit=1000)


def busy(name: str) -> Job:
    return Job(name, id=name, requested=0, connected=1, workers=2, busy=True, limit=1000)


def chosen(*jobs: Job, want: int, most: int = 99, idle_s: float = 60) -> list[str]:
    return choose(jobs, want, most, idle_s, NOW)


def test_none_that_works_is_closed_whatever_the_surplus() -> None:
    assert chosen(busy("a"), busy("b"), want=0) == []


def test_what_waits_goes_before_what_runs_the_newest_first() -> None:
    assert chosen(idle("runs"), waits("old", 90), waits("new", 70), want=1) == ["new", "old"]


def test_idle_for_a_moment_is_not_idle() -> None:
    assert chosen(idle("a", since=59), idle("b", since=61), want=0) == ["b"]


def test_data_must_have_room_in_what_is_left() -> None:
    assert chosen(idle("a"), idle("b"), idle("c", held=400), want=0) == ["a", "b"]
    assert chosen(idle("a", held=600), idle("b"), want=0) == []


def test_above_the_most_that_a_person_has_set_all_goes_at_once() -> None:
    assert chosen(busy("a"), idle("b", since=0), waits("c"), want=1, most=1) == ["c", "b"]
    assert chosen(busy("a"), busy("b"), want=0, most=1) == ["a"]


def test_pauses_between_refusals_grow_and_end_with_the_first_worker() -> None:
    trouble, asked = Trouble(), []
    now = NOW
    for _ in range(6):
        trouble.add("no", now)
        trouble.add("no", now)  # several jobs at once
        asked.append(trouble.until - now)
        now = trouble.until
    assert asked == [10, 30, 60, 120, 300, 300]
    trouble.clear()
    assert (trouble.message, trouble.until) == ("", 0)
