"""Elastic APM's bridge: its transport sends to loopback."""

import json
from typing import Any

from tests.vendors.arrivals import Arrivals, Span
from tests.vendors.receiver import Receiver
from tests.vendors.stack import W3C, Stack


def environment(endpoint: str) -> dict[str, str]:
    return {
        "ELASTIC_APM_SERVER_URL": endpoint,
        "ELASTIC_APM_CENTRAL_CONFIG": "false",
        "ELASTIC_APM_CLOUD_PROVIDER": "none",
        "ELASTIC_APM_METRICS_INTERVAL": "0s",
    }


def answer(path: str, _body: bytes) -> bytes:
    return json.dumps({"version": "8.18.0"}).encode() if path == "/" else b""


def read(receiver: Receiver) -> Arrivals:
    lines = [
        json.loads(line)
        for body in receiver.bodies("/intake/v2/events")
        for line in body.splitlines()
    ]
    return Arrivals(
        spans=[
            _span(line[kind]) for line in lines for kind in ("transaction", "span") if kind in line
        ]
    )


def _span(span: dict[str, Any]) -> Span:
    began = span["timestamp"] / 1e6
    return Span(
        name=span["name"],
        id=span["id"],
        parent=span.get("parent_id", ""),
        trace=span["trace_id"],
        attributes=span.get("otel", {}).get("attributes", {}),
        failed=span.get("outcome") == "failure",
        times=(began, began + span["duration"] / 1e3),
        links=tuple(link["span_id"] for link in span.get("links", ())),
    )


STACK = Stack(
    section="Elastic APM",
    packages=("elastic-apm", "opentelemetry-api", "opentelemetry-sdk"),
    environment=environment,
    answer=answer,
    read=read,
    carrier=W3C,
    foreign=frozenset({"GET /graphql", "POST /graphql"}),
    lacks=frozenset({"events", "later links", "metrics", "parents", "remote parents"}),
    refused=("add_event", "add_link"),
)
