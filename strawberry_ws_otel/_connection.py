"""One connection, from the handshake to the verdict: what an edge holds, and all that it calls.

An edge reports what happens, in the order in which it happens, and writes nothing itself:

======================================  ==========================================================
it calls                                when
======================================  ==========================================================
`serving`                               the host begins to serve the handshake
`accepted`                              the upgrade was sent
`data_received`, `message_received`     a data frame arrived, a message was made of it
`message_unreadable`                    none could be made, or nothing more is to come
`message_handling`, `message_handled`   the host begins to handle a message, in whatever task, and
                                        is done with it
`operation_running`, `operation_ran`    the host begins to serve an operation, and is done with it
`message_sent`, `message_failed`        a message was written, or could not be
`close_sent`, `close_dropped`           the server's close frame was written, or could not be made
`close_received`                        the client's close frame was read
`close_redundant`                       somebody closes a socket that is closed
`close_unobserved`                      the socket is closed, and nobody saw by whom
`error_received`                        an ERROR message was read
`disconnected`                          the end of the stream was read
`write_failed`, `write_cancelled`       the transport refused a frame; a sender was cancelled whose
                                        frame was written
`ended`                                 the handler is done
======================================  ==========================================================

For what happens with every message an edge may count by itself: `traffic.bytes_sent`, and in
`results_by_unique_id` the results of the operation whose id a message of type `result_name` has. It
sets `reads_ahead` if the application may read frames before it makes messages of earlier ones. The
extension of the schema asks by `claim_own` and `claim` which operation it executes.

Facts are kept first and recorded second, so that a broken telemetry pipe changes no verdict.
"""

import asyncio
import time
import weakref
from collections.abc import Callable, Mapping
from random import getrandbits
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import INVALID_SPAN, Span
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _limits, _semconv
from strawberry_ws_otel._close import CloseFrame, Facts, HandlerEnd, Verdict, verdict
from strawberry_ws_otel._counts import Traffic
from strawberry_ws_otel._current import (
    Activation,
    Current,
    Placement,
    application_context,
    current,
    is_being_cancelled,
    placement_of,
    replace_current,
    running_task,
)
from strawberry_ws_otel._fuse import Fuses
from strawberry_ws_otel._operation import (
    HANDLE,
    RESULT_SENT,
    RUNNING,
    WAITED,
    Attributes,
    SocketOperation,
)
from strawberry_ws_otel._operations import Execution, Operations, unclaimed
from strawberry_ws_otel._propagation import ConnectionTrace, of_request
from strawberry_ws_otel._protocol import Meaning, Message, Vocabulary, vocabulary
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._spans import NOT_STARTED, SpanProxy, is_suppressed, span_id

_MAX_WITHOUT_DOCUMENT: Final = 100
"""Messages without a document that may wait to be handled."""

_MAX_CAUSES: Final = 100
"""Exceptions that are searched for the one that a message caused."""

_SYNTAX_ERROR: Final = "Syntax Error"
"""How the reason of a 4400 for a syntax error begins; the rest quotes the document."""

_NO_HEADERS: Final = MappingProxyType[str, str]({})

_END_OF_READING: Final = (
    StopAsyncIteration,
    GeneratorExit,
    TimeoutError,
    ConnectionError,
    asyncio.CancelledError,
)
"""What ends the reading of messages without a frame."""


class ConnectionInit:
    """The span and the duration of one connection init."""

    __slots__ = (
        "_connection_id",
        "_fuses",
        "_payload",
        "_received_at",
        "_started",
        "_telemetry",
        "_trace",
        "placement",
        "span",
    )

    def __init__(
        self,
        telemetry: Telemetry,
        fuses: Fuses,
        connection_trace: ConnectionTrace,
        connection_id: str,
        payload: Mapping[str, Any],
    ) -> None:
        """Begin, as the message is received.

        Args:
            telemetry: where it is recorded.
            fuses: what keeps our failures from the host.
            connection_trace: where its span starts.
            connection_id: ours.
            payload: of the message.
        """
        self._telemetry = telemetry
        self._fuses = fuses
        self._trace = connection_trace
        self._connection_id = connection_id
        self._payload: Mapping[str, Any] | None = payload
        """That of the message, until the span starts."""
        self._started = time.monotonic()
        self._received_at = time.time_ns()
        self.span = NOT_STARTED
        self.placement: Placement | None = None
        """What puts its span into a context, once it has started."""

    def start(self) -> bool:
        """Start the span in the running context, unless it has; return whether it does so now."""
        payload, self._payload = self._payload, None
        if payload is None:
            return False
        waited = time.monotonic() - self._started
        application = application_context()
        parentage = self._trace.init(payload, application)
        self.span = self._telemetry.spans.start(
            _semconv.SPAN_CONNECTION_INIT,
            self._fuses.spans,
            context=parentage.context,
            attributes=lambda: {_semconv.CONNECTION_ID: self._connection_id},
            links=parentage.links,
            start_time=self._received_at if waited > WAITED else None,
        )
        self._trace.link(self.span, parentage)
        self.placement = placement_of(self.span, application, parentage.carried)
        return True

    def end(self, error_type: str | None = None) -> None:
        """End the init, with the class of what refused it."""
        self.start()
        self._telemetry.metrics.record(
            _semconv.METRIC_INIT_DURATION,
            time.monotonic() - self._started,
            {_semconv.ERROR_TYPE: error_type},
            self._fuses.metrics,
            self.span.exemplar_context,
        )
        if error_type is not None:
            self.span.fail(error_type)
        self.span.end()
        self.placement = None


class Connection:
    """One connection: what both sides say over it, and how it closes."""

    __slots__ = (
        "_acknowledged",
        "_cancelled_after_write",
        "_facts",
        "_fuses",
        "_has_ended",
        "_has_init",
        "_init",
        "_input_error",
        "_is_closing",
        "_is_observed",
        "_last_received",
        "_message",
        "_operations",
        "_span",
        "_started",
        "_telemetry",
        "_trace",
        "_unread",
        "_vocabulary",
        "_without_document",
        "fuse",
        "id",
        "placement",
        "reads_ahead",
        "result_name",
        "results_by_unique_id",
        "traffic",
    )

    def __init__(
        self,
        telemetry: Telemetry,
        fuses: Fuses,
        before: Context,
        headers: Mapping[str, str] = _NO_HEADERS,
        attributes: Callable[[], Mapping[str, AttributeValue | None]] = dict,
    ) -> None:
        """Start the connection with its handshake.

        Args:
            telemetry: where it is recorded.
            fuses: what keeps our failures from the host.
            before: the context of the handshake.
            headers: of the handshake.
            attributes: makes those of the handshake, unless nobody can see them.
        """
        # Unique, not unguessable: the SDK makes its ids in the same way.
        self.id = f"{getrandbits(64):016x}"
        self.fuse = fuses.library
        self._fuses = fuses
        self._telemetry = telemetry
        self._started = time.monotonic()
        parentage = of_request(telemetry.config, before, headers, fuses.library)
        self._span = telemetry.spans.start(
            _semconv.SPAN_CONNECTION,
            fuses.spans,
            context=parentage.context,
            attributes=lambda: {
                _semconv.CONNECTION_ID: self.id,
                _semconv.PROTOCOL_NAME: "websocket",
                **attributes(),
            },
            links=parentage.links,
        )
        self.placement = placement_of(self._span, before, parentage.carried)
        """What puts the connection's span into the context in which the host serves it."""
        self._trace = ConnectionTrace(
            telemetry.config, fuses.library, self._span, parentage, span_id(before)
        )
        self._facts = Facts()
        self._is_closing = False
        """Whether the close has been decided, and its event recorded."""
        self.traffic = Traffic()
        """What the connection has carried; the edge counts the bytes that it sends."""
        self._use(vocabulary(None))
        self._operations = Operations(telemetry, fuses, self.id, self._trace)
        self.results_by_unique_id = self._operations.results_by_unique_id
        """What the operations have sent that have their id for themselves, by that id."""
        self._init: ConnectionInit | None = None
        """The init, until it is acknowledged."""
        self._has_init = False
        """Whether an init came; a second one is only an event."""
        self._acknowledged = False
        self._message: Message | None = None
        """The message that was received last, until the host is known to be done with it."""
        self._is_observed = True
        self._unread = 0
        """Data frames that came of which no message has been made (yet)."""
        self.reads_ahead = False
        """Whether the application may read frames before it has made messages of the others."""
        self._input_error: BaseException | None = None
        """What the last frame or message has raised, if that is not well formed."""
        self._without_document: list[Message] = []
        """Those that start an operation if the application knows their document."""
        self._last_received: float | None = None
        self._has_ended = False
        self._cancelled_after_write: weakref.ref[asyncio.CancelledError] | None = None
        """The cancellation that reached a sender whose frame had been written."""

    @property
    def span(self) -> Span:
        """The span of the connection, as the application may use it."""
        return self._span.span

    def serving(self, request: object) -> Activation:
        """Enter the context in which the host serves the connection.

        Args:
            request: for whom the code runs from now on.

        Returns:
            What to leave after the connection has ended.
        """
        return Activation(Current(request, None, self.placement or current().placement), self.fuse)

    def accepted(self, subprotocol: str | None, *, is_observed: bool = True) -> None:
        """Begin the conversation: the upgrade was sent. Only the first call counts.

        Args:
            subprotocol: that was agreed upon.
            is_observed: whether the edge sees the frames of the socket.
        """
        if self._facts.upgraded or self._has_ended:
            return
        self._facts.upgraded = True
        self._is_observed = is_observed
        self._use(vocabulary(subprotocol))
        self.traffic.subprotocol = subprotocol
        self._telemetry.metrics.totals.opened(self.traffic)

    def _use(self, words: Vocabulary) -> None:
        self._vocabulary, self.result_name = words, words.result.name

    # --- Messages ----------------------------------------------------------------------------

    def data_received(self, size: int) -> None:
        """Record a data frame of `size` bytes, whether or not a message can be made of it."""
        self._last_received = time.monotonic()
        if not self.reads_ahead:
            self._settle_unread()
        self._unread += 1
        self.traffic.bytes_received += size

    def message_received(self, value: object) -> None:
        """Record a message, any JSON value."""
        if self._has_ended:
            return
        self._unread = max(0, self._unread - 1)
        if not self._is_observed:
            self._last_received = time.monotonic()
        self._input_error = None
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
                self._without_document.append(message)
                if len(self._without_document) > _MAX_WITHOUT_DOCUMENT:
                    self._span.message(self._without_document.pop(0).type)
                return
            case Meaning.INIT if not self._has_init:
                self._has_init = True
                self._init = ConnectionInit(
                    self._telemetry, self._fuses, self._trace, self.id, message.payload
                )
            case Meaning.STOP if self._operations.stop(message):
                return
        self._span.message(message.type)

    def message_unreadable(self, error: BaseException) -> None:
        """Record that no message could be made of what came, if `error` says so.

        Whatever the class: the application may decode by any means. It is the client who wrote it.
        """
        if not self._is_observed and isinstance(error, _END_OF_READING):
            # The handler is about to end, and what dies now dies with the connection.
            self._operations.is_closing = True
            return
        if isinstance(error, GeneratorExit) or (self._is_observed and not self._unread):
            return
        if not (isinstance(error, asyncio.CancelledError) and is_being_cancelled()):
            self._input_error = error
            if not self._is_observed:
                self._count_unreadable()

    # --- Who runs for whom -------------------------------------------------------------------

    def message_handling(
        self, value: object, request: object, *, knows_documents: bool | None = None
    ) -> "Handling | None":
        """Record that the host begins to handle a message, in whatever task, and enter its context.

        Args:
            value: the message.
            request: for whom the code runs from now on.
            knows_documents: whether what begins operations in the handler may know the document of
                a message without one; None where that is not asked yet.

        Returns:
            What to hand to `message_handled`.
        """
        now = current()
        if self._has_ended or (now.operation is not None and now.operation.first is value):
            return None
        message = self._message
        if message is None or message.value is not value:
            if self._unread and not self.reads_ahead:
                # The application reads the socket by itself.
                self.message_received(value)
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
            inside = Current(inside.request, inside.operation, placement)
        return Handling(Activation(inside, self.fuse), message, operation)

    def _handling_operation(
        self, message: Message, outside: Current, *, knows_documents: bool | None
    ) -> Current:
        operation = self._operations.to_handle(message)
        if operation is None:
            operation = self._begin_without_document(message, knows_documents=knows_documents)
        if operation is None or operation is outside.operation:
            return outside
        is_first = operation.fire(HANDLE)
        unclaimed.add(operation, outside.request)
        if is_first:
            placement = operation.placement or outside.placement
        else:
            placement = _placed(operation.placement, outside.placement)
        return Current(outside.request, operation, placement)

    def _begin_without_document(
        self, message: Message, *, knows_documents: bool | None
    ) -> SocketOperation | None:
        """Return the operation of a message of which it was open whether it begins one."""
        begins = knows_documents or message.starts_operation
        if not begins and knows_documents is None:
            return None
        received = self._take_without_document(message)
        if received is None:
            return None
        if not begins:
            self._span.message(received.type)
            return None
        self._operations.begin(message, self._vocabulary)
        return self._operations.to_handle(message)

    def _take_without_document(self, message: Message) -> Message | None:
        """Return the message as it was received, if it was open what becomes of it until now."""
        for i, received in enumerate(self._without_document):
            if received.value is message.value or received.id == message.id:
                return self._without_document.pop(i)
        return None

    def message_handled(self, handling: "Handling | None", error: BaseException | None) -> None:
        """Record that the host is done with a message, and leave its context.

        Args:
            handling: what `message_handling` returned.
            error: what the host raised.
        """
        if handling is None:
            return
        handling.activation.end()
        if handling.operation is not None:
            handling.operation.handled_in = None
        message = handling.message
        if self._has_ended:
            return
        if self._message is not None and self._message.value is message.value:
            self._message = None
        if error is None:
            if self._operations.has_cancelled:
                self._operations.fail_cancelled()
        elif isinstance(error, Exception) and _is_to_blame(message, error):
            self._input_error = error

    def operation_running(
        self, id_: object, document: object, name: object, request: object
    ) -> "Running | None":
        """Record that the host begins to serve an operation, and enter its context.

        Args:
            id_: the client's.
            document: that the host is about to execute.
            name: of the operation in it.
            request: for whom the code runs from now on.

        Returns:
            What to hand to `operation_ran`.
        """
        operation = None if self._has_ended else self._operations.to_run(id_)
        if operation is None:
            return None
        self._operations.run(operation, document, name)
        inside = current()
        if inside.operation is not operation:
            placement = _placed(operation.placement, inside.placement)
            inside = Current(request, operation, placement)
        return Running(Activation(inside, self.fuse), operation)

    def operation_ran(self, running: "Running | None", error: BaseException | None) -> None:
        """Record that the host has served an operation, and leave its context.

        Args:
            running: what `operation_running` returned.
            error: what the host raised.
        """
        if running is not None:
            running.activation.end()
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
            or operation.registry is not self._operations
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
        if self._has_ended:
            return None
        inner = current().operation
        is_ours = inner is not None and inner.registry is self._operations
        if self._without_document and not is_ours and execution.is_stream:
            # A handler that was not asked to handle the message has looked up its document.
            self._operations.begin(self._without_document.pop(), self._vocabulary)
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

    def message_sent(self, message: Mapping[str, Any]) -> None:
        """Record a message that went out."""
        message_type = self._vocabulary.classify_sent(message)
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
                self._facts.is_refused = True
        self._span.message(message_type)

    def message_failed(self, message: Mapping[str, Any], error: BaseException) -> None:
        """Record that the sending of a message ended so, for example as it cannot be encoded.

        aiohttp writes a frame before it waits, and a sender may be cancelled while it waits.
        """
        if isinstance(error, asyncio.CancelledError):
            cancelled = self._cancelled_after_write
            # Where nobody sees the frames, it is not known; mostly it was written.
            if not self._is_observed or (cancelled is not None and cancelled() is error):
                self.message_sent(message)
            return
        if not self._is_observed and isinstance(error.__cause__ or error, ConnectionError):
            self.write_failed()
        operation = self._operations.sender(message)
        if operation is not None:
            operation.failure = _limits.exception_type(error)

    def _settle_unread(self) -> None:
        while self._unread:
            self._unread -= 1
            self._count_unreadable()

    def _count_unreadable(self) -> None:
        self.traffic.messages[self._vocabulary.unknown_received] += 1
        self._span.message(self._vocabulary.unknown_received)

    def _end_init(self, error_type: str | None = None) -> None:
        init, self._init = self._init, None
        if init is not None:
            init.end(error_type)

    # --- How it closes -----------------------------------------------------------------------

    def close_sent(self, frame: CloseFrame) -> None:
        """Record a close frame of the server, as it is written."""
        self._facts.frame_sent(frame)
        self._operations.close_sent(frame.code)
        self._decide_once()

    def close_received(self, frame: CloseFrame) -> None:
        """Record a close frame of the client."""
        self._facts.frame_received(frame)
        self._decide_once()

    def close_dropped(self, error: BaseException) -> None:
        """Record that the transport was dropped instead of closed: no frame could be made.

        Somebody asked for a code or a reason that no frame can hold.
        """
        if self._facts.first is None and not self._facts.lost:
            self._facts.dropped = self._facts.dropped or error
            self._decide()

    def close_redundant(self) -> None:
        """Record that somebody closes a socket that is closed already."""
        self._span.event(_semconv.EVENT_WEBSOCKET_REDUNDANT_CLOSE, {})

    def close_unobserved(self, error: BaseException | None = None) -> None:
        """Record that the socket is closed, and nobody saw by whom, unless a close frame is known.

        Args:
            error: what the transport failed with.
        """
        self._facts.unobserved(error)

    def error_received(self, error: BaseException, answer: CloseFrame | None) -> None:
        """Record an ERROR message, and the close frame that was written because of it."""
        code = getattr(error, "code", None)
        if self._facts.first is None:
            self._facts.frame_error = error
            if answer is not None:
                self._facts.frame_sent(answer)
        self._span.event(
            _semconv.EVENT_WEBSOCKET_ERROR,
            {
                _semconv.EXCEPTION_TYPE: _limits.exception_type(error),
                _semconv.EXCEPTION_MESSAGE: _limits.exception_message(error),
                _semconv.CLOSE_CODE: int(code) if isinstance(code, int) else None,
            },
        )
        self._telemetry.metrics.totals.frame_failed(_limits.exception_type(error))
        self._decide()

    def disconnected(self, error: BaseException | None) -> None:
        """Record the end of the stream, and what the transport holds to be the cause.

        If no close frame came before, the connection is lost.
        """
        self._facts.lost = True
        self._transport_failed(error)
        self._decide()

    def write_failed(self) -> None:
        """Record that the transport refused a frame: it is gone, though nobody has read that."""
        self._operations.is_closing = True

    def write_cancelled(self, error: asyncio.CancelledError) -> None:
        """Record that the sender of a message was cancelled when its frame had been written."""
        self._cancelled_after_write = weakref.ref(error)

    def _transport_failed(self, error: BaseException | None) -> None:
        """Record a timeout: before any close frame it is a client that does not answer.

        It missed a PONG, or was silent for longer than the application's `receive_timeout`. After a
        close frame it is only the echo that did not come.
        """
        if self._facts.first is None and isinstance(error, TimeoutError):
            self._facts.frame_error = error

    def _decide_once(self) -> None:
        if not self._is_closing or self._init is not None:
            self._decide()

    def _decide(self) -> None:
        """Judge the facts so far, and record the verdict on the spans that wait for it."""
        if self._span.recording or self._init is not None:
            self._decided(self._judge())
        else:
            self._is_closing = self._operations.is_closing = True

    def _judge(self) -> Verdict:
        return verdict(self._facts, self._telemetry.config.normal_outcomes)

    def _decided(self, judged: Verdict) -> None:
        """Record how the close is judged; of several times the first is the event's."""
        if self._span.recording and self._facts.upgraded and not self._is_closing:
            self._span.event(
                _semconv.EVENT_WEBSOCKET_CLOSE,
                {
                    _semconv.CLOSE_CODE: judged.code,
                    _semconv.CLOSE_REASON: self._reason(judged),
                    _semconv.CLOSE_INITIATOR: judged.initiator.value,
                    _semconv.CLOSE_OUTCOME: judged.outcome.value,
                },
            )
        self._is_closing = self._operations.is_closing = True
        # An init that is not acknowledged ends so, even one that crossed the close frame.
        self._end_init(judged.error_type)

    # --- The end -----------------------------------------------------------------------------

    def ended(self, end: HandlerEnd) -> None:
        """Record that the handler is done: judge the close, end everything, count it."""
        facts, interrupted = self._facts, 0
        # One step may fail, and the others are still taken.
        with self.fuse:
            self._transport_failed(end.transport_error)
            facts.end = end
            if self._stop(end.exception):
                facts.end = end._replace(is_malformed=True)
        judged = self._judge()
        with self.fuse:
            self._decided(judged)
        with self.fuse:
            interrupted = self._operations.connection_closed(judged)
        with self.fuse:
            self._measure(judged)
        with self.fuse:
            self._describe(judged, interrupted)
        self._span.end()
        if judged.abnormal:
            with self._fuses.log:
                self._log(judged)
        self._forget()

    def _stop(self, exception: BaseException | None) -> bool:
        """Stop the conversation.

        Returns:
            Whether `exception` left the handler because of the last message: unreadable, or not
            well formed.
        """
        self._has_ended = True
        is_malformed = self._is_input_error(exception)
        self._settle_unread()
        for message in self._without_document:
            self._span.message(message.type)
        self._without_document.clear()
        return is_malformed

    def _is_input_error(self, exception: BaseException | None) -> bool:
        if exception is None:
            return False
        if self._input_error is not None and _is_caused_by(exception, self._input_error):
            return True
        # A handler that was not asked to handle it has handled the newest one.
        message = self._message
        return message is not None and _is_to_blame(message, exception)

    def _measure(self, judged: Verdict) -> None:
        traffic = self.traffic
        self._telemetry.metrics.totals.closed(judged, traffic if self._facts.upgraded else None)
        self._telemetry.metrics.record(
            _semconv.METRIC_CONNECTION_DURATION,
            time.monotonic() - self._started,
            {
                _semconv.SUBPROTOCOL: traffic.subprotocol,
                _semconv.CLOSE_CODE: judged.named_code,
                _semconv.CLOSE_INITIATOR: judged.initiator.value,
                _semconv.CLOSE_OUTCOME: judged.outcome.value,
                _semconv.CLOSE_FAULT: judged.fault.value,
                _semconv.ERROR_TYPE: judged.error_type,
            },
            self._fuses.metrics,
            self._span.exemplar_context,
        )

    def _describe(self, judged: Verdict, interrupted: int) -> None:
        if self._span.recording:
            self._span.set({**self._verdict_attributes(judged), **self._summary(interrupted)})
        if judged.error_type is not None:
            self._span.fail(judged.error_type, f"closed abnormally: {judged.outcome.value}")

    def _verdict_attributes(self, judged: Verdict) -> Attributes:
        """Return what the span and the log record say of the verdict."""
        facts = self._facts
        return {
            _semconv.HTTP_STATUS_CODE: facts.status,
            _semconv.CLOSE_CODE: judged.code,
            _semconv.CLOSE_REASON: self._reason(judged),
            _semconv.CLOSE_INITIATOR: judged.initiator.value,
            _semconv.CLOSE_CLEAN: judged.clean,
            _semconv.CLOSE_OUTCOME: judged.outcome.value,
            _semconv.CLOSE_FAULT: judged.fault.value,
            _semconv.ERROR_TYPE: judged.error_type,
            _semconv.CLOSE_SENT_CODE: facts.sent.code if facts.sent else None,
            _semconv.CLOSE_RECEIVED_CODE: facts.received.code if facts.received else None,
        }

    def _reason(self, judged: Verdict) -> str | None:
        reason = judged.reason
        if reason.startswith(_SYNTAX_ERROR) and self._telemetry.config.error_messages != "all":
            reason = _SYNTAX_ERROR
        return reason or None

    def _summary(self, interrupted: int) -> Attributes:
        """Return what the conversation amounts to, and how many operations its end interrupted."""
        counts = {"receive": 0, "transmit": self._operations.results}
        for message_type, count in self.traffic.messages.items():
            counts[message_type.direction] += count
        last = self._last_received
        return {
            _semconv.SUBPROTOCOL: self.traffic.subprotocol,
            _semconv.MESSAGES_RECEIVED: counts["receive"],
            _semconv.MESSAGES_SENT: counts["transmit"],
            _semconv.OPERATION_COUNT: self._operations.begun,
            _semconv.OPERATION_INTERRUPTED_COUNT: interrupted,
            _semconv.ACKNOWLEDGED: self._acknowledged,
            _semconv.RECEIVE_IDLE_TIME: None if last is None else time.monotonic() - last,
        }

    def _log(self, judged: Verdict) -> None:
        """Log the close in the trace of the connection, in which its record belongs."""
        before = get_current()
        if is_suppressed(before):
            return
        with self.fuse:
            if self._span.has_own_id:
                attach(trace.set_span_in_context(self._span.span, before))
        try:
            self._telemetry.log.closed(self.id, judged, self._verdict_attributes(judged))
        finally:
            with self.fuse:
                attach(before)

    def _forget(self) -> None:
        """Let go of what came from the client, and of exceptions, whose tracebacks keep frames.

        A timer of the host's or the application's may keep the connection.
        """
        self._facts.forget()
        self._trace.forget()
        self._message = self._input_error = self.placement = None


class Request:
    """A request that a view serves: where it is recorded, and what it may become."""

    __slots__ = ("__weakref__", "connection", "headers", "telemetry")

    def __init__(self, telemetry: Telemetry, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        """Take where the request is recorded, and its headers, which may bring a remote context."""
        self.telemetry = telemetry
        self.headers = headers
        self.connection: Connection | None = None
        """The connection, if the request is a handshake."""

    def websocket_made(self, websocket: object) -> None:
        """Learn of the host's object for the WebSocket; an edge that observes it overrides this."""


def current_request() -> Request | None:
    """Return the request of the view that the running code serves."""
    request = current().request
    return request if isinstance(request, Request) else None


def current_connection() -> Connection | None:
    """Return the connection that the running code serves."""
    request = current_request()
    return None if request is None else request.connection


def connection_span() -> Span:
    """Return the span of the connection that the running code serves.

    For the application's own attributes, for example a tenant or a user in `on_ws_connect`. Outside
    a connection it is the API's `INVALID_SPAN`, on which everything is allowed and nothing happens.
    """
    connection = current_connection()
    return INVALID_SPAN if connection is None else connection.span


class Handling(NamedTuple):
    """A message that the host handles."""

    activation: Activation
    message: Message
    operation: SocketOperation | None
    """The one that it begins."""


class Running(NamedTuple):
    """An operation that the host serves."""

    activation: Activation
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


def _is_caused_by(exception: BaseException, cause: BaseException) -> bool:
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
