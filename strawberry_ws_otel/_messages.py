"""The spans of the messages of one connection, if `OTelConfig.message_spans` asks for them.

Rules:

1. Each message has one span. Its parent is the operation or the init that the message is about, or
   else the connection. Parent and child may end in any order.
2. The span of a received message (CONSUMER) starts as the host begins to handle the message, since
   only then its parent has started. If the data frame arrived more than 10 ms before, the span
   starts at that time. It ends as the handling does, and is current meanwhile. What the host starts
   to serve an operation then has the operation's span (`Connection.operation_running`).
3. A message that is not handled has a span, too. It ends with the connection, or earlier if too
   many wait. The span of a data frame of which no message can be decoded fails, and ends as that
   is known.
4. The span of a sent message (PRODUCER) covers the send and is current meanwhile.
5. No message is kept, only what its span is to have.
"""

import time
from collections import deque
from typing import Final, NamedTuple, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from strawberry_ws_otel import _limits, _semconv
from strawberry_ws_otel._current import (
    Activation,
    Placement,
    application_context,
    current,
    placement_of,
)
from strawberry_ws_otel._operation import Attributes, Registry, start_time_of
from strawberry_ws_otel._protocol import NO_ID, Meaning, Message, MessageType
from strawberry_ws_otel._spans import NOT_STARTED, SpanRecorder

_MAX_WAITING: Final = 100  # frames, and messages, of one connection that wait to be handled

_WITHOUT_OPERATION: Final = frozenset({Meaning.INIT, Meaning.ACK, Meaning.REFUSAL, Meaning.NONE})
"""The meanings of messages whose id, if they have one, is not that of an operation."""


class Owner(Protocol):
    """What a message is about: an operation, or the connection's init."""

    span: SpanRecorder
    placement: Placement | None


class _Described(NamedTuple):
    """What the span of a message has."""

    type: MessageType
    operation_id: str | None
    sequence: int
    owner: Owner | None
    arrived: float | None = None  # its data frame, on the monotonic clock

    @property
    def attributes(self) -> Attributes:
        """Those that no other span of the connection has."""
        return {
            _semconv.IO_DIRECTION: self.type.direction,
            _semconv.MESSAGE_TYPE: self.type.name,
            _semconv.MESSAGE_SEQUENCE: self.sequence,
            _semconv.OPERATION_ID: self.operation_id,
        }


class Sending(NamedTuple):
    """A message that is being sent."""

    activation: Activation | None
    span: SpanRecorder


class MessageSpans:
    """The spans of the messages of one connection."""

    __slots__ = ("_arrivals", "_failed_early", "_handled", "_registry", "_waiting")

    def __init__(self, registry: Registry) -> None:
        """Begin with the connection whose operations `registry` has."""
        self._registry = registry
        self._arrivals = deque[float](maxlen=_MAX_WAITING)  # of frames that are not decoded yet
        self._failed_early = 0  # unread frames whose span has ended
        # By the identity of the message: another one that has it shows that the first one is gone.
        self._waiting: dict[int, _Described] = {}
        self._handled: dict[int, SpanRecorder] = {}

    # --- Received -------------------------------------------------------------------------------

    def arrived(self) -> None:
        """Record that a data frame has arrived."""
        self._arrivals.append(time.monotonic())

    def received(self, message: Message, sequence: int, owner: Owner | None) -> None:
        """Note a message that was decoded from the oldest frame, and waits to be handled."""
        key = id(message.value)
        other = self._waiting.pop(key, None)
        if len(self._waiting) == _MAX_WAITING:
            other = self._waiting.pop(next(iter(self._waiting)))
        if other is not None:
            self._pass(other)
        operation_id = _operation_id(message.type, message.id)
        self._waiting[key] = _Described(
            message.type, operation_id, sequence, owner, self._next_arrival()
        )

    def begins(self, message: Message, owner: Owner) -> None:
        """Note the operation or the init that a received message begins."""
        key = id(message.value)
        self._waiting[key] = self._waiting[key]._replace(owner=owner)

    def unreadable(self, message_type: MessageType, sequence: int, error: BaseException) -> None:
        """Record that `error` was raised instead of a message from the oldest frame."""
        self._failed_early += 1
        self._fail(message_type, sequence, _limits.exception_type(error))

    def unread(self, message_type: MessageType, sequence: int) -> None:
        """Record that no message will be decoded from the oldest frame."""
        if self._failed_early:
            self._failed_early -= 1
        else:
            self._fail(message_type, sequence, _semconv.OTHER)

    def _fail(self, message_type: MessageType, sequence: int, error_type: str) -> None:
        described = _Described(message_type, None, sequence, None, self._next_arrival())
        span, _ = self._start(described, SpanKind.CONSUMER)
        span.fail(error_type)
        span.end()

    def _next_arrival(self) -> float:
        return self._arrivals.popleft() if self._arrivals else time.monotonic()

    def is_current(self, value: object, placement: Placement | None) -> bool:
        """Whether the code that has `placement` is handling this message already."""
        span = self._handled.get(id(value))
        return span is not None and placement is not None and placement.span is span

    def handling(
        self, message: Message, owner: Owner | None
    ) -> tuple[SpanRecorder, Placement | None] | None:
        """Start the span of a message that the host begins to handle, and return how to place it.

        `owner` is the operation that the message begins, which may be known only now.

        Returns:
            None if there is no message to start it for: other code is handling it already.
        """
        key = id(message.value)
        described = None if key in self._handled else self._taken(key, message)
        if described is None:
            return None
        if owner is not None:
            described = described._replace(owner=owner)
        span, placement = self._start(described, SpanKind.CONSUMER)
        self._handled[key] = span
        return span, placement

    def _taken(self, key: int, message: Message) -> _Described | None:
        """Take the message that waits; an application may hand on a copy of it."""
        if key not in self._waiting:
            wanted = message.type, _operation_id(message.type, message.id)
            alike = (
                k for k, one in self._waiting.items() if (one.type, one.operation_id) == wanted
            )
            key = next(alike, key)
        return self._waiting.pop(key, None)

    def handled(self, message: Message, error: BaseException | None) -> None:
        """End the span of a message that the host has handled, or that made it raise `error`."""
        span = self._handled.pop(id(message.value), NOT_STARTED)
        if error is not None:
            span.fail(_limits.exception_type(error))
        span.end()

    # --- Sent -----------------------------------------------------------------------------------

    def sending(
        self, message_type: MessageType, id_: object, sequence: int, owner: Owner | None
    ) -> Sending:
        """Start the span of a message that is about to be sent, and enter its context."""
        described = _Described(message_type, _operation_id(message_type, id_), sequence, owner)
        span, placement = self._start(described, SpanKind.PRODUCER)
        if placement is None:
            return Sending(None, span)
        inside = current()._replace(placement=placement)
        return Sending(Activation(inside, self._registry.fuses.library), span)

    # --- The end --------------------------------------------------------------------------------

    def end(self) -> None:
        """End all with the connection."""
        while self._waiting:
            self._pass(self._waiting.pop(next(iter(self._waiting))))
        while self._handled:
            self._handled.popitem()[1].end()

    def _pass(self, described: _Described) -> None:
        """Record a message that is not handled."""
        span, _ = self._start(described, SpanKind.CONSUMER)
        span.end()

    def _start(
        self, described: _Described, kind: SpanKind
    ) -> tuple[SpanRecorder, Placement | None]:
        """Start a span, and return what puts it on top of the application's context."""
        registry, span, placement = self._registry, NOT_STARTED, None
        with registry.fuses.spans:
            application = application_context()
            parent = self._parent(described.owner, application)
            arrived = described.arrived
            span = registry.telemetry.spans.start(
                described.type.event,
                registry.fuses.spans,
                context=application if parent is None else parent.context,
                attributes=lambda: {
                    **registry.attributes,
                    _semconv.CONNECTION_ID: registry.connection_id,
                    _semconv.HTTP_ROUTE: registry.route,
                    **described.attributes,
                },
                kind=kind,
                start_time=None if arrived is None else start_time_of(arrived),
            )
            placement = placement_of(span, application) if parent is None else parent.over(span)
        return span, placement

    def _parent(self, owner: Owner | None, application: Context) -> Placement | None:
        """Put the span of a message's owner, or the connection's, on the application's context."""
        if owner is None or not owner.span.has_own_id:
            return self._registry.trace.placement(application)
        # One that has ended is a parent all the same.
        own = owner.placement
        return placement_of(owner.span, application) if own is None else own.moved(application)


def _operation_id(message_type: MessageType, id_: object) -> str | None:
    """Return the id of a message that is about an operation, whether or not there is that one."""
    if id_ is NO_ID or message_type.meaning in _WITHOUT_OPERATION:
        return None
    return _limits.bounded(id_, _limits.ID)
