"""The demo's server as a process of its own, with a fresh set of counters each time it starts.

`python -m tests.operations.ticker` listens on DEMO_PORT until SIGTERM. It is scraped on
DEMO_METRICS_PORT, or exports to OTEL_EXPORTER_OTLP_ENDPOINT, whichever is set.
"""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import SpanProcessor
from prometheus_client import start_http_server

from examples.demo.server import HOST, PATH, serving
from examples.demo.telemetry import ENDPOINT_VARIABLE, Telemetry
from examples.operations.ports import Ports, url
from examples.operations.process import Server
from examples.operations.traffic import StoreView

ROOT = Path(__file__).parents[2]
EXPORT_INTERVAL = 1000


def described(name: str, ports: Ports, environment: dict[str, str]) -> Server:
    """Describe it as a server that fixtures can start, under a name of its own."""
    return Server(
        name=name,
        command=(sys.executable, "-m", "tests.operations.ticker"),
        ports={"DEMO_PORT": ports.demo},
        ready=(ports.demo, f"{PATH}?query=%7B__typename%7D"),
        environment={
            "PYTHONPATH": str(ROOT),
            "DEMO_PORT": str(ports.demo),
            "OTEL_RESOURCE_ATTRIBUTES": f"service.instance.id={name}",
            **environment,
        },
    )


def scraped(name: str, ports: Ports) -> Server:
    """Describe one whose metrics Prometheus scrapes."""
    return described(name, ports, {"DEMO_METRICS_PORT": str(ports.demo_metrics)})


def exporting(name: str, ports: Ports) -> Server:
    """Describe one that exports to the Collector."""
    return described(name, ports, {ENDPOINT_VARIABLE: url(ports.collector_otlp)})


def reader(environment: os._Environ[str]) -> MetricReader:
    if ENDPOINT_VARIABLE in environment:
        return PeriodicExportingMetricReader(OTLPMetricExporter(), EXPORT_INTERVAL)
    start_http_server(int(environment["DEMO_METRICS_PORT"]), addr=HOST)
    return PrometheusMetricReader()


async def serve(port: int) -> None:
    """Serve until SIGTERM, then say goodbye to the clients."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with serving(port, StoreView):
        await over.wait()


if __name__ == "__main__":
    logging.disable(logging.ERROR)  # what clients provoke
    telemetry = Telemetry(SpanProcessor(), reader(os.environ))
    asyncio.run(serve(int(os.environ["DEMO_PORT"])))
    telemetry.shut_down()
