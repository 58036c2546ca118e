"""The distro of AWS with Application Signals: everything it exports goes to loopback over OTLP."""

from collections.abc import Iterator

from tests.vendors.arrivals import Arrivals
from tests.vendors.receiver import Receiver
from tests.vendors.stack import SPAN, TRACE, Stack


def environment(endpoint: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_AWS_APPLICATION_SIGNALS_EXPORTER_ENDPOINT": f"{endpoint}/v1/metrics",
        "OTEL_AWS_OTLP_LOGS_ENDPOINT": f"{endpoint}/v1/logs",
        "OTEL_AWS_OTLP_METRICS_ENDPOINT": f"{endpoint}/v1/metrics",
    }


def read(receiver: Receiver) -> Arrivals:
    from tests.vendors import otlp  # noqa: PLC0415  # after the recipe

    return otlp.read(receiver)


def check(arrivals: Arrivals) -> Iterator[str]:
    """A span of the application carries the operation that it belongs to."""
    operations = {span.id: span.name for span in arrivals.spans}
    for span in arrivals.spans:
        if span.name in {"db", "poll"}:
            found = span.attributes.get("aws.local.operation")
            if found != operations.get(span.parent):
                yield f"{span.name} has aws.local.operation {found}"


STACK = Stack(
    section="AWS",
    packages=("aws-opentelemetry-distro", "opentelemetry-api", "opentelemetry-sdk"),
    environment=environment,
    read=read,
    carrier={
        "X-Amzn-Trace-Id": f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=1",
    },
    check=check,
)
