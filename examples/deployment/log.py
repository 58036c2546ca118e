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


class _Ids(NamedTuple):
    """The trace and the connection to which a record belongs."""

    trace_id: str
    connection_id: object


class _Close(NamedTuple):
    """What the library has logged of a close."""

    error_type: object
    ids: _Ids


_CLOSE: Final[ContextVar[_Close | None]] = ContextVar("close", default=None)
"""The close that was logged last in this task."""


def with_ids(handler: H) -> H:
    """Let a handler write `FORMAT`, and return it.

    The handler has to format a record where it is logged. A `QueueHandler` does, but the handlers
    of its listener are too late.
    """
    handler.setFormatter(_Formatter(FORMAT))
    return handler


class _Formatter(logging.Formatter):
    """Writes `FORMAT`, and leaves the record as it is for other handlers."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # overrides
        """Write the record without its traceback."""
        fields = vars(record)
        # Quoted: the client writes its user agent itself.
        details = "".join(f" {key}={fields[key]!r}" for key in DETAILS if key in fields)
        return FORMAT % {**fields, **_ids_of(record)._asdict(), "details": details}


def _ids_of(record: logging.LogRecord) -> _Ids:
    """Return the ids of a record, and remember them if it is that of a close."""
    fields, span = vars(record), trace.get_current_span().get_span_context()
    served = getattr(connection_span(), "attributes", None) or {}
    ids = _Ids(
        trace.format_trace_id(span.trace_id) if span.is_valid else UNKNOWN,
        fields.get(CONNECTION) or served.get(CONNECTION, UNKNOWN),
    )
    if CONNECTION in fields:
        _CLOSE.set(_Close(fields.get("error.type"), ids))
    elif ids.connection_id == UNKNOWN and (close := _CLOSE.get()) and _is_of(record, close):
        return close.ids
    return ids


def _is_of(record: logging.LogRecord, close: _Close) -> bool:
    """Whether the record has the traceback of the exception that made the close."""
    raised = record.exc_info[0] if record.exc_info else None
    return raised is not None and close.error_type == _name_of(raised)


def _name_of(raised: type[BaseException]) -> str:
    """Return the name of a class as `error.type` has it: with its module, but builtins without."""
    module, name = raised.__module__, raised.__qualname__
    return name if module == "builtins" else f"{module}.{name}"
