"""One connection, from the handshake to the verdict: what an edge holds, and all that it calls.

An edge reports what happens, in the order in which it happens:

* `serving`: the host begins to serve the handshake.
* `accepted`: the upgrade was sent.
* `data_received`, `message_received`: a data frame arrived, a message was decoded from it.
* `message_unreadable`: no message could be decoded, or the stream has ended.
* `message_handling`, `message_handled`: the host begins to handle a message, in any task, and has
  handled it.
* `operation_running`, `operation_ran`: the host begins to serve an operation, and has served it.
* `send_begun`, `send_ended`: a message is about to be sent, and it was, or could not be. Only a
  connection that has spans of messages needs to be told.
* `data_sent`: a data frame was written.
* `message_sent`, `message_failed`: a message was written, or could not be.
* `close_sent`, `close_dropped`: the server's close frame was written, or could not be made.
* `close_received`: the client's close frame was read.
* `close_redundant`: the application closes a socket that is closed.
* `close_unobserved`: the socket is closed, and it is not known by which side.
* `error_received`: an ERROR message was read.
* `disconnected`: the end of the stream was read.
* `send_blocked`, `send_unblocked`: a send begins to wait for a full transport buffer, and goes on,
  fails or is cancelled.
* `write_failed`, `write_cancelled`: the transport refused a frame, or a sender was cancelled after
  its frame was written.
* `ended`: the handler is done.

For what happens with every message an edge may count by itself, without a call: what `data_sent`
counts in `traffic`, and in `results_by_unique_id` the results of the
operation whose id a message of type `result_name` has. It sets `reads_ahead` if the application may
read a frame before it decodes the frames before it. The extension of the schema asks by `claim_own`
and `claim` which operation it executes.

Facts are kept first and recorded second, so that broken telemetry changes no verdict.
"""

import asyncio
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import getrandbits
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import INVALID_SPAN, Span
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _limits, _semconv
from strawberry_ws_otel._attributes import (
    MAX_ATTRIBUTES,
    StaticAttributes,
    Value,
    checked_attributes,
    truncated,
)
from strawberry_ws_otel._close import (
    CloseFrame,
    Facts,
    HandlerEnd,
    Verdict,
    server_failure,
    verdict,
)
from strawberry_ws_otel._counts import SendWaits, Traffic
from strawberry_ws_otel._current import (
    Activation,
    Current,
    Placement,
    application_context,
    current,
    is_being_cancelled,
    placement_of,
    put_back,
    replace_current,
    running_task,
)
from strawberry_ws_otel._fuse import Fuses
from strawberry_ws_otel._messages import MessageSpans, Owner, Sending
from strawberry_ws_otel._open import OpenConnection, OpenOperation, live, settled
from strawberry_ws_otel._operation import (
    HANDLE,
    RESULT_SENT,
    RUNNING,
    Attributes,
    OperationLook,
    SocketOperation,
    start_time_of,
)
from strawberry_ws_otel._operations import Execution, Operations, unclaimed
from strawberry_ws_otel._propagation import ConnectionTrace, of_request
from strawberry_ws_otel._protocol import NO_ID, Meaning, Message, MessageType, vocabulary
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._segments import Segments, Turn, first_length, take_turns
from strawberry_ws_otel._spans import (
    NOT_STARTED,
    LinkTo,
    SpanProxy,
    SpanRecorder,
    is_suppressed,
    span_id,
)

_NO_HEADERS: Final = MappingProxyType[str, str]({})

_CLIENT: Final = (_semconv.CLIENT_ADDRESS, _semconv.USER_AGENT)
"""The attributes of a handshake that say who the client is."""

_MAX_WITHOUT_DOCUMENT: Final = 100  # messages without a document that may wait to be handled

_HOSTS: Final = frozenset({"aiohttp", "graphql", "json", "strawberry"})
"""The packages whose exceptions can quote what the application sends."""

_SYNTAX_ERROR: Final = "Syntax Error"
"""How the reason of a 4400 for a syntax error begins; the rest quotes the document."""

_END_OF_READING: Final = (
    StopAsyncIteration,
    GeneratorExit,
    TimeoutError,
    ConnectionError,
    asyncio.CancelledError,
)
"""What ends the reading of messages, though the client has sent none that is unreadable."""


@dataclass(slots=True, eq=False, repr=False)
class ConnectionInit:
    """The span and the duration of one connection init, from when its message is received."""

    registry: Operations  # says what it is recorded into, and where its span starts
    payload: Mapping[str, Any] | None  # of the message, until the span starts
    started: float = field(init=False)
    span: SpanRecorder = NOT_STARTED
    placement: Placement | None = None  # what puts the span into a context, once it has started

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    def start(self) -> bool:
        """Start the span in the running context, and return True, unless it has started."""
        payload, self.payload = self.payload, None
        if payload is None:
            return False
        application = application_context()
        parentage = self.registry.trace.init(payload, application)
        self.span = self.registry.telemetry.spans.start(
            _semconv.SPAN_CONNECTION_INIT,
            self.registry.fuses.spans,
            context=parentage.context,
            attributes=lambda: {
                _semconv.CONNECTION_ID: self.registry.connection_id,
                _semconv.HTTP_ROUTE: self.registry.route,
            },
            links=parentage.links,
            start_time=start_time_of(self.started),
        )
        self.registry.trace.link(parentage, LinkTo(self.span.context, "init"))
        self.placement = placement_of(self.span, application, parentage.carried)
        return True

    def end(self, error_type: str | None) -> None:
        """End the init; `error_type` is what refused it."""
        self.start()
        self.registry.telemetry.metrics.record(
            _semconv.METRIC_INIT_DURATION,
            time.monotonic() - self.started,
            {_semconv.ERROR_TYPE: error_type},
            self.registry.fuses.metrics,
            self.span.exemplar_context,
        )
        if error_type is not None:
            self.span.fail(error_type)
        self.span.end()
        self.placement = None


class _Look(NamedTuple):
    """What a reader of any thread sees of a connection as it looks at it."""

    has_ended: bool
    handshake_attributes: Callable[[], Attributes]
    last_received: float | None
    last_sent: float | None
    send_waits: tuple[float | None, float]
    bytes_received: int
    bytes_sent: int
    messages: dict[MessageType, int]
    attributes: dict[str, Value]
    results: int  # of the operations that have ended
    operations: list[OperationLook]

    @property
    def is_settled(self) -> bool:
        """Whether the results of each operation are either its own or among the sum."""
        return self.has_ended or not any(operation.has_ended for operation in self.operations)


class Connection:
    """One connection: what both sides say over it, and how it closes."""

    __slots__ = (
        "__weakref__",
        "_cancelled_after_write",
        "_facts",
        "_fuses",
        "_handshake_attributes",
        "_has_ended",
        "_init",
        "_input_error",
        "_is_closing",
        "_is_observed",
        "_last_received",
        "_message",
        "_message_spans",
        "_operations",
        "_span",
        "_started",
        "_telemetry",
        "_turn",
        "_unread",
        "_vocabulary",
        "_without_document",
        "fuse",
        "id",
        "placement",
        "reads_ahead",
        "result_name",
        "results_by_unique_id",
        "segments",
        "traffic",
    )

    def __init__(  # noqa: PLR0913, PLR0917  # what a connection starts with
        self,
        telemetry: Telemetry,
        fuses: Fuses,
        before: Context,
        headers: Mapping[str, str] = _NO_HEADERS,
        attributes: Callable[[], Mapping[str, AttributeValue | None]] = dict,
        route: str | None = None,
    ) -> None:
        """Start the connection with its handshake.

        Args:
            telemetry: where it is recorded.
            fuses: what keeps failures of the library from the host.
            before: the context of the handshake.
            headers: of the handshake, which may bring a remote context.
            attributes: makes the attributes of the handshake, if the span is recorded, and for
                whoever asks what is open, in any thread.
            route: that the handshake matched, if the edge knows it.
        """
        # Unique, not unguessable: the SDK makes its ids in the same way.
        self.id = f"{getrandbits(64):016x}"
        self.fuse = fuses.library
        self._fuses = fuses
        self._telemetry = telemetry
        self._started = time.monotonic()
        self._handshake_attributes = attributes
        telemetry.connecting()
        parentage = of_request(telemetry.config, before, headers, fuses.library)
        duration = telemetry.config.segment_duration
        self.segments: Segments | None = None
        if duration is not None:
            length = first_length(duration, self.id)
            self.segments = Segments(duration, parentage, self._started, length)
        self._span = telemetry.spans.start(
            _semconv.SPAN_CONNECTION,
            fuses.spans,
            context=parentage.context,
            attributes=lambda: self._start_attributes(route),
            links=parentage.links,
        )
        # What puts the span into the context in which the host serves the connection.
        self.placement = placement_of(self._span, before, parentage.carried)
        connection_trace = ConnectionTrace(
            telemetry.config, fuses.library, self._span, parentage, span_id(before)
        )
        self._operations = Operations(telemetry, fuses, self.id, connection_trace, route)
        self._message_spans = (
            MessageSpans(self._operations) if telemetry.config.message_spans else None
        )
        self._vocabulary = vocabulary(None)
        self._facts = Facts()

        # For the edge: what it counts by itself, and what it sets.
        self.traffic = Traffic()
        self.results_by_unique_id = self._operations.results_by_unique_id
        self.result_name = self._vocabulary.result.name
        self.reads_ahead = False

        self._is_observed = True  # the edge sees the frames of the socket
        self._unread = 0  # data frames of which no message has been decoded (yet)
        self._last_received: float | None = None
        self._message: Message | None = None  # received last, until the host has handled it
        self._input_error: BaseException | None = None  # raised by the last frame or message
        # Messages that begin an operation only if the application knows their document.
        self._without_document: list[Message] = []
        self._init: ConnectionInit | None = None  # until it is acknowledged or refused
        # What reached a sender whose frame had been written.
        self._cancelled_after_write: weakref.ref[asyncio.CancelledError] | None = None
        self._is_closing = False  # the close has begun, and its event is recorded
        self._has_ended = False
        self._turn: Turn | None = None
        if self.segments is not None:
            # Without turns, the span lasts as long as the connection.
            with self.fuse:
                self._turn = take_turns(self, self.segments.due)

    @property
    def span(self) -> Span:
        """The span of the connection, as the application may use it."""
        return self._span.span

    def _start_attributes(self, route: str | None) -> Attributes:
        return {
            _semconv.CONNECTION_ID: self.id,
            _semconv.PROTOCOL_NAME: "websocket",
            _semconv.HTTP_ROUTE: route,
            _semconv.SEGMENT_NUMBER: None if self.segments is None else 0,
            **self._handshake_attributes(),
        }

    @property
    def has_message_spans(self) -> bool:
        """Whether each message has a span; always the same."""
        return self._message_spans is not None

    @property
    def operation_attributes(self) -> Attributes:
        """The attributes with which every operation starts, the application's own ones too."""
        return {
            **self._operations.attributes,
            _semconv.CONNECTION_ID: self.id,
            _semconv.HTTP_ROUTE: self._operations.route,
        }

    def describe(self, attributes: Mapping[str, Value]) -> None:
        """Put attributes of the application on the connection and on what begins from now on."""
        if self._has_ended:
            return
        kept, taken = dict(self._operations.attributes), {}
        for name, value in truncated(attributes).items():
            if name in kept or len(kept) < MAX_ATTRIBUTES:
                kept[name] = taken[name] = value
            else:
                self._telemetry.warn_once(
                    "connection_attributes() leaves out %r: a connection has at most"
                    f" {MAX_ATTRIBUTES} attributes; further ones are left out without a warning",
                    name,
                )
        # Whole: another thread may look at them.
        self._operations.attributes = kept
        self._span.set_for_all_segments(taken)

    def serving(self, request: object) -> Activation:
        """Enter the context in which the host serves the connection that `request` becomes.

        The edge ends what is returned after it has called `ended`.
        """
        return Activation(Current(request, None, self.placement or current().placement), self.fuse)

    def accepted(self, subprotocol: str | None, *, is_observed: bool = True) -> None:
        """Begin the conversation: the upgrade was sent. Only the first call counts.

        `is_observed` is whether the edge sees the frames of the socket.
        """
        if self._facts.upgraded or self._has_ended:
            return
        self._facts.upgraded = True
        self._is_observed = is_observed
        self._vocabulary = vocabulary(subprotocol)
        # Where the edge sees no frames, `message_sent` takes the time of every message.
        self.result_name = self._vocabulary.result.name if is_observed else ""
        self.traffic.subprotocol = subprotocol
        self._telemetry.metrics.totals.opened(self.traffic)
        live.add(self)

    # --- Segments ------------------------------------------------------------------------------

    def rotate(self) -> float:
        """End the connection's segment if it is due, and let its operations take their turns.

        Most operations end before their first segment is due, and take no turn of their own.

        Returns:
            When to ask again, on the monotonic clock. That is in `segment_duration` at the latest:
            no operation that begins meanwhile is due before.
        """
        now = time.monotonic()
        due = now + (self._telemetry.config.segment_duration or 0)
        with self.fuse:
            for operation in self._operations.open:
                operation.take_turns()
            if self.segments is not None:
                if self.segments.due <= now:
                    self.next_segment()
                due = min(due, self.segments.due)
        return due

    def next_segment(self) -> None:
        """End the segment of the connection's span, and start the next one."""
        if self.segments is not None:
            self.segments.rotate(
                self._span,
                self._telemetry.spans,
                self._fuses.spans,
                attributes=lambda: self._start_attributes(self._operations.route),
                totals=self._summary,
            )

    def leave_open(self) -> None:
        """End all open segments as continued: the process exits, and the connection does not."""
        if self._turn is not None:
            self._turn.end()
        for operation in list(self._operations.open):
            with self.fuse:
                operation.leave_open()
        with self.fuse:
            self._span.leave_open(self._summary)

    # --- What is received --------------------------------------------------------------------

    def data_received(self, size: int) -> None:
        """Record a data frame of `size` bytes, whether or not a message can be decoded from it."""
        self._last_received = time.monotonic()
        if self._unread and not self.reads_ahead:
            self._settle_unread()
        self._unread += 1
        if self._message_spans is not None:
            self._message_spans.arrived()
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
        if self._message_spans is not None:
            # Before an operation is stopped: afterwards its id does not lead there.
            owner = self._owner(message)
            self._message_spans.received(message, self.traffic.messages[message.type], owner)
        match message.type.meaning:
            case Meaning.START if message.starts_operation:
                self._begins(message, self._operations.begin(message, self._vocabulary))
                return
            case Meaning.START if message.may_start_operation:
                # The handler shows whether the application knows the document.
                self._without_document.append(message)
                if len(self._without_document) > _MAX_WITHOUT_DOCUMENT:
                    self._span.message(self._without_document.pop(0).type)
                return
            case Meaning.INIT if self.traffic.messages[message.type] == 1:
                self._init = ConnectionInit(self._operations, message.payload)
                self._begins(message, self._init)
            case Meaning.STOP if self._operations.stop(message):
                return
        self._span.message(message.type)

    def _begins(self, message: Message, owner: Owner) -> None:
        if self._message_spans is not None:
            self._message_spans.begins(message, owner)

    def _owner(self, message: Message) -> Owner | None:
        """Return the operation or the init that a received message is about, if it is open."""
        match message.type.meaning:
            case Meaning.STOP:
                return self._operations.owner(message)
            case Meaning.INIT:
                return self._init
        return None

    def message_unreadable(self, error: BaseException) -> None:
        """Record `error`, which the application raised as it read a message.

        It may be of any class: an application may decode by any means. It is the client's fault if
        a frame arrived.
        """
        if self._is_observed:
            is_cancelled = isinstance(error, asyncio.CancelledError) and is_being_cancelled()
            if self._unread and not is_cancelled and not isinstance(error, GeneratorExit):
                self._input_error = error
                self._frame_failed(error)
        elif isinstance(error, _END_OF_READING):
            # The handler is about to end, and its operations with the connection.
            self._operations.is_closing = True
        else:
            self._input_error = error
            self._unread += 1
            self._frame_failed(error)
            self._settle_unread()

    def _frame_failed(self, error: BaseException) -> None:
        """End the span of the oldest unread frame, of which the application makes no message."""
        if self._message_spans is not None and not isinstance(error, _END_OF_READING):
            unknown = self._vocabulary.unknown_received
            sequence = self.traffic.messages.get(unknown, 0) + 1
            self._message_spans.unreadable(unknown, sequence, error)

    def _settle_unread(self) -> None:
        """Count each unread frame as a message of unknown type: none will be decoded from it."""
        while self._unread:
            self._unread -= 1
            unknown = self._vocabulary.unknown_received
            self.traffic.messages[unknown] += 1
            self._span.message(unknown)
            if self._message_spans is not None:
                self._message_spans.unread(unknown, self.traffic.messages[unknown])

    # --- What the host does, and in which context ----------------------------------------------

    def message_handling(
        self, value: object, request: object, *, knows_documents: bool | None = None
    ) -> "Handling | None":
        """Record that the host begins to handle a message, in any task, and enter its context.

        Args:
            value: the message.
            request: that became the connection.
            knows_documents: whether the handler may know the document of a message without one;
                None while it is not known which method begins the operation.

        Returns:
            What the edge hands to `message_handled`.
        """
        now = current()
        if self._has_ended or (now.operation is not None and now.operation.first is value):
            return None
        if self._message_spans is not None and self._message_spans.is_current(value, now.placement):
            return None
        message = self._message
        if message is None or message.value is not value:
            if self._unread and not self.reads_ahead:
                # The application reads the socket by itself.
                self.message_received(value)
            message = self._vocabulary.read(value)
        inside = now if now.request is request else Current(request, None, now.placement)
        operation: SocketOperation | None = None
        span: SpanRecorder | None = None
        if message.type.meaning is Meaning.START:
            operation = self._operations.to_handle(message) or self._begin_without_document(
                message, knows_documents=knows_documents
            )
            if operation is not None:
                operation.handled_in = running_task()
                if operation is not inside.operation:
                    is_new = operation.fire(HANDLE)
                    unclaimed.add(operation, request)
                    placement = _placed(operation.placement, inside.placement, is_new=is_new)
                    inside = Current(request, operation, placement)
        elif message.type.meaning is Meaning.INIT and self._init is not None:
            is_new = self._init.start()
            placement = _placed(self._init.placement, inside.placement, is_new=is_new)
            inside = Current(request, inside.operation, placement)
        if self._message_spans is not None and (
            started := self._message_spans.handling(message, operation)
        ):
            span, placement = started
            inside = inside._replace(placement=placement or inside.placement)
        return Handling(Activation(inside, self.fuse), message, operation, span)

    def _begin_without_document(
        self, message: Message, *, knows_documents: bool | None
    ) -> SocketOperation | None:
        """Begin the operation of a message without a document, if the handler may know that."""
        begins = knows_documents or message.starts_operation
        if not begins and knows_documents is None:
            return None
        for i, received in enumerate(self._without_document):
            if received.value is message.value or received.id == message.id:
                del self._without_document[i]
                if begins:
                    return self._operations.begin(message, self._vocabulary)
                self._span.message(received.type)
                break
        return None

    def message_handled(self, handling: "Handling | None", error: BaseException | None) -> None:
        """Record that the host has handled a message or raised `error`, and leave its context."""
        if handling is None:
            return
        activation, message, operation, span = handling
        activation.end()
        if self._message_spans is not None and span is not None:
            self._message_spans.handled(message, error)
        if operation is not None:
            operation.handled_in = None
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

        `id_` is the client's. `document` and `name` are what the host is about to execute. The edge
        hands what is returned to `operation_ran`.
        """
        operation = None if self._has_ended else self._operations.to_run(id_)
        if operation is None:
            return None
        self._operations.run(operation, document, name)
        inside = current()
        # The task began as a message was handled: its span is current, and soon ends.
        is_hidden = (
            self._message_spans is not None
            and operation.placement is not None
            and _is_missing(operation.placement)
        )
        if inside.operation is not operation or is_hidden:
            placement = _placed(operation.placement, inside.placement)
            inside = Current(request, operation, placement)
        return Running(Activation(inside, self.fuse), operation)

    def operation_ran(self, running: "Running | None", error: BaseException | None) -> None:
        """Record that the host has served an operation or raised `error`, and leave its context."""
        if running is not None:
            running.activation.end()
            self._operations.ran(running.operation, error)

    def claim_own(self, document: object) -> SocketOperation | None:
        """Return the operation that the running task serves, if `document` is its very document.

        This is the fast path for nearly every execution: nothing has to be found or moved.
        """
        operation = self._operations.of_task()
        if (
            document is None
            or operation is None
            or operation.document is not document
            or operation.state is not RUNNING
            or (operation.placement is not None and _is_missing(operation.placement))
        ):
            return None
        self._operations.claimed(operation)
        return operation

    def claim(self, execution: Execution, request: object) -> SocketOperation | None:
        """Return the operation that an execution of the schema serves, if it is a client's.

        The execution may run in any task. The operation's span becomes the current one there,
        unless a span of the application is.
        """
        if self._has_ended:
            return None
        if self._without_document and not self._operations.of_task() and execution.is_stream:
            # A handler that the library does not see has looked up the document of a message.
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

    def send_begun(self, message: Mapping[str, Any]) -> Sending | None:
        """Start the span of a message that is about to be sent, and enter its context.

        The edge hands what is returned to `send_ended`.
        """
        if self._message_spans is None or self._has_ended:
            return None
        message_type = self._vocabulary.classify_sent(message)
        owner: Owner | None = None
        sequence = self.traffic.messages.get(message_type, 0) + 1
        match message_type.meaning:
            case Meaning.ACK | Meaning.REFUSAL:
                owner = self._init
            case Meaning.RESULT | Meaning.ERROR | Meaning.COMPLETE:
                owner = operation = self._operations.sender(message)
                if operation is not None and message_type.meaning is Meaning.RESULT:
                    sequence = operation.results.all + 1
        return self._message_spans.sending(message_type, message.get("id", NO_ID), sequence, owner)

    def send_ended(self, sending: Sending | None, error: BaseException | None) -> None:
        """End the span of a message that was sent, or whose send raised `error`."""
        if sending is None:
            return
        if sending.activation is not None:
            sending.activation.end()
        if error is not None and not self._is_written(error):
            sending.span.fail(_limits.exception_type(error))
        sending.span.end()

    def data_sent(self, size: int) -> None:
        """Record a data frame of `size` bytes that was written."""
        self.traffic.bytes_sent += size
        self.traffic.sent_at = time.monotonic()

    def message_sent(self, message: Mapping[str, Any]) -> None:
        """Record a message that was written."""
        if not self._is_observed:
            self.traffic.sent_at = time.monotonic()
        message_type = self._vocabulary.classify_sent(message)
        if message_type.meaning is Meaning.RESULT and (
            operation := self._operations.sender(message)
        ):
            payload = message.get("payload")
            failed = isinstance(payload, Mapping) and bool(payload.get("errors"))
            if operation.fire(RESULT_SENT, failed):
                operation.results.sent_at = self.traffic.sent_at
                if operation.is_displaced:
                    # The task that sends a result makes the next one.
                    operation.is_displaced = not put_back(operation.span, self._span)
                return
        self.traffic.messages[message_type] += 1
        match message_type.meaning:
            case Meaning.ERROR | Meaning.COMPLETE if self._operations.last_message_sent(
                message, message_type
            ):
                return
            case Meaning.ACK:
                self._end_init()
            case Meaning.REFUSAL:
                self._facts.is_refused = True
        self._span.message(message_type)

    def message_failed(self, message: Mapping[str, Any], error: BaseException) -> None:
        """Record that the sending of a message raised, for example because it cannot be encoded.

        aiohttp writes a frame before it waits, so a sender may be cancelled after the write.
        """
        if isinstance(error, asyncio.CancelledError):
            if self._is_written(error):
                self.message_sent(message)
            return
        if not self._is_observed and isinstance(error.__cause__ or error, ConnectionError):
            self.write_failed()
        operation = self._operations.sender(message)
        if operation is not None:
            operation.fail(error)

    def _is_written(self, error: BaseException) -> bool:
        """Whether a message was written although `error` reached its sender."""
        if not isinstance(error, asyncio.CancelledError):
            return False
        cancelled = self._cancelled_after_write
        # An edge that does not see the frames cannot know. Nearly always it was written.
        return not self._is_observed or (cancelled is not None and cancelled() is error)

    def send_blocked(self) -> tuple[SendWaits, ...]:
        """Record that a send of the running task begins to wait for a full transport buffer.

        Returns:
            What the edge hands to `send_unblocked`: the waits of the connection and, if the task
            serves one, of the operation.
        """
        operation = self._operations.of_task()
        owners = (self.traffic,) if operation is None else (self.traffic, operation)
        waits = tuple(each.send_waits for each in owners)
        for each in waits:
            each.begin()
        return waits

    @staticmethod
    def send_unblocked(waits: tuple[SendWaits, ...]) -> None:
        """Record that a send waits no more: it goes on, fails or is cancelled."""
        for each in waits:
            each.end()

    def write_failed(self) -> None:
        """Record that the transport refused a frame: it is lost, before the end was read."""
        self._operations.is_closing = True

    def write_cancelled(self, error: asyncio.CancelledError) -> None:
        """Record that the sender of a message was cancelled after its frame was written."""
        self._cancelled_after_write = weakref.ref(error)
        # Written before the wait that was cancelled, nobody knows how long ago.
        self.traffic.sent_at = self.traffic.sent_at or time.monotonic()

    def _end_init(self, error_type: str | None = None) -> None:
        init, self._init = self._init, None
        if init is not None:
            init.end(error_type)

    # --- How it closes -----------------------------------------------------------------------

    def close_sent(self, frame: CloseFrame) -> None:
        """Record a close frame of the server, as it is written."""
        self._facts.frame_sent(frame)
        self._operations.close_sent(frame.code)
        self._decide()

    def close_received(self, frame: CloseFrame) -> None:
        """Record a close frame of the client."""
        self._facts.frame_received(frame)
        self._decide()

    def close_dropped(self, error: BaseException) -> None:
        """Record that the host dropped the transport instead of closing the connection.

        A close was asked for with a code or a reason that no frame can hold, as `error` says.
        """
        if self._facts.first is None and not self._facts.lost:
            self._facts.dropped = self._facts.dropped or error
            self._decide()

    def close_redundant(self) -> None:
        """Record that the application closes a socket that is closed already."""
        self._span.event(_semconv.EVENT_WEBSOCKET_REDUNDANT_CLOSE, {})

    def close_unobserved(self, error: BaseException | None = None) -> None:
        """Record that the socket is closed; without a close frame it is not known by which side."""
        self._facts.unobserved(error)

    def error_received(self, error: BaseException, answer: CloseFrame | None) -> None:
        """Record an ERROR message, and the close frame that the host wrote because of it."""
        code, error_type = getattr(error, "code", None), _limits.exception_type(error)
        if self._facts.first is None:
            self._facts.frame_error = error
            if answer is not None:
                self._facts.frame_sent(answer)
        self._span.event(
            _semconv.EVENT_WEBSOCKET_ERROR,
            {
                _semconv.EXCEPTION_TYPE: error_type,
                _semconv.EXCEPTION_MESSAGE: _limits.exception_message(error),
                _semconv.CLOSE_CODE: int(code) if isinstance(code, int) else None,
            },
        )
        self._telemetry.metrics.totals.frame_failed(error_type)
        self._decide()

    def disconnected(self, error: BaseException | None) -> None:
        """Record the end of the stream: without a close frame before, the connection is lost."""
        self._facts.lost = True
        self._transport_failed(error)
        self._decide()

    def _transport_failed(self, error: BaseException | None) -> None:
        """Record a timeout: before any close frame it is a client that does not answer.

        It missed a PONG, or was silent for longer than the application's `receive_timeout`. After a
        close frame it is only the echo that did not come.
        """
        if self._facts.first is None and isinstance(error, TimeoutError):
            self._facts.frame_error = error

    def _decide(self) -> None:
        """Judge the facts so far, unless neither the span nor an init waits for the verdict."""
        if self._init is None and (self._is_closing or not self._span.recording):
            self._is_closing = self._operations.is_closing = True
        else:
            self._decided(self._judge())

    def _judge(self) -> Verdict:
        return verdict(self._facts, self._telemetry.config.normal_outcomes)

    def _decided(self, judged: Verdict) -> None:
        """Record the verdict as the close begins: events of the first one, and the init's end.

        The exception that caused the close comes before the close.
        """
        if self._span.recording and not self._is_closing:
            if judged.abnormal and (error := server_failure(self._facts)) is not None:
                self._record_exception(error)
            if self._facts.upgraded:
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
        # An init that is not acknowledged by now never is, even if it crossed the close frame.
        self._end_init(judged.error_type)

    def _record_exception(self, error: BaseException) -> None:
        """Record the exception that made the close a `server_error`, without its traceback.

        A traceback has no bound, and the host logs it.
        """
        message = _limits.exception_message(error) if self._has_message(error) else None
        self._span.event(
            _semconv.EVENT_EXCEPTION,
            {
                _semconv.EXCEPTION_TYPE: _limits.exception_type(error),
                _semconv.EXCEPTION_MESSAGE: message,
            },
        )

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
        if self._message_spans is not None:
            with self.fuse:
                self._message_spans.end()
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
        """Stop the conversation; return whether its last message is the cause of `exception`."""
        self._has_ended = True
        if self._turn is not None:
            self._turn.end()
            self._turn = None
        cause, last = self._input_error, self._message
        is_malformed = exception is not None and (
            (cause is not None and _is_caused_by(exception, cause))
            # A handler that the library does not see has handled the last message.
            or (last is not None and _is_to_blame(last, exception))
        )
        self._settle_unread()
        for message in self._without_document:
            self._span.message(message.type)
        self._without_document.clear()
        return is_malformed

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
            self._span.set(
                {
                    **self._verdict_attributes(judged),
                    **self._summary(),
                    _semconv.OPERATION_INTERRUPTED_COUNT: interrupted,
                    _semconv.DURATION: time.monotonic() - self._started,
                }
            )
        if judged.error_type is not None:
            self._span.fail(judged.error_type, f"closed abnormally: {judged.outcome.value}")

    def _verdict_attributes(self, judged: Verdict) -> Attributes:
        """Return the verdict and its facts, for the span and the log record."""
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

    def _summary(self) -> Attributes:
        """Return the totals of the conversation so far."""
        counts, acknowledged = {"receive": 0, "transmit": self._operations.all_results}, False
        # A copy: at the end of the process, another thread asks.
        for message_type, count in dict(self.traffic.messages).items():
            counts[message_type.direction] += count
            acknowledged |= message_type.meaning is Meaning.ACK
        return {
            _semconv.SUBPROTOCOL: self.traffic.subprotocol,
            _semconv.MESSAGES_RECEIVED: counts["receive"],
            _semconv.MESSAGES_SENT: counts["transmit"],
            _semconv.OPERATION_COUNT: self._operations.begun,
            _semconv.ACKNOWLEDGED: acknowledged,
            _semconv.SEND_BLOCKED_TIME: self.traffic.send_waits.seconds or None,
            **self._idle_times(),
        }

    def _idle_times(self) -> Attributes:
        """Return the seconds since the last data message of each direction, if there was one."""
        now, received_at, sent_at = time.monotonic(), self._last_received, self.traffic.sent_at
        return {
            _semconv.RECEIVE_IDLE_TIME: None if received_at is None else now - received_at,
            _semconv.SEND_IDLE_TIME: None if sent_at is None else now - sent_at,
        }

    def _log(self, judged: Verdict) -> None:
        """Log the close in the trace of the connection."""
        before = get_current()
        if is_suppressed(before):
            return
        left_out = self._telemetry.log.admit(judged)
        if left_out is None:
            return
        with self.fuse:
            if self._span.has_own_id:
                attach(trace.set_span_in_context(self._span.span, before))
        try:
            attributes = {
                **self._telemetry.config.attributes,
                **self._operations.attributes,
                **self._verdict_attributes(judged),
                **self._idle_times(),
                **self._client(),
            }
            error = server_failure(self._facts)
            raised = "" if error is None else _limits.headline(error, self._has_message)
            self._telemetry.log.closed(self.id, judged, attributes, raised, left_out)
        finally:
            with self.fuse:
                attach(before)

    def _client(self) -> Attributes:
        """Return who the client was, as the handshake says."""
        with self.fuse:
            handshake = self._handshake_attributes()
            return {key: handshake.get(key) for key in _CLIENT}
        return {}

    def _has_message(self, error: BaseException) -> bool:
        """Whether to record the message of an exception, by the rules of GraphQL errors."""
        choice = self._telemetry.config.error_messages
        package = _limits.module_that_raised(error).partition(".")[0]
        return choice == "all" or (choice == "execution" and package not in _HOSTS)

    def _forget(self) -> None:
        """Let go of what the client sent, and of exceptions, whose tracebacks keep frames.

        A timer of the host or the application may keep the connection.
        """
        self._facts.forget()
        self._operations.trace.forget()
        self._operations.attributes = {}
        self._message = self._input_error = self.placement = None
        self._handshake_attributes, self.segments = dict, None
        live.remove(self)

    # --- What is open now, for any thread ------------------------------------------------------

    @property
    def started(self) -> float:
        """When the handshake began, by the monotonic clock."""
        return self._started

    def snapshot(self, now: float) -> OpenConnection | None:
        """Return what is known of the connection, its times up to `now`; None if it has ended."""
        # Of the reader: what fails here is no failure of the connection.
        with self._telemetry.fuses().library:
            look = settled(self._look)
            return None if look.has_ended else self._shown(look, now)
        return None

    def _look(self) -> _Look:
        traffic, operations = self.traffic, self._operations
        return _Look(
            self._has_ended,
            self._handshake_attributes,
            self._last_received,
            traffic.sent_at,
            traffic.send_waits.look(),
            traffic.bytes_received,
            traffic.bytes_sent,
            dict(traffic.messages),
            operations.attributes,
            operations.results,
            operations.look(),
        )

    def _shown(self, look: _Look, now: float) -> OpenConnection:
        handshake = look.handshake_attributes()
        address, agent = handshake.get(_semconv.CLIENT_ADDRESS), handshake.get(_semconv.USER_AGENT)
        received, sent = 0, look.results + sum(each.results for each in look.operations)
        for message_type, count in look.messages.items():
            if message_type.direction == "receive":
                received += count
            else:
                sent += count
        blocked_since, blocked_before = look.send_waits
        blocked_for = _seconds(blocked_since, now) or 0.0
        return OpenConnection(
            id=self.id,
            subprotocol=self.traffic.subprotocol,
            age=now - self._started,
            receive_idle_time=_seconds(look.last_received, now),
            send_idle_time=_seconds(look.last_sent, now),
            is_send_blocked=blocked_since is not None,
            send_blocked_for=blocked_for,
            send_blocked_time=blocked_before + blocked_for,
            attributes=StaticAttributes(look.attributes),
            client_address=address if isinstance(address, str) else None,
            user_agent=agent if isinstance(agent, str) else None,
            bytes_received=look.bytes_received,
            bytes_sent=look.bytes_sent,
            messages_received=received,
            messages_sent=sent,
            operations=tuple(
                OpenOperation(
                    id=each.id,
                    type=each.type,
                    name=each.name,
                    age=max(0.0, now - each.started),
                    results=each.results,
                    result_idle_time=_seconds(each.last_result, now),
                )
                for each in look.operations
                if not each.has_ended
            ),
        )


def _seconds(since: float | None, now: float) -> float | None:
    """Return the seconds from a time to `now`: what came after that has come just now."""
    return None if since is None else max(0.0, now - since)


class Request:
    """A request that a view serves: where it is recorded, and the connection that it may become."""

    __slots__ = ("__weakref__", "connection", "headers", "route", "telemetry")

    def __init__(
        self,
        telemetry: Telemetry,
        headers: Mapping[str, str] = _NO_HEADERS,
        route: str | None = None,
    ) -> None:
        """Begin the request; its headers may bring a remote context, and it has matched a route."""
        self.telemetry = telemetry
        self.headers = headers
        self.route = route
        self.connection: Connection | None = None
        """The connection, if the request is a handshake."""

    def websocket_made(self, websocket: object) -> None:
        """Receive the host's object for the WebSocket; an edge that observes it overrides this."""


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


def connection_attributes(attributes: Mapping[str, str | bool | int | float]) -> None:
    """Put attributes on the connection that the running code serves, and on its operations.

    For whom the server has found, for example a tenant or a user in `on_ws_connect`. They are on
    the connection's span, on the log record of an abnormal close, and on the span of every
    operation that begins from then on. A later call adds to them and changes those of the same
    name. Strings are truncated to 256 characters; a connection has at most 32 attributes, and
    further ones are left out. Outside a connection nothing happens.

    Args:
        attributes: values by name, each a str, bool, int or float.

    Raises:
        TypeError: a name or a value has another type, or `attributes` is no mapping.
        ValueError: a name is empty or one of the library's, or a number has more than 64 bits.
    """
    checked = checked_attributes("connection_attributes()", attributes)
    connection = current_connection()
    if connection is not None:
        with connection.fuse:
            connection.describe(checked)


class Handling(NamedTuple):
    """A message that the host handles."""

    activation: Activation
    message: Message
    operation: SocketOperation | None  # that it begins
    span: SpanRecorder | None  # of the message, the first time it is handled


class Running(NamedTuple):
    """An operation that the host serves."""

    activation: Activation
    operation: SocketOperation


def _placed(
    own: Placement | None, outer: Placement | None, *, is_new: bool = False
) -> Placement | None:
    """Return what puts our span on top of the running context, in which a new one has started."""
    if own is None or (outer is not None and own.span is outer.span):
        return outer
    application = own.below if is_new else application_context()
    return own if application is own.below else own.moved(application)


def _is_missing(own: Placement) -> bool:
    """Whether to put the operation's span into the running context.

    It is put over another span of the library, or where there is none, and not over a span of the
    application.
    """
    context, placement = get_current(), current().placement
    if own.is_on_top(context):
        return False
    top = trace.get_current_span(context)
    is_ours = type(top) is SpanProxy or (placement is not None and placement.is_on_top(context))
    return is_ours or not top.get_span_context().is_valid


def _is_to_blame(message: Message, error: BaseException) -> bool:
    """Whether the host raised `error` because of the message that it handled."""
    # Strawberry 0.319 raises a KeyError if a legacy client stops an unknown id.
    stray = message.type.meaning is Meaning.STOP and isinstance(error, KeyError)
    return stray or not message.well_formed


def _is_caused_by(exception: BaseException, cause: BaseException) -> bool:
    """Whether `exception` is `cause`, or was raised because of it, for example by a task group."""
    waiting, seen = [exception], 0
    while waiting and seen < _limits.MAX_CAUSES:
        error, seen = waiting.pop(), seen + 1
        if error is cause:
            return True
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        waiting.extend(each for each in (error.__cause__, error.__context__) if each is not None)
    return False
