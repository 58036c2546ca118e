"""The fuse between us and the host: no exception of ours passes it.

Every call from the host into the library happens inside `with fuse:`, and so does every call of the
library into the OpenTelemetry API, which may raise as well. What is raised is logged, once per
recorder; then the fuse is blown and nothing more is recorded, but facts are still kept, spans
still end, and gauges and closes still count. `KeyboardInterrupt`, `SystemExit` and cancellation are
not ours to stop.

There is a fuse for each connection and each operation, and a broken SDK blows them all. So those of
one view class, or of one extension class, share a `FailureLog`.
"""

import logging
from contextlib import suppress
from types import TracebackType
from typing import Literal

from strawberry_ws_otel._bounds import exception_type
from strawberry_ws_otel._rate import RecordRate
from strawberry_ws_otel._semconv import SCOPE

_logger = logging.getLogger(SCOPE)


class FailureLog:
    """The log records of our own failures: each class of exception has the bound of `_rate`."""

    __slots__ = ("_rate",)

    def __init__(self) -> None:
        self._rate = RecordRate()

    def failed(self, exc: Exception) -> None:
        """Log `exc`, and how many of its class were left out before."""
        left_out = self._rate.admit(exception_type(exc))
        if left_out is not None:
            _logger.error(
                "Telemetry failed and is off for this connection, operation or instrument;"
                " the conversation goes on untouched%s",
                f"; {left_out} more failures like it were not logged" if left_out else "",
                exc_info=exc,
            )


class Fuse:
    """A reusable context manager that swallows, and logs once, what is raised inside it."""

    __slots__ = ("_failures", "blown")

    def __init__(self, failures: FailureLog | None = None) -> None:
        """Take the log to share; a fuse of which there are few needs none."""
        self._failures = failures
        self.blown = False

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Stop an `Exception`, let everything else pass."""
        if not isinstance(exc, Exception):
            return False
        return self.blow(exc)

    def blow(self, exc: Exception) -> Literal[True]:
        """Log `exc` unless the fuse is blown already."""
        if not self.blown:
            self.blown = True
            # A log handler may raise, too.
            with suppress(Exception):
                (self._failures or FailureLog()).failed(exc)
        return True
