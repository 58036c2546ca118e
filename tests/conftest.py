"""Fixtures of the whole suite, and the rule that the library never fails in silence."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Generator, Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.support.clock import Clock, stop_clock
from tests.support.event_loop import Result, Run
from tests.support.garbage import freeze
from tests.support.log import LogKeeper, is_internal, keeping_log
from tests.support.telemetry import CountingIds, Telemetry
from tests.tools.programs import INSTALL, missing

REQUIRED = "REQUIRE_TOOLS"
"""With this variable set, a missing program fails the tests that need it."""


# aiohttp reads the machine's certificates as it is imported, in every program of a test. None needs
# them.
os.environ["SSL_CERT_FILE"] = os.devnull

# The examples of a property: few by default, and more with `--hypothesis-profile matrix`.
settings.register_profile("few", max_examples=50)
settings.register_profile("matrix", max_examples=100)
settings.load_profile("few")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "internal_error: the library may log errors of its own in this test"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Use one process, unless the whole suite runs: each worker has to collect all tests first.

    Coverage measures one process, too.
    """
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    is_measured = "coverage" in sys.modules and sys.modules["coverage"].Coverage.current()
    return None if is_whole and not is_measured else 0


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape the lone surrogates that a test has logged: a worker cannot send them."""
    return encodable((yield))


def encodable(value: Any) -> Any:
    """A report's plain data with all of its text escaped where UTF-8 has no bytes for it."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, list | tuple):
        return type(value)(map(encodable, value))
    if isinstance(value, dict):
        return {key: encodable(each) for key, each in value.items()}
    return value


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


@pytest.fixture(scope="module", autouse=True)
def _what_other_modules_left_is_frozen() -> None:
    """Spare the collector, and who asks it for all objects, what earlier modules have left."""
    freeze()


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
