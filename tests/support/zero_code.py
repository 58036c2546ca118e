"""The instrumentor for the length of a test, and what it records as values that compare."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel import _semconv as name
from strawberry_ws_otel.instrumentor import StrawberryWebSocketInstrumentor
from tests.support.telemetry import Telemetry, read

MEASURED = frozenset(
    {name.RECEIVE_IDLE_TIME, name.SEND_IDLE_TIME, name.TIME_TO_FIRST_RESULT, name.DURATION}
)
"""What is up to the clock."""


@contextmanager
def instrumented(
    telemetry: Telemetry, config: OTelConfig | None = None
) -> Iterator[StrawberryWebSocketInstrumentor]:
    """Instrument the process into the providers of a test."""
    instrumentor = StrawberryWebSocketInstrumentor()
    instrumentor.instrument(
        config=config,
        tracer_provider=telemetry.tracer_provider,
        meter_provider=telemetry.meter_provider,
    )
    try:
        yield instrumentor
    finally:
        instrumentor.uninstrument()


class _Ordinals(dict[object, int]):
    """Ids, numbered in the order in which they are seen."""

    def __missing__(self, key: object) -> int:
        self[key] = len(self)
        return self[key]


def account(telemetry: Telemetry) -> dict[str, Any]:
    """All spans and metrics; ids are numbered, and nothing is up to the clock."""
    ids = _Ordinals()

    def masked(attributes: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: _masked(key, value, ids)
            for key, value in attributes.items()
            if key not in MEASURED
        }

    spans = [
        each
        | {
            "id": ids[each["id"]],
            "parent": each["parent"] and ids[each["parent"]],
            "links": [(ids[context], masked(attributes)) for context, attributes in each["links"]],
            "attributes": masked(each["attributes"]),
            "events": [(event, masked(attributes)) for event, attributes in each["events"]],
        }
        for each in telemetry.snapshots()
    ]
    return {"spans": spans, "metrics": read(telemetry.reader)}


def _masked(key: str, value: Any, ids: _Ordinals) -> Any:
    """Take the id of the connection, which is drawn, out of an attribute."""
    if key == name.CONNECTION_ID:
        return ids[value]
    if key == name.SUBSCRIPTION_ID:
        connection, _, operation = value.partition("-")
        return ids[connection], operation
    return value
