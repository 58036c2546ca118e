"""Sentry's span processor and propagator: its transport sends to loopback."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tests.vendors.arrivals import Arrivals, Span
from tests.vendors.receiver import Receiver
from tests.vendors.stack import SPAN, TRACE, Stack


def environment(endpoint: str) -> dict[str, str]:
    return {"SENTRY_DSN": f"{endpoint.replace('://', '://key@')}/1"}


def read(receiver: Receiver) -> Arrivals:
    return Arrivals(spans=[span for event in _transactions(receiver) for span in _spans(event)])


def _transactions(receiver: Receiver) -> Iterator[dict[str, Any]]:
    """The transactions among the items of the envelopes, one line of JSON each."""
    for body in receiver.bodies("/api/1/envelope/"):
        for line in body.splitlines():
            item = json.loads(line)
            if item.get("type") == "transaction" and "spans" in item:
                yield item


def _spans(event: dict[str, Any]) -> Iterator[Span]:
    contexts = event["contexts"]
    attributes = contexts["otel"].get("attributes", {})
    yield _span(event["transaction"], {**event, **contexts["trace"]}, attributes)
    for span in event["spans"]:
        yield _span(span["description"], span, span.get("data", {}))


def _span(name: str, span: dict[str, Any], attributes: dict[str, Any]) -> Span:
    return Span(
        name=name,
        id=span["span_id"],
        parent=span.get("parent_span_id") or "",
        trace=span["trace_id"],
        attributes=attributes,
        failed=span.get("status", "ok") != "ok",
        times=(_seconds(span["start_timestamp"]), _seconds(span["timestamp"])),
    )


def _seconds(timestamp: float | str) -> float:
    if isinstance(timestamp, str):
        return datetime.fromisoformat(timestamp).timestamp()
    return timestamp


STACK = Stack(
    section="Sentry",
    packages=("sentry-sdk", "opentelemetry-api", "opentelemetry-sdk"),
    environment=environment,
    read=read,
    carrier={"sentry-trace": f"{TRACE}-{SPAN}-1"},
    # Its span processor has no place for them.
    lacks=frozenset({"events", "links", "metrics"}),
)
