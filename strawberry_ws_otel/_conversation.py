"""The messages of one connection, and what they begin and end: its init and its operations."""

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.context import Context, get_current

from strawberry_ws_otel import _bounds, _semconv
from strawberry_ws_otel._close import Facts, Verdict
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._init import ConnectionInit
from strawberry_ws_otel._operation import Attributes, current_operation
from strawberry_ws_otel._operations import Operations
from strawberry_ws_otel._propagation import (
    Parentage,
    rebased,
    remote_context,
    within_connection,
)
from strawberry_ws_otel._protocol import Meaning, Message, Vocabulary, vocabulary
from strawberry_ws_otel._scope import current_scope
from strawberry_ws_otel._spans import SpanRecorder
from strawberry_ws_otel._tally import Traffic
from strawberry_ws_otel._telemetry import Telemetry


class Conversation:
    """What both sides of one connection say, over a subprotocol."""

    __slots__ = (
        "_acknowledged",
        "_application",
        "_attached",
        "_carried",
        "_connection_id",
        "_facts",
        "_greeted",
        "_init",
        "_last_received",
        "_message",
        "_operations",
        "_over",
        "_span",
        "_telemetry",
        "_unread",
        "_vocabulary",
        "context",
        "cut_short",
        "fuse",
        "result_name",
        "traffic",
        "unshared",
    )

    def __init__(  # noqa: PLR0913, PLR0917  # what a conversation starts with
        self,
        telemetry: Telemetry,
        fuse: Fuse,
        connection_id: str,
        span: SpanRecorder,
        facts: Facts,
        context: Context,
        application: Context,
        in_reader: Callable[[], bool],
    ) -> None:
        """Start the conversation.

        Args:
            telemetry: where it is recorded.
            fuse: what keeps our failures from the host.
            connection_id: ours.
            span: the connection's, for the messages of no operation.
            facts: what is known about the end of the connection.
            context: in which the host serves the connection.
            application: the same, without the connection's span and what the handshake brought.
            in_reader: whether the caller is the task that reads the socket.
        """
        self.fuse = fuse
        self.context = self._attached = context
        self._application = application
        self.traffic = Traffic()
        """What the connection has carried; the edge counts the bytes that it sends."""
        self._telemetry = telemetry
        self._connection_id = connection_id
        self._span = span
        self._facts = facts
        self._speak(vocabulary(None))
        self._operations = Operations(telemetry, fuse, connection_id, in_reader)
        self.unshared = self._operations.unshared
        """What the operations have sent that have their id for themselves, by that id."""
        self._init: ConnectionInit | None = None
        """The init, until it is acknowledged."""
        self._greeted = False
        """Whether an init came; a second one is only an event."""
        self._carried: Context | None = None
        """The remote context that the payload of the init brought."""
        self._acknowledged = False
        self._message: Message | None = None
        """The message that the host is handling."""
        self._unread = False
        """Whether a data frame came of which no message has been made (yet)."""
        self._last_received: float | None = None
        self._over = False
        self.cut_short: weakref.ref[BaseException] | None = None
        """The cancellation that reached a sender whose frame had been written."""

    def opened(self, subprotocol: str | None) -> bool:
        """Note that the upgrade was sent; return False if there is nothing to open any more."""
        if self._over:
            return False
        self._speak(vocabulary(subprotocol))
        self.traffic.subprotocol = subprotocol
        self._telemetry.metrics.tally.opened(self.traffic)
        return True

    def _speak(self, words: Vocabulary) -> None:
        self._vocabulary, self.result_name = words, words.result.name

    # --- Messages ----------------------------------------------------------------------------

    def frame_received(self, size: int) -> None:
        """Note a data frame of `size` bytes, whether or not a message can be made of it."""
        self._last_received = time.monotonic()
        self._settle_unread()
        self._unread = True
        self.traffic.bytes_received += size

    def received(self, value: object) -> Context:
        """Note a message, any JSON value, and return the context in which to handle it."""
        self._attached = self._received(value)
        return self._attached

    def _received(self, value: object) -> Context:
        if self._over:
            return get_current()
        self._unread = False
        self._operations.handler_lives()
        self._message = message = self._vocabulary.read(value)
        self.traffic.messages[message.type] += 1
        match message.type.meaning:
            case Meaning.START if message.starts_operation:
                return self._begin(message)
            case Meaning.INIT if not self._greeted:
                return self._begin_init(message)
            case Meaning.STOP if self._operations.stop(message):
                pass
            case _:
                self._span.message(message.type)
        return self.context

    def handled(self) -> Context:
        """Note that the host asks for a message, and return the context in which to go on."""
        self._message = None
        self._operations.handled()
        if self._over:
            return get_current()
        self.adopt_changes()
        self._attached = self.context
        return self._attached

    def adopt_changes(self) -> None:
        """Keep what the application has changed in its context: it would stay there without us."""
        current, attached = get_current(), self._attached
        if current is attached or not _is_of(attached, current):
            return
        self.context = rebased(current, attached, self.context)
        self._application = rebased(current, attached, self._application)

    def sent(self, message: Mapping[str, Any]) -> None:
        """Note a message that went out; called where the host sends it, in its exception state."""
        message_type = self._vocabulary.speak(message)
        if message_type.meaning is Meaning.RESULT and (
            operation := self._operations.sender(message)
        ):
            operation.result_sent(message_type)
            return
        self.traffic.messages[message_type] += 1
        match message_type.meaning:
            case Meaning.ERROR | Meaning.COMPLETE if operation := self._operations.sender(message):
                self._operations.last_message_sent(operation, message_type)
                return
            case Meaning.ACK:
                self._acknowledged = True
                self._end_init()
            case Meaning.REFUSAL:
                self._facts.refused = True
        self._span.message(message_type)

    def has_written(self, cancellation: BaseException) -> bool:
        """Whether the sender that a cancellation reached had its frame written by then."""
        return self.cut_short is not None and self.cut_short() is cancellation

    def not_sent(self, message: Mapping[str, Any], error: Exception) -> None:
        """Note that a message could not be sent, say because it could not be encoded."""
        operation = self._operations.sender(message)
        if operation is not None:
            operation.failure = _bounds.exception_type(error)

    def _settle_unread(self) -> None:
        if self._unread:
            self._unread = False
            self.traffic.messages[self._vocabulary.unreadable] += 1
            self._span.message(self._vocabulary.unreadable)

    # --- Init and operations -----------------------------------------------------------------

    def _begin_init(self, message: Message) -> Context:
        self._greeted = True
        self._carried = self._remote(message.payload)
        parentage = self._parentage(self._carried)
        self._init = ConnectionInit(self._telemetry, self.fuse, parentage, self._connection_id)
        self._link(self._init.span, parentage)
        self._span.message(message.type)
        return self._init.context

    def _end_init(self, error_type: str | None = None) -> None:
        init, self._init = self._init, None
        if init is not None:
            init.end(error_type)

    def _begin(self, message: Message) -> Context:
        extensions = message.payload.get("extensions")
        carried = self._remote(extensions) if isinstance(extensions, dict) else None
        parentage = self._parentage(carried or self._carried)
        operation = self._operations.begin(message, parentage, self._vocabulary)
        self._link(operation.span, parentage)
        return operation.context

    def _parentage(self, carried: Context | None) -> Parentage:
        config, span = self._telemetry.config, self._span.context
        return within_connection(config, self.context, self._application, span, carried, self.fuse)

    def _remote(self, carrier: Mapping[str, Any]) -> Context | None:
        if self._telemetry.config.remote_context == "ignore":
            return None
        return remote_context(carrier, self.fuse)

    def _link(self, child: SpanRecorder, parentage: Parentage) -> None:
        if parentage.apart:
            self._span.link(child)

    # --- The end -----------------------------------------------------------------------------

    def going_down(self) -> None:
        """Note that the connection is about to end: what dies now dies with it."""
        self._operations.dying = True

    def close_sent(self, code: int) -> None:
        """Note a close of the server: some refuse the operation that is being handled."""
        self._operations.close_sent(code)

    @property
    def awaits_ack(self) -> bool:
        """Whether an init has neither been acknowledged nor ended with the connection."""
        return self._init is not None

    def judged(self, error_type: str | None) -> None:
        """Note how the close is judged so far: an init that is not acknowledged ends so.

        Even one that crossed a close frame which had been decided upon before it came.
        """
        self.going_down()
        self._end_init(error_type)

    def stopped(self, exception: BaseException | None) -> bool:
        """Note that nothing more is said.

        Args:
            exception: what left the view.

        Returns:
            Whether it left because of the last message: unreadable, or not well formed.
        """
        self._over = True
        tripped = self._tripped_over(exception)
        self._settle_unread()
        return tripped

    def _tripped_over(self, exception: BaseException | None) -> bool:
        message = self._message
        if message is not None:
            # Older versions of Strawberry look up whatever id a legacy client stops.
            stray = message.type.meaning is Meaning.STOP and isinstance(exception, KeyError)
            return stray or not message.well_formed
        # Too many digits are a ValueError, too many brackets a RecursionError.
        return self._unread and isinstance(exception, ValueError | RecursionError)

    def ended(self, verdict: Verdict) -> int:
        """End all operations that are alive; return how many were."""
        return self._operations.connection_closed(verdict)

    def summary(self, interrupted: int) -> Attributes:
        """Return what the conversation amounts to, and how many operations its end interrupted."""
        counts = {"receive": 0, "transmit": self._operations.results}
        for message_type, count in self.traffic.messages.items():
            counts[message_type.direction] += count
        last = self._last_received
        return {
            _semconv.SUBPROTOCOL: self.traffic.subprotocol,
            _semconv.MESSAGES_RECEIVED: counts["receive"],
            _semconv.MESSAGES_SENT: counts["transmit"],
            _semconv.OPERATIONS: self._operations.begun,
            _semconv.OPERATIONS_INTERRUPTED: interrupted,
            _semconv.ACKNOWLEDGED: self._acknowledged,
            _semconv.IDLE_TIME: None if last is None else time.monotonic() - last,
        }

    def forget(self) -> None:
        """Let go of contexts, which keep the connection: nothing waits for the collector.

        And of the span, and the message that the host died of: a timer of its own may keep the
        connection.
        """
        self._span.forget()
        self._carried = self._message = None
        self.context = self._attached = self._application = Context()


def _is_of(attached: Context, current: Context) -> bool:
    """Whether `current` came of what we attached; another task may have none, or an older one."""
    return current_scope(current) is current_scope(attached) and current_operation(
        current
    ) is current_operation(attached)
