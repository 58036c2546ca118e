"""Datadog's bridge with `ddtrace.auto`, which instruments what it finds, and metrics over OTLP."""

from dataclasses import replace

from tests.vendors import ddtrace
from tests.vendors.arrivals import Arrivals
from tests.vendors.conversations import OVER_HTTP, QUERY
from tests.vendors.receiver import Receiver


def environment(endpoint: str) -> dict[str, str]:
    return {
        **ddtrace.environment(endpoint),
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{endpoint}/v1/metrics",
    }


def read(receiver: Receiver) -> Arrivals:
    from tests.vendors import otlp  # noqa: PLC0415  # after the recipe

    return Arrivals(spans=list(ddtrace.spans(receiver)), **otlp.read_metrics(receiver))


STACK = replace(
    ddtrace.STACK,
    section="Datadog",
    packages=("ddtrace", "opentelemetry-api", "opentelemetry-sdk"),
    environment=environment,
    read=read,
    # Of its own integration of graphql-core, which knows the documents as resources.
    foreign=frozenset({"graphql.parse", "graphql.validate", QUERY, OVER_HTTP}),
    # Those of its integration are current in resolvers.
    lacks=frozenset({"later links", "resolver's span"}),
)
