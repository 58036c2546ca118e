"""Azure Monitor: its samplers, and its exporters, which send to loopback."""

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tests.vendors.arrivals import Arrivals, Points, Span
from tests.vendors.receiver import Receiver
from tests.vendors.stack import W3C, Stack

SPANS = "RequestData", "RemoteDependencyData"


def environment(endpoint: str) -> dict[str, str]:
    key = "00000000-0000-0000-0000-000000000000"
    return {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={key};"
        f"IngestionEndpoint={endpoint}/;LiveEndpoint={endpoint}/",
        # What it reports to its maker goes elsewhere.
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    }


def answer(path: str, body: bytes) -> bytes:
    if not path.endswith("/track"):
        return b"{}"
    received = len(json.loads(body))
    said = {"itemsReceived": received, "itemsAccepted": received, "errors": []}
    return json.dumps(said).encode()


def read(receiver: Receiver) -> Arrivals:
    items = [item for body in receiver.bodies("/v2.1/track") for item in json.loads(body)]
    events: dict[str, list[tuple[str, str]]] = defaultdict(list)
    points = Points()
    for item in items:
        data = item["data"]["baseData"]
        if item["data"]["baseType"] == "MessageData":
            events[item["tags"]["ai.operation.parentId"]].append((data["message"], item["time"]))
        elif item["data"]["baseType"] == "MetricData":
            _add(points, data)
    spans = [_span(item, events) for item in items if item["data"]["baseType"] in SPANS]
    return Arrivals(spans=spans, metrics=points.sums(), instruments=frozenset(points.instruments))


def _span(item: dict[str, Any], events: dict[str, list[tuple[str, str]]]) -> Span:
    data, tags = item["data"]["baseData"], item["tags"]
    properties = data.get("properties", {})
    happened = events.get(data["id"], [])
    began = _seconds(item["time"])
    times = began, began + _duration(data["duration"]), *(_seconds(at) for _, at in happened)
    links = json.loads(properties.get("_MS.links", "[]"))
    return Span(
        name=data["name"],
        id=data["id"],
        parent=tags.get("ai.operation.parentId", ""),
        trace=tags["ai.operation.id"],
        attributes={**properties, "sampleRate": item.get("sampleRate")},
        failed=not data["success"],
        events=tuple(event for event, _ in happened),
        links=tuple(link["id"] for link in links),
        times=times,
    )


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


def _duration(said: str) -> float:
    """Read days, and hours, minutes and seconds."""
    days, clock = said.split(".", 1)
    hours, minutes, seconds = clock.split(":")
    return ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(seconds)


def _add(points: Points, data: dict[str, Any]) -> None:
    for point in data["metrics"]:
        value = point["count"] if "duration" in point["name"] else point["value"]
        # Its exporter asks for changes of counters, and for totals of gauges.
        is_total = "active" in point["name"]
        points.add(point["name"], data.get("properties", {}), value, total=is_total)


def check(arrivals: Arrivals) -> Iterator[str]:
    """Its sampler writes the rate on every span."""
    without = [span.name for span in arrivals.spans if span.attributes["sampleRate"] != 100]
    if without:
        yield f"no sample rate on {without}"


STACK = Stack(
    section="Azure Monitor",
    packages=("azure-monitor-opentelemetry-exporter", "opentelemetry-api", "opentelemetry-sdk"),
    environment=environment,
    answer=answer,
    read=read,
    carrier=W3C,
    lacks=frozenset({"exemplars"}),
    check=check,
)
