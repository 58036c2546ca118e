"""The first `connection_init` of a connection, up to its ack or refusal: where auth runs."""

import time

from opentelemetry import trace
from opentelemetry.context import Context

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._telemetry import Telemetry


class ConnectionInit:
    """The span and the duration of one connection init."""

    __slots__ = ("_fuse", "_metrics", "_started", "context", "span")

    def __init__(
        self, telemetry: Telemetry, fuse: Fuse, parentage: Parentage, connection_id: str
    ) -> None:
        self._fuse = fuse
        self._metrics = telemetry.metrics
        self._started = time.monotonic()
        self.span = telemetry.spans.start(
            _semconv.SPAN_CONNECTION_INIT,
            fuse,
            context=parentage.context,
            attributes=lambda: {_semconv.CONNECTION_ID: connection_id},
            links=parentage.links,
        )
        self.context: Context = trace.set_span_in_context(self.span.span, parentage.context)
        """The context in which the host handles the message."""

    def end(self, error_type: str | None = None) -> None:
        """End the init, with the class of what refused it."""
        duration = time.monotonic() - self._started
        self._metrics.record(
            _semconv.METRIC_INIT_DURATION,
            duration,
            {_semconv.ERROR_TYPE: error_type},
            self._fuse,
            self.context,
        )
        if error_type is not None:
            self.span.fail(error_type)
        self.span.end()
        # It holds the connection: nothing is to wait for the garbage collector because of us.
        self.context = Context()
