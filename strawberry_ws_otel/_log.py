"""The log records of abnormal closes, at most 10 a minute for each outcome.

Clients can close abnormally as often as they like, and metrics count every close. Each outcome has
its own bound, so that a flood of one outcome hides no `server_error`.
"""

import logging
from collections.abc import Mapping
from typing import Final

from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._close import Fault, Outcome, Verdict
from strawberry_ws_otel._fuse import RecordRate
from strawberry_ws_otel._limits import present

_logger = logging.getLogger(_semconv.SCOPE)

_FORMATTED: Final = ("message", "asctime")
"""The members that a formatter adds to a record."""


class CloseLog:
    """The log records of one view class's abnormal closes."""

    def __init__(self) -> None:
        self._rate = RecordRate()

    def admit(self, verdict: Verdict) -> int | None:
        """Return how many closes of this outcome were left out before this one.

        None means that this one is not logged: it is normal, a refused handshake or one too many.
        To ask first makes a flood of closes cheap: nothing is gathered for records that are left
        out.
        """
        # Scanners, whose handshakes are rejected, would fill the log.
        if not verdict.abnormal or verdict.outcome is Outcome.HANDSHAKE_REJECTED:
            return None
        return self._rate.admit(verdict.outcome)

    @staticmethod
    def closed(
        connection_id: str,
        verdict: Verdict,
        attributes: Mapping[str, AttributeValue | None],
        raised: str = "",
        left_out: int = 0,
    ) -> None:
        """Log an admitted close: ERROR where the server is at fault, else WARNING.

        `raised` is the headline of the exception that ended the connection, if one did. `left_out`
        is what `admit` has returned.

        `extra` holds the id and the `attributes` under the names of the span's, and how many closes
        of this outcome were not logged. The message has the id and that number, too, since few
        formatters show `extra`. Every record has members, such as `name`, which `logging` lets
        nobody replace: an attribute of such a name is left out.
        """
        fields = {
            **attributes,
            _semconv.CONNECTION_ID: connection_id,
            _semconv.LOG_LEFT_OUT: left_out or None,
        }
        level = logging.ERROR if verdict.fault is Fault.SERVER else logging.WARNING
        # The application may have set a factory of its own.
        members = vars(_logger.makeRecord(_logger.name, level, "", 0, "", (), None))
        _logger.log(
            level,
            "GraphQL WebSocket %s closed abnormally: %s (code %s, fault %s, initiator %s)%s%s",
            connection_id,
            verdict.outcome.value,
            verdict.code,
            verdict.fault.value,
            verdict.initiator.value,
            f": {raised}" if raised else "",
            f"; {left_out} more of this outcome were not logged" if left_out else "",
            extra={
                key: value
                for key, value in present(fields).items()
                if key not in members and key not in _FORMATTED
            },
        )
