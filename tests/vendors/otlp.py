"""Reads what was exported over OTLP."""

from collections.abc import Iterator
from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.vendors.arrivals import DURATIONS, Arrivals, Points, Span
from tests.vendors.receiver import Receiver

_CUMULATIVE: Final = 2
_ERROR: Final = 2


def read(receiver: Receiver) -> Arrivals:
    """All that was exported."""
    return Arrivals(spans=list(spans(receiver)), **read_metrics(receiver))


def spans(receiver: Receiver) -> Iterator[Span]:
    for body in receiver.bodies("/v1/traces"):
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                yield from map(_span, scope.spans)


def read_metrics(receiver: Receiver) -> dict[str, Any]:
    """The metrics and exemplars, as `Arrivals` takes them."""
    points = Points()
    exemplars: set[str] = set()
    for metric in _metrics(receiver):
        data = getattr(metric, metric.WhichOneof("data"))
        is_total = getattr(data, "aggregation_temporality", _CUMULATIVE) == _CUMULATIVE
        for point in data.data_points:
            points.add(metric.name, _attributes(point), _value(point), total=is_total)
            if metric.name in DURATIONS:
                exemplars.update(exemplar.span_id.hex() for exemplar in point.exemplars)
    return {
        "metrics": points.sums(),
        "exemplars": frozenset(exemplars),
        "instruments": frozenset(points.instruments),
    }


def _metrics(receiver: Receiver) -> Iterator[Any]:
    for body in receiver.bodies("/v1/metrics"):
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in resource.scope_metrics:
                yield from scope.metrics


def _value(point: Any) -> float:
    counts = hasattr(point, "count")
    value: float = point.count if counts else getattr(point, point.WhichOneof("value"))
    return value


def _span(span: Any) -> Span:
    return Span(
        name=span.name,
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        trace=span.trace_id.hex(),
        attributes=_attributes(span),
        failed=span.status.code == _ERROR,
        events=tuple(event.name for event in span.events),
        links=tuple(link.span_id.hex() for link in span.links),
        times=tuple(
            time / 1e9
            for time in (
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                *(event.time_unix_nano for event in span.events),
            )
        ),
    )


def _attributes(message: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in message.attributes
    }
