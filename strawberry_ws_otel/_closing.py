"""How one connection closes: its facts, and the verdict over them.

Facts are kept first and recorded second, so that a broken telemetry pipe changes no verdict.
"""

from typing import Final

from strawberry_ws_otel import _bounds, _semconv
from strawberry_ws_otel._close import CloseFrame, Facts, Verdict, verdict
from strawberry_ws_otel._conversation import Conversation
from strawberry_ws_otel._operation import Attributes
from strawberry_ws_otel._spans import SpanRecorder
from strawberry_ws_otel._telemetry import Telemetry

_SYNTAX_ERROR: Final = "Syntax Error"
"""How the reason of a 4400 for a syntax error begins; the rest quotes the document."""


class Closing:
    """The close of one connection, from its first sign to the verdict."""

    __slots__ = ("_conversation", "_decided", "_span", "_telemetry", "facts")

    def __init__(
        self, telemetry: Telemetry, span: SpanRecorder, facts: Facts, conversation: Conversation
    ) -> None:
        """Wait for the close.

        Args:
            telemetry: where it is recorded.
            span: the connection's.
            facts: what is known about the end, for all who learn something of it.
            conversation: what ends with the connection.
        """
        self.facts = facts
        self._telemetry = telemetry
        self._span = span
        self._conversation = conversation
        self._decided = False

    def frame_sent(self, frame: CloseFrame) -> None:
        """Note a close frame of the server, as it is written."""
        self.facts.frame_sent(frame)
        self._conversation.close_sent(frame.code)
        self._decide_once()

    def frame_received(self, frame: CloseFrame) -> None:
        """Note a close frame of the client."""
        self.facts.frame_received(frame)
        self._decide_once()

    def dropped(self, error: BaseException) -> None:
        """Note that aiohttp could not make the close frame it was asked for, and drops the client.

        Somebody gave it a code or a reason that no frame can hold.
        """
        if self.facts.first is None and not self.facts.lost:
            self.facts.dropped = self.facts.dropped or error
            self.decide()

    def redundant(self) -> None:
        """Note that somebody closed a socket that was closed already."""
        self._span.event(_semconv.EVENT_WEBSOCKET_CLOSE_REDUNDANT, {})

    def frame_failed(self, error: BaseException, answer: CloseFrame | None) -> None:
        """Note an ERROR frame, and the close frame that was written because of it."""
        code = getattr(error, "code", None)
        if self.facts.first is None:
            self.facts.frame_error = error
            if answer is not None:
                self.facts.frame_sent(answer)
        self._span.event(
            _semconv.EVENT_WEBSOCKET_ERROR,
            {
                _semconv.EXCEPTION_TYPE: _bounds.exception_type(error),
                _semconv.EXCEPTION_MESSAGE: _bounds.exception_message(error),
                _semconv.CLOSE_CODE: code if isinstance(code, int) else None,
            },
        )
        self._telemetry.metrics.tally.frame_failed(_bounds.exception_type(error))
        self.decide()

    def stream_ended(self, error: BaseException | None) -> None:
        """Note that the stream ended, and what aiohttp holds to be the cause.

        If no close frame came before, the connection is lost.
        """
        self.facts.lost = True
        self.socket_failed(error)
        self.decide()

    def socket_failed(self, error: BaseException | None) -> None:
        """Note what failed: a timeout before any close frame is a client that does not answer.

        It missed a PONG, or was silent for longer than the application's `receive_timeout`. After a
        close frame it is only the echo that did not come.
        """
        if self.facts.first is None and isinstance(error, TimeoutError):
            self.facts.frame_error = error

    def send_failed(self) -> None:
        """Note that the transport refused a frame: the socket is dead, though nobody read so."""
        self._conversation.mark_closing()

    def _decide_once(self) -> None:
        if not self._decided or self._conversation.awaits_ack:
            self.decide()

    def decide(self) -> None:
        """Judge the facts so far, and say so on the spans that wait for it, if any does."""
        if self._span.recording or self._conversation.awaits_ack:
            self.tell(self.judge())
        else:
            self._decided = True
            self._conversation.mark_closing()

    def judge(self) -> Verdict:
        """Judge the facts so far."""
        return verdict(self.facts, self._telemetry.config.normal_outcomes)

    def tell(self, judged: Verdict) -> None:
        """Say how the close is judged; of several times the first is the event's."""
        if self._span.recording and self.facts.upgraded and not self._decided:
            self._span.event(
                _semconv.EVENT_WEBSOCKET_CLOSE,
                {
                    _semconv.CLOSE_CODE: judged.code,
                    _semconv.CLOSE_REASON: self._reason(judged),
                    _semconv.CLOSE_INITIATOR: judged.initiator.value,
                    _semconv.CLOSE_OUTCOME: judged.outcome.value,
                },
            )
        self._decided = True
        self._conversation.judged(judged.error_type)

    def attributes(self, judged: Verdict) -> Attributes:
        """Return what the span and the log record say of the verdict."""
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

    def _reason(self, judged: Verdict) -> str | None:
        reason = judged.reason
        if reason.startswith(_SYNTAX_ERROR) and self._telemetry.config.error_messages != "all":
            reason = _SYNTAX_ERROR
        return reason or None

    def forget(self) -> None:
        """Let go of exceptions: their tracebacks keep frames of the host."""
        facts = self.facts
        facts.exception = facts.frame_error = facts.dropped = None
