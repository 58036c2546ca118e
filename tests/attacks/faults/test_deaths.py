"""What is nobody's to stop passes through the library untouched, and so does the end of a loop."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from strawberry_ws_otel import _semconv as name
from tests.support.faults.program import ERRORS, PLACES
from tests.support.hosting import Handler, hosting
from tests.support.scenarios.model import BOTH
from tests.support.schema import make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import recorded

ROOT = Path(__file__).parents[3]
TELEMETRY = ("internal", "outcomes", "whole", "active")


async def run(*arguments: str, **environment: str) -> dict[str, Any]:
    """What `tests.support.faults.program` reports."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.faults.program", *arguments),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    report: dict[str, Any] = json.loads(output)
    return report


async def twins(*arguments: str, **environment: str) -> Iterator[tuple[Any, Any]]:
    """What is reported without the library and with it, for each place."""
    bare, traced = await asyncio.gather(
        run("bare", *arguments, **environment), run("traced", *arguments, **environment)
    )
    assert tuple(bare) == tuple(traced) == PLACES
    return zip(bare.values(), traced.values(), strict=True)


def seen(report: dict[str, Any]) -> dict[str, Any]:
    """What there is to see of it but for the telemetry."""
    return {key: value for key, value in report.items() if key not in TELEMETRY}


def told(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in TELEMETRY}


STOPPED = {"internal": 0, "outcomes": ["server_shutdown"], "whole": True, "active": 0}
SILENT = {"internal": 0, "outcomes": [], "whole": True, "active": 0}


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("error", ERRORS)
async def test_an_interrupt_passes_through_untouched(error: str, protocol: str) -> None:
    for bare, traced in await twins(error, protocol):
        assert bare["left"] == f"{error}(3)"
        assert seen(traced) == seen(bare)
        assert told(traced) == STOPPED


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_loop_that_is_closed_under_live_connections_hears_nothing_from_us(
    protocol: str,
) -> None:
    for bare, traced in await twins("stop", protocol):
        assert (traced["left"], traced["wire"]) == (bare["left"], bare["wire"])
        # The order in which the interpreter destroys what is left decides what the host says.
        assert not [line for line in traced["unraisable"] if line.startswith("ours")]
        assert set(traced["log"]) <= set(bare["log"])
        assert told(traced) == STOPPED


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_disabled_sdk_is_no_telemetry_and_no_trouble(protocol: str) -> None:
    for bare, traced in await twins("KeyboardInterrupt", protocol, OTEL_SDK_DISABLED="true"):
        assert seen(traced) == seen(bare)
        assert told(traced) == SILENT


@web.middleware
async def abandoning(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Run a handler until it waits for the first time, and close it, as a loop's end would."""
    waiting = handler(request).__await__()
    waiting.send(None)
    with suppress(RuntimeError):  # a host that goes on waiting as it cleans up
        waiting.close()
    return web.Response()


async def test_a_handler_that_is_abandoned_is_a_shutdown(telemetry: Telemetry) -> None:
    async with hosting(recorded(telemetry)(schema=make_schema()), abandoning) as host:
        await (await host.connect()).until_end()
    [span] = telemetry.spans(name.SPAN_CONNECTION)
    assert attributes_of(span)[name.CLOSE_OUTCOME] == "server_shutdown"
