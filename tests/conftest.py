"""Fixtures of the whole suite, and the rule that the library never fails in silence."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from tests.support.clock import Clock, stop_clock
from tests.support.event_loop import Result, Run
from tests.support.garbage import freeze
from tests.support.log import LogKeeper, is_internal, keeping_log
from tests.support.telemetry import CountingIds, Telemetry
from tests.tools.programs import INSTALL, missing

REQUIRED = "REQUIRE_TOOLS"
"""With this variable set, a missing program fails the tests that need it."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "internal_error: the library may log errors of its own in this test"
    )


def pytest_collection_finish() -> None:
    """Let the collector, which tests ask for thousands of times, not look through all of them."""
    freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose mark `tools` names a program that is missing."""
    mark = item.get_closest_marker("tools")
    if mark is None or not (programs := missing(mark.args)):
        return
    reason = f"not installed: {', '.join(programs)}; see {INSTALL}"
    if os.environ.get(REQUIRED):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def library_log(request: pytest.FixtureRequest) -> Iterator[LogKeeper]:
    """What the library logs. An internal error fails the test, unless it is about that."""
    with keeping_log() as keeper:
        yield keeper
    if request.node.get_closest_marker("internal_error") is None:
        internal = [record for record in keeper.records if is_internal(record)]
        assert not internal, "".join(map(logging.Formatter().format, internal))


@pytest.fixture
def frozen_garbage() -> None:
    """Put all that is older than a test out of the collector's sight, or it takes its time."""
    freeze()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the library, which stands still unless a test moves it."""
    return stop_clock(monkeypatch)


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def bare() -> dict[str, dict[str, Any]]:
    """What the conversations of a module are without the library, as `Comparison` played them."""
    return {}


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Providers with exporters in memory."""
    telemetry = Telemetry()
    yield telemetry
    telemetry.shutdown()


@pytest.fixture
def numbered_telemetry() -> Iterator[Telemetry]:
    """The same with ids that count."""
    telemetry = Telemetry(ids=CountingIds())
    yield telemetry
    telemetry.shutdown()


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run[Any]:
    """Run a coroutine on a loop of its own: asyncio's, or the one a test asks for by parameter."""
    name = getattr(request, "param", "asyncio")
    factory = pytest.importorskip("uvloop").new_event_loop if name == "uvloop" else None

    def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(coroutine)

    return run
