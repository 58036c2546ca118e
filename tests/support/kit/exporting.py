"""The demo's ticker in the process of a test, exporting to a Collector or to Jaeger."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from examples.demo.telemetry import SERVICE
from examples.operations.traffic import StoreView, Traffic, traffic
from strawberry_ws_otel import OTelConfig

PATIENCE = 30.0
QUEUE = 32_768

Found = TypeVar("Found")


@dataclass(frozen=True)
class Ticker:
    """A server with its clients, and the spans that it recorded."""

    traffic: Traffic
    troubles: list[str]
    _memory: InMemorySpanExporter

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._memory.get_finished_spans()


@asynccontextmanager
async def ticking(
    endpoint: str,
    segment_duration: float = 300,
    schedule_delay_millis: int = 200,
    *,
    name_spans_after_operation: bool = False,
) -> AsyncIterator[Ticker]:
    """Serve while the block runs; then every span has been sent."""
    memory, troubles = InMemorySpanExporter(), list[str]()
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: SERVICE}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.add_span_processor(
        BatchSpanProcessor(
            OTLPSpanExporter(f"{endpoint}/v1/traces"),
            max_queue_size=QUEUE,
            schedule_delay_millis=schedule_delay_millis,
        )
    )

    class View(StoreView):
        otel_config = OTelConfig(
            tracer_provider=provider,
            meter_provider=NoOpMeterProvider(),
            segment_duration=segment_duration,
            name_spans_after_operation=name_spans_after_operation,
        )

    try:
        async with traffic(0, troubles.append, View) as clients:
            yield Ticker(clients, troubles, memory)
    finally:
        await asyncio.to_thread(provider.shutdown)


async def until(
    ask: Callable[[], Awaitable[Found]],
    is_enough: Callable[[Found], bool],
    pause: float = 0.2,
    patience: float = PATIENCE,
) -> Found:
    """Ask again and again until the answer is enough, or time is up; return the last answer."""
    deadline = time.monotonic() + patience
    while True:
        answer = await ask()
        if is_enough(answer) or time.monotonic() > deadline:
            return answer
        await asyncio.sleep(pause)
