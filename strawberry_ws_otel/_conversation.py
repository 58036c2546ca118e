"""The messages of one connection, and what they begin and end: its init and its operations."""

import asyncio
import time
import weakref
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import get_current

from strawberry_ws_otel import _bounds, _semconv
from strawberry_ws_otel._cancellation import is_being_cancelled, running_task
from strawberry_ws_otel._close import Facts, Verdict
from strawberry_ws_otel._current import (
    Current,
    Placement,
    Stay,
    application_context,
    current,
    replace_current,
)
from strawberry_ws_otel._failsafe import Fuses
from strawberry_ws_otel._init import ConnectionInit
from strawberry_ws_otel._operation import (
    HANDLE,
    RESULT_SENT,
    RUNNING,
    Attributes,
    SocketOperation,
)
from strawberry_ws_otel._operations import (
    Execution,
    Operations,
    unclaimed,
)
from strawberry_ws_otel._propagation import ConnectionTrace
from strawberry_ws_otel._protocol import Meaning, Message, Vocabulary, vocabulary
from strawberry_ws_otel._spans import SpanProxy, SpanRecorder
from strawberry_ws_otel._tally import Traffic
from strawberry_ws_otel._telemetry import Telemetry

_MAX_UNDECIDED: Final = 100
"""Messages without a document that may wait to be handled."""

_MAX_CAUSES: Final = 100
"""Exceptions that are looked through for the one that a message caused."""


class Conversation:
    """What both sides of one connection say, over a subprotocol."""

    __slots__ = (
        "_acknowledged",
        "_connection_id",
        "_facts",
        "_fuses",
        "_greeted",
        "_init",
        "_last_received",
        "_message",
        "_operations",
        "_over",
        "_span",
        "_telemetry",
        "_trace",
        "_tripped",
        "_undecided",
        "_unread",
        "_vocabulary",
        "cut_short",
        "fuse",
        "reads_ahead",
        "result_name",
        "results_by_unique_id",
        "traffic",
    )

    def __init__(  # noqa: PLR0913, PLR0917  # what a conversation starts with
        self,
        telemetry: Telemetry,
        fuses: Fuses,
        connection_id: str,
        span: SpanRecorder,
        facts: Facts,
        connection_trace: ConnectionTrace,
    ) -> None:
        """Start the conversation.

        Args:
            telemetry: where it is recorded.
            fuses: what keeps our failures from the host.
            connection_id: ours.
            span: the connection's, for the messages of no operation.
            facts: what is known about the end of the connection.
            connection_trace: where the spans of the init and of operations start.
        """
        self._fuses = fuses
        self.fuse = fuses.library
        self.traffic = Traffic()
        """What the connection has carried; the edge counts the bytes that it sends."""
        self._telemetry = telemetry
        self._connection_id = connection_id
        self._span = span
        self._facts = facts
        self._trace = connection_trace
        self._speak(vocabulary(None))
        self._operations = Operations(telemetry, fuses, connection_id, connection_trace)
        self.results_by_unique_id = self._operations.results_by_unique_id
        """What the operations have sent that have their id for themselves, by that id."""
        self._init: ConnectionInit | None = None
        """The init, until it is acknowledged."""
        self._greeted = False
        """Whether an init came; a second one is only an event."""
        self._acknowledged = False
        self._message: Message | None = None
        """The message that was received last, until the host is known to be done with it."""
        self._unread = 0
        """Data frames that came of which no message has been made (yet)."""
        self.reads_ahead = False
        """Whether the application may read frames before it has made messages of the others."""
        self._tripped: BaseException | None = None
        """What a frame or message of the client's has raised that is not well formed, if it was
        the last one."""
        self._undecided: list[Message] = []
        """Those that start an operation if the application knows their document."""
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
        if not self.reads_ahead:
            self._settle_unread()
        self._unread += 1
        self.traffic.bytes_received += size

    def received(self, value: object) -> None:
        """Note a message, any JSON value."""
        if self._over:
            return
        self._unread = max(0, self._unread - 1)
        self._tripped = None
        if self._operations.has_cancelled:
            self._operations.fail_cancelled()
        self._message = message = self._vocabulary.read(value)
        self.traffic.messages[message.type] += 1
        match message.type.meaning:
            case Meaning.START if message.starts_operation:
                self._operations.begin(message, self._vocabulary)
                return
            case Meaning.START if message.may_start_operation:
                # Whether the application knows the document will show when it is handled.
                self._undecided.append(message)
                if len(self._undecided) > _MAX_UNDECIDED:
                    self._span.message(self._undecided.pop(0).type)
                return
            case Meaning.INIT if not self._greeted:
                self._greeted = True
                self._init = ConnectionInit(
                    self._telemetry, self._fuses, self._trace, self._connection_id, message.payload
                )
            case Meaning.STOP if self._operations.stop(message):
                return
        self._span.message(message.type)

    def reading_failed(self, error: BaseException) -> None:
        """Note that no message could be made of what came, if `error` says so.

        Whatever the class: the application may decode by any means. It is the client who wrote it.
        """
        if not self._unread or isinstance(error, GeneratorExit):
            return
        if not (isinstance(error, asyncio.CancelledError) and is_being_cancelled()):
            self._tripped = error

    # --- Who runs for whom -------------------------------------------------------------------

    def handling(
        self, value: object, request: object, *, knows_documents: bool | None = None
    ) -> "Handling | None":
        """Note that the host begins to handle a message, in whatever task, and enter its context.

        Args:
            value: the message.
            request: for whom the code runs from now on.
            knows_documents: whether what begins operations in the handler may know the document of
                a message without one; None where that is not asked yet.

        Returns:
            What to hand to `handled`.
        """
        now = current()
        if self._over or (now.operation is not None and now.operation.first is value):
            return None
        message = self._message
        if message is None or message.value is not value:
            if self._unread and not self.reads_ahead:
                # The application reads the socket by itself.
                self.received(value)
            message = self._vocabulary.read(value)
        inside = now if now.request is request else Current(request, None, now.placement)
        operation: SocketOperation | None = None
        if message.type.meaning is Meaning.START:
            inside = self._handling_operation(message, inside, knows_documents=knows_documents)
            operation = inside.operation
            if operation is not None:
                operation.handled_in = running_task()
        elif message.type.meaning is Meaning.INIT and self._init is not None:
            placement = self._init.placement
            if self._init.start():
                placement = self._init.placement or inside.placement
            else:
                placement = _placed(placement, inside.placement)
            inside = inside._replace(placement=placement)
        return Handling(Stay(inside, self.fuse), message, operation)

    def _handling_operation(
        self, message: Message, outside: Current, *, knows_documents: bool | None
    ) -> Current:
        operation = self._operations.to_handle(message)
        if operation is None:
            operation = self._decided(message, knows_documents=knows_documents)
        if operation is None or operation is outside.operation:
            return outside
        is_first = operation.fire(HANDLE)
        unclaimed.add(operation, outside.request)
        if is_first:
            placement = operation.placement or outside.placement
        else:
            placement = _placed(operation.placement, outside.placement)
        return Current(outside.request, operation, placement)

    def _decided(self, message: Message, *, knows_documents: bool | None) -> SocketOperation | None:
        """Return the operation of a message of which it was open whether it begins one."""
        begins = knows_documents or message.starts_operation
        if not begins and knows_documents is None:
            return None
        undecided = self._decide(message)
        if undecided is None:
            return None
        if not begins:
            self._span.message(undecided.type)
            return None
        self._operations.begin(message, self._vocabulary)
        return self._operations.to_handle(message)

    def _decide(self, message: Message) -> Message | None:
        """Return the message as it was received, if it was open what becomes of it until now."""
        for i, undecided in enumerate(self._undecided):
            if undecided.value is message.value or undecided.id == message.id:
                return self._undecided.pop(i)
        return None

    def handled(self, handling: "Handling | None", error: BaseException | None) -> None:
        """Note that the host is done with a message, and leave its context.

        Args:
            handling: what `handling` returned.
            error: what the host raised.
        """
        if handling is None:
            return
        handling.stay.leave()
        if handling.operation is not None:
            handling.operation.handled_in = None
        message = handling.message
        if self._over:
            return
        if self._message is not None and self._message.value is message.value:
            self._message = None
        if error is None:
            if self._operations.has_cancelled:
                self._operations.fail_cancelled()
        elif isinstance(error, Exception) and _is_to_blame(message, error):
            self._tripped = error

    def running(
        self, id_: object, document: object, name: object, request: object
    ) -> "Running | None":
        """Note that the host begins to serve an operation, and enter its context.

        Args:
            id_: the client's.
            document: that the host is about to execute.
            name: of the operation in it.
            request: for whom the code runs from now on.

        Returns:
            What to hand to `ran`.
        """
        operation = None if self._over else self._operations.to_run(id_)
        if operation is None:
            return None
        self._operations.run(operation, document, name)
        inside = current()
        if inside.operation is not operation:
            placement = _placed(operation.placement, inside.placement)
            inside = Current(request, operation, placement)
        return Running(Stay(inside, self.fuse), operation)

    def ran(self, running: "Running | None", error: BaseException | None) -> None:
        """Note that the host has served an operation, and leave its context.

        Args:
            running: what `running` returned.
            error: what the host raised.
        """
        if running is not None:
            running.stay.leave()
            self._operations.ran(running.operation, error)

    def claim_own(self, document: object) -> SocketOperation | None:
        """Return the operation that the running task serves, if this is its very document.

        Nearly every execution is so, and its span is the current one.
        """
        operation: SocketOperation | None = current().operation
        if (
            document is None
            or operation is None
            or operation.document is not document
            or operation.books is not self._operations
            or operation.state is not RUNNING
        ):
            return None
        if operation.placement is not None and _is_missing(operation.placement):
            return None
        self._operations.claimed(operation)
        return operation

    def claim(self, execution: Execution, request: object) -> SocketOperation | None:
        """Return the operation that an execution of the schema serves, if it is a client's.

        The execution may run in whatever task: the operation's span becomes the current one there
        if another one of ours is.
        """
        if self._over:
            return None
        inner = current().operation
        is_ours = inner is not None and inner.books is self._operations
        if self._undecided and not is_ours and execution.is_stream:
            # A handler that was not asked to handle the message has looked up its document.
            self._operations.begin(self._undecided.pop(), self._vocabulary)
        operation = self._operations.claim(execution)
        if operation is None:
            return None
        self._operations.claimed(operation)
        if operation.placement is not None and _is_missing(operation.placement):
            placement = operation.placement.moved(application_context())
            replace_current(self.fuse, request=request, operation=operation, placement=placement)
        elif current().operation is not operation:
            replace_current(self.fuse, request=request, operation=operation)
        return operation

    # --- What is sent ------------------------------------------------------------------------

    def sent(self, message: Mapping[str, Any]) -> None:
        """Note a message that went out."""
        message_type = self._vocabulary.speak(message)
        if message_type.meaning is Meaning.RESULT and (
            operation := self._operations.sender(message)
        ):
            payload = message.get("payload")
            failed = isinstance(payload, Mapping) and bool(payload.get("errors"))
            if operation.fire(RESULT_SENT, failed):
                return
        self.traffic.messages[message_type] += 1
        match message_type.meaning:
            case Meaning.ERROR | Meaning.COMPLETE if self._operations.last_message_sent(
                message, message_type
            ):
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
        while self._unread:
            self._unread -= 1
            self.traffic.messages[self._vocabulary.unreadable] += 1
            self._span.message(self._vocabulary.unreadable)

    def _end_init(self, error_type: str | None = None) -> None:
        init, self._init = self._init, None
        if init is not None:
            init.end(error_type)

    # --- The end -----------------------------------------------------------------------------

    def mark_closing(self) -> None:
        """Note that the connection is about to end: what dies now dies with it."""
        self._operations.is_closing = True

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
        self.mark_closing()
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
        for message in self._undecided:
            self._span.message(message.type)
        self._undecided.clear()
        return tripped

    def _tripped_over(self, exception: BaseException | None) -> bool:
        if exception is None:
            return False
        if self._tripped is not None and _came_of(exception, self._tripped):
            return True
        # A handler that was not asked to handle it has handled the newest one.
        message = self._message
        return message is not None and _is_to_blame(message, exception)

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
        """Let go of what came from the client: nothing waits for the collector.

        A timer of the host's or the application's may keep the connection.
        """
        self._trace.forget()
        self._message = self._tripped = None


class Handling(NamedTuple):
    """A message that the host handles."""

    stay: Stay
    message: Message
    operation: SocketOperation | None
    """The one that it begins."""


class Running(NamedTuple):
    """An operation that the host serves."""

    stay: Stay
    operation: SocketOperation


def _placed(own: Placement | None, outer: Placement | None) -> Placement | None:
    """Return what puts a span of ours on top of what the application has in the running task."""
    if own is None or (outer is not None and own.span_id == outer.span_id):
        return outer
    application = application_context()
    return own if application is own.below else own.moved(application)


def _is_missing(own: Placement) -> bool:
    """Whether the operation's span is to be put into the running context.

    Not over a span of the application's own.
    """
    context, placement = get_current(), current().placement
    if own.is_on_top(context):
        return False
    top = trace.get_current_span(context)
    is_ours = type(top) is SpanProxy or (placement is not None and placement.is_on_top(context))
    return is_ours or not top.get_span_context().is_valid


def _is_to_blame(message: Message, error: BaseException) -> bool:
    """Whether a message is what the host tripped over when it handled it."""
    # Older versions of Strawberry look up whatever id a legacy client stops.
    stray = message.type.meaning is Meaning.STOP and isinstance(error, KeyError)
    return stray or not message.well_formed


def _came_of(exception: BaseException, cause: BaseException) -> bool:
    """Whether `exception` is `cause`, or goes back to it: through a task group, for example."""
    waiting, seen = [exception], 0
    while waiting and seen < _MAX_CAUSES:
        error, seen = waiting.pop(), seen + 1
        if error is cause:
            return True
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        waiting.extend(each for each in (error.__cause__, error.__context__) if each is not None)
    return False
