"""Grafana: the SDK's own exporter over OTLP, to where Alloy or Grafana Cloud would be."""

from tests.vendors.arrivals import Arrivals
from tests.vendors.receiver import Receiver
from tests.vendors.stack import W3C, Stack


def environment(endpoint: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}


def read(receiver: Receiver) -> Arrivals:
    from tests.vendors import otlp  # noqa: PLC0415  # after the recipe

    return otlp.read(receiver)


STACK = Stack(
    section="Grafana",
    packages=("opentelemetry-exporter-otlp-proto-http", "opentelemetry-api", "opentelemetry-sdk"),
    environment=environment,
    read=read,
    carrier=W3C,
)
