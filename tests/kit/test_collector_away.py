"""A Collector that is killed under load, and restarted: which abnormal closes are lost, and why.

Of each connection it is known where its span went: whether the exporter delivered it, and whether
Jaeger has it. What was delivered and did not arrive died in the Collector, which holds each trace
for `decision_wait`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from examples.operations import servers
from examples.operations.jaeger import Jaeger
from examples.operations.ports import Ports, url
from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from strawberry_ws_otel import _semconv as name
from tests.support.hosting import Host, hosting
from tests.support.kit.exporting import until
from tests.support.kit.servers import Start
from tests.support.scenarios.steps import subscribe
from tests.support.schema import FOREVER, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View

pytestmark = pytest.mark.operations

_logger = logging.getLogger(__name__)

SERVICE = "collector-away"
CONNECTIONS = f"/search?service={SERVICE}&operation=GraphQL+WebSocket+Connection&limit=10000"
DECISION_WAIT = 2.0
PAUSE = 0.05
"""Between two clients: twenty come and vanish in a second."""

UP, DOWN = 5.0, 6.0
"""Seconds of load before the kill, and until the restart."""


def connections(spans: Sequence[ReadableSpan]) -> set[str]:
    """The ids of the spans of connections among these, as Jaeger writes them."""
    return {f"{span.context.span_id:016x}" for span in spans if span.name == name.SPAN_CONNECTION}


class Courier(SpanExporter):
    """An OTLP exporter that keeps which connections it delivered, and which it gave up."""

    def __init__(self, endpoint: str) -> None:
        self.delivered: set[str] = set()
        self.given_up: set[str] = set()
        self._exporter: SpanExporter = OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=3)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        with suppress(OSError):
            result = self._exporter.export(spans)
        taken = self.delivered if result is SpanExportResult.SUCCESS else self.given_up
        taken |= connections(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


@dataclass(frozen=True)
class Service:
    """A server under load that exports to a Collector."""

    host: Host
    courier: Courier
    memory: InMemorySpanExporter
    counted: Telemetry

    @property
    def ended(self) -> set[str]:
        return connections(self.memory.get_finished_spans())

    async def load(self, seconds: float) -> None:
        """Have clients subscribe and vanish, as long as this."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            client = await self.host.acknowledged()
            client.json(subscribe(client, "a", FOREVER))
            await client.message("next")
            client.reset()
            await asyncio.sleep(PAUSE)


@asynccontextmanager
async def serving(endpoint: str) -> AsyncIterator[Service]:
    """Serve while the block runs; then everything that waits has been sent, or given up."""
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: SERVICE}), shutdown_on_exit=False
    )
    memory, courier, counted = InMemorySpanExporter(), Courier(endpoint), Telemetry()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.add_span_processor(BatchSpanProcessor(courier, schedule_delay_millis=1000))

    class Recorded(OTelViewMixin, View):
        otel_config = OTelConfig(tracer_provider=provider, meter_provider=counted.meter_provider)

    try:
        async with hosting(Recorded(schema=make_schema(OTelExtension))) as host:
            yield Service(host, courier, memory, counted)
    finally:
        await asyncio.to_thread(provider.shutdown)
        counted.shutdown()


async def test_a_collector_that_is_killed_costs_what_it_holds_and_what_nobody_takes(
    start: Start,
) -> None:
    ports, environment = Ports.free(), {"DECISION_WAIT": f"{DECISION_WAIT}s"}
    start(servers.jaeger(ports))
    jaeger = Jaeger(url(ports.jaeger_query))
    collector = start(servers.collector(ports, environment=environment))
    async with serving(url(ports.collector_otlp)) as service:
        await service.load(UP)
        collector.child.kill()
        collector.child.wait()
        held = set(service.courier.delivered)
        await service.load(DOWN)
        start(servers.collector(ports, name="Collector again", environment=environment))
        await service.load(UP)
    ended, courier = service.ended, service.courier

    async def stored() -> set[str]:
        traces = await jaeger.search(CONNECTIONS)
        return {
            span.span_id
            for spans in traces.values()
            for span in spans
            if span.name == name.SPAN_CONNECTION
        }

    expected = courier.delivered - held
    arrived = await until(stored, lambda found: expected <= found)
    died = courier.delivered - arrived
    _logger.info(
        "of %d connections the exporter gave up %d, and %d died in the Collector",
        *map(len, (ended, courier.given_up, died)),
    )
    # The queue had room: nobody else has lost anything.
    assert courier.delivered | courier.given_up == ended
    # All that came after the restart has arrived, and most of what came before the kill.
    assert expected <= arrived
    assert died < held
    assert courier.given_up
    assert service.counted.total(name.METRIC_CLOSES) == len(ended)
    assert service.counted.total(name.METRIC_ACTIVE_CONNECTIONS) == 0
