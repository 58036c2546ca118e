"""The SDK with exporters in memory, and its output as plain values that compare."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, SamplingResult

Attributes = frozenset[tuple[str, Any]]

RESOURCE = Resource.create()
"""One for all tests: to make one, the SDK starts threads that look at the machine."""


class CountingIds(IdGenerator):
    """Spans are 1, 2, 3, ... and traces 0x1000, 0x2000, 0x3000, ..."""

    def __init__(self) -> None:
        self._spans = count(1)
        self._traces = count(0x1000, 0x1000)

    def generate_span_id(self) -> int:
        return next(self._spans)

    def generate_trace_id(self) -> int:
        return next(self._traces)


class SpanCounter(SpanProcessor):
    """How often each span, by its id, was started and ended."""

    def __init__(self) -> None:
        self.started: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.started[span.context.span_id] += 1

    def on_end(self, span: ReadableSpan) -> None:
        assert span.context is not None
        self.ended[span.context.span_id] += 1


class Curious(Sampler):
    """Samples nothing, and keeps what it is shown: name, kind, attributes, links."""

    def __init__(self) -> None:
        self.shown: list[tuple[Any, ...]] = []

    def should_sample(  # noqa: PLR0913, PLR0917  # the signature of the SDK
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        links: Any = None,
        *_others: Any,
    ) -> SamplingResult:
        self.shown.append((name, kind, dict(attributes), [link.context for link in links]))
        return ALWAYS_OFF.should_sample(parent_context, trace_id, name)

    def get_description(self) -> str:
        return "curious"


class Telemetry:
    """Both providers of one test."""

    def __init__(
        self, *, ids: IdGenerator | None = None, sampler: Sampler = ALWAYS_ON, **limits: Any
    ) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(
            sampler=sampler,
            resource=RESOURCE,
            id_generator=ids,
            shutdown_on_exit=False,
            **limits,
        )
        self.span_counter = SpanCounter()
        self.tracer_provider.add_span_processor(self.span_counter)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter_provider = MeterProvider(
            [self.reader], resource=RESOURCE, shutdown_on_exit=False
        )
        self._at_rest: dict[str, dict[Attributes, float]] | None = None

    def spans(self, *names: str) -> list[ReadableSpan]:
        """The finished spans of these names (all without one), in the order of their start."""
        spans = self.exporter.get_finished_spans()
        chosen = [span for span in spans if not names or span.name in names]
        return sorted(chosen, key=lambda span: span.start_time or 0)

    def snapshots(self, *names: str) -> list[dict[str, Any]]:
        return [snapshot(span) for span in self.spans(*names)]

    def metrics(self) -> dict[str, dict[Attributes, float]]:
        """What each instrument says now: the value of a sum, the count of a histogram."""
        return read(self.reader) if self._at_rest is None else self._at_rest

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Collect the metrics once for as long as this lasts: nothing is recorded meanwhile."""
        self._at_rest = self.metrics()
        try:
            yield
        finally:
            self._at_rest = None

    def points(self, name: str) -> list[Any]:
        """The data points of one instrument as the SDK has them."""
        return [
            point
            for metric in _metrics(self.reader)
            if metric.name == name
            for point in metric.data.data_points
        ]

    def total(
        self, name: str, attributes: Mapping[str, object] | None = None, **more: object
    ) -> float:
        """The sum over those points of an instrument that carry these attributes.

        A keyword is an attribute with `__` for each of its dots.
        """
        dotted = {key.replace("__", "."): value for key, value in more.items()}
        wanted = labels(dict(attributes or {}) | dotted)
        points = self.metrics().get(name, {})
        return sum(value for carried, value in points.items() if wanted <= carried)

    def shutdown(self) -> None:
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()


def read(reader: InMemoryMetricReader) -> dict[str, dict[Attributes, float]]:
    """What each instrument says now: the value of a sum, the count of a histogram."""
    return {
        metric.name: {
            frozenset((point.attributes or {}).items()): _value(point)
            for point in metric.data.data_points
        }
        for metric in _metrics(reader)
    }


def _metrics(reader: InMemoryMetricReader) -> Iterator[Any]:
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            yield from scope.metrics


def _value(point: Any) -> float:
    value: float = point.count if isinstance(point, HistogramDataPoint) else point.value
    return value


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def events_of(span: ReadableSpan, *names: str) -> list[dict[str, Any]]:
    """The attributes of each event of these names (of all without one)."""
    return [
        dict(event.attributes or {}) for event in span.events if not names or event.name in names
    ]


def snapshot(span: ReadableSpan) -> dict[str, Any]:
    """A whole span except for its times, as a value that compares and prints well."""
    return {
        "name": span.name,
        "kind": span.kind.name,
        "id": _ids(span.context),
        "parent": _ids(span.parent),
        "links": [(_ids(link.context), dict(link.attributes or {})) for link in span.links],
        "attributes": attributes_of(span),
        "events": [(event.name, dict(event.attributes or {})) for event in span.events],
        "status": span.status.status_code.name,
        "description": span.status.description,
    }


def _ids(context: Any) -> tuple[int, int] | None:
    """The ids of a span context: trace, span."""
    return None if context is None else (context.trace_id, context.span_id)


def labels(attributes: Mapping[str, object]) -> Attributes:
    """The key of a data point in `Telemetry.metrics`."""
    return frozenset(attributes.items())
