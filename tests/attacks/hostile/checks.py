"""The books of a siege: every span and record is checked as it comes, and none is kept."""

import logging
from collections import Counter
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from strawberry_ws_otel import _semconv as name
from tests.attacks.hostile.bounds import unbounded_labels, unbounded_record, unbounded_span
from tests.support.log import is_internal
from tests.support.telemetry import read

COMPLAINTS: Final = 20
"""Complaints that are kept; the rest is counted."""

OPERATIONS: Final = frozenset({"subscription", "query", "mutation", name.SPAN_OPERATION})


class Books(logging.Handler, SpanProcessor):
    """What was started and ended, what was counted and logged, and all that is wrong with it."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: set[int] = set()
        self.spans: Counter[str] = Counter()
        """Those that have ended, without segments before the last one."""
        self.continued = 0
        """Segments before the last one."""
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.records = 0
        self.handshakes = 0
        """Requests that the view takes for the beginning of a connection."""
        self.complaints: Counter[str] = Counter()
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False)
        # Not the default: a client's trace context says of itself that it is not sampled.
        self.tracer_provider = TracerProvider(ALWAYS_ON, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(self)

    def complain(self, wrong: str) -> None:
        if wrong in self.complaints or len(self.complaints) < COMPLAINTS:
            self.complaints[wrong] += 1

    # --- Spans -------------------------------------------------------------------------------

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.alive.add(span.context.span_id)

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is None or context.span_id not in self.alive:
            self.complain(f"{span.name}: ended twice")
            return
        self.alive.remove(context.span_id)
        for wrong in unbounded_span(span):
            self.complain(f"{span.name}: {wrong}")
        if name.SEGMENT_CONTINUED in (span.attributes or {}):
            self.continued += 1
            return
        self.spans[span.name] += 1
        self._judge(span)

    def _judge(self, span: ReadableSpan) -> None:
        attributes = span.attributes or {}
        if span.name == name.SPAN_CONNECTION:
            outcome = str(attributes.get(name.CLOSE_OUTCOME))
            self.outcomes[outcome] += 1
            if outcome == "server_error":
                who = attributes.get(name.USER_AGENT)
                self.complain(f"server_error: {attributes.get(name.ERROR_TYPE)}, by {who}")
        elif span.name in OPERATIONS and name.CONNECTION_ID in attributes:
            self.reasons[str(attributes.get(name.END_REASON))] += 1

    # --- Log ---------------------------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        if is_internal(record):
            self.complain("internal error:\n" + logging.Formatter().format(record))
        for wrong in unbounded_record(record):
            self.complain(f"log: {wrong}")

    # --- The end -----------------------------------------------------------------------------

    def series(self) -> dict[str, int]:
        """How many series each metric has."""
        return {metric: len(points) for metric, points in read(self.reader).items()}

    def close(self) -> None:
        """Complain of whatever does not add up, once every connection is over."""
        super().close()
        metrics = read(self.reader)
        sums = {metric: sum(points.values()) for metric, points in metrics.items()}
        for wrong in unbounded_labels(metrics):
            self.complain(wrong)
        expected = {
            name.METRIC_CLOSES: self.handshakes,
            name.METRIC_CONNECTION_DURATION: self.handshakes,
            name.METRIC_ACTIVE_CONNECTIONS: 0,
            name.METRIC_SUBSCRIPTIONS_ACTIVE: 0,
            name.METRIC_OPERATION_DURATION: self.reasons.total(),
        }
        for metric, count in expected.items():
            if sums.get(metric, 0) != count:
                self.complain(f"{metric} is {sums.get(metric)}, not {count}")
        if self.spans[name.SPAN_CONNECTION] != self.handshakes:
            self.complain(f"{self.spans[name.SPAN_CONNECTION]} spans, not {self.handshakes}")
        if self.alive:
            self.complain(f"{len(self.alive)} spans were never ended")
        if "None" in self.reasons:
            self.complain("an operation without an end reason")
