"""Counts what a thousand connections make: `python -m examples.operations.sizing`.

Real clients converse with a server over loopback, one row for each kind of conversation. It counts
the library's own spans, their size as OTLP and as gzipped OTLP, and the series that Prometheus
keeps for the process.
"""

import argparse
import asyncio
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import ClientSession
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from examples.demo.clients import QUOTE
from examples.demo.names import SCOPE
from examples.demo.telemetry import SERVICE
from examples.demo.visitor import subscribe, until
from examples.operations.measured import AT_ONCE, join, open_session, serving

BATCH: Final = 512
"""Spans in one request of the exporter, the default of the SDK."""

KILOBYTE: Final = 1000


def prices(ticks: int) -> str:
    """Write a subscription to a number of results."""
    return f'subscription Prices {{ prices(symbol: "ROSE", ticks: {ticks}, every: 0) {{ price }} }}'


CONVERSATIONS: Final = {
    "nothing but its init": (),
    "one query": (QUOTE,),
    "ten queries": (QUOTE,) * 10,
    "a subscription with 10 results": (prices(10),),
    "a subscription with 100 results": (prices(100),),
}
"""What a client asks for, one after the other, before it closes."""


async def converse(session: ClientSession, url: str, documents: Sequence[str]) -> None:
    """Log in, run each document to its end, and close."""
    socket = await join(session, url)
    for number, document in enumerate(documents):
        await socket.send_json(subscribe(str(number), document))
        await until(socket, "complete")
    await socket.close()


async def talk(url: str, connections: int, documents: Sequence[str]) -> None:
    """Have a number of clients, a few at a time, converse with the server in the same way."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(session: ClientSession) -> None:
        async with turns:
            await converse(session, url, documents)

    async with open_session() as session:
        await asyncio.gather(*(one(session) for _ in range(connections)))


@dataclass(frozen=True)
class Amount:
    """The number and size of some spans."""

    spans: int
    otlp: int
    gzipped: int

    @classmethod
    def of(cls, spans: Sequence[ReadableSpan]) -> "Amount":
        """Encode the spans in batches, as they would be sent."""
        requests = [
            encode_spans(spans[first : first + BATCH]).SerializeToString()
            for first in range(0, len(spans), BATCH)
        ]
        gzipped = sum(len(gzip.compress(request)) for request in requests)
        return cls(len(spans), sum(map(len, requests)), gzipped)

    def per_thousand(self, connections: int) -> str:
        """Write it for a thousand connections: spans, and kilobytes before and after gzip."""
        scale = 1000 / connections
        otlp, gzipped = (size * scale / KILOBYTE for size in (self.otlp, self.gzipped))
        return f"{self.spans * scale:8,.0f} {otlp:10,.0f} kB {gzipped:10,.0f} kB"


def series(reader: InMemoryMetricReader) -> int:
    """Count what Prometheus stores: of a histogram each bucket, the sum and the count."""
    data = reader.get_metrics_data()
    points = [
        point
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]
    return sum(
        len(point.bucket_counts) + 2 if isinstance(point, HistogramDataPoint) else 1
        for point in points
    )


async def measure(connections: int) -> None:
    """Print one line for each kind of conversation."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    resource = Resource.create({SERVICE_NAME: SERVICE})
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader], resource=resource))
    print(f"{connections} connections each, given for 1,000")
    print(f"{'':33}{'spans':>8} {'OTLP':>13} {'gzipped':>13} {'series':>8}")
    for title, documents in CONVERSATIONS.items():
        async with serving() as url:
            await talk(url, connections, documents)
        spans = exporter.get_finished_spans()
        ours = [
            span
            for span in spans
            if span.instrumentation_scope and span.instrumentation_scope.name == SCOPE
        ]
        exporter.clear()
        print(f"{title:33}{Amount.of(ours).per_thousand(connections)} {series(reader):8,}")
    tracers.shutdown()


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.operations.sizing", description=__doc__
    )
    parser.add_argument("connections", type=int, nargs="?", default=1000)
    asyncio.run(measure(parser.parse_args().connections))


if __name__ == "__main__":
    main()
