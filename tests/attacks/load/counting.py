"""An exporter that counts, and keeps no span."""

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from strawberry_ws_otel import _semconv as name
from tests.support.assertions import OPERATIONS
from tests.support.telemetry import attributes_of


class CountingExporter(SpanExporter):
    """Counts what the spans of connections, inits and operations say."""

    def __init__(self) -> None:
        self.ids = array("Q")
        """The id of the connection of each connection span, in eight bytes each."""
        self._inits = 0
        self._outcomes: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            attributes = attributes_of(span)
            if span.name == name.SPAN_CONNECTION:
                self._count_connection(attributes)
            elif span.name == name.SPAN_CONNECTION_INIT:
                self._inits += 1
            elif span.name in OPERATIONS:
                self._ends[attributes[name.END_REASON]] += 1
                self._sums["results"] += attributes[name.RESULTS]
        return SpanExportResult.SUCCESS

    def _count_connection(self, attributes: dict[str, Any]) -> None:
        self.ids.append(int(attributes[name.CONNECTION_ID], 16))
        self._outcomes[attributes[name.CLOSE_OUTCOME]] += 1
        self._sums["received"] += attributes[name.MESSAGES_RECEIVED]
        self._sums["sent"] += attributes[name.MESSAGES_SENT]
        self._sums["operations"] += attributes[name.OPERATION_COUNT]

    def summary(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "connections": len(self.ids),
            "distinct": len(set(self.ids)),
            "inits": self._inits,
            "outcomes": self._outcomes,
            "ends": self._ends,
            **self._sums,
        }
