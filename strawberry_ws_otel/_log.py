"""The log record of an abnormal close."""

import logging
from collections.abc import Mapping
from typing import Final

from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._bounds import present
from strawberry_ws_otel._close import Fault, Outcome, Verdict

_logger = logging.getLogger(_semconv.SCOPE)

_SILENT: Final = frozenset({Outcome.HANDSHAKE_REJECTED})
"""Scanners would fill the log."""


def log_close(verdict: Verdict, attributes: Mapping[str, AttributeValue | None]) -> None:
    """Log an abnormal close: ERROR where the server is at fault, else WARNING.

    `extra` holds `attributes`, the verdict's and what tells the connection apart, under the names
    that they have on the span.
    """
    if not verdict.abnormal or verdict.outcome in _SILENT:
        return
    _logger.log(
        logging.ERROR if verdict.fault is Fault.SERVER else logging.WARNING,
        "GraphQL WebSocket closed abnormally: %s (code %s, fault %s, initiator %s)",
        verdict.outcome.value,
        verdict.code,
        verdict.fault.value,
        verdict.initiator.value,
        extra=present(attributes),
    )
