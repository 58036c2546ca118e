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


def log_close(
    connection_id: str, verdict: Verdict, attributes: Mapping[str, AttributeValue | None]
) -> None:
    """Log an abnormal close: ERROR where the server is at fault, else WARNING.

    `extra` holds the id and `attributes`, the verdict's, under the names that they have on the
    span. The id stands in the message as well, since few formatters show what is extra.
    """
    if not verdict.abnormal or verdict.outcome in _SILENT:
        return
    _logger.log(
        logging.ERROR if verdict.fault is Fault.SERVER else logging.WARNING,
        "GraphQL WebSocket %s closed abnormally: %s (code %s, fault %s, initiator %s)",
        connection_id,
        verdict.outcome.value,
        verdict.code,
        verdict.fault.value,
        verdict.initiator.value,
        extra={_semconv.CONNECTION_ID: connection_id, **present(attributes)},
    )
