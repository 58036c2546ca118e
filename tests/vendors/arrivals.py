"""What arrived at the vendor's end, in one form for all vendors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span as the vendor stores it: hexadecimal ids, attributes as the vendor has them."""

    name: str
    id: str
    parent: str
    """The id of the parent; empty without one."""
    trace: str
    attributes: Mapping[str, Any]
    failed: bool
    events: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    """The ids of the spans that it links to."""
    times: tuple[float, ...]
    """When it began and ended, and when its events were: in seconds since the epoch."""


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """All that arrived in one run."""

    spans: list[Span]
    metrics: dict[str, dict[str, float]] | None = None
    """The metrics of `LABELS`, summed up by one of their attributes; None where the vendor reads
    none."""
    exemplars: frozenset[str] = frozenset()
    """The ids of the spans that the exemplars of durations lead to."""
    instruments: frozenset[str] = frozenset()
    """The names of the library's metrics."""


LABELS: Final = {
    "websocket.server.active_connections": "websocket.subprotocol",
    "websocket.server.closes": "websocket.close.outcome",
    "websocket.server.messages": "graphql.ws.message.type",
    "graphql.ws.operation.duration": "graphql.ws.operation.end_reason",
}
"""The metrics that are looked at, and the attribute that they are summed up by."""


DURATIONS: Final = frozenset(
    {"websocket.server.connection.duration", "graphql.ws.operation.duration"}
)
"""The histograms whose exemplars are looked at."""


class Points:
    """The data points of the metrics that are looked at."""

    def __init__(self) -> None:
        self.instruments: set[str] = set()
        self._points: dict[str, dict[frozenset[tuple[str, str]], float]] = {}

    def add(
        self, name: str, attributes: Mapping[str, Any], value: float, *, total: bool = False
    ) -> None:
        """Take in a change since the last export, or a total, of which the last one counts."""
        if name.startswith(("websocket.server.", "graphql.")):
            self.instruments.add(name)
        if name in LABELS:
            points = self._points.setdefault(name, {})
            key = frozenset((key, str(each)) for key, each in attributes.items())
            points[key] = value if total else points.get(key, 0) + value

    def sums(self) -> dict[str, dict[str, float]]:
        return {name: self._sums(name) for name in self._points}

    def _sums(self, name: str) -> dict[str, float]:
        sums: dict[str, float] = {}
        for key, value in self._points[name].items():
            label = dict(key)[LABELS[name]]
            sums[label] = sums.get(label, 0) + value
        return sums
