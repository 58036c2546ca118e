"""One connection, from the handshake to the verdict.

The edges tell its conversation what was said, and its closing how it closed; nothing here touches
the socket.
"""

import time
from collections.abc import Callable, Mapping
from random import getrandbits

from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import INVALID_SPAN, Span
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._close import Facts, Verdict
from strawberry_ws_otel._closing import Closing
from strawberry_ws_otel._conversation import Conversation
from strawberry_ws_otel._current import current, placement_of
from strawberry_ws_otel._failsafe import Fuses
from strawberry_ws_otel._propagation import ConnectionTrace, of_request
from strawberry_ws_otel._spans import is_suppressed, span_id
from strawberry_ws_otel._telemetry import Telemetry


class Connection:
    """One connection: its span, its conversation, its close."""

    __slots__ = (
        "_fuses",
        "_started",
        "_telemetry",
        "closing",
        "conversation",
        "facts",
        "fuse",
        "id",
        "placement",
        "span",
    )

    def __init__(
        self,
        telemetry: Telemetry,
        fuses: Fuses,
        before: Context,
        headers: Mapping[str, str],
        attributes: Callable[[], Mapping[str, AttributeValue | None]],
    ) -> None:
        """Start the connection.

        Args:
            telemetry: where it is recorded.
            fuses: what keeps our failures from the host.
            before: the context of the handshake.
            headers: of the handshake.
            attributes: of the handshake.
        """
        # Told apart, not kept secret: the SDK makes its ids in the same way.
        self.id = f"{getrandbits(64):016x}"
        self.fuse = fuses.library
        self._fuses = fuses
        self._telemetry = telemetry
        self._started = time.monotonic()
        parentage = of_request(telemetry.config, before, headers, fuses.library)
        self.span = telemetry.spans.start(
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
        self.placement = placement_of(self.span, before, parentage.carried)
        """What puts the connection's span into the context in which the host serves it."""
        self.facts = Facts()
        """What is known about its end."""
        self.conversation = Conversation(
            telemetry,
            fuses,
            self.id,
            self.span,
            self.facts,
            ConnectionTrace(telemetry.config, fuses.library, self.span, parentage, span_id(before)),
        )
        self.closing = Closing(telemetry, self.span, self.facts, self.conversation)

    def opened(self, subprotocol: str | None) -> None:
        """Note that the upgrade was sent; only the first call counts."""
        if not self.facts.upgraded and self.conversation.opened(subprotocol):
            self.facts.upgraded = True

    def ended(self, exception: BaseException | None) -> None:
        """Note that the host is done with the connection: judge it, end everything, count it.

        What the edge knows besides, it has put into `facts` before.

        Args:
            exception: what left the view.
        """
        facts, interrupted = self.facts, 0
        facts.exception = exception
        # One step may fail, and the others are still taken.
        with self.fuse:
            facts.malformed = self.conversation.stopped(exception) or facts.malformed
        judged = self.closing.judge()
        with self.fuse:
            self.closing.tell(judged)
        with self.fuse:
            interrupted = self.conversation.ended(judged)
        with self.fuse:
            self._measure(judged)
        with self.fuse:
            self._describe(judged, interrupted)
        self.span.end()
        if judged.abnormal:
            with self._fuses.log:
                self._log(judged)
        self.closing.forget()
        self.conversation.forget()
        self.placement = None

    def _log(self, judged: Verdict) -> None:
        """Log the close in the trace of the connection, in which its record belongs."""
        before = get_current()
        if is_suppressed(before):
            return
        with self.fuse:
            if self.span.has_own_id:
                attach(trace.set_span_in_context(self.span.span, before))
        try:
            self._telemetry.log.closed(self.id, judged, self.closing.attributes(judged))
        finally:
            with self.fuse:
                attach(before)

    def _describe(self, judged: Verdict, interrupted: int) -> None:
        if self.span.recording:
            summary = self.conversation.summary(interrupted)
            self.span.set({**self.closing.attributes(judged), **summary})
        if judged.error_type is not None:
            self.span.fail(judged.error_type, f"closed abnormally: {judged.outcome.value}")

    def _measure(self, judged: Verdict) -> None:
        traffic = self.conversation.traffic
        self._telemetry.metrics.tally.closed(judged, traffic if self.facts.upgraded else None)
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
            self.span.exemplar_context,
        )


def connection_of(request: object) -> Connection | None:
    """Return the connection that a request is the handshake of."""
    connection = getattr(request, "connection", None)
    return connection if isinstance(connection, Connection) else None


def current_connection() -> Connection | None:
    """Return the connection that the running code serves."""
    return connection_of(current().request)


def connection_span() -> Span:
    """Return the span of the connection that the running code serves.

    For the application's own attributes, say a tenant or a user in `on_ws_connect`. Outside a
    connection it is the API's `INVALID_SPAN`, on which everything is allowed and nothing happens.
    """
    connection = current_connection()
    return INVALID_SPAN if connection is None else connection.span.span
