"""Sets up the SDK: spans and metrics stay in memory, and go to a collector if there is one."""

import os
import socket
from collections.abc import Sequence
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import HOST_NAME, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

SERVICE: Final = "price-ticker"
VERSION: Final = "1.0"
ENDPOINT_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
EXPORT_TIMEOUT: Final = 3
"""Seconds that a collector has for one batch: the demo ends even if it does not answer."""


class Collector(SpanExporter):
    """An OTLP exporter that counts what it delivered."""

    def __init__(self, endpoint: str) -> None:
        """Export to the endpoint, which the OTLP exporter reads from the environment itself."""
        self.endpoint = endpoint
        self.delivered = 0
        self.lost = 0
        self._exporter: SpanExporter = OTLPSpanExporter(timeout=EXPORT_TIMEOUT)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Pass the spans on, and count them."""
        try:
            result = self._exporter.export(spans)
        except OSError:
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self.delivered += len(spans)
        else:
            self.lost += len(spans)
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()


def resource_of_demo() -> Resource:
    """Name the version and the host, unless the environment does, and the service always."""
    own = Resource({SERVICE_VERSION: VERSION, HOST_NAME: socket.gethostname()})
    # What is given to `create` wins over the environment: the demo prints how to search for it.
    return own.merge(Resource.create({SERVICE_NAME: SERVICE}))


class Telemetry:
    """The providers of this process, set as the global ones, as an application does."""

    def __init__(self, reader: MetricReader) -> None:
        """Send every metric to the reader, and every span to a collector if there is one."""
        resource = resource_of_demo()
        # First the metrics: a queue of spans reports its capacity once, when it is made.
        self._meters = MeterProvider(metric_readers=[reader], resource=resource)
        metrics.set_meter_provider(self._meters)
        self._tracers = TracerProvider(sampler=ALWAYS_ON, resource=resource)
        self.collector: Collector | None = None
        if endpoint := os.environ.get(ENDPOINT_VARIABLE):
            self.collector = Collector(endpoint)
            self._tracers.add_span_processor(BatchSpanProcessor(self.collector))
        trace.set_tracer_provider(self._tracers)

    def add(self, processor: SpanProcessor) -> None:
        """Send every span to a processor also."""
        self._tracers.add_span_processor(processor)

    def shut_down(self) -> None:
        """Export what is left; afterwards nothing is recorded."""
        self._tracers.shutdown()
        self._meters.shutdown()
