"""Honeycomb's distro: its sampler, and its exporter over OTLP to loopback."""

from collections.abc import Iterator

from tests.vendors.arrivals import Arrivals
from tests.vendors.receiver import Receiver
from tests.vendors.stack import W3C, Stack


def environment(endpoint: str) -> dict[str, str]:
    return {"HONEYCOMB_API_KEY": "local", "HONEYCOMB_API_ENDPOINT": endpoint}


def read(receiver: Receiver) -> Arrivals:
    from tests.vendors import otlp  # noqa: PLC0415  # after the recipe

    return otlp.read(receiver)


def check(arrivals: Arrivals) -> Iterator[str]:
    """Its sampler writes the rate on every span."""
    without = [span.name for span in arrivals.spans if span.attributes.get("SampleRate") != 1]
    if without:
        yield f"no SampleRate on {without}"


STACK = Stack(
    section="Honeycomb",
    packages=("honeycomb-opentelemetry", "opentelemetry-api", "opentelemetry-sdk"),
    environment=environment,
    read=read,
    carrier=W3C,
    check=check,
)
