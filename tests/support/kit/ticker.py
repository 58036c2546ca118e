"""The demo's server as a process of its own, with a fresh set of counters each time it starts.

`python -m tests.support.kit.ticker` listens on DEMO_PORT until SIGTERM. Its spans go to
OTEL_EXPORTER_OTLP_ENDPOINT, its metrics too, unless they are to be scraped on DEMO_METRICS_PORT.
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
from prometheus_client import start_http_server

from examples.demo.server import HOST, PATH, serving
from examples.demo.telemetry import ENDPOINT_VARIABLE, Telemetry
from examples.operations.ports import Ports, url
from examples.operations.process import Server
from examples.operations.traffic import StoreView

ROOT = Path(__file__).parents[3]
EXPORT_INTERVAL = 1000


def described(name: str, ports: Ports, otlp_port: int, **more: str) -> Server:
    """Describe it as a server that fixtures can start, under a name of its own."""
    return Server(
        name=name,
        command=(sys.executable, "-m", "tests.support.kit.ticker"),
        ports={"DEMO_PORT": ports.demo},
        ready=(ports.demo, f"{PATH}?query=%7B__typename%7D"),
        environment={
            "PYTHONPATH": str(ROOT),
            "DEMO_PORT": str(ports.demo),
            "OTEL_RESOURCE_ATTRIBUTES": f"service.instance.id={name}",
            ENDPOINT_VARIABLE: url(otlp_port),
            "OTEL_BSP_MAX_QUEUE_SIZE": "32768",
            **more,
        },
    )


def scraped(name: str, ports: Ports) -> Server:
    """Describe one whose metrics Prometheus scrapes, and whose spans go straight to Jaeger."""
    return described(name, ports, ports.jaeger_otlp, DEMO_METRICS_PORT=str(ports.demo_metrics))


def exporting(name: str, ports: Ports) -> Server:
    """Describe one that exports both to the Collector."""
    return described(name, ports, ports.collector_otlp)


def reader() -> MetricReader:
    if port := os.environ.get("DEMO_METRICS_PORT"):
        start_http_server(int(port), addr=HOST)
        return PrometheusMetricReader()
    return PeriodicExportingMetricReader(OTLPMetricExporter(), EXPORT_INTERVAL)


async def serve(port: int) -> None:
    """Serve until SIGTERM, then say goodbye to the clients."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with serving(port, StoreView):
        await over.wait()


if __name__ == "__main__":
    logging.disable(logging.ERROR)  # what clients provoke
    telemetry = Telemetry(reader())
    asyncio.run(serve(int(os.environ["DEMO_PORT"])))
    telemetry.shut_down()
