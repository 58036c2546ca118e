"""An OTLP endpoint that is away costs the spans whose batch nobody took, and no conversation."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from strawberry_ws_otel import _semconv as name
from tests.support.cases import BARE, Arm, Case, traced
from tests.support.faults.conversations import TALKS
from tests.support.faults.endpoint import Endpoint
from tests.support.telemetry import Telemetry
from tests.support.transcripts import settled, transcript

pytestmark = pytest.mark.usefixtures("frozen_garbage")
CASES = [case for case in TALKS if case.scenario.representative]


class Exporting:
    """Telemetry that exports to an endpoint, as a server in production does."""

    def __init__(self, url: str) -> None:
        self.telemetry = Telemetry()
        self._exporter = OTLPSpanExporter(url, timeout=1)
        self._batches = BatchSpanProcessor(self._exporter, schedule_delay_millis=60_000)
        self.telemetry.tracer_provider.add_span_processor(self._batches)
        self.arm = traced(self.telemetry.tracer_provider, self.telemetry.meter_provider)

    @property
    def ended(self) -> list[int]:
        return sorted(self.telemetry.span_counter.ended)

    async def flush(self) -> None:
        """Try to send what waits, where it blocks nobody."""
        await asyncio.to_thread(self._batches.force_flush)

    async def shut_down(self) -> None:
        await asyncio.to_thread(self.telemetry.shutdown)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


async def play(arm: Arm, log: pytest.LogCaptureFixture) -> dict[str, Any]:
    """What there is to see of each conversation, in a loop in which others are at work as well."""
    return {str(case): await once(case, arm, log) for case in CASES}


async def once(case: Case, arm: Arm, log: pytest.LogCaptureFixture) -> dict[str, Any]:
    log.clear()
    played = await settled(case, arm)
    return transcript(case, played, log) | {"tasks": None}


async def test_what_ends_while_the_endpoint_is_down_is_lost_and_the_rest_arrives(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    bare = await play(BARE, caplog)
    exporting = Exporting(endpoint.url)
    async with endpoint.up():
        assert await play(exporting.arm, caplog) == bare
        await exporting.flush()
    first = exporting.ended
    assert sorted(endpoint.arrived) == first

    assert await play(exporting.arm, caplog) == bare
    await exporting.flush()
    lost = set(exporting.ended) - set(first)
    assert sorted(endpoint.arrived) == first
    assert lost

    async with endpoint.up():
        assert await play(exporting.arm, caplog) == bare
        await exporting.shut_down()
    assert sorted(endpoint.arrived) == sorted(set(exporting.ended) - lost)
    assert exporting.telemetry.total(name.METRIC_CLOSES) == 3 * len(CASES)
    assert exporting.telemetry.total(name.METRIC_ACTIVE_CONNECTIONS) == 0


async def test_what_still_waits_when_the_endpoint_is_up_again_arrives(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    exporting = Exporting(endpoint.url)
    await play(exporting.arm, caplog)
    async with endpoint.up():
        await exporting.shut_down()
    assert sorted(endpoint.arrived) == exporting.ended


async def test_a_shutdown_while_the_endpoint_is_down_ends_without_it(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    exporting = Exporting(endpoint.url)
    await play(exporting.arm, caplog)
    async with asyncio.timeout(60):
        await exporting.shut_down()
    assert not endpoint.arrived
    assert exporting.ended


async def test_an_endpoint_that_refuses_costs_the_spans_of_its_batch(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    exporting = Exporting(endpoint.url)
    async with endpoint.up():
        endpoint.status = 400
        await play(exporting.arm, caplog)
        await exporting.flush()
        refused = set(exporting.ended)
        endpoint.status = 200
        await play(exporting.arm, caplog)
        await exporting.shut_down()
    assert set(endpoint.arrived) == set(exporting.ended) - refused
