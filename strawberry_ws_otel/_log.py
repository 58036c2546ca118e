"""The log records of abnormal closes: one for each, unless there is a flood of them.

Strangers can close abnormally as often as they like, and metrics count them all. So of each outcome
at most 10 records are written in a minute, and the next one says how many were left out. Each
outcome has its own bound: no flood of clients hides a `server_error`. The last ones of a flood may
never get a record, since nothing here waits for the end of a minute.
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._bounds import present
from strawberry_ws_otel._close import Fault, Outcome, Verdict

_logger = logging.getLogger(_semconv.SCOPE)

_SILENT: Final = frozenset({Outcome.HANDSHAKE_REJECTED})
"""Scanners would fill the log."""

_MINUTE: Final = 60.0
_RECORDS_PER_MINUTE: Final = 10
"""Records of one outcome that one view writes in a minute."""


class _Minute(NamedTuple):
    """What became of the closes of one outcome since the minute `began`."""

    began: float
    written: int = 0
    left_out: int = 0
    """Since the last record, whenever that was."""


class CloseLog:
    """The log records of one view's abnormal closes."""

    __slots__ = ("_lock", "_minutes")

    def __init__(self) -> None:
        # Reentrant: the collector may end a connection of an abandoned loop while this one is held.
        self._lock = threading.RLock()
        self._minutes: dict[Outcome, _Minute] = {}

    def closed(
        self, connection_id: str, verdict: Verdict, attributes: Mapping[str, AttributeValue | None]
    ) -> None:
        """Log an abnormal close: ERROR where the server is at fault, else WARNING.

        `extra` holds the id and `attributes`, the verdict's, under the names that they have on the
        span, and how many closes of this outcome were left out before. The id and that number
        stand in the message as well, since few formatters show what is extra.
        """
        if not verdict.abnormal or verdict.outcome in _SILENT:
            return
        left_out = self._admit(verdict.outcome)
        if left_out is None:
            return
        _logger.log(
            logging.ERROR if verdict.fault is Fault.SERVER else logging.WARNING,
            "GraphQL WebSocket %s closed abnormally: %s (code %s, fault %s, initiator %s)%s",
            connection_id,
            verdict.outcome.value,
            verdict.code,
            verdict.fault.value,
            verdict.initiator.value,
            f"; {left_out} more of this outcome were not logged" if left_out else "",
            extra={
                _semconv.CONNECTION_ID: connection_id,
                **present({_semconv.LOG_LEFT_OUT: left_out or None, **attributes}),
            },
        )

    def _admit(self, outcome: Outcome) -> int | None:
        """Return how many closes were left out before this one, or None to leave this one out."""
        now = time.monotonic()
        with self._lock:
            minute = self._minutes.get(outcome) or _Minute(now)
            if now - minute.began >= _MINUTE:
                minute = _Minute(now, left_out=minute.left_out)
            full = minute.written >= _RECORDS_PER_MINUTE
            self._minutes[outcome] = (
                minute._replace(left_out=minute.left_out + 1)
                if full
                else _Minute(minute.began, minute.written + 1)
            )
        return None if full else minute.left_out
