"""The first `connection_init` of a connection, up to its ack or refusal: where auth runs."""

import time
from collections.abc import Mapping
from typing import Any

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._current import Placement, application_context, placement_of
from strawberry_ws_otel._failsafe import Fuses
from strawberry_ws_otel._operation import WAITED
from strawberry_ws_otel._propagation import ConnectionTrace
from strawberry_ws_otel._spans import NOT_STARTED
from strawberry_ws_otel._telemetry import Telemetry


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
