"""The whole kit: five servers around the telemetry of this process."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from examples.demo.telemetry import Telemetry
from examples.operations import searches, servers
from examples.operations.ports import Ports, url
from examples.operations.process import Process, check_port, running

SAMPLING: Final = {"DECISION_WAIT": "2s", "KEPT_CONVERSATIONS": "."}
"""Decide soon, and keep every conversation as a whole: there are few enough here."""

EXPORT_INTERVAL: Final = 1000
"""Milliseconds between two exports, and the life of an exemplar. Prometheus scrapes as often."""

QUEUE: Final = 32_768
"""The size of the queue: a burst of closes ends more spans than the SDK's default of 2048."""


@contextmanager
def kit(
    ports: Ports, folder: Path, say: Callable[[str], object]
) -> Iterator[Mapping[str, Process]]:
    """Run all servers, and report what it waits for; yield the processes by their names.

    `folder` has `prometheus.yml`, the files that it names, and `alertmanager.yml`.

    Raises:
        MissingError: A program is not installed.
        PortError: A port is taken.
        ServerError: A server did not start.

    """
    ui = {"JAEGER_UI_CONFIG": str(searches.write(folder, ports))}
    described = (
        servers.jaeger(ports, environment=ui),
        servers.live(ports),
        servers.collector(ports, environment=SAMPLING),
        servers.prometheus(ports, folder / "prometheus.yml", folder),
        servers.alertmanager(ports, folder / "alertmanager.yml", folder),
    )
    check_port("The price ticker", "DEMO_PORT", ports.demo)
    check_port("The receiver of alerts", "WEBHOOK_PORT", ports.webhook)
    with ExitStack() as stack:
        processes = {}
        for server in described:
            say(f"Waiting for {server.name}, whose log is in {folder}")
            processes[server.name] = stack.enter_context(running(server, folder))
        yield processes


@contextmanager
def telemetry(ports: Ports) -> Iterator[None]:
    """Export the spans and metrics of this process to the Collector, with the SDK's own metrics."""
    os.environ["OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"] = "true"
    endpoint = url(ports.collector_otlp)
    metrics = PeriodicExportingMetricReader(
        OTLPMetricExporter(f"{endpoint}/v1/metrics"),
        export_interval_millis=EXPORT_INTERVAL,
    )
    providers = Telemetry(metrics)
    spans = BatchSpanProcessor(
        OTLPSpanExporter(f"{endpoint}/v1/traces"),
        max_queue_size=QUEUE,
        schedule_delay_millis=EXPORT_INTERVAL,
    )
    providers.add(spans)
    try:
        yield
    finally:
        providers.shut_down()
