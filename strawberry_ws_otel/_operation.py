"""The state of one operation, on whatever transport."""

import time
from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import islice
from typing import ClassVar, Final

from opentelemetry import trace
from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _bounds, _semconv
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._protocol import MessageType
from strawberry_ws_otel._spans import SpanRecorder
from strawberry_ws_otel._tally import Results
from strawberry_ws_otel._telemetry import Telemetry

_MAX_ERROR_EVENTS: Final = 10
"""Events `graphql.error` of one span."""

_KEY: Final = create_key("strawberry_ws_otel.operation")

_SUBSCRIPTION: Final = "subscription"

Attributes = Mapping[str, AttributeValue | None]
"""Attributes of a span, event or metric; those without a value are left out."""


class Operation:
    """What one operation is, its events and errors, its span and its metrics."""

    __slots__ = (
        "_claimed",
        "_ended",
        "_error_count",
        "_error_type",
        "_failed_event",
        "_started",
        "_telemetry",
        "config",
        "context",
        "fuse",
        "results",
        "span",
        "type",
    )

    _is_request: ClassVar[bool] = True
    """Whether it is a request even if nobody learns its type."""

    def __init__(  # noqa: PLR0913, PLR0917  # what an operation starts with
        self,
        telemetry: Telemetry,
        fuse: Fuse,
        parentage: Parentage,
        name: object,
        query: object,
        attributes: Attributes | None = None,
        message_type: MessageType | None = None,
    ) -> None:
        """Start the operation.

        Args:
            telemetry: where it is recorded.
            fuse: what keeps our failures from the host.
            parentage: where its span starts.
            name: the operation's, as the client gave it: any value.
            query: the document likewise.
            attributes: further ones of the span.
            message_type: as which messages its results are counted, if they are messages.
        """
        self.fuse = fuse
        self.config = telemetry.config
        self._telemetry = telemetry
        self._started = time.monotonic()
        self.span = telemetry.spans.start(
            _semconv.SPAN_OPERATION,
            fuse,
            context=parentage.context,
            attributes=lambda: {
                **(attributes or {}),
                _semconv.OPERATION_NAME: _bounds.bounded(name, _bounds.NAME)
                if isinstance(name, str)
                else None,
                **_document(query, captured=telemetry.config.capture_document),
            },
            links=parentage.links,
        )
        self.context: Context = set_value(
            _KEY, self, trace.set_span_in_context(self.span.span, parentage.context)
        )
        """The context in which the host runs the operation."""
        self.type: str | None = None
        self.results = Results(message_type)
        """The results that it has delivered."""
        self._claimed = False
        self._error_type: str | None = None
        self._error_count = 0
        self._failed_event: str | None = None
        """Class of the error in the result that is about to be sent."""
        self._ended = False

    def claim(self) -> bool:
        """Whether the caller is the first to ask: an operation belongs to one execution only."""
        claimed, self._claimed = self._claimed, True
        return not claimed

    @property
    def claimed(self) -> bool:
        """Whether an execution has claimed the operation."""
        return self._claimed

    def describe(self, operation_type: str, name: str | None) -> None:
        """Note what the document turned out to be."""
        if self._ended or self.type is not None:
            return
        self.type = operation_type
        if self._is_subscription:
            self._telemetry.metrics.tally.subscribed(self.results)
        if self.span.recording:
            named = name is not None and self.config.name_spans_after_operation
            bounded_name = None if name is None else _bounds.bounded(name, _bounds.NAME)
            self.span.rename(f"{operation_type} {bounded_name}" if named else operation_type)
            self.span.set(
                {
                    _semconv.OPERATION_TYPE: operation_type,
                    _semconv.OPERATION_NAME: bounded_name,
                    **self._described(operation_type),
                }
            )

    def _described(self, _operation_type: str) -> Attributes:
        """Return what else is known once the type is."""
        return {}

    def phase(self, name: str) -> SpanRecorder | None:
        """Start the span of a phase, if phases get spans and anybody looks."""
        if not (self.span.recording and self.config.phase_spans):
            return None
        return self._telemetry.spans.start(
            name, self.fuse, context=self.context, kind=SpanKind.INTERNAL
        )

    def errors(self, error_type: str, count: int, events: Iterable[Attributes]) -> None:
        """Note GraphQL errors: the class of the first, how many, and at most 10 as events."""
        if self._ended:
            return
        self._error_type = self._error_type or error_type
        self._failed_event = error_type
        self.results.until = self.results.sound
        if self.span.recording:
            for attributes in islice(events, max(0, _MAX_ERROR_EVENTS - self._error_count)):
                self.span.event(_semconv.EVENT_GRAPHQL_ERROR, attributes)
        self._error_count += count

    def delivered(self) -> None:
        """Count a result that was sent: of a subscription it is an event."""
        if self._failed_event is None:
            self.results.sound += 1
            return
        error_type, self._failed_event = self._failed_event, None
        self.results.failed += 1
        if self._is_subscription:
            self._telemetry.metrics.tally.event_failed(error_type)

    @property
    def _is_subscription(self) -> bool:
        return self.type == _SUBSCRIPTION

    def finish(
        self,
        error_type: str | None = None,
        description: str | None = None,
        attributes: Attributes | None = None,
    ) -> None:
        """End the span and record the duration; only the first call counts.

        Args:
            error_type: why it failed, unless GraphQL errors say so already.
            description: of the ERROR status.
            attributes: further ones of the span.
        """
        if self._ended:
            return
        self._ended = True
        error_type = self._error_type or error_type
        self._telemetry.metrics.tally.ended(self.results)
        if not self._is_subscription and (self.type is not None or self._is_request):
            self._measure(
                _semconv.METRIC_REQUEST_DURATION,
                {_semconv.OPERATION_TYPE: self.type, _semconv.ERROR_TYPE: error_type},
            )
        if self.span.recording:
            self.span.set({_semconv.ERROR_COUNT: self._error_count or None, **(attributes or {})})
        if error_type is not None:
            self.span.fail(error_type, description)
        self.span.end()
        # It holds the operation: nothing is to wait for the garbage collector because of us.
        self.context = Context()

    def _measure(self, name: str, attributes: Attributes) -> None:
        self._telemetry.metrics.record(name, self.duration, attributes, self.fuse, self.context)

    @property
    def duration(self) -> float:
        """Seconds since the operation began."""
        return time.monotonic() - self._started


def _document(query: object, *, captured: bool) -> Attributes:
    """Return the hash of the document and, where configured, the document."""
    if not isinstance(query, str):
        return {}
    digest = sha256(query.encode("utf-8", "surrogatepass")).hexdigest()
    return {
        _semconv.DOCUMENT_HASH: f"sha256:{digest}",
        _semconv.DOCUMENT: _bounds.bounded(query, len(query)) if captured else None,
    }


def current_operation(context: Context | None = None) -> Operation | None:
    """Return the operation in whose context the caller runs, or that of `context`."""
    operation = get_value(_KEY, context)
    return operation if isinstance(operation, Operation) else None
