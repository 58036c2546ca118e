"""Writes the time, the trace and the connection before each record, and the client behind a close.

A record that is made while a connection is served belongs to that connection, and to the current
span. The traceback of what ended it does not: aiohttp logs that when the connection is over. But
just before, and in the same task, the library has logged the close, and says of which class the
exception was.
"""

import logging
from contextvars import ContextVar
from typing import Final, NamedTuple, TypeVar

from opentelemetry import trace

from strawberry_ws_otel import connection_span

FORMAT: Final = (
    "%(asctime)s %(levelname)s trace=%(trace_id)s connection=%(connection_id)s"
    " %(name)s: %(message)s%(details)s"
)
DETAILS: Final = ("error.type", "client.address", "user_agent.original")
"""The fields of a close that stand behind its message."""

UNKNOWN: Final = "-"
CONNECTION: Final = "websocket.connection.id"

H = TypeVar("H", bound=logging.Handler)


class _Close(NamedTuple):
    """What the library has logged of a close."""

    error_type: str
    trace_id: str
    connection_id: str


_CLOSE: Final[ContextVar[_Close | None]] = ContextVar("close", default=None)
"""The close that was logged last in this task."""


def with_ids(handler: H) -> H:
    """Let a handler write `FORMAT`, and return it."""
    handler.addFilter(_add_ids)
    handler.setFormatter(logging.Formatter(FORMAT))
    return handler


def _add_ids(record: logging.LogRecord) -> bool:
    fields, span = vars(record), trace.get_current_span().get_span_context()
    served = getattr(connection_span(), "attributes", None) or {}
    trace_id = trace.format_trace_id(span.trace_id) if span.is_valid else UNKNOWN
    connection_id = fields.get(CONNECTION) or served.get(CONNECTION, UNKNOWN)
    if CONNECTION in fields:
        _CLOSE.set(_Close(fields.get("error.type", ""), trace_id, connection_id))
    elif connection_id == UNKNOWN and (close := _CLOSE.get()) and _is_of(record, close):
        trace_id, connection_id = close.trace_id, close.connection_id
    # Quoted: the client writes its user agent itself.
    details = "".join(f" {key}={fields[key]!r}" for key in DETAILS if key in fields)
    fields.update(trace_id=trace_id, connection_id=connection_id, details=details)
    return True


def _is_of(record: logging.LogRecord, close: _Close) -> bool:
    """Whether the record has the traceback of the exception that made the close."""
    raised = record.exc_info[0] if record.exc_info else None
    return raised is not None and close.error_type.endswith(raised.__qualname__)
