"""Hides log records that clients cause on purpose, and passes on all others."""

import logging
from collections.abc import Callable
from typing import Final

from opentelemetry import trace
from strawberry.http.exceptions import WebSocketDisconnected

from examples.demo.names import SCOPE
from examples.demo.schema import FeedError, NotLoggedInError, UnknownSymbolError
from examples.demo.server import StoreDownError
from examples.demo.trouble import FOREIGN_ORIGIN

PROVOKED_ERRORS: Final = (
    FeedError,
    NotLoggedInError,
    UnknownSymbolError,
    StoreDownError,
    # The price that a subscription was about to send when its connection broke.
    WebSocketDisconnected,
)
PROVOKED_MESSAGES: Final = (
    ("strawberry.execution", "Cannot query field 'volume'"),
    ("strawberry.ws", f"Rejected WebSocket connection from origin '{FOREIGN_ORIGIN}'"),
    ("opentelemetry.exporter", ""),  # the demo itself reports if a collector is away
)


def is_provoked(record: logging.LogRecord) -> bool:
    """Return whether a client caused this record on purpose."""
    if record.exc_info and isinstance(record.exc_info[1], PROVOKED_ERRORS):
        return True
    return any(
        record.name.startswith(logger) and record.getMessage().startswith(start)
        for logger, start in PROVOKED_MESSAGES
    )


class Journal(logging.Handler):
    """Sorts the log into the library's line for each conversation, and everything unexpected."""

    def __init__(self, report: Callable[[str], object]) -> None:
        """Handle the log of the whole process, and collect what is unexpected."""
        super().__init__(logging.WARNING)
        self.closes: dict[int, str] = {}
        self._report = report
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record; the library logs a close in the context of its connection."""
        span = trace.get_current_span().get_span_context()
        if record.name == SCOPE and span.is_valid and not record.exc_info:
            self.closes[span.trace_id] = self.format(record)
        elif not is_provoked(record):
            self._report(self.format(record))
