"""A whole application: `python -m examples.quickstart`, then open http://127.0.0.1:8000/graphql.

Spans and metrics are printed, or sent to a collector if OTEL_EXPORTER_OTLP_ENDPOINT names one.
After Ctrl-C it ends when the clients have left, or after twice aiohttp's `shutdown_timeout`.
"""

import asyncio
import os
from collections.abc import AsyncGenerator

import strawberry
from aiohttp import web
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from strawberry.aiohttp.views import GraphQLView

from strawberry_ws_otel import OTelExtension, OTelViewMixin


@strawberry.type
class Query:
    """The queries."""

    @strawberry.field
    def hello(self, name: str = "world") -> str:
        """Greet somebody."""
        return f"Hello, {name}!"


@strawberry.type
class Subscription:
    """The subscriptions."""

    @strawberry.subscription
    async def count(self, to: int = 5) -> AsyncGenerator[int, None]:
        """Count up, two numbers a second."""
        for number in range(1, to + 1):
            yield number
            await asyncio.sleep(0.5)


schema = strawberry.Schema(query=Query, subscription=Subscription, extensions=[OTelExtension])


class View(OTelViewMixin, GraphQLView):
    """Strawberry's view, observed."""


def create_app() -> web.Application:
    """Serve the schema at /graphql, over HTTP and WebSockets."""
    app = web.Application()
    app.router.add_route("*", "/graphql", View(schema=schema))
    return app


def set_up_telemetry() -> None:
    """Set where spans and metrics go; OTEL_SERVICE_NAME names the service."""
    collector = "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter() if collector else ConsoleSpanExporter())
    )
    trace.set_tracer_provider(tracer_provider)
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter() if collector else ConsoleMetricExporter()
    )
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))


if __name__ == "__main__":
    set_up_telemetry()
    web.run_app(create_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
