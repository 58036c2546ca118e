"""One operation on any transport, and the table of what can happen to one over a WebSocket.

Rules:

1. `TRANSITIONS` decides what becomes of an operation over a WebSocket. For each event and state it
   gives the next state and, if the operation ends, its one end reason.
2. What else is done depends on the event (`_ON_EVENT`), and on the state that is left or entered
   (`_ON_EXIT`, `_ON_ENTRY`). No flag decides anything.
3. Every pair of event and state has a meaning. `IGNORED` lists the pairs that change nothing, and
   says why.
4. The table knows one operation. `_operations` finds out which operation an event is about.

Four parties act on their own, and the table is about their races: the client sends messages, the
host handles them (perhaps much later), the task that the host started serves the operation, and the
connection closes. These sources are cited:

* "transport-ws": PROTOCOL.md of graphql-ws, for the subprotocol `graphql-transport-ws`.
* "legacy": PROTOCOL.md of subscriptions-transport-ws, for the subprotocol `graphql-ws`.
* "Strawberry": its two handlers, as seen in 0.341.2 and 0.319 unless one version is named.
"""

import asyncio
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
from opentelemetry.context import Context, get_current
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _limits, _semconv
from strawberry_ws_otel._close import Verdict
from strawberry_ws_otel._counts import Results
from strawberry_ws_otel._current import Placement, application_context, placement_of
from strawberry_ws_otel._fuse import Fuses
from strawberry_ws_otel._propagation import ConnectionTrace, Parentage
from strawberry_ws_otel._protocol import NO_PAYLOAD, Message, MessageType
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._spans import NOT_STARTED, SpanRecorder, span_id

# --- States, events and transitions ------------------------------------------------------------


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


class State(IntEnum):
    """What is known of an operation.

    The order matters: nobody serves an operation before `SERVED`, and it has ended from
    `WINDING_DOWN` on. Integers, because those are hashed and compared without a call.
    """

    RECEIVED = auto()
    """Its first message was received. Its span has not started."""
    HANDLED = auto()
    """The host was handed that message, and may refuse it."""
    SERVED = auto()
    """An execution or a result is its, outside of the host's method that serves operations."""
    RUNNING = auto()
    """The host's method that serves it runs."""
    COMPLETING = auto()
    """That method has sent `complete`: whether it completed or failed shows when it ends."""
    RETURNED = auto()
    """That method has ended and said nothing: somebody else does, or the connection closes."""
    CANCELLED = auto()
    """That method was cancelled: by the application, if the connection's handler goes on."""
    WINDING_DOWN = auto()
    """It has ended, and the host's method still runs: what that sends is not another's."""
    ENDED = auto()
    """It has ended, and may still be handled, or served by code whose end nobody sees."""
    GONE = auto()
    """It has ended, and nothing of it is kept. What its task may still send is nobody's."""


class Event(IntEnum):
    """What happens to an operation."""

    HANDLE = auto()
    """The host begins to handle its first message."""
    RUN = auto()
    """The host's method that serves operations begins to serve it."""
    EXECUTE = auto()
    """An execution of the schema turns out to be its."""
    RESULT_SENT = auto()
    ERROR_SENT = auto()
    COMPLETE_SENT = auto()
    STOP = auto()
    """The client sends `complete` or `stop`."""
    RESTART = auto()
    """The client sends a legacy `start` with its id."""
    REUSE = auto()
    """The client sends a `subscribe` with its id."""
    REFUSE = auto()
    """The connection closes over it: 4401, 4409, or while it asks for an id that is taken."""
    RETURN = auto()
    """The host's method that serves it returns."""
    RAISE = auto()
    """That method raises an exception."""
    RAISE_CLOSING = auto()
    """That method raises one while the connection closes."""
    CANCEL = auto()
    """That method is cancelled."""
    CANCEL_CLOSING = auto()
    """That method is cancelled while the connection closes."""
    GO_ON = auto()
    """The connection's handler goes on: no cancellation before was the connection's."""
    CLOSE = auto()
    """The connection has closed."""


class Row(NamedTuple):
    """What an event makes of a state."""

    state: State
    """The next state."""
    reason: EndReason | None = None
    """Why the operation ends, if it does."""


_STOPPED: Final = {
    State.RECEIVED: Row(State.ENDED, EndReason.CLIENT_COMPLETED),
    State.HANDLED: Row(State.GONE, EndReason.CLIENT_COMPLETED),
    State.SERVED: Row(State.ENDED, EndReason.CLIENT_COMPLETED),
    State.RUNNING: Row(State.WINDING_DOWN, EndReason.CLIENT_COMPLETED),
    State.RETURNED: Row(State.GONE, EndReason.CLIENT_COMPLETED),
}
"""What becomes of an operation that the client has done with."""

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
    # a handler of the application's executes before or without it.
    Event.EXECUTE: {
        State.RECEIVED: Row(State.SERVED),
        State.HANDLED: Row(State.SERVED),
    },
    # transport-ws, "Next"; legacy, "GQL_DATA". An application may send from a task of its own, also
    # when the host's method is done.
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
    # `handle_start`). The host's method still runs when it has sent an error of its own.
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
    # A method that returns without a last message leaves that to another task of the application's,
    # or has closed the connection (Strawberry: 4400 for a syntax error).
    Event.RETURN: {
        State.RUNNING: Row(State.RETURNED),
        State.COMPLETING: Row(State.GONE, EndReason.COMPLETED),
        State.WINDING_DOWN: Row(State.GONE),
    },
    # Strawberry: `run_operation` sends `complete` and raises. `handle_async_results` raises in a
    # task that nobody awaits.
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
    # The handler has received or handled a message after the cancellation: it was the application
    # who cancelled. The client hears nothing (Strawberry: `run_operation` catches no cancellation).
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
"""What each event makes of each state, unless `IGNORED` says that it makes nothing of it."""


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
    Ignored("The host may be handed the message twice.", (Event.HANDLE,), (State.HANDLED,)),
    Ignored(
        "It has been accepted. An application may execute it more than once.",
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
        "transport-ws, Subscribe: it is the new one that is refused, with 4409.",
        (Event.REUSE,),
        (*_NEW, *_IDLE, State.RUNNING),
    ),
    Ignored(
        "The client's message is a sign that the handler goes on, and `GO_ON` comes first.",
        (Event.STOP, Event.RESTART),
        (State.CANCELLED,),
    ),
    Ignored(
        "It has been accepted: the close refuses another one.",
        (Event.REFUSE,),
        (*_IDLE, *_AT_WORK),
    ),
    Ignored(
        "The host's method does not run.",
        _METHOD_ENDS,
        (*_NEW, *_IDLE, State.ENDED, State.GONE),
    ),
    Ignored(
        "Nobody has cancelled it.",
        (Event.GO_ON,),
        (*_NEW, State.SERVED, *_AT_WORK, State.RETURNED),
    ),
    Ignored(
        "It has ended: the first reason counts. The `complete` of one side may cross that of the "
        "other (transport-ws, Complete), and a stopped task may send once more (Strawberry).",
        tuple(event for event in Event if event not in {Event.RUN, *_METHOD_ENDS}),
        _OVER,
    ),
    Ignored(
        "It has ended, and the host's method has been called for it.",
        (Event.RUN,),
        (State.WINDING_DOWN, State.GONE),
    ),
)
"""The pairs that `TRANSITIONS` has no row for. Together they are all pairs."""

METHOD_RUNS: Final = frozenset({State.RUNNING, State.COMPLETING, State.WINDING_DOWN})
"""The states in which the host's method that serves an operation runs."""

_FAILURES: Final = frozenset({EndReason.ERROR, EndReason.REJECTED, EndReason.FAILED})
"""The reasons that give the span the status ERROR whatever else happened."""

RECEIVED: Final = State.RECEIVED
HANDLED: Final = State.HANDLED
RUNNING: Final = State.RUNNING
HANDLE: Final = Event.HANDLE
RUN: Final = Event.RUN
EXECUTE: Final = Event.EXECUTE
RESULT_SENT: Final = Event.RESULT_SENT
COMPLETE_SENT: Final = Event.COMPLETE_SENT
RETURN: Final = Event.RETURN
"""What every operation asks for, looked up once: in Python 3.11 an enumeration is slow to ask."""

# --- Operations on any transport ---------------------------------------------------------------

MAX_ERROR_EVENTS: Final = 10
"""Events `graphql.error` of one span."""

WAITED: Final = 0.01
"""Seconds from which on a message has waited before it was handled.

Only then does a span get a start time of its own, which the bridges of Elastic and ddtrace misread.
"""

SUBSCRIPTION: Final = "subscription"
"""The type of an operation whose results are events."""

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
        "is_subscription",
        "name",
        "results",
        "span",
        "type",
    )

    first: object = None
    """The message that asked for it, if one did and the host has not accepted it yet."""

    registry: "Registry | None" = None
    """Those of the connection over which it came, if it came over one."""

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
        self.is_subscription = False
        """Whether that is known to be `subscription`."""
        self._describe: Callable[[], None] | None = None
        """What learns the type, as long as it is only expected."""
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
        """Record the document that is executed, where the application has looked it up."""
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
        # An application may execute more than once: what the attempt before knows comes first.
        self._learn_type()
        if self._is_ended or self.type is not None:
            return
        self._describe = describe
        if operation_type == SUBSCRIPTION:
            self._telemetry.metrics.totals.subscribed(self.results)

    def describe(self, operation_type: str, name: str | None) -> None:
        """Record what the document turned out to be."""
        if self._is_ended or self.type is not None:
            return
        self.type, self._describe = operation_type, None
        self.is_subscription = operation_type == SUBSCRIPTION
        if self.is_subscription != self.results.subscribed:
            self._telemetry.metrics.totals.subscribed(self.results, really=self.is_subscription)
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
        """Learn the type from whoever knows the document, if nobody has yet."""
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
        """Record the GraphQL errors of a result.

        Args:
            error_type: the class of the first one.
            count: how many there are.
            events: the attributes of their events.
        """
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
            self.results.ok += 1
            return
        self.results.failed += 1
        if self.is_subscription:
            self._telemetry.metrics.totals.event_failed(error_type)

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
        self._is_ended = True
        error_type = self._error_type or error_type
        self._telemetry.metrics.totals.ended(self.results)
        try:
            if not self.is_subscription and (self.type is not None or self._is_request):
                self._measure(
                    _semconv.METRIC_REQUEST_DURATION,
                    {_semconv.OPERATION_TYPE: self.type, _semconv.ERROR_TYPE: error_type},
                )
            if self.span.recording:
                self.span.set(
                    {_semconv.ERROR_COUNT: self._error_count or None, **(attributes or {})}
                )
            if error_type is not None:
                self.span.fail(error_type, description)
        finally:
            self.span.end()

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


# --- Operations over a WebSocket ---------------------------------------------------------------


class Registry(Protocol):
    """What one operation needs of those who keep all operations of its connection."""

    trace: ConnectionTrace
    """Where spans start."""
    waiting: dict["SocketOperation", None]
    """Those whose first message the host may still handle."""
    has_cancelled: bool
    """Whether some were cancelled since the handler went on."""

    def ended(self, operation: "SocketOperation") -> None:
        """Forget an operation that has ended."""

    def wind_down(self, operation: "SocketOperation") -> None:
        """Keep the id of an operation that has ended: the host's method still sends with it."""

    def wound_down(self, operation: "SocketOperation") -> None:
        """Let go of that id: the method is done."""


class _Errors(NamedTuple):
    """The GraphQL errors of a result that has been made and not been sent yet."""

    error_type: str
    number: int
    events: list[Attributes]


_MAX_UNSENT: Final = 100
"""Results with errors, of one operation, that may wait to be sent."""


class SocketOperation(Operation):
    """An operation over a WebSocket: it has an id, a connection, a state and one end reason."""

    __slots__ = (
        "_completed_after",
        "_executions",
        "_first_message",
        "_first_result",
        "_next_recorded",
        "_received_at",
        "_result_type",
        "_unsent",
        "client_id",
        "connection_id",
        "end_reason",
        "failure",
        "first",
        "handled_in",
        "id",
        "payload",
        "placement",
        "registry",
        "state",
        "unclaimed_key",
    )

    registry: Registry
    _is_request = False

    def __init__(  # noqa: PLR0913, PLR0917  # what an operation starts with
        self,
        telemetry: Telemetry,
        fuses: Fuses,
        connection_id: str,
        registry: Registry,
        first: Message,
        message_type: MessageType,
    ) -> None:
        """Begin the operation, as its first message is received.

        Args:
            telemetry: where it is recorded.
            fuses: what keeps our failures from the host.
            connection_id: ours.
            registry: of all operations of the connection.
            first: the message.
            message_type: as which messages its results are counted.
        """
        id_, payload = first.id, first.payload
        self.state = RECEIVED
        self.registry = registry
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
        self.handled_in: asyncio.Task[Any] | None = None
        """The task in which its first message is being handled."""
        self.placement: Placement | None = None
        """What puts its span into a context, once it has started."""
        self.unclaimed_key: int | None = None
        """Under which an execution in another task may find it."""
        self.end_reason: EndReason | None = None
        self.failure: str | None = None
        """Class of the exception that its task ended with, or could not send a message for."""
        self._completed_after: float | None = None
        """Its duration when the host sent `complete`."""
        self._first_message = first.type
        self._result_type = message_type
        self._received_at = time.time_ns()
        self._executions = 0
        self._unsent: deque[_Errors] | None = None
        """The errors of results that are not sent yet, once there are some."""
        self._next_recorded = 1
        """Ordinal of the result that matters next: the first, then those that get an event."""
        self._first_result: float | None = None
        telemetry.metrics.totals.begun(self.results)

    def fire(self, event: Event, detail: Any = None) -> bool:  # noqa: ANN401  # what the event brings
        """Do what `TRANSITIONS` says of an event in the state of the operation.

        Args:
            event: that happens.
            detail: what it brings, for the action of the event (`_ON_EVENT`), or the verdict over
                the close (`Event.CLOSE`).

        Returns:
            Whether the event is of any consequence. A message that is of none is not the
            operation's.
        """
        step = _STEPS[self.state][event]
        if step is None:
            return False
        self.state = step.state
        for action in step.actions:
            try:
                action(self, detail)
            except Exception as error:  # noqa: BLE001  # whatever fails, it ends and counts
                self.fuses.library.blow(error)
        return True

    @property
    def is_claimed(self) -> bool:
        """Whether an execution of the schema is known to be its."""
        return self._executions > 0

    @property
    def has_ended(self) -> bool:
        """Whether it has its end reason."""
        return self.state >= State.WINDING_DOWN

    def claim(self) -> None:
        """Take an execution for its own; an application may try more than once."""
        self._executions += 1
        self.fire(EXECUTE)

    def _described(self, operation_type: str) -> Attributes:
        if operation_type != SUBSCRIPTION:
            return {}
        return {_semconv.SUBSCRIPTION_ID: f"{self.connection_id}-{self.client_id}"}

    def errors(self, error_type: str, count: int, events: Iterable[Attributes]) -> None:
        """Keep the errors of a result until it is sent: an application may make it in advance."""
        if self._is_ended:
            return
        self.results.fast_path_limit = self.results.ok
        kept = list(islice(events, MAX_ERROR_EVENTS)) if self.span.recording else []
        if self._unsent is None:
            self._unsent = deque(maxlen=_MAX_UNSENT)
        self._unsent.append(_Errors(error_type, count, kept))

    def _record_unsent_errors(self) -> None:
        """Record the errors that nobody has sent with a result."""
        while self._unsent:
            self._record_errors(*self._unsent.popleft())

    @property
    def exemplar_context(self) -> Context:
        """A context in which a measurement leads to the span."""
        return self.span.exemplar_context if self.placement is None else self.placement.context

    @property
    def duration(self) -> float:
        """Seconds since the first message, until the last one."""
        completed_after = self._completed_after
        return time.monotonic() - self._started if completed_after is None else completed_after

    # --- What the table does: each takes what the event brings ----------------------------------

    def start_handling(self, _detail: object) -> None:
        """Start the span in the running context."""
        with self.fuses.spans:
            connection_trace = self.registry.trace
            application = application_context()
            parentage = connection_trace.operation(self.payload.get("extensions"), application)
            has_waited = time.monotonic() - self._started > WAITED
            received_at = self._received_at if has_waited else None
            self.start(parentage, received_at)
            self.span.message(self._first_message, received_at)
            self.placement = placement_of(self.span, application, parentage.carried)
            connection_trace.link(self.span, parentage)

    def accept(self, _detail: object) -> None:
        """Let go of the first message: the host has accepted the operation."""
        self.first, self.payload = None, NO_PAYLOAD
        self.registry.waiting.pop(self, None)

    def count_result(self, failed: bool) -> None:  # noqa: FBT001  # all that is known of it
        """Count a result, and set up to which one the next ones are only counted."""
        results = self.results
        if failed and self._unsent:
            errors = self._unsent.popleft()
            self._record_errors(*errors)
            self.delivered(errors.error_type)
        else:
            results.ok += 1
        if results.ok + results.failed == self._next_recorded:
            if self._first_result is None:
                self._first_result = self.duration
            self._next_recorded = self.span.numbered_message(self._result_type, self._next_recorded)
        results.fast_path_limit = (
            results.ok if self._unsent else self._next_recorded - 1 - results.failed
        )

    def record_last_message(self, message_type: MessageType) -> None:
        """Record an `error`, with the GraphQL errors that it says."""
        self._record_unsent_errors()
        self.span.message(message_type)

    def record_message(self, message_type: MessageType) -> None:
        self.span.message(message_type)

    def complete(self, _detail: object) -> None:
        """Take the time: nothing is sent any more, whatever the end will turn out to be."""
        self._completed_after = time.monotonic() - self._started
        self.stop_counting()

    def cancel(self, _detail: object) -> None:
        self.stop_counting()
        self.registry.has_cancelled = True

    def stop_counting(self) -> None:
        """Count no further result: it sends nothing any more of its own accord."""
        results = self.results
        results.is_over = True
        results.fast_path_limit = results.ok

    def fail(self, error: BaseException) -> None:
        self.failure = _limits.exception_type(error)

    def wind_down(self, _detail: object) -> None:
        self.registry.wind_down(self)

    def wound_down(self, _detail: object) -> None:
        self.registry.wound_down(self)

    def forget(self, _detail: object) -> None:
        """Let go of what the client sent, of any length: a forgotten timer keeps the operation."""
        self.registry.waiting.pop(self, None)
        self.id = self.document = self.name = self.placement = None
        self.first, self.payload = None, NO_PAYLOAD

    def end(self, detail: Verdict, reason: EndReason) -> None:
        """End the operation.

        Args:
            detail: the verdict over the close that ended it, for `CONNECTION_CLOSED`.
            reason: why it ended.
        """
        self.end_reason = reason
        self._learn_type()
        if self._executions > 1 and reason is EndReason.COMPLETED:
            # Those of an execution that the application has given up, and tried again.
            self._unsent = None
        if self._unsent:
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
            {_semconv.OPERATION_TYPE: self.type, _semconv.END_REASON: name},
        )
        self.finish(
            error_type,
            description,
            {
                _semconv.END_REASON: name,
                _semconv.RESULTS: self.results.ok + self.results.failed,
                _semconv.TIME_TO_FIRST_RESULT: self._first_result,
                _semconv.CLOSE_OUTCOME: outcome,
                _semconv.CLOSE_CODE: code,
            },
        )
        self.registry.ended(self)


_Action = Callable[[SocketOperation, Any], None]

_ON_EVENT: Final[Mapping[Event, _Action]] = {
    Event.RESULT_SENT: SocketOperation.count_result,
    Event.ERROR_SENT: SocketOperation.record_last_message,
    Event.COMPLETE_SENT: SocketOperation.record_message,
    Event.STOP: SocketOperation.record_message,
    Event.RAISE: SocketOperation.fail,
    Event.GO_ON: SocketOperation.fail,
}
"""What is done because of an event, unless it is ignored."""

_ON_EXIT: Final[Mapping[State, _Action]] = {
    State.RECEIVED: SocketOperation.start_handling,
    State.WINDING_DOWN: SocketOperation.wound_down,
}
"""What is done as a state is left, before anything else."""

_ON_ENTRY: Final[Mapping[State, _Action]] = {
    State.SERVED: SocketOperation.accept,
    State.RUNNING: SocketOperation.accept,
    State.COMPLETING: SocketOperation.complete,
    State.CANCELLED: SocketOperation.cancel,
    State.WINDING_DOWN: SocketOperation.wind_down,
    State.GONE: SocketOperation.forget,
}
"""What is done as a state is entered, after everything else."""


class _Step(NamedTuple):
    """A row, ready to be done."""

    state: State
    actions: tuple[_Action, ...]


def _step(before: State, event: Event, row: Row) -> _Step:
    """Put together what is done: as the state is left, by the event, at the end, on entry."""
    moves = row.state is not before
    actions = (
        _ON_EXIT.get(before) if moves else None,
        _ON_EVENT.get(event),
        None if row.reason is None else partial(SocketOperation.end, reason=row.reason),
        _ON_ENTRY.get(row.state) if moves else None,
    )
    return _Step(row.state, tuple(action for action in actions if action is not None))


def _steps(state: State) -> Mapping[Event, _Step | None]:
    """Return what each event makes of a state; None where that is nothing."""
    ignored = {event for each in IGNORED if state in each.states for event in each.events}
    rows = {event: rows[state] for event, rows in TRANSITIONS.items() if state in rows}
    return dict.fromkeys(ignored) | {event: _step(state, event, rows[event]) for event in rows}


_STEPS: Final = {state: _steps(state) for state in State}
"""The tables by state, as they are looked up."""


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
