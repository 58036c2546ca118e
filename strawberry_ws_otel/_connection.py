"""The state of one connection: its facts, its operations, its verdict.

The edges tell it what was received, sent and closed; it never touches the socket. Facts are kept
first and recorded second, so that a broken telemetry pipe does not change the verdict.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context, create_key, get_current, get_value, set_value
from opentelemetry.trace import INVALID_SPAN, Span
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _bounds, _semconv
from strawberry_ws_otel._close import CloseFrame, Facts, Verdict, verdict
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._init import ConnectionInit
from strawberry_ws_otel._log import log_close
from strawberry_ws_otel._operations import Operations
from strawberry_ws_otel._propagation import Parentage, remote_context, within_connection
from strawberry_ws_otel._protocol import Meaning, Message, MessageType, vocabulary
from strawberry_ws_otel._spans import SpanRecorder
from strawberry_ws_otel._tally import Traffic
from strawberry_ws_otel._telemetry import Telemetry

_KEY: Final = create_key("strawberry_ws_otel.connection")

_RESULT: Final = Meaning.RESULT
"""What nearly every message is; members of an enum are slow to look up."""

_SYNTAX_ERROR: Final = "Syntax Error"
"""How the reason of a 4400 for a syntax error begins; the rest quotes the document."""


class Connection:
    """One connection, from the handshake to the close."""

    def __init__(
        self,
        telemetry: Telemetry,
        fuse: Fuse,
        parentage: Parentage,
        attributes: Mapping[str, AttributeValue | None],
        in_reader: Callable[[], bool] = lambda: True,
    ) -> None:
        """Start the connection.

        Args:
            telemetry: where it is recorded.
            fuse: what keeps our failures from the host.
            parentage: where its span starts.
            attributes: of the handshake.
            in_reader: whether the caller is the task that reads the socket.
        """
        self.id = secrets.token_hex(8)
        self.fuse = fuse
        self.facts = Facts()
        self._telemetry = telemetry
        self._started = time.monotonic()
        self._last_received: float | None = None
        self.span = telemetry.spans.start(
            _semconv.SPAN_CONNECTION,
            fuse,
            context=parentage.context,
            attributes={
                _semconv.CONNECTION_ID: self.id,
                _semconv.PROTOCOL_NAME: "websocket",
                **attributes,
            },
            links=parentage.links,
        )
        self.context: Context = set_value(
            _KEY, self, trace.set_span_in_context(self.span.span, parentage.context)
        )
        """The context in which the host serves the connection."""
        self._vocabulary = vocabulary(None)
        self.traffic = Traffic(None)
        """What the connection has carried; the edge counts what it sends."""
        self._init: ConnectionInit | None = None
        self._carried: Context | None = None
        self._acknowledged = False
        self._operations = Operations(telemetry, fuse, self.id, in_reader)
        self._message: Message | None = None
        """The message that the host is handling."""
        self._unread = False
        """Whether a data frame came of which no message has been made (yet)."""
        self._decided = False
        self._ended = False

    def opened(self, subprotocol: str | None) -> None:
        """Note that the upgrade was sent; only the first call counts."""
        if not (self.facts.upgraded or self._ended):
            self.facts.upgraded = True
            self._vocabulary = vocabulary(subprotocol)
            self.traffic = self._telemetry.metrics.tally.opened(subprotocol)
            self.span.set({_semconv.SUBPROTOCOL: subprotocol})

    # --- Messages ----------------------------------------------------------------------------

    def frame_received(self, size: int) -> None:
        """Note a data frame of `size` bytes, whether or not a message can be made of it."""
        self._last_received = time.monotonic()
        self._settle_unread()
        self._unread = True
        self.traffic.bytes_received += size

    def received(self, value: object) -> Context:
        """Note a message, any JSON value, and return the context in which to handle it."""
        if self._ended:
            return get_current()
        self._unread = False
        self._message = message = self._vocabulary.read(value)
        self._count(message.type)
        match message.type.meaning:
            case Meaning.START if message.starts_operation:
                return self._begin(message)
            case Meaning.INIT if self._init is None:
                return self._begin_init(message)
            case Meaning.STOP if self._operations.stop(message):
                pass
            case _:
                self.span.message(message.type)
        return self.context

    def handled(self) -> Context:
        """Note that the host has handled the message, and return the context in which to go on."""
        self._message = None
        self._operations.handled()
        return get_current() if self._ended else self.context

    def sent(self, message: Mapping[str, Any]) -> None:
        """Note a message that went out; called where the host sends it, in its exception state."""
        message_type = self._vocabulary.speak(message)
        messages = self.traffic.messages
        messages[message_type] = messages.get(message_type, 0) + 1
        if message_type.meaning is _RESULT:
            operation = self._operations.sender(message)
            if operation is not None:
                operation.result_sent(message_type)
                return
        self._sent_rarely(message, message_type)

    def _sent_rarely(self, message: Mapping[str, Any], message_type: MessageType) -> None:
        match message_type.meaning:
            case Meaning.ERROR | Meaning.COMPLETE if operation := self._operations.sender(message):
                self._operations.last_message_sent(operation, message_type)
                return
            case Meaning.ACK:
                self._acknowledged = True
                if self._init is not None:
                    self._init.end()
            case Meaning.REFUSAL:
                self.facts.refused = True
        self.span.message(message_type)

    def not_sent(self, message: Mapping[str, Any], error: Exception) -> None:
        """Note that a message could not be sent, say because it could not be encoded."""
        operation = self._operations.sender(message)
        if operation is not None:
            operation.failure = _bounds.exception_type(error)

    def _count(self, message_type: MessageType) -> None:
        messages = self.traffic.messages
        messages[message_type] = messages.get(message_type, 0) + 1

    def _settle_unread(self) -> None:
        if self._unread:
            self._unread = False
            self._count(self._vocabulary.unreadable)
            self.span.message(self._vocabulary.unreadable)

    # --- Init and operations -----------------------------------------------------------------

    def _begin_init(self, message: Message) -> Context:
        self._carried = self._remote(message.payload)
        parentage = self._parentage(self._carried)
        self._init = ConnectionInit(self._telemetry, self.fuse, parentage, self.id)
        self._link(self._init.span, parentage)
        self.span.message(message.type)
        return self._init.context

    def _begin(self, message: Message) -> Context:
        extensions = message.payload.get("extensions")
        carried = self._remote(extensions) if isinstance(extensions, dict) else None
        parentage = self._parentage(carried or self._carried)
        operation = self._operations.begin(message, parentage, restarts=self._vocabulary.restarts)
        self._link(operation.span, parentage)
        return operation.context

    def _parentage(self, carried: Context | None) -> Parentage:
        return within_connection(self._telemetry.config, self.context, carried, self.fuse)

    def _remote(self, carrier: Mapping[str, Any]) -> Context | None:
        if self._telemetry.config.remote_context == "ignore":
            return None
        return remote_context(carrier, self.context, self.fuse)

    def _link(self, child: SpanRecorder, parentage: Parentage) -> None:
        if parentage.apart:
            self.span.link(child)

    # --- The close ---------------------------------------------------------------------------

    def close_sent(self, frame: CloseFrame) -> None:
        """Note a close frame of the server, as it is written."""
        self.facts.frame_sent(frame)
        self._operations.close_sent(frame.code)
        self._decide()

    def close_received(self, frame: CloseFrame) -> None:
        """Note a close frame of the client."""
        self.facts.frame_received(frame)
        self._decide()

    def close_redundant(self) -> None:
        """Note that somebody closed a socket that was closed already."""
        self.span.event(_semconv.EVENT_WEBSOCKET_CLOSE_REDUNDANT, {})

    def frame_failed(self, error: BaseException, answer: CloseFrame | None) -> None:
        """Note an ERROR frame, and the close frame that was written because of it."""
        code = getattr(error, "code", None)
        if self.facts.first is None:
            self.facts.frame_error = error
            if answer is not None:
                self.facts.frame_sent(answer)
        self.span.event(
            _semconv.EVENT_WEBSOCKET_ERROR,
            {
                _semconv.EXCEPTION_TYPE: _bounds.exception_type(error),
                _semconv.EXCEPTION_MESSAGE: _bounds.exception_message(error),
                _semconv.CLOSE_CODE: code if isinstance(code, int) else None,
            },
        )
        self._telemetry.metrics.tally.frame_failed(_bounds.exception_type(error))
        self._decide()

    def stream_ended(self, error: BaseException | None) -> None:
        """Note that the stream ended, and what aiohttp holds to be the cause.

        If no close frame came before, the connection is lost.
        """
        self.facts.lost = True
        self.socket_failed(error)
        self._decide()

    def socket_failed(self, error: BaseException | None) -> None:
        """Note `ws.exception()`: a timeout before any close frame is a missed PONG.

        After a close frame it is only the echo that did not come.
        """
        if self.facts.first is None and isinstance(error, TimeoutError):
            self.facts.frame_error = error

    def send_failed(self) -> None:
        """Note that the transport refused a frame: the socket is dead, though nobody read so."""
        self._operations.dying = True

    def _decide(self) -> Verdict:
        """Judge the facts so far; the first time, say so on the spans that wait for it."""
        judged = verdict(self.facts, self._telemetry.config.normal_outcomes)
        if not self._decided:
            self._decided = self._operations.dying = True
            if self.facts.upgraded:
                self.span.event(
                    _semconv.EVENT_WEBSOCKET_CLOSE,
                    {
                        _semconv.CLOSE_CODE: judged.code,
                        _semconv.CLOSE_REASON: self._reason(judged),
                        _semconv.CLOSE_INITIATOR: judged.initiator.value,
                        _semconv.CLOSE_OUTCOME: judged.outcome.value,
                    },
                )
        if self._init is not None:
            # Even one that crossed a close frame which had been decided upon before it came.
            self._init.end(judged.error_type)
        return judged

    def _reason(self, judged: Verdict) -> str | None:
        reason = judged.reason
        if reason.startswith(_SYNTAX_ERROR) and self._telemetry.config.error_messages != "all":
            reason = _SYNTAX_ERROR
        return _bounds.bounded_reason(reason) or None

    def ended(self, exception: BaseException | None) -> None:
        """Note that the host is done with the connection: judge it, end everything, count it.

        What the edge knows besides, it has put into `facts` before.

        Args:
            exception: what left the view.
        """
        self._ended = True
        self.facts.exception = exception
        self.facts.malformed = self.facts.malformed or self._is_malformed(exception)
        self._settle_unread()
        judged = self._decide()
        interrupted = self._operations.connection_closed(judged)
        self._measure(judged)
        verdict_attributes = self._verdict_attributes(judged)
        self.span.set(verdict_attributes)
        self.span.set(self._forensics(interrupted))
        if judged.error_type is not None:
            self.span.fail(judged.error_type, f"closed abnormally: {judged.outcome.value}")
        self.span.end()
        # Tracebacks keep frames of the host, and the context keeps this: nothing is to wait for
        # the garbage collector because of us.
        self.facts.exception = self.facts.frame_error = self._carried = None
        self.context = Context()
        # Last, since a log handler may raise.
        log_close(judged, {_semconv.CONNECTION_ID: self.id, **verdict_attributes})

    def _is_malformed(self, exception: BaseException | None) -> bool:
        """Whether the message at hand is why `exception` left: unreadable, or not well formed."""
        message = self._message
        if message is not None:
            # Older versions of Strawberry look up whatever id a legacy client stops.
            stray = message.type.meaning is Meaning.STOP and isinstance(exception, KeyError)
            return stray or not message.well_formed
        # Too many digits are a ValueError, too many brackets a RecursionError.
        return self._unread and isinstance(exception, ValueError | RecursionError)

    def _measure(self, judged: Verdict) -> None:
        traffic = self.traffic if self.facts.upgraded else None
        self._telemetry.metrics.tally.closed(judged, traffic)
        self._telemetry.metrics.record(
            _semconv.METRIC_CONNECTION_DURATION,
            time.monotonic() - self._started,
            {
                _semconv.SUBPROTOCOL: self.traffic.subprotocol,
                _semconv.CLOSE_CODE: judged.code_label,
                _semconv.CLOSE_INITIATOR: judged.initiator.value,
                _semconv.CLOSE_OUTCOME: judged.outcome.value,
                _semconv.CLOSE_FAULT: judged.fault.value,
                _semconv.ERROR_TYPE: judged.error_type,
            },
            self.fuse,
            self.context,
        )

    def _verdict_attributes(self, judged: Verdict) -> dict[str, AttributeValue | None]:
        facts = self.facts
        return {
            _semconv.HTTP_STATUS_CODE: facts.status,
            _semconv.CLOSE_CODE: judged.code,
            _semconv.CLOSE_REASON: self._reason(judged),
            _semconv.CLOSE_INITIATOR: judged.initiator.value,
            _semconv.CLOSE_CLEAN: judged.clean,
            _semconv.CLOSE_OUTCOME: judged.outcome.value,
            _semconv.CLOSE_FAULT: judged.fault.value,
            _semconv.ERROR_TYPE: judged.error_type,
            _semconv.CLOSE_CODE_SENT: facts.sent.code if facts.sent else None,
            _semconv.CLOSE_CODE_RECEIVED: facts.received.code if facts.received else None,
        }

    def _forensics(self, interrupted: int) -> dict[str, AttributeValue | None]:
        counts = {"receive": 0, "transmit": 0}
        for message_type, count in self.traffic.messages.items():
            counts[message_type.direction] += count
        last = self._last_received
        return {
            _semconv.MESSAGES_RECEIVED: counts["receive"],
            _semconv.MESSAGES_SENT: counts["transmit"],
            _semconv.OPERATIONS: self._operations.begun,
            _semconv.OPERATIONS_INTERRUPTED: interrupted,
            _semconv.ACKNOWLEDGED: self._acknowledged,
            _semconv.IDLE_TIME: None if last is None else time.monotonic() - last,
        }


def current_connection() -> Connection | None:
    """Return the connection that the running code serves."""
    connection = get_value(_KEY)
    return connection if isinstance(connection, Connection) else None


def connection_span() -> Span:
    """Return the span of the connection that the running code serves.

    For the application's own attributes, say a tenant or a user in `on_ws_connect`. Outside a
    connection it is the API's `INVALID_SPAN`, on which everything is allowed and nothing happens.
    """
    connection = current_connection()
    return INVALID_SPAN if connection is None else connection.span.span
