"""Datadog's bridge without `ddtrace.auto`: its writer sends to loopback."""

import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from tests.vendors.arrivals import Arrivals, Span
from tests.vendors.receiver import Receiver
from tests.vendors.stack import W3C, Stack

TRACES = "/v0.5/traces"


def environment(endpoint: str) -> dict[str, str]:
    return {
        "DD_TRACE_AGENT_URL": endpoint,
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_TRACE_STARTUP_LOGS": "false",
    }


def answer(path: str, _body: bytes) -> bytes:
    if path == "/info":
        return json.dumps({"version": "7.70.0", "endpoints": [TRACES]}).encode()
    return b"{}"


def read(receiver: Receiver) -> Arrivals:
    return Arrivals(spans=list(spans(receiver)))


def spans(receiver: Receiver) -> Iterator[Span]:
    # Only this agent speaks it, and only this environment has it.
    unpack = import_module("msgpack").unpackb
    for body in receiver.bodies(TRACES):
        words, traces = unpack(body, strict_map_key=False)
        for trace in traces:
            yield from (_span(words, span) for span in trace)


def _span(words: list[str], span: list[Any]) -> Span:
    """Read a span, in which each text is its place in the list of words."""
    _, _, resource, trace, span_id, parent, start, duration, error, meta, metrics, _ = span
    tags = {words[key]: words[value] for key, value in meta.items()}
    numbers = {words[key]: _number(value) for key, value in metrics.items()}
    events = json.loads(tags.get("events", "[]"))
    times = start, start + duration, *(event["time_unix_nano"] for event in events)
    return Span(
        # Its own name is made of the kind and the protocol; this is that of OpenTelemetry.
        name=words[resource],
        id=f"{span_id:016x}",
        parent=f"{parent:016x}" if parent else "",
        trace=f"{trace:016x}",
        attributes={**tags, **numbers},
        failed=bool(error),
        events=tuple(event["name"] for event in events),
        links=tuple(link["span_id"] for link in json.loads(tags.get("_dd.span_links", "[]"))),
        times=tuple(time / 1e9 for time in times),
    )


def _number(value: float) -> float:
    """Numbers are floats there."""
    return int(value) if value == int(value) else value


STACK = Stack(
    section="Datadog without ddtrace.auto",
    packages=("ddtrace", "opentelemetry-api"),
    environment=environment,
    answer=answer,
    read=read,
    carrier=W3C,
    # Its spans take links when they start, and its tracer comes without metrics.
    lacks=frozenset({"later links", "metrics"}),
)
