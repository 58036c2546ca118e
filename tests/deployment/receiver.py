"""A receiver of OTLP over HTTP, on loopback: what arrived there is all that was not lost."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from strawberry_ws_otel import _semconv as name


@dataclass(frozen=True)
class Span:
    """A span that was exported, and by which process."""

    instance: str
    name: str
    attributes: dict[str, Any]
    scope: str
    id: bytes
    parent: bytes


@dataclass(frozen=True)
class Account:
    """What a process reported about its connections, once it has ended."""

    spans: Counter[str]
    """Its connections' spans, by their outcome."""
    closes: Counter[str]
    """Its closes by the metric, by their outcome."""
    durations: int
    active: int
    subscriptions: int


def settled(spans: Counter[str]) -> Account:
    """The account of a process that lost nothing: spans and metrics agree, and nobody is left."""
    return Account(spans, spans, spans.total(), 0, 0)


class Receiver:
    """What was received so far; metrics are cumulative, so that only the last of each counts."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        self._points: dict[str, dict[str, list[Any]]] = {}

    def spans(self, *names: str) -> list[Span]:
        with self._lock:
            return [span for span in self._spans if not names or span.name in names]

    @property
    def instances(self) -> set[str]:
        """Every `service.instance.id` that exported anything."""
        with self._lock:
            return {span.instance for span in self._spans} | self._points.keys()

    @property
    def done(self) -> set[str]:
        """Those that exported metrics, which the shutdown does last."""
        with self._lock:
            return set(self._points)

    def account(self, instance: str) -> Account:
        connections = [
            span for span in self.spans(name.SPAN_CONNECTION) if span.instance == instance
        ]
        return Account(
            spans=Counter(span.attributes[name.CLOSE_OUTCOME] for span in connections),
            closes=Counter(
                {
                    attributes_of(point)[name.CLOSE_OUTCOME]: point.as_int
                    for point in self._last(instance, name.METRIC_CLOSES)
                    if point.as_int
                }
            ),
            durations=sum(
                point.count for point in self._last(instance, name.METRIC_CONNECTION_DURATION)
            ),
            active=self.active(instance),
            subscriptions=sum(
                point.as_int for point in self._last(instance, name.METRIC_SUBSCRIPTIONS_ACTIVE)
            ),
        )

    def active(self, instance: str) -> int:
        """The connections that it said to have open."""
        points = self._last(instance, name.METRIC_ACTIVE_CONNECTIONS)
        return sum(point.as_int for point in points)

    def metrics(self, instance: str) -> dict[str, list[Any]]:
        """The data points of each metric."""
        with self._lock:
            return dict(self._points.get(instance, {}))

    def _last(self, instance: str, metric: str) -> list[Any]:
        with self._lock:
            return list(self._points.get(instance, {}).get(metric, ()))

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            self._take_spans(ExportTraceServiceRequest.FromString(body))
        else:
            self._take_metrics(ExportMetricsServiceRequest.FromString(body))

    def _take_spans(self, request: Any) -> None:
        for resource in request.resource_spans:
            instance = attributes_of(resource.resource)["service.instance.id"]
            spans = [
                Span(
                    instance,
                    span.name,
                    attributes_of(span),
                    each.scope.name,
                    span.span_id,
                    span.parent_span_id,
                )
                for each in resource.scope_spans
                for span in each.spans
            ]
            with self._lock:
                self._spans += spans

    def _take_metrics(self, request: Any) -> None:
        for resource in request.resource_metrics:
            instance = attributes_of(resource.resource)["service.instance.id"]
            metrics = [metric for scope in resource.scope_metrics for metric in scope.metrics]
            with self._lock:
                points = self._points.setdefault(instance, {})
                for metric in metrics:
                    data = getattr(metric, metric.WhichOneof("data"))
                    points[metric.name] = list(data.data_points)


def attributes_of(message: Any) -> dict[str, Any]:
    return {each.key: value_of(each.value) for each in message.attributes}


def value_of(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive while the block runs."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            receiver.take(self.path, decompress(body) if packed else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing of each request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
