"""The SDK of one process: made in the serving process, and shut down at its end."""

import os
import socket

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def resource_of_process() -> Resource:
    """Name the host and this process, unless the environment does."""
    host = socket.gethostname()
    own = Resource.create({"host.name": host, "service.instance.id": f"{host}-{os.getpid()}"})
    # What is given to `create` wins over OTEL_RESOURCE_ATTRIBUTES.
    return own.merge(OTELResourceDetector().detect())


class Telemetry:
    """The providers of this process, set as the global ones; the environment names the endpoint."""

    def __init__(self) -> None:
        """Start the SDK's threads. They do not survive a fork: make this object after it."""
        resource = resource_of_process()
        # First the metrics: a queue of spans reports its capacity once, when it is made.
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        self._metrics = MeterProvider([reader], resource=resource)
        metrics.set_meter_provider(self._metrics)
        self._spans = TracerProvider(resource=resource)
        self._spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(self._spans)

    def shut_down(self) -> None:
        """Export what is left, once every connection has ended."""
        self._spans.shutdown()
        self._metrics.shutdown()
