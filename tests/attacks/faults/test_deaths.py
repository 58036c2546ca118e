"""What is nobody's to stop passes through the library untouched, and so does the end of a loop."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from aiohttp import web

from strawberry_ws_otel import _semconv as name
from tests.support.faults.program import ARMS, ERRORS, PLACES
from tests.support.forked import run_each
from tests.support.hosting import Handler, hosting
from tests.support.scenarios.model import BOTH
from tests.support.schema import make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import instrumented

pytestmark = pytest.mark.slow

TELEMETRY = ("internal", "outcomes", "whole", "active", "open")


Pairs = Callable[[str, str], Iterator[tuple[Any, Any]]]
"""What is reported without the library and with it, for each place in which a server can die."""


def twins(*errors: str, **environment: str) -> Pairs:
    """Let servers die of these errors."""
    deaths = product(ARMS, errors, BOTH)
    runs = run_each("tests.support.faults.program", deaths, **environment)

    def reports(arm: str, error: str, protocol: str) -> dict[str, Any]:
        run = runs[arm, error, protocol]
        assert run.status == 0, run.errors
        report: dict[str, Any] = json.loads(run.output)
        assert tuple(report) == PLACES
        return report

    def pairs(error: str, protocol: str) -> Iterator[tuple[Any, Any]]:
        bare, traced = (reports(arm, error, protocol) for arm in ARMS)
        return zip(bare.values(), traced.values(), strict=True)

    return pairs


@pytest.fixture(scope="module")
def deaths() -> Pairs:
    return twins(*ERRORS, "stop")


@pytest.fixture(scope="module")
def deaths_of_a_disabled_sdk() -> Pairs:
    return twins("KeyboardInterrupt", OTEL_SDK_DISABLED="true")


def seen(report: dict[str, Any]) -> dict[str, Any]:
    """What there is to see of it except for the telemetry."""
    return {key: value for key, value in report.items() if key not in TELEMETRY}


def recorded(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in TELEMETRY}


STOPPED = {"internal": 0, "outcomes": ["server_shutdown"], "whole": True, "active": 0, "open": 0}
SILENT = {"internal": 0, "outcomes": [], "whole": True, "active": 0, "open": 0}


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("error", ERRORS)
def test_an_interrupt_passes_through_untouched(error: str, protocol: str, deaths: Pairs) -> None:
    for bare, traced in deaths(error, protocol):
        assert bare["left"] == f"{error}(3)"
        assert seen(traced) == seen(bare)
        assert recorded(traced) == STOPPED


@pytest.mark.parametrize("protocol", BOTH)
def test_a_loop_that_is_closed_under_live_connections_hears_nothing_from_us(
    protocol: str, deaths: Pairs
) -> None:
    for bare, traced in deaths("stop", protocol):
        assert (traced["left"], traced["wire"]) == (bare["left"], bare["wire"])
        # The order in which the interpreter destroys what is left decides what the host says.
        assert not [line for line in traced["unraisable"] if line.startswith("ours")]
        assert set(traced["log"]) <= set(bare["log"])
        assert recorded(traced) == STOPPED


@pytest.mark.parametrize("protocol", BOTH)
def test_a_disabled_sdk_is_no_telemetry_and_no_trouble(
    protocol: str, deaths_of_a_disabled_sdk: Pairs
) -> None:
    for bare, traced in deaths_of_a_disabled_sdk("KeyboardInterrupt", protocol):
        assert seen(traced) == seen(bare)
        assert recorded(traced) == SILENT


@web.middleware
async def abandoning(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Run a handler until it waits for the first time, and close it, as a loop's end would."""
    waiting = handler(request).__await__()
    waiting.send(None)
    with suppress(RuntimeError):  # a host that goes on waiting as it cleans up
        waiting.close()
    return web.Response()


async def test_a_handler_that_is_abandoned_is_a_shutdown(telemetry: Telemetry) -> None:
    async with hosting(instrumented(telemetry)(schema=make_schema()), abandoning) as host:
        await (await host.connect()).until_end()
    [span] = telemetry.spans(name.SPAN_CONNECTION)
    assert attributes_of(span)[name.CLOSE_OUTCOME] == "server_shutdown"
