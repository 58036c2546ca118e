"""The state of one operation, on whatever transport."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from itertools import islice
from typing import ClassVar, Final

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _limits, _semconv
from strawberry_ws_otel._counts import Results
from strawberry_ws_otel._fuse import Fuses
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._protocol import MessageType
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._spans import NOT_STARTED, SpanRecorder, span_id

MAX_ERROR_EVENTS: Final = 10
"""Events `graphql.error` of one span."""

WAITED: Final = 0.01
"""Seconds after which a message is said to have waited before it was handled.

Only then is a span given a time at which it started: Elastic's bridge and ddtrace's misread it.
"""

SUBSCRIPTION: Final = "subscription"
"""The type of an operation whose results are events."""

_IGNORED: Final = r"(?:[\ufeff\t\n\r ,]|#[^\n\r]*)*+"
"""The ignored tokens of GraphQL, section 2.1.7."""

_LEADING: Final = re.compile(
    rf"{_IGNORED}(?:\{{|(?P<type>query|mutation|subscription)\b{_IGNORED}(?P<name>\w+)?)",
    re.ASCII,
)
"""How a document begins whose first definition is an operation, section 2.3."""

Attributes = Mapping[str, AttributeValue | None]
"""Attributes of a span, event or metric; those without a value are left out."""


class Operation:
    """What one operation is, its events and errors, its span and its metrics."""

    __slots__ = (
        "_attributes",
        "_describe",
        "_error_count",
        "_error_type",
        "_is_ended",
        "_started",
        "_telemetry",
        "config",
        "document",
        "fuses",
        "name",
        "results",
        "span",
        "type",
    )

    first: object = None
    """The message that asked for it, if one did and the host has not accepted it yet."""

    _is_request: ClassVar[bool] = True
    """Whether it is a request even if nobody learns its type."""

    def __init__(  # noqa: PLR0913, PLR0917  # what an operation starts with
        self,
        telemetry: Telemetry,
        fuses: Fuses,
        name: object,
        document: object,
        attributes: Attributes | None = None,
        message_type: MessageType | None = None,
    ) -> None:
        """Begin the operation; its span starts later.

        Args:
            telemetry: where it is recorded.
            fuses: what keeps our failures from the host.
            name: the operation's, as the client gave it: any value.
            document: likewise; None as long as only its hash is known.
            attributes: further ones of the span.
            message_type: as which messages its results are counted, if they are messages.
        """
        self.fuses = fuses
        self.config = telemetry.config
        self.name = name
        self.document = document
        self._telemetry = telemetry
        self._attributes = attributes
        self._started = time.monotonic()
        self.span = NOT_STARTED
        self.type: str | None = None
        self._describe: Callable[[], None] | None = None
        """What learns the type, if it has only been guessed yet."""
        self.results = Results(message_type)
        """The results that it has delivered."""
        self._error_type: str | None = None
        self._error_count = 0
        self._is_ended = False

    def start(self, parentage: Parentage, start_time: int | None = None) -> None:
        """Start the span.

        Args:
            parentage: where it starts.
            start_time: in nanoseconds since the epoch, unless it is now.
        """
        self.span = self._telemetry.spans.start(
            _semconv.SPAN_OPERATION,
            self.fuses.spans,
            context=parentage.context,
            attributes=self._start_attributes,
            links=parentage.links,
            start_time=start_time,
        )

    def _start_attributes(self) -> Attributes:
        name = self.name
        return {
            **(self._attributes or {}),
            _semconv.OPERATION_NAME: _limits.bounded(name, _limits.NAME)
            if isinstance(name, str)
            else None,
            **document_attributes(self.document, captured=self.config.capture_document),
        }

    def document_found(self, document: object) -> None:
        """Note the document that is executed, where the application has looked it up."""
        if document is None or document == self.document:
            return
        self.document = document
        if self.span.recording:
            self.span.set(document_attributes(document, captured=self.config.capture_document))

    def expect(self, operation_type: str, describe: Callable[[], None]) -> None:
        """Take the operation for what its document seems to ask for, until that is parsed.

        Args:
            operation_type: what the document begins with.
            describe: learns the type, at the latest as the operation ends.
        """
        self._describe = describe
        if operation_type == SUBSCRIPTION:
            self._telemetry.metrics.tally.subscribed(self.results)

    def describe(self, operation_type: str, name: str | None) -> None:
        """Note what the document turned out to be."""
        if self._is_ended or self.type is not None:
            return
        self.type, self._describe = operation_type, None
        if self._is_subscription != self.results.subscribed:
            self._telemetry.metrics.tally.subscribed(self.results, really=self._is_subscription)
        if self.span.recording:
            named = name is not None and self.config.name_spans_after_operation
            bounded_name = None if name is None else _limits.bounded(name, _limits.NAME)
            self.span.rename(f"{operation_type} {bounded_name}" if named else operation_type)
            self.span.set(
                {
                    _semconv.OPERATION_TYPE: operation_type,
                    _semconv.OPERATION_NAME: bounded_name,
                    **self._described(operation_type),
                }
            )

    def _learn_type(self) -> None:
        """Learn the type of an operation that had no result, before it ends."""
        describe, self._describe = self._describe, None
        if describe is not None:
            describe()

    def _described(self, _operation_type: str) -> Attributes:
        """Return what else is known once the type is."""
        return {}

    def phase(self, name: str) -> SpanRecorder | None:
        """Start the span of a phase, if phases get spans and anybody looks."""
        if not (self.span.recording and self.config.phase_spans):
            return None
        context = get_current()
        if span_id(context) != self.span.context.span_id:
            context = trace.set_span_in_context(self.span.span, context)
        return self._telemetry.spans.start(
            name, self.fuses.spans, context=context, kind=SpanKind.INTERNAL
        )

    def errors(self, error_type: str, count: int, events: Iterable[Attributes]) -> None:
        """Note the GraphQL errors of a result: the class of the first, how many, and the events."""
        self._record_errors(error_type, count, events)

    def _record_errors(self, error_type: str, count: int, events: Iterable[Attributes]) -> None:
        if self._is_ended:
            return
        self._error_type = self._error_type or error_type
        if self.span.recording:
            for attributes in islice(events, max(0, MAX_ERROR_EVENTS - self._error_count)):
                self.span.event(_semconv.EVENT_GRAPHQL_ERROR, attributes)
        self._error_count += count

    def delivered(self, error_type: str | None) -> None:
        """Count a result that was sent: of a subscription it is an event.

        Args:
            error_type: the class of the first error in it.
        """
        if error_type is None:
            self.results.sound += 1
            return
        self.results.failed += 1
        if self._is_subscription:
            self._telemetry.metrics.tally.event_failed(error_type)

    @property
    def _is_subscription(self) -> bool:
        return self.type == SUBSCRIPTION

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
        if self._is_ended:
            return
        self._learn_type()
        self._is_ended = True
        error_type = self._error_type or error_type
        self._telemetry.metrics.tally.ended(self.results)
        try:
            self._record_end(error_type, description, attributes or {})
        finally:
            self.span.end()

    def _record_end(
        self, error_type: str | None, description: str | None, attributes: Attributes
    ) -> None:
        if not self._is_subscription and (self.type is not None or self._is_request):
            self._measure(
                _semconv.METRIC_REQUEST_DURATION,
                {_semconv.OPERATION_TYPE: self.type, _semconv.ERROR_TYPE: error_type},
            )
        if self.span.recording:
            self.span.set({_semconv.ERROR_COUNT: self._error_count or None, **attributes})
        if error_type is not None:
            self.span.fail(error_type, description)

    def _measure(self, name: str, attributes: Attributes) -> None:
        self._telemetry.metrics.record(
            name, self.duration, attributes, self.fuses.metrics, self.exemplar_context
        )

    @property
    def exemplar_context(self) -> Context:
        """A context in which a measurement leads to the span."""
        return self.span.exemplar_context

    @property
    def duration(self) -> float:
        """Seconds since the operation began."""
        return time.monotonic() - self._started


def document_attributes(query: object, *, captured: bool) -> Attributes:
    """Return the hash of the document and, where configured, the document."""
    if not isinstance(query, str):
        return {}
    digest = sha256(query.encode("utf-8", "surrogatepass")).hexdigest()
    return {
        _semconv.DOCUMENT_HASH: f"sha256:{digest}",
        _semconv.DOCUMENT: _limits.bounded(query, len(query)) if captured else None,
    }


def leading_operation_type(document: object, name: object) -> str | None:
    """Return the type of the operation that a document begins with, if that is the one asked for.

    A look at the first words: whoever parses the document may find that it is none.

    Args:
        document: any value.
        name: of the operation that is asked for; None for the first one.
    """
    leading = _LEADING.match(document) if isinstance(document, str) else None
    if leading is None or (name is not None and name != leading["name"]):
        return None
    return leading["type"] or "query"
