"""Fixtures of the test centre. Where it can't run, its tests are skipped, or fail under GEARS_TEST_STRICT=1."""

import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.centre import Centre, CentreUnavailable
from tests.centre.provision import ensure_template
from tests.centre.requirements import check_requirements
from tests.scheduler_says import in_denver, says  # noqa: F401  fixtures

# Started by nohup or in the background of a script, as some continuous integrations do, all that the tests start would
# ignore the end of its terminal and Ctrl-C.
for ignored in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(ignored, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# By the processor time and the waits of each; `make test ARGS=--durations=50` shows them.
LONGEST = [
    "stale", "env_make", "data_commands", "workspace_team", "workspace_exchange", "data_faults", "carry_browser",
    "carry_job", "job_recovery", "job_clusters", "jupyter_settings", "job", "job_schedulers", "recovery", "job_routes",
    "env_browser", "dask", "dashboards", "cleaners", "job_browser", "startup_files", "data_jobs", "dask_local",
    "workspace_jobs", "dask_failures", "job_failures", "lab_local", "forward", "doctor", "routes",
    "job_isolation", "open", "for_a_centre", "open_recovery",
]  # fmt: skip
"""Files that take longest. They are begun first, so that none is alone at the end; beside the first, which makes the
homes of the centre (`tests/centre/provision.py`), those that need none."""
OpenCentre = Callable[..., Centre]
Took = Callable[[str, float], None]


def skip_or_fail(reason: str) -> None:
    if os.environ.get("GEARS_TEST_STRICT") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others by name (`--no-loadscope-reorder` keeps this order)."""
    places = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under GEARS_TEST_STRICT=1 every skip is a failure, whoever asked for it."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """So is that of a whole file, such as by `importorskip`."""
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and os.environ.get("GEARS_TEST_STRICT") == "1":
        report.outcome, report.longrepr = "failed", f"skipped, which strict tests may not be: {report.longrepr}"


@contextmanager
def _without_time_limit() -> Iterator[None]:
    """For what one test does for all, and takes longer than any of them: pytest-timeout's timer stands still."""
    left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left_s)


def _enter(stack: ExitStack, **options: Any) -> Centre:
    try:
        check_requirements()
        with _without_time_limit():
            ensure_template().release()
        return stack.enter_context(Centre(**options))
    except CentreUnavailable as unavailable:
        skip_or_fail(str(unavailable))
        raise


@pytest.fixture
def centre_possible() -> None:
    """For tests that boot a centre themselves."""
    try:
        check_requirements()
    except CentreUnavailable as unavailable:
        skip_or_fail(str(unavailable))


@pytest.fixture(scope="module")
def centre(request: pytest.FixtureRequest) -> Iterator[Centre]:
    """A centre shared by the tests of a module, with the options in its `CENTRE`: leave it as you found it."""
    with ExitStack() as stack:
        yield _enter(stack, **getattr(request.module, "CENTRE", {}))


@pytest.fixture
def open_centre() -> Iterator[OpenCentre]:
    """Boot a centre with options, for one test: `open_centre(totp={"hub"})`."""
    with ExitStack() as stack:
        yield lambda **options: _enter(stack, **options)


@pytest.fixture
def took(capsys: pytest.CaptureFixture[str]) -> Iterator[Took]:
    """`took(what, began)` shows what has passed since `began` (time.monotonic), whether or not the test passes."""
    lines: list[str] = []
    yield lambda what, began: lines.append(f"{what}: {time.monotonic() - began:.2f} s")
    with capsys.disabled():
        print("".join(f"\n  {line}" for line in lines), end=" ")
