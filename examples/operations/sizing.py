"""Counts what a thousand connections make: `python -m examples.operations.sizing`.

Real clients converse with a server over loopback, one row for each kind of conversation. It counts
the library's own spans, their size as OTLP and as gzipped OTLP, and the series that Prometheus
keeps for the process.

The last row is computed: a connection and its subscription end segments like those of a day, but
sooner, and a day has as many as its length and that of the segments say.
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
from examples.demo.names import SCOPE, SEGMENT_CONTINUED, SEGMENT_NUMBER
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


DAY: Final = 86_400.0
SEGMENT: Final = 300.0
LONGEST_SEGMENT: Final = 3600.0
"""The seconds of the first segment of a subscription, and of the longest."""

SHORT: Final = 0.1
STAY: Final = 2.0
"""The seconds of a first segment that is measured, and of a connection then."""

STAYING: Final = 100
"""How many stay at the same time. The library paces the segments of more."""

QUIET: Final = 'subscription Prices { prices(symbol: "LILY", every: 3600) { price } }'


def segments_of(life: float) -> int:
    """Count the segments of what lives so many seconds: each is twice as long as the one before."""
    count, length = 1, SEGMENT
    while life > length:
        count, life, length = count + 1, life - length, min(2 * length, LONGEST_SEGMENT)
    return count


async def stay(url: str, connections: int) -> None:
    """Have clients log in, subscribe to what never comes, and stay for some segments."""
    turns = asyncio.Semaphore(STAYING)

    async def one(session: ClientSession) -> None:
        async with turns:
            socket = await join(session, url)
            await socket.send_json(subscribe("1", QUIET))
            await asyncio.sleep(STAY)
            await socket.close()

    async with open_session() as session:
        await asyncio.gather(*(one(session) for _ in range(connections)))


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

    def times(self, factor: float) -> "Amount":
        """Return so many times the amount."""
        return Amount(*(round(factor * each) for each in (self.spans, self.otlp, self.gzipped)))

    def __add__(self, other: "Amount") -> "Amount":
        """Return both together."""
        return Amount(
            self.spans + other.spans, self.otlp + other.otlp, self.gzipped + other.gzipped
        )

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


def of_library(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    """Take the spans that the library recorded."""
    spans = exporter.get_finished_spans()
    exporter.clear()
    return [
        span
        for span in spans
        if span.instrumentation_scope and span.instrumentation_scope.name == SCOPE
    ]


def of_a_day(spans: Sequence[ReadableSpan], connections: int) -> Amount:
    """Compute what connections make that are open for a day, each with one subscription."""
    between: list[ReadableSpan] = []
    others: list[ReadableSpan] = []
    for span in spans:
        attributes = span.attributes or {}
        # The first has the messages of the beginning, and the last one those of the end.
        is_between = attributes.get(SEGMENT_NUMBER) and SEGMENT_CONTINUED in attributes
        (between if is_between else others).append(span)
    expected = 2 * connections * (segments_of(DAY) - 2)
    return Amount.of(between).times(expected / len(between)) + Amount.of(others)


async def measure(connections: int) -> None:
    """Print one line for each kind of conversation."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    resource = Resource.create({SERVICE_NAME: SERVICE})
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader], resource=resource))
    print(f"{connections} connections each, given for 1,000")
    print(f"{'':40}{'spans':>8} {'OTLP':>13} {'gzipped':>13} {'series':>8}")

    def report(title: str, amount: Amount) -> None:
        print(f"{title:40}{amount.per_thousand(connections)} {series(reader):8,}")

    for title, documents in CONVERSATIONS.items():
        async with serving() as url:
            await talk(url, connections, documents)
        report(title, Amount.of(of_library(exporter)))
    async with serving(SHORT) as url:
        await stay(url, connections)
    report("a subscription, both open for a day", of_a_day(of_library(exporter), connections))
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
