"""One operation on any transport, and the state machine of one over a WebSocket.

Rules:

1. `TRANSITIONS` decides how an operation over a WebSocket ends. For each event and state it gives
   the next state and, if the operation ends, its end reason. No flag decides anything.
2. `_ON_EXIT`, `_ON_EVENT` and `_ON_ENTRY` say what is recorded as a state is left, because of an
   event, and as a state is entered. `SocketOperation.fire` runs them in this order.
3. Every pair of event and state has a meaning. `IGNORED` lists the pairs that change nothing, and
   says why.
4. A `complete` of the host's method is not final (`State.COMPLETING`): the operation completed if
   the method then returns, and failed if it raises.
5. The table knows one operation. `_operations` finds out which operation an event is about.

A new end reason is a member of `EndReason`, and of `_FAILURES` if the span is to fail. The rows of
`TRANSITIONS` that lead to it name it.

Four parties act on their own, and the table is about their races: the client sends messages, the
host handles them (perhaps much later), the task that the host started serves the operation, and the
connection closes. These sources are cited:

* "transport-ws": PROTOCOL.md of graphql-ws, for the subprotocol `graphql-transport-ws`.
* "legacy": PROTOCOL.md of subscriptions-transport-ws, for the subprotocol `graphql-ws`.
* "Strawberry": its two handlers, as seen in 0.341.2 and 0.319 unless one version is named.
"""

import asyncio
import math
import re
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from enum import IntEnum, StrEnum, auto
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _limits, _semconv
from strawberry_ws_otel._attributes import Value
from strawberry_ws_otel._close import Verdict
from strawberry_ws_otel._counts import Results, SendWaits
from strawberry_ws_otel._current import Placement, application_context, placement_of
from strawberry_ws_otel._fuse import Fuses
from strawberry_ws_otel._propagation import ConnectionTrace, Parentage
from strawberry_ws_otel._protocol import NO_PAYLOAD, Message, MessageType
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._segments import Segments, Turn, take_turns
from strawberry_ws_otel._spans import NOT_STARTED, LinkTo, SpanRecorder, span_id

# --- States, events and transitions ------------------------------------------------------------


class EndReason(StrEnum):
    """Why an operation over a WebSocket ended."""

    COMPLETED = "completed"  # its source ended
    CLIENT_COMPLETED = "client_completed"  # `complete`, `stop`, or a legacy `start` with its id
    ERROR = "error"  # an `error` message was sent
    REJECTED = "rejected"  # the host refused it: limit, not acknowledged, duplicate id
    CONNECTION_CLOSED = "connection_closed"  # the connection closed before it ended
    FAILED = "failed"  # an exception ended its task, or the application cancelled it


_FAILURES: Final = frozenset({EndReason.ERROR, EndReason.REJECTED, EndReason.FAILED})
"""The reasons that give the span the status ERROR. `CONNECTION_CLOSED` does so if the close is
abnormal, and every reason does if a result has GraphQL errors."""


class State(IntEnum):
    """What is known of an operation.

    The order matters: nothing serves an operation before `SERVED`, and it has ended from
    `WINDING_DOWN` on. Integers, because those are hashed and compared without a call. "The method"
    is the host's that serves an operation: `run_operation`, or the legacy `handle_async_results`.
    """

    RECEIVED = auto()  # its first message was received; its span has not started
    HANDLED = auto()  # the host handles that message, and may refuse the operation
    SERVED = auto()  # it was executed, or a result was sent, without the method
    RUNNING = auto()  # the method runs
    COMPLETING = auto()  # the method has sent `complete`; how it ends decides the end reason
    RETURNED = auto()  # the method ended without a last message; another task may still send one
    CANCELLED = auto()  # the method was cancelled; whether with its connection is not known yet
    WINDING_DOWN = auto()  # it has ended; the method still runs, and may send with its id
    ENDED = auto()  # it has ended; it may still be handled, or served by code that is not observed
    GONE = auto()  # it has ended, and is forgotten; what its task still sends is no operation's


class Event(IntEnum):
    """What happens to an operation."""

    HANDLE = auto()  # the host begins to handle its first message
    RUN = auto()  # the method begins
    EXECUTE = auto()  # an execution of the schema is found to be its own
    RESULT_SENT = auto()
    ERROR_SENT = auto()
    COMPLETE_SENT = auto()
    STOP = auto()  # the client sends `complete` or `stop`
    RESTART = auto()  # the client sends a legacy `start` with its id
    REUSE = auto()  # the client sends a `subscribe` with its id
    REFUSE = auto()  # the connection closes because of it: 4401, 4409, or as its id is in use
    RETURN = auto()  # the method returns
    RAISE = auto()  # the method raises an exception
    RAISE_CLOSING = auto()  # the same while the connection closes
    CANCEL = auto()  # the method is cancelled
    CANCEL_CLOSING = auto()  # the same while the connection closes
    GO_ON = auto()  # the connection's handler goes on: it was not cancelled with the method
    CLOSE = auto()  # the connection has closed


class Row(NamedTuple):
    """The next state, and why the operation ends, unless it goes on or has ended before."""

    state: State
    reason: EndReason | None = None


_STOPPED: Final = {
    State.RECEIVED: Row(State.ENDED, EndReason.CLIENT_COMPLETED),
    State.HANDLED: Row(State.GONE, EndReason.CLIENT_COMPLETED),
    State.SERVED: Row(State.ENDED, EndReason.CLIENT_COMPLETED),
    State.RUNNING: Row(State.WINDING_DOWN, EndReason.CLIENT_COMPLETED),
    State.RETURNED: Row(State.GONE, EndReason.CLIENT_COMPLETED),
}
"""What becomes of an operation that the client ends."""

TRANSITIONS: Final[Mapping[Event, Mapping[State, Row]]] = {
    # Strawberry: `handle_message` awaits `handle_subscribe` or `handle_start`, which looks for the
    # ack, the id and the limit, and creates the task that serves the operation.
    Event.HANDLE: {State.RECEIVED: Row(State.HANDLED)},
    # Strawberry: the task runs `run_operation` (transport-ws) or `handle_async_results` (legacy).
    Event.RUN: {
        State.RECEIVED: Row(State.RUNNING),
        State.HANDLED: Row(State.RUNNING),
        State.SERVED: Row(State.RUNNING),
        State.RETURNED: Row(State.RUNNING),
        State.CANCELLED: Row(State.RUNNING),
        # An application that reads ahead may get the client's `complete` before the host handles
        # the first message.
        State.ENDED: Row(State.WINDING_DOWN),
    },
    # The host executes in its method (Strawberry: `Schema.stream`, legacy `Schema.subscribe`). Only
    # an application's own handler executes before that method runs, or without it.
    Event.EXECUTE: {State.RECEIVED: Row(State.SERVED), State.HANDLED: Row(State.SERVED)},
    # transport-ws, "Next"; legacy, "GQL_DATA". An application may send from its own task, also when
    # the host's method is done.
    Event.RESULT_SENT: {
        State.RECEIVED: Row(State.SERVED),
        State.HANDLED: Row(State.SERVED),
        State.SERVED: Row(State.SERVED),
        State.RUNNING: Row(State.RUNNING),
        State.RETURNED: Row(State.RETURNED),
        State.CANCELLED: Row(State.CANCELLED),
    },
    # transport-ws, "Error"; legacy, "GQL_ERROR". Before anything serves the operation, the error is
    # that of a limit: `max_subscriptions_per_connection` (Strawberry: `handle_subscribe`,
    # `handle_start`). The host's method still runs after it has sent an `error`.
    Event.ERROR_SENT: {
        State.RECEIVED: Row(State.ENDED, EndReason.REJECTED),
        State.HANDLED: Row(State.GONE, EndReason.REJECTED),
        State.SERVED: Row(State.ENDED, EndReason.ERROR),
        State.RUNNING: Row(State.WINDING_DOWN, EndReason.ERROR),
        State.RETURNED: Row(State.GONE, EndReason.ERROR),
        State.CANCELLED: Row(State.GONE, EndReason.ERROR),
    },
    # transport-ws, "Complete"; legacy, "GQL_COMPLETE". While the host's method runs, a `complete`
    # does not say that the operation completed. The method also sends one before it raises
    # (Strawberry: `run_operation`) and when it is cancelled (`handle_async_results`).
    Event.COMPLETE_SENT: {
        State.RECEIVED: Row(State.ENDED, EndReason.COMPLETED),
        State.HANDLED: Row(State.GONE, EndReason.COMPLETED),
        State.SERVED: Row(State.ENDED, EndReason.COMPLETED),
        State.RUNNING: Row(State.COMPLETING),
        State.RETURNED: Row(State.GONE, EndReason.COMPLETED),
        State.CANCELLED: Row(State.GONE, EndReason.COMPLETED),
    },
    # transport-ws, "Complete" of the client; legacy, "GQL_STOP". The host cancels the task and does
    # not wait for it (Strawberry: `cleanup_operation`, transport-ws), so it may go on sending.
    Event.STOP: _STOPPED,
    # legacy, "GQL_START", does not mention ids that are in use. The host ends the old operation
    # (Strawberry: `handle_start` calls `cleanup_operation`) and gives its id to the new one.
    Event.RESTART: {**_STOPPED, State.COMPLETING: Row(State.COMPLETING)},
    # transport-ws, "Subscribe": an id in use is refused with 4409. The host frees the id before it
    # sends `complete` (Strawberry: `forget_id`): a new operation gets it while the old task ends.
    Event.REUSE: {State.COMPLETING: Row(State.COMPLETING)},
    # transport-ws, "Subscribe": 4401 before the ack, 4409 for an id in use (Strawberry:
    # `handle_subscribe`; 4401 also from the legacy `handle_start`).
    Event.REFUSE: {
        State.RECEIVED: Row(State.ENDED, EndReason.REJECTED),
        State.HANDLED: Row(State.GONE, EndReason.REJECTED),
    },
    # A method that returns without a last message leaves that to another task of the application,
    # or has closed the connection (Strawberry: 4400 for a syntax error).
    Event.RETURN: {
        State.RUNNING: Row(State.RETURNED),
        State.COMPLETING: Row(State.GONE, EndReason.COMPLETED),
        State.WINDING_DOWN: Row(State.GONE),
    },
    # Strawberry: `run_operation` sends `complete` and raises. `handle_async_results` raises in a
    # task that is not awaited.
    Event.RAISE: {
        State.RUNNING: Row(State.GONE, EndReason.FAILED),
        State.COMPLETING: Row(State.GONE, EndReason.FAILED),
        State.WINDING_DOWN: Row(State.GONE),
    },
    # While a connection closes, sends fail and sources are closed (aiohttp 3.14.5: `send_str`
    # raises ClientConnectionResetError). An exception then does not say that the operation failed.
    Event.RAISE_CLOSING: {
        State.RUNNING: Row(State.RETURNED),
        State.COMPLETING: Row(State.GONE, EndReason.COMPLETED),
        State.WINDING_DOWN: Row(State.GONE),
    },
    # Either the application cancels one task, or aiohttp cancels the connection's handler, which
    # cancels all tasks (Strawberry: `shutdown`, legacy `cleanup`) before the connection is known to
    # close. `GO_ON` or `CLOSE` shows which. The legacy method swallows the cancellation and sends a
    # `complete` (Strawberry: `handle_async_results`), so that `complete` is taken back.
    Event.CANCEL: {
        State.RUNNING: Row(State.CANCELLED),
        State.COMPLETING: Row(State.CANCELLED),
        State.WINDING_DOWN: Row(State.GONE),
    },
    # The handler leaves its loop when the connection closes, and cancels all tasks (Strawberry:
    # `shutdown`, legacy `cleanup`). A `complete` of the legacy method is taken back here, too.
    Event.CANCEL_CLOSING: {
        State.RUNNING: Row(State.RETURNED),
        State.COMPLETING: Row(State.RETURNED),
        State.WINDING_DOWN: Row(State.GONE),
    },
    # The handler has received or handled a message after the cancellation, so the application
    # cancelled. No message tells the client (Strawberry: `run_operation` catches no cancellation).
    Event.GO_ON: {State.CANCELLED: Row(State.GONE, EndReason.FAILED)},
    # RFC 6455, section 7.1.4: the WebSocket connection is closed, and no message can follow.
    Event.CLOSE: {
        State.RECEIVED: Row(State.GONE, EndReason.CONNECTION_CLOSED),
        State.HANDLED: Row(State.GONE, EndReason.CONNECTION_CLOSED),
        State.SERVED: Row(State.GONE, EndReason.CONNECTION_CLOSED),
        State.RUNNING: Row(State.GONE, EndReason.CONNECTION_CLOSED),
        State.COMPLETING: Row(State.GONE, EndReason.COMPLETED),
        State.RETURNED: Row(State.GONE, EndReason.CONNECTION_CLOSED),
        State.CANCELLED: Row(State.GONE, EndReason.CONNECTION_CLOSED),
    },
}
"""What each event makes of each state. The other pairs are in `IGNORED`."""


class Ignored(NamedTuple):
    """Pairs of an event and a state that change nothing."""

    why: str
    events: tuple[Event, ...]
    states: tuple[State, ...]


_METHOD_ENDS: Final = (
    Event.RETURN,
    Event.RAISE,
    Event.RAISE_CLOSING,
    Event.CANCEL,
    Event.CANCEL_CLOSING,
)
_NEW: Final = (State.RECEIVED, State.HANDLED)
_IDLE: Final = (State.SERVED, State.RETURNED, State.CANCELLED)
_AT_WORK: Final = (State.RUNNING, State.COMPLETING)
_OVER: Final = (State.WINDING_DOWN, State.ENDED, State.GONE)

IGNORED: Final = (
    Ignored("The host may handle the message twice.", (Event.HANDLE,), (State.HANDLED,)),
    Ignored(
        "It was accepted. An application may execute it more than once.",
        (Event.HANDLE, Event.EXECUTE),
        (*_IDLE, *_AT_WORK),
    ),
    Ignored("An application's method may call the host's twice.", (Event.RUN,), _AT_WORK),
    Ignored(
        "transport-ws, Complete: it is the last message, though the client may not have it yet. "
        "The legacy host repeats it when the task is cancelled (Strawberry).",
        (Event.RESULT_SENT, Event.ERROR_SENT, Event.COMPLETE_SENT, Event.STOP),
        (State.COMPLETING,),
    ),
    Ignored(
        "transport-ws, Subscribe: the new operation is refused, with 4409.",
        (Event.REUSE,),
        (*_NEW, *_IDLE, State.RUNNING),
    ),
    Ignored(
        "The client's message shows that the handler goes on, and `GO_ON` comes first.",
        (Event.STOP, Event.RESTART),
        (State.CANCELLED,),
    ),
    Ignored("It was accepted: the close refuses another.", (Event.REFUSE,), (*_IDLE, *_AT_WORK)),
    Ignored("The method does not run.", _METHOD_ENDS, (*_NEW, *_IDLE, State.ENDED, State.GONE)),
    Ignored(
        "It was not cancelled.", (Event.GO_ON,), (*_NEW, State.SERVED, *_AT_WORK, State.RETURNED)
    ),
    Ignored(
        "It has ended: the first reason counts. The `complete` of one side may cross that of the "
        "other (transport-ws, Complete), and a stopped task may send once more (Strawberry).",
        tuple(event for event in Event if event not in {Event.RUN, *_METHOD_ENDS}),
        _OVER,
    ),
    Ignored("The host serves it only once.", (Event.RUN,), (State.WINDING_DOWN, State.GONE)),
)
"""The pairs for which `TRANSITIONS` has no row. Both together have every pair once."""

METHOD_RUNS: Final = frozenset({State.RUNNING, State.COMPLETING, State.WINDING_DOWN})
"""The states in which the host's method that serves an operation runs."""

# Members that every operation needs, looked up once: in Python 3.11 each access to a member of an
# enumeration goes through a descriptor.
RECEIVED: Final = State.RECEIVED
HANDLED: Final = State.HANDLED
RUNNING: Final = State.RUNNING
HANDLE: Final = Event.HANDLE
RUN: Final = Event.RUN
EXECUTE: Final = Event.EXECUTE
RESULT_SENT: Final = Event.RESULT_SENT
COMPLETE_SENT: Final = Event.COMPLETE_SENT
RETURN: Final = Event.RETURN

# --- Operations on any transport ---------------------------------------------------------------

SUBSCRIPTION: Final = "subscription"  # the type of an operation whose results are events
MAX_ERROR_EVENTS: Final = 10  # events `graphql.error` of one span
_MAX_UNSENT: Final = 100  # results with errors, of one operation, that may wait to be sent
_WAITED: Final = 0.01  # seconds after which a message has waited to be handled

_IGNORED_TOKENS: Final = r"(?:[\ufeff\t\n\r ,]|#[^\n\r]*)*+"
"""The ignored tokens of GraphQL, section 2.1.7."""

_LEADING: Final = re.compile(
    rf"{_IGNORED_TOKENS}(?:\{{|(?P<type>query|mutation|subscription)\b{_IGNORED_TOKENS}(?P<name>\w+)?)",
    re.ASCII,
)
"""How a document begins whose first definition is an operation, section 2.3."""

Attributes = Mapping[str, AttributeValue | None]
"""Attributes of a span, event or metric; those without a value are left out."""


class Operation:
    """What one operation is, its events and errors, its span and its metrics."""

    __slots__ = (
        "__weakref__",
        "_attributes",
        "_describe",
        "_earlier_errors",
        "_error_count",
        "_error_type",
        "_expected_type",
        "_is_ended",
        "_recorded_name",
        "_started",
        "_telemetry",
        "_turn",
        "config",
        "document",
        "fuses",
        "name",
        "results",
        "segments",
        "span",
        "type",
    )

    first: object = None  # the message that asked for it, until the host has accepted it
    registry: "Registry | None" = None  # of its connection, if it came over a WebSocket
    placement: Placement | None = None  # what puts its span into a context, where that is kept
    _is_request: ClassVar[bool] = True  # it counts as a request even if its type is never known

    def __init__(  # noqa: PLR0913, PLR0917  # what an operation starts with
        self,
        telemetry: Telemetry,
        fuses: Fuses,
        name: object,
        document: object,
        attributes: Attributes | None = None,
        message_type: MessageType | None = None,
    ) -> None:
        """Begin the operation, whose span starts later.

        `name` and `document` are any values of the client's. `message_type` is that of its results.
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
        self._describe: Callable[[], None] | None = None  # learns the type, while it is expected
        self._expected_type: str | None = None
        self.results = Results(message_type)
        self._error_type: str | None = None
        self._error_count = 0
        self._earlier_errors = 0  # in earlier segments
        self._is_ended = False
        self._recorded_name: str | None = None  # as the parsed document shows it
        self.segments: Segments | None = None
        self._turn: Turn | None = None  # where it lives long

    def start(self, parentage: Parentage, start_time: int | None = None) -> None:
        """Start the span: now, or at `start_time` in nanoseconds since the epoch."""
        duration = self.config.segment_duration
        if duration is not None:
            self.segments = Segments(duration, parentage, self._started)
        self.span = self._telemetry.spans.start(
            _semconv.SPAN_OPERATION,
            self.fuses.spans,
            context=parentage.context,
            attributes=self._start_attributes,
            links=parentage.links,
            start_time=start_time,
        )

    def _start_attributes(self) -> Attributes:
        """Return what is known as a segment starts."""
        name = self._recorded_name
        return {
            **(self._attributes or {}),
            _semconv.OPERATION_TYPE: self.type,
            _semconv.OPERATION_NAME: self._client_name() if name is None else _bounded_name(name),
            _semconv.SUBSCRIPTION_ID: self._subscription_id(),
            **document_attributes(self.document, captured=self.config.capture_document),
        }

    def _client_name(self) -> str | None:
        """Return the name that the client asks for, if it is one."""
        name = self.name
        return _bounded_name(name) if isinstance(name, str) else None

    def document_found(self, document: object) -> None:
        """Record the document that is executed, where the application has looked it up."""
        if document is None or document == self.document:
            return
        self.document = document
        if self.span.recording:
            self.span.set(document_attributes(document, captured=self.config.capture_document))

    def expect(self, operation_type: str, describe: Callable[[], None]) -> None:
        """Assume the type with which the document begins, until the document is parsed.

        The operation calls `describe` to learn its type, at the latest as it ends.
        """
        # An application may execute more than once: the type of the first attempt counts.
        self._learn_type()
        if self._is_ended or self.type is not None:
            return
        self._describe, self._expected_type = describe, operation_type
        # Before the document is parsed: AWS names the spans of resolvers after it.
        self.span.rename(operation_type)
        if operation_type == SUBSCRIPTION:
            self._telemetry.metrics.totals.subscribed(self.results)

    def describe(self, operation_type: str, name: str | None) -> None:
        """Record the type and the name that the parsed document shows; the first call counts."""
        if self._is_ended or self.type is not None:
            return
        self.type, self._describe = operation_type, None
        is_subscription = operation_type == SUBSCRIPTION
        if is_subscription != self.results.subscribed:
            self._telemetry.metrics.totals.subscribed(self.results, really=is_subscription)
        self._recorded_name = name
        bounded_name = None if name is None else _bounded_name(name)
        named = name is not None and self.config.name_spans_after_operation
        # Also of a segment that is not sampled: the next one may be.
        span_name = f"{operation_type} {bounded_name}" if named else operation_type
        if span_name != self.span.name:
            self.span.rename(span_name)
        if self.span.recording:
            self.span.set(
                {
                    _semconv.OPERATION_TYPE: operation_type,
                    _semconv.OPERATION_NAME: bounded_name,
                    _semconv.SUBSCRIPTION_ID: self._subscription_id(),
                }
            )
        if is_subscription and self._is_request and self.segments is not None:
            # No connection lets a stream over HTTP take its turns.
            self.span.set({_semconv.SEGMENT_NUMBER: 0})
            self.take_turns()

    def take_turns(self) -> None:
        """Let the event loop end the segments; only the first call counts."""
        if self._turn is None and self.segments is not None:
            self._turn = take_turns(self, self.segments.due)

    def rotate(self) -> float:
        """End the open segment; return when the next one is due, on the monotonic clock."""
        with self.fuses.library:
            self.next_segment()
        return math.inf if self.segments is None else self.segments.due

    def next_segment(self) -> bool:
        """End the open segment and start the next one; return whether it could start."""
        with self.fuses.library:
            # Kept until the type is known: the document may not be parsed yet.
            if self._describe is not None:
                self._describe()
        self._fail_segment()
        has_started = self.segments is not None and self.segments.rotate(
            self.span,
            self._telemetry.spans,
            self.fuses.spans,
            attributes=self._start_attributes,
            totals=self._totals,
        )
        if has_started:
            self._earlier_errors = self._error_count
        return has_started

    def leave_open(self) -> None:
        """End the open segment as continued: the process exits, and the operation does not."""
        if self._turn is not None:
            self._turn.end()
        with self.fuses.library:
            self._fail_segment()
            self.span.leave_open(self._totals)

    def _fail_segment(self) -> None:
        """Set the status of the open segment to ERROR if it has GraphQL errors."""
        if self._error_type is not None and self._error_count > self._earlier_errors:
            self.span.fail(self._error_type)

    def _totals(self) -> Attributes:
        """Return the counts so far."""
        return {_semconv.ERROR_COUNT: self._error_count or None}

    def _learn_type(self) -> None:
        describe, self._describe = self._describe, None
        if describe is not None:
            describe()

    def _subscription_id(self) -> str | None:
        return None

    def phase(self, name: str, start_time: int | None = None) -> SpanRecorder | None:
        """Start the span of a phase, unless phases get no spans, or this is a subscription.

        `start_time` is in nanoseconds since the epoch; None for now.
        """
        if self.type == SUBSCRIPTION or not (self.span.recording and self.config.phase_spans):
            return None
        context = get_current()
        if span_id(context) != self.span.context.span_id:
            context = trace.set_span_in_context(self.span.span, context)
        return self._telemetry.spans.start(
            name,
            self.fuses.spans,
            context=context,
            kind=SpanKind.INTERNAL,
            start_time=start_time,
        )

    def errors(self, error_type: str, count: int, events: Iterable[Attributes]) -> None:
        """Record the GraphQL errors of a result: the class of the first, and attributes of each."""
        if self._is_ended:
            return
        self._error_type = self._error_type or error_type
        if self.span.recording:
            recorded = self._error_count - self._earlier_errors
            for attributes in islice(events, max(0, MAX_ERROR_EVENTS - recorded)):
                self.span.event(_semconv.EVENT_GRAPHQL_ERROR, attributes)
        self._error_count += count

    def delivered(self, error_type: str | None) -> None:
        """Count a result that was sent; `error_type` is the class of the first error in it."""
        if error_type is None:
            self.results.ok += 1
            return
        self.results.failed += 1
        if self.type == SUBSCRIPTION:
            self._telemetry.metrics.totals.event_failed(error_type)

    def finish(
        self,
        error_type: str | None = None,
        description: str | None = None,
        attributes: Attributes | None = None,
    ) -> None:
        """End the span and record the duration; only the first call counts.

        `error_type` is why it failed, unless it has GraphQL errors. `description` is the status's.
        """
        if self._is_ended:
            return
        self._is_ended = True
        if self._turn is not None:
            self._turn.end()
            self._turn = None
        error_type = self._error_type or error_type
        if self.type is None and self.span.name != _semconv.SPAN_OPERATION:
            # The document is not what it began like.
            self.span.rename(_semconv.SPAN_OPERATION)
        self._telemetry.metrics.totals.ended(self.results)
        try:
            if self.type != SUBSCRIPTION and (self.type is not None or self._is_request):
                self._measure(
                    _semconv.METRIC_REQUEST_DURATION,
                    self.duration,
                    {_semconv.OPERATION_TYPE: self.type, _semconv.ERROR_TYPE: error_type},
                )
            if self.span.recording:
                is_segmented = self.type == SUBSCRIPTION or not self._is_request
                duration = self.duration if is_segmented else None
                self.span.set({**self._totals(), _semconv.DURATION: duration, **(attributes or {})})
            if error_type is not None:
                self.span.fail(error_type, description)
        finally:
            self.span.end()
            self.segments = None

    def _measure(self, name: str, seconds: float, attributes: Attributes) -> None:
        """Record a duration, with an exemplar that leads to the span."""
        placement = self.placement
        context = self.span.exemplar_context if placement is None else placement.context
        self._telemetry.metrics.record(name, seconds, attributes, self.fuses.metrics, context)

    @property
    def duration(self) -> float:
        """Seconds since the operation began."""
        return time.monotonic() - self._started


# --- Operations over a WebSocket ---------------------------------------------------------------


class OperationLook(NamedTuple):
    """What a reader of any thread sees of an operation as it looks at it."""

    id: str
    type: str | None
    name: str | None
    started: float
    results: int
    last_result: float | None
    has_ended: bool


class Registry(Protocol):
    """What an operation needs of the `Operations` of its connection."""

    telemetry: Telemetry
    fuses: Fuses
    connection_id: str
    attributes: dict[str, Value]
    trace: ConnectionTrace
    route: str | None
    waiting: dict["SocketOperation", None]
    winding_down: dict[Hashable, int]
    has_cancelled: bool

    def ended(self, operation: "SocketOperation") -> None:
        """Forget an operation that has ended."""


class SocketOperation(Operation):
    """An operation over a WebSocket: it has an id, a connection, a state and one end reason."""

    __slots__ = (
        "_completed_after",
        "_earlier_results",
        "_first_message",
        "_first_result",
        "_next_recorded",
        "_result_type",
        "_unsent",
        "client_id",
        "end_reason",
        "executions",
        "failure",
        "first",
        "handled_in",
        "id",
        "is_displaced",
        "payload",
        "placement",
        "registry",
        "send_waits",
        "state",
        "unclaimed_key",
    )

    registry: Registry
    _is_request = False

    def __init__(self, registry: Registry, first: Message, result_type: MessageType) -> None:
        """Begin the operation, as its first message is received."""
        payload = first.payload
        self.state = RECEIVED
        self.registry = registry
        self.id = first.id  # as the client sent it, and as the host knows it; None once it is gone
        self.client_id = _limits.bounded(first.id, _limits.ID)  # as it is recorded, and kept
        super().__init__(
            registry.telemetry,
            registry.fuses,
            payload.get("operationName"),
            payload.get("query"),
            message_type=result_type,
        )
        self.first: object = first.value  # until the host has accepted the operation
        self.payload: Mapping[str, Any] = payload  # likewise
        self.handled_in: asyncio.Task[Any] | None = None  # the task that handles its first message
        self.placement = None
        self.unclaimed_key: int | None = None  # by which `_operations.unclaimed` finds it
        self.executions = 0  # known to be its own; an application may try again
        self.end_reason: EndReason | None = None
        self.failure: str | None = None  # class of what ended its task, or of its last failed send
        self._completed_after: float | None = None  # its duration when the host sent `complete`
        self._first_message = first.type
        self._first_result: float | None = None  # the seconds until its first result
        self._result_type = result_type
        # The arguments of `errors`, for results that are not sent yet.
        self._unsent: deque[tuple[str, int, list[Attributes]]] | None = None
        self.send_waits = SendWaits()
        self._next_recorded = 1  # ordinal of the next result that gets an event, or is the first
        self._earlier_results = 0  # in earlier segments
        self.is_displaced = False  # a runtime context may have lost its span with the last segment
        registry.telemetry.metrics.totals.begun(self.results)

    def fire(self, event: Event, detail: Any = None) -> bool:  # noqa: ANN401  # what the event brings
        """Make the transition of an event; return False if the event is ignored in this state.

        A message whose event is ignored is not the operation's. `detail` is the argument of the
        action in `_ON_EVENT`, and for `Event.CLOSE` the verdict.
        """
        step = _STEPS[self.state][event]
        if step is None:
            return False
        self.state, actions = step
        for action in actions:
            try:
                action(self, detail)
            except Exception as error:  # noqa: BLE001  # whatever fails, it ends and counts
                self.fuses.library.blow(error)
        return True

    @property
    def has_ended(self) -> bool:
        """Whether it has its end reason."""
        return self.state >= State.WINDING_DOWN

    @property
    def duration(self) -> float:
        """Seconds since the first message, until `complete` was sent."""
        completed_after = self._completed_after
        return time.monotonic() - self._started if completed_after is None else completed_after

    def errors(self, error_type: str, count: int, events: Iterable[Attributes]) -> None:
        """Keep the errors of a result until it is sent: an application may make it in advance."""
        if self._is_ended:
            return
        # The fast path of an edge does not look for errors in what it counts.
        self.results.fast_path_limit = self.results.ok
        kept = list(islice(events, MAX_ERROR_EVENTS)) if self.span.recording else []
        if self._unsent is None:
            self._unsent = deque(maxlen=_MAX_UNSENT)
        self._unsent.append((error_type, count, kept))

    def _record_unsent_errors(self) -> None:
        while self._unsent:
            super().errors(*self._unsent.popleft())

    def _start_attributes(self) -> Attributes:
        return {
            _semconv.SEGMENT_NUMBER: None if self.segments is None else 0,
            _semconv.CONNECTION_ID: self.registry.connection_id,
            _semconv.HTTP_ROUTE: self.registry.route,
            _semconv.OPERATION_ID: self.client_id,
            **super()._start_attributes(),
        }

    def look(self) -> OperationLook:
        """Return what a reader of any thread sees of it now."""
        name = self._recorded_name
        return OperationLook(
            self.client_id,
            self.type or self._expected_type,
            self._client_name() if name is None else _bounded_name(name),
            self._started,
            self.results.all,
            self.results.sent_at,
            self.has_ended,
        )

    def _totals(self) -> Attributes:
        return {
            **super()._totals(),
            _semconv.RESULTS: self.results.all,
            _semconv.TIME_TO_FIRST_RESULT: self._first_result,
            _semconv.SEND_BLOCKED_TIME: self.send_waits.seconds or None,
        }

    def next_segment(self) -> bool:
        has_started, results = super().next_segment(), self.results
        if has_started:
            self._earlier_results = results.all
            self._next_recorded = results.all + 1
            results.fast_path_limit = results.ok
            self.is_displaced = True
        return has_started

    def _subscription_id(self) -> str | None:
        is_subscription = self.type == SUBSCRIPTION
        return f"{self.registry.connection_id}-{self.client_id}" if is_subscription else None

    # --- The actions of the state machine, each with the detail of its event ---------------------

    def start_handling(self, _detail: object) -> None:
        """Start the span in the running context."""
        with self.fuses.spans:
            connection_trace = self.registry.trace
            application = application_context()
            parentage = connection_trace.operation(self.payload.get("extensions"), application)
            received_at = start_time_of(self._started)
            # Those of now: what the application sets later is for operations that begin later.
            self._attributes = self.registry.attributes
            self.start(parentage, received_at)
            self.span.numbered_message(self._first_message, 1, received_at)
            self.placement = placement_of(self.span, application, parentage.carried)
            target = LinkTo(self.span.context, "operation", self._client_name())
            connection_trace.link(parentage, target)

    def accept(self, _detail: object) -> None:
        """Let go of the first message: the host handles it no more."""
        self.first, self.payload = None, NO_PAYLOAD
        self.registry.waiting.pop(self, None)

    def count_result(self, failed: bool) -> None:  # noqa: FBT001  # all that is known of it
        """Count a result, and set the limit up to which an edge only counts the next ones."""
        results = self.results
        if failed and self._unsent:
            error_type, count, events = self._unsent.popleft()
            super().errors(error_type, count, events)
            self.delivered(error_type)
        else:
            results.ok += 1
        if results.all == self._next_recorded:
            if self._first_result is None:
                self._record_first_result()
            self._next_recorded = self.span.numbered_message(
                self._result_type, self._next_recorded, before=self._earlier_results
            )
        results.fast_path_limit = (
            results.ok if self._unsent else self._next_recorded - 1 - results.failed
        )

    def _record_first_result(self) -> None:
        self._first_result = self.duration
        self._learn_type()
        self._measure(
            _semconv.METRIC_TIME_TO_FIRST_RESULT,
            self._first_result,
            {_semconv.OPERATION_TYPE: self.type},
        )

    def record_error(self, message_type: MessageType) -> None:
        """Record an `error` message, after the GraphQL errors that it carries."""
        self._record_unsent_errors()
        self.record_message(message_type)

    def record_message(self, message_type: MessageType) -> None:
        """Record a message of which an operation has no other of the same type."""
        self.span.numbered_message(message_type, 1)

    def complete(self, _detail: object) -> None:
        """Take the time: it sends no more results, whatever its end reason will be."""
        self._completed_after = time.monotonic() - self._started
        self.stop_counting()

    def cancel(self, _detail: object) -> None:
        self.registry.has_cancelled = True
        self.stop_counting()

    def stop_counting(self) -> None:
        """Leave the fast path: the method that sends its results has ended, or is about to."""
        results = self.results
        results.is_over = True
        results.fast_path_limit = results.ok

    def fail(self, error: BaseException) -> None:
        self.failure = _limits.exception_type(error)

    def wind_down(self, _detail: object) -> None:
        """Mark the id: the host's method may still send with it."""
        winding_down = self.registry.winding_down
        winding_down[self.id] = winding_down.get(self.id, 0) + 1

    def wound_down(self, _detail: object) -> None:
        """Unmark the id: the host's method has ended."""
        winding_down = self.registry.winding_down
        left = winding_down.pop(self.id) - 1
        if left:
            winding_down[self.id] = left

    def forget(self, detail: object) -> None:
        """Let go of what the client sent: a timer of the host may keep the operation."""
        self.accept(detail)
        self.id = self.document = self.name = self.placement = self._recorded_name = None
        self._attributes = None

    def end(self, detail: Verdict, reason: EndReason) -> None:
        """Record why the operation ended; for `CONNECTION_CLOSED`, `detail` is the verdict."""
        self.end_reason = reason
        self._learn_type()
        if self.executions > 1 and reason is EndReason.COMPLETED:
            # The errors of an attempt that the application has given up, and made again.
            self._unsent = None
        self._record_unsent_errors()
        error_type = description = outcome = code = None
        name = str(reason)
        if reason in _FAILURES:
            error_type = self.failure or name
        elif reason is EndReason.CONNECTION_CLOSED:
            outcome, code = detail.outcome.value, detail.code
            if detail.abnormal:
                error_type = outcome
                description = f"interrupted by an abnormal close: {outcome}"
        self._measure(
            _semconv.METRIC_OPERATION_DURATION,
            self.duration,
            {_semconv.OPERATION_TYPE: self.type, _semconv.END_REASON: name},
        )
        self.finish(
            error_type,
            description,
            {
                _semconv.END_REASON: name,
                _semconv.CLOSE_OUTCOME: outcome,
                _semconv.CLOSE_CODE: code,
            },
        )
        self.registry.ended(self)


_Action = Callable[[SocketOperation, Any], None]

_ON_EXIT: Final[Mapping[State, _Action]] = {
    State.RECEIVED: SocketOperation.start_handling,
    State.WINDING_DOWN: SocketOperation.wound_down,
}
"""The action as a state is left, before every other."""

_ON_EVENT: Final[Mapping[Event, _Action]] = {
    Event.RESULT_SENT: SocketOperation.count_result,
    Event.ERROR_SENT: SocketOperation.record_error,
    Event.COMPLETE_SENT: SocketOperation.record_message,
    Event.STOP: SocketOperation.record_message,
    Event.RAISE: SocketOperation.fail,
    Event.GO_ON: SocketOperation.fail,
}
"""The action because of an event, unless the event is ignored. The end comes after it."""

_ON_ENTRY: Final[Mapping[State, _Action]] = {
    State.SERVED: SocketOperation.accept,
    State.RUNNING: SocketOperation.accept,
    State.COMPLETING: SocketOperation.complete,
    State.CANCELLED: SocketOperation.cancel,
    State.WINDING_DOWN: SocketOperation.wind_down,
    State.GONE: SocketOperation.forget,
}
"""The action as a state is entered, after every other."""


class _Step(NamedTuple):
    """The next state, and the actions on the way."""

    state: State
    actions: tuple[_Action, ...]


def _steps(state: State) -> Mapping[Event, _Step | None]:
    """Return the step of each event in a state; None where the event is ignored."""
    steps: dict[Event, _Step | None] = {
        event: None for each in IGNORED if state in each.states for event in each.events
    }
    for event, rows in TRANSITIONS.items():
        if row := rows.get(state):
            moves = row.state is not state
            actions = (
                _ON_EXIT.get(state) if moves else None,
                _ON_EVENT.get(event),
                partial(SocketOperation.end, reason=row.reason) if row.reason else None,
                _ON_ENTRY.get(row.state) if moves else None,
            )
            steps[event] = _Step(row.state, tuple(each for each in actions if each is not None))
    return steps


_STEPS: Final = {state: _steps(state) for state in State}


def start_time_of(received: float) -> int | None:
    """Return when a message was received, in nanoseconds since the epoch, if it has waited.

    Its span starts then. Nearly every other span starts now, at None: the bridges of Elastic and
    ddtrace misread a start time. `received` is a time of the monotonic clock.
    """
    waited = time.monotonic() - received
    return time.time_ns() - round(waited * 1e9) if waited > _WAITED else None


def _bounded_name(name: str) -> str:
    return _limits.bounded(name, _limits.NAME)


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
    """Return the type of the first operation of a document, if `name` does not ask for another.

    The document may still turn out to be invalid.
    """
    leading = _LEADING.match(document) if isinstance(document, str) else None
    if leading is None or (name is not None and name != leading["name"]):
        return None
    return leading["type"] or "query"
