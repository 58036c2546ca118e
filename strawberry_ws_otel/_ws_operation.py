"""The state of one operation over a WebSocket, from its first message to its one end reason."""

import asyncio
import time
from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from enum import StrEnum
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from opentelemetry.context import Context

from strawberry_ws_otel import _limits, _semconv
from strawberry_ws_otel._close import Verdict
from strawberry_ws_otel._current import Placement, placement_of
from strawberry_ws_otel._fuse import Fuses
from strawberry_ws_otel._operation import (
    MAX_ERROR_EVENTS,
    WAITED,
    Attributes,
    Operation,
)
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._protocol import Message, MessageType
from strawberry_ws_otel._recording import Telemetry


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


class _Errors(NamedTuple):
    """The GraphQL errors of a result that has been made and not been sent yet."""

    error_type: str
    number: int
    events: list[Attributes]


_NOTHING: Final = MappingProxyType[str, Any]({})

_MAX_UNSENT: Final = 100
"""Results with errors, of one operation, that may wait to be sent."""


class SocketOperation(Operation):
    """An operation over a WebSocket: it has an id, a connection, and one end reason."""

    __slots__ = (
        "_completed_after",
        "_executions",
        "_first_message",
        "_first_result",
        "_next_told",
        "_received_at",
        "_unsent",
        "client_id",
        "connection_id",
        "end_reason",
        "failure",
        "first",
        "handled_in",
        "id",
        "is_accepted",
        "is_completing",
        "is_done",
        "is_handled",
        "is_running",
        "is_started",
        "payload",
        "placement",
        "unclaimed_key",
    )

    _is_request = False

    def __init__(
        self,
        telemetry: Telemetry,
        fuses: Fuses,
        connection_id: str,
        first: Message,
        message_type: MessageType,
    ) -> None:
        """Begin the operation, as its first message is received.

        Args:
            telemetry: where it is recorded.
            fuses: what keeps our failures from the host.
            connection_id: ours.
            first: the message.
            message_type: as which messages its results are counted.
        """
        id_, payload = first.id, first.payload
        self.id: Hashable = id_
        """The id as it came, a key of the host's; None when nobody asks for it any more."""
        self.connection_id = connection_id
        self.client_id = _limits.bounded(id_, _limits.ID)
        """As it is recorded, and kept."""
        super().__init__(
            telemetry,
            fuses,
            payload.get("operationName"),
            payload.get("query"),
            {_semconv.CONNECTION_ID: connection_id, _semconv.OPERATION_ID: self.client_id},
            message_type,
        )
        self.first: object = first.value
        """Its first message, until the host has accepted the operation."""
        self.payload: Mapping[str, Any] = payload
        """That of its first message, likewise."""
        self.is_started = False
        """Whether its span has started."""
        self.is_handled = False
        """Whether the host's handler is known to have been handed its first message."""
        self.handled_in: asyncio.Task[Any] | None = None
        """The task in which its first message is being handled."""
        self.placement: Placement | None = None
        """What puts its span into a context, once it has started."""
        self.unclaimed_key: int | None = None
        """Under which an execution in another task may find it."""
        self.is_accepted = False
        """Whether the host serves it: its task has begun, or an execution or a result is its."""
        self.is_running = False
        """Whether the host's method that serves it runs."""
        self.is_done = False
        """Whether that method is done."""
        self.end_reason: EndReason | None = None
        self.failure: str | None = None
        """Class of the exception that its task ended with, or could not send a message for."""
        self.is_completing = False
        """Whether the host has sent `complete`, and it is open whether it has failed."""
        self._completed_after: float | None = None
        """Its duration when the host sent `complete`."""
        self._first_message = first.type
        self._received_at = time.time_ns()
        self._executions = 0
        self._unsent: deque[_Errors] | None = None
        """The errors of results that are not sent yet, once there are some."""
        self._next_told = 1
        """Ordinal of the result that is told of next: the first, then those that get an event."""
        self._first_result: float | None = None
        telemetry.metrics.tally.begun(self.results)

    def start_handling(self, parentage: Parentage, application: Context) -> None:
        """Start the span: the host begins to handle the first message.

        Args:
            parentage: where the span starts.
            application: the context of the application.
        """
        received_at = self._received_at if self.duration > WAITED else None
        self.start(parentage, received_at)
        self.span.message(self._first_message, received_at)
        self.placement = placement_of(self.span, application, parentage.carried)

    def accept(self, document: object = None, name: object = None) -> None:
        """Note that the host serves the operation.

        Args:
            document: the document that it serves, where a persisted one was looked up.
            name: the name of the operation in it.
        """
        self.is_accepted = True
        self.first, self.payload = None, _NOTHING
        if document is not None:
            self.document_found(document)
            self.name = name

    @property
    def is_claimed(self) -> bool:
        """Whether an execution of the schema is known to be its."""
        return self._executions > 0

    def claim(self) -> None:
        """Note that an execution is its; an application may try more than once."""
        self._executions += 1
        self.is_accepted = True
        self.first, self.payload = None, _NOTHING

    def _described(self, operation_type: str) -> Attributes:
        if operation_type != "subscription":
            return {}
        return {_semconv.SUBSCRIPTION_ID: f"{self.connection_id}-{self.client_id}"}

    def errors(self, error_type: str, count: int, events: Iterable[Attributes]) -> None:
        """Keep the errors of a result until it is sent: an application may make it in advance."""
        if self._is_ended:
            return
        self.results.until = self.results.sound
        kept = list(islice(events, MAX_ERROR_EVENTS)) if self.span.recording else []
        if self._unsent is None:
            self._unsent = deque(maxlen=_MAX_UNSENT)
        self._unsent.append(_Errors(error_type, count, kept))

    def record_unsent_errors(self) -> None:
        """Record the errors that nobody has sent with a result."""
        while self._unsent:
            self._record_errors(*self._unsent.popleft())

    def result_sent(self, message_type: MessageType, *, failed: bool) -> None:
        """Count a result that went out, and note until when the next ones are only counted.

        Args:
            message_type: that of results.
            failed: whether it has errors.
        """
        self.is_accepted = True
        if failed and self._unsent:
            errors = self._unsent.popleft()
            self._record_errors(*errors)
            self.delivered(errors.error_type)
        else:
            self.delivered(None)
        results = self.results
        if results.all == self._next_told:
            if self._first_result is None:
                self._first_result = self.duration
            self._next_told = self.span.numbered_message(message_type, self._next_told)
        results.until = results.sound if self._unsent else self._next_told - 1 - results.failed

    def complete_sent(self) -> None:
        """Note that the host has sent `complete`, and is about to end what serves it."""
        self.is_completing = True
        self._completed_after = super().duration
        self.stop_counting()

    @property
    def exemplar_context(self) -> Context:
        """A context in which a measurement leads to the span."""
        return self.span.exemplar_context if self.placement is None else self.placement.context

    @property
    def duration(self) -> float:
        """Seconds since the first message, until the last one."""
        return super().duration if self._completed_after is None else self._completed_after

    def stop_counting(self) -> None:
        """Note that it sends nothing any more, whatever its end will turn out to be."""
        self.results.is_over = True

    def forget(self) -> None:
        """Let go of what the client sent, of any length: a forgotten timer keeps the operation.

        For when the operation has ended and nobody sends in its name any more.
        """
        self.id = self.document = self.name = self.placement = None
        self.first, self.payload = None, _NOTHING

    def end(self, reason: EndReason, verdict: Verdict | None = None) -> None:
        """End the operation; only the first call counts, since a `complete` of each side may race.

        Args:
            reason: why it ended.
            verdict: over the close that ended it, for `CONNECTION_CLOSED`.
        """
        if self.end_reason is not None:
            return
        self._learn_type()
        self.end_reason = reason
        if self._executions > 1 and reason is EndReason.COMPLETED:
            # Those of an execution that the application has given up, and tried again.
            self._unsent = None
        self.record_unsent_errors()
        error_type = description = None
        if reason in _FAILURES:
            error_type = self.failure or reason.value
        elif verdict is not None and verdict.abnormal:
            error_type = verdict.outcome.value
            description = f"interrupted by an abnormal close: {verdict.outcome.value}"
        self._measure(
            _semconv.METRIC_OPERATION_DURATION,
            {_semconv.OPERATION_TYPE: self.type, _semconv.END_REASON: reason.value},
        )
        self.finish(
            error_type,
            description,
            {
                _semconv.END_REASON: reason.value,
                _semconv.RESULTS: self.results.all,
                _semconv.TIME_TO_FIRST_RESULT: self._first_result,
                _semconv.CLOSE_OUTCOME: verdict.outcome.value if verdict else None,
                _semconv.CLOSE_CODE: verdict.code if verdict else None,
            },
        )
