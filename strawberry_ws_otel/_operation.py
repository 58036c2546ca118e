"""The state of one operation, from its first message to its one end reason."""

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from enum import StrEnum
from hashlib import sha256
from itertools import islice
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _bounds, _semconv
from strawberry_ws_otel._close import Verdict
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._metrics import Subscription
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._protocol import MessageType
from strawberry_ws_otel._spans import SpanRecorder
from strawberry_ws_otel._telemetry import Telemetry

_MAX_ERROR_EVENTS: Final = 10
"""Events `graphql.error` of one span."""

_KEY: Final = create_key("strawberry_ws_otel.operation")

ErrorAttributes = Mapping[str, AttributeValue | None]
"""The attributes of one `graphql.error` event."""


class EndReason(StrEnum):
    """Why an operation over a WebSocket ended."""

    COMPLETED = "completed"
    """Its source ended."""
    CLIENT_COMPLETED = "client_completed"
    """The client sent `complete` or `stop`, or a legacy `start` with the same id."""
    ERROR = "error"
    """An `error` message was sent."""
    REJECTED = "rejected"
    """The host refused it: limit, not acknowledged, duplicate id."""
    CONNECTION_CLOSED = "connection_closed"
    """It died with its connection."""
    FAILED = "failed"
    """An exception ended its task."""


_FAILURES: Final = frozenset({EndReason.ERROR, EndReason.REJECTED, EndReason.FAILED})


class Operation:
    """One operation on any transport: what it is, its results and errors, its span and metrics."""

    def __init__(
        self,
        telemetry: Telemetry,
        fuse: Fuse,
        parentage: Parentage,
        attributes: Mapping[str, AttributeValue | None],
    ) -> None:
        self.fuse = fuse
        self.config = telemetry.config
        self._telemetry = telemetry
        self._started = time.monotonic()
        self.span = telemetry.spans.start(
            _semconv.SPAN_OPERATION,
            fuse,
            context=parentage.context,
            attributes=attributes,
            links=parentage.links,
        )
        self.context: Context = set_value(
            _KEY, self, trace.set_span_in_context(self.span.span, parentage.context)
        )
        """The context in which the host runs the operation."""
        self.type: str | None = None
        self._claimed = False
        self._error_type: str | None = None
        self._error_count = 0
        self._failed_event: str | None = None
        """Class of the error in the result that is about to be sent."""
        self._subscription: Subscription | None = None
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
        if operation_type == "subscription":
            self._subscription = self._telemetry.metrics.subscribed()
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

    def _described(self, _operation_type: str) -> ErrorAttributes:
        """Return what else is known once the type is."""
        return {}

    def document(self, query: object) -> None:
        """Record the hash of the document and, where configured, the document."""
        if self.span.recording and isinstance(query, str):
            digest = sha256(query.encode("utf-8", "surrogatepass")).hexdigest()
            captured = self.config.capture_document
            self.span.set(
                {
                    _semconv.DOCUMENT_HASH: f"sha256:{digest}",
                    _semconv.DOCUMENT: _bounds.bounded(query, len(query)) if captured else None,
                }
            )

    def phase(self, name: str) -> SpanRecorder | None:
        """Start the span of a phase, if phases get spans and anybody looks."""
        if not (self.span.recording and self.config.phase_spans):
            return None
        return self._telemetry.spans.start(
            name, self.fuse, context=self.context, attributes={}, kind=SpanKind.INTERNAL
        )

    def errors(self, error_type: str, count: int, events: Iterable[ErrorAttributes]) -> None:
        """Note GraphQL errors: the class of the first, how many, and at most 10 as events."""
        if self._ended:
            return
        self._error_type = self._error_type or error_type
        self._failed_event = error_type
        if self.span.recording:
            for attributes in islice(events, max(0, _MAX_ERROR_EVENTS - self._error_count)):
                self.span.event(_semconv.EVENT_GRAPHQL_ERROR, attributes)
        self._error_count += count

    def delivered(self) -> None:
        """Count a result as an event, if this is a subscription."""
        if self._subscription is not None:
            if self._failed_event is None:
                self._subscription.events += 1
            else:
                self._telemetry.metrics.event_failed(self._failed_event)
                self._failed_event = None

    def finish(
        self,
        error_type: str | None = None,
        description: str | None = None,
        attributes: ErrorAttributes | None = None,
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
        metrics = self._telemetry.metrics
        if self._subscription is not None:
            metrics.unsubscribed(self._subscription)
        if self.type in {"query", "mutation"}:
            metrics.request_ended(
                self.duration, self.type, error_type, fuse=self.fuse, context=self.context
            )
        if self.span.recording:
            self.span.set({_semconv.ERROR_COUNT: self._error_count or None, **(attributes or {})})
        if error_type is not None:
            self.span.fail(error_type, description)
        self.span.end()

    @property
    def duration(self) -> float:
        """Seconds since the operation began."""
        return time.monotonic() - self._started


class SocketOperation(Operation):
    """An operation over a WebSocket: it has an id, a connection, and one end reason."""

    def __init__(  # noqa: PLR0913, PLR0917  # what an operation starts with
        self,
        telemetry: Telemetry,
        fuse: Fuse,
        parentage: Parentage,
        connection_id: str,
        id_: Hashable,
        payload: Mapping[str, object],
        abandoned: Callable[["SocketOperation"], None],
    ) -> None:
        self.id = id_
        """The id as it came, a key of the host's."""
        self._abandoned = abandoned
        self._connection_id = connection_id
        self._client_id = _bounds.bounded(id_, _bounds.ID)
        name = payload.get("operationName")
        super().__init__(
            telemetry,
            fuse,
            parentage,
            {
                _semconv.CONNECTION_ID: connection_id,
                _semconv.OPERATION_ID: self._client_id,
                _semconv.OPERATION_NAME: _bounds.bounded(name, _bounds.NAME)
                if isinstance(name, str)
                else None,
            },
        )
        self.replaces = False
        """Whether its id was taken over from an operation whose task may still be sending."""
        self.end_reason: EndReason | None = None
        self.send_error: str | None = None
        """Class of the exception that a message of it could not be sent for."""
        self._results = 0
        self._first_result: float | None = None
        self.document(payload.get("query"))

    def _described(self, operation_type: str) -> ErrorAttributes:
        if operation_type != "subscription":
            return {}
        return {_semconv.SUBSCRIPTION_ID: f"{self._connection_id}-{self._client_id}"}

    def result_sent(self, message_type: MessageType) -> None:
        """Count a result that went out."""
        if self._results == 0:
            self._first_result = self.duration
        self._results += 1
        self.delivered()
        self.span.message(message_type)

    def task_done(self, task: asyncio.Task[object]) -> None:
        """Tell the connection that the task died by itself while the operation was alive.

        The host tells nobody when a legacy operation's task dies. A task that it cancelled is
        another matter: the client stopped the operation, or the connection goes down.
        """
        with self.fuse:
            # The exception stays with the task: to ask for it is to tell asyncio that somebody did.
            if self.end_reason is None and not task.cancelling():
                self._abandoned(self)

    def end(
        self, reason: EndReason, *, verdict: Verdict | None = None, error_type: str | None = None
    ) -> None:
        """End the operation; only the first call counts, since a `complete` of each side may race.

        Args:
            reason: why it ended.
            verdict: over the close that ended it, for `CONNECTION_CLOSED`.
            error_type: class of the exception that ended it, for `FAILED`.
        """
        if self.end_reason is not None:
            return
        self.end_reason = reason
        description = None
        if reason in _FAILURES:
            error_type = error_type or self.send_error or reason.value
        elif verdict is not None and verdict.abnormal:
            error_type = verdict.outcome.value
            description = f"interrupted by an abnormal close: {verdict.outcome.value}"
        self._telemetry.metrics.operation_ended(
            self.duration, self.type, reason.value, fuse=self.fuse, context=self.context
        )
        self.finish(
            error_type,
            description,
            {
                _semconv.END_REASON: reason.value,
                _semconv.RESULTS: self._results,
                _semconv.TIME_TO_FIRST_RESULT: self._first_result,
                _semconv.CLOSE_OUTCOME: verdict.outcome.value if verdict else None,
                _semconv.CLOSE_CODE: verdict.code if verdict else None,
            },
        )


def current_operation() -> Operation | None:
    """Return the operation in whose context the caller runs."""
    operation = get_value(_KEY)
    return operation if isinstance(operation, Operation) else None
