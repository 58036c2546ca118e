"""Logfire: its own exporter sends to loopback."""

import json

from tests.vendors.arrivals import Arrivals
from tests.vendors.receiver import Receiver
from tests.vendors.stack import W3C, Stack


def environment(endpoint: str) -> dict[str, str]:
    return {
        "LOGFIRE_TOKEN": "pylf_v1_local_token",
        "LOGFIRE_BASE_URL": endpoint,
        "LOGFIRE_CONSOLE": "false",
    }


def answer(path: str, _body: bytes) -> bytes:
    if path == "/v1/info":
        return json.dumps({"project_name": "prices", "project_url": "http://127.0.0.1"}).encode()
    return b""


def read(receiver: Receiver) -> Arrivals:
    from tests.vendors import otlp  # noqa: PLC0415  # after the recipe

    # A span is announced when it starts.
    ended = [
        span
        for span in otlp.spans(receiver)
        if span.attributes["logfire.span_type"] != "pending_span"
    ]
    return Arrivals(spans=ended, **otlp.read_metrics(receiver))


STACK = Stack(
    section="Logfire",
    packages=("logfire", "opentelemetry-api", "opentelemetry-sdk"),
    environment=environment,
    answer=answer,
    read=read,
    carrier=W3C,
)
