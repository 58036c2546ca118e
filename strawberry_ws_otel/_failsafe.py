"""The fuse between us and the host: no exception of ours passes it.

Every call from the host into the library happens inside `with fuse:`, and so does every call of the
library into the OpenTelemetry API, which may raise as well. What is raised is logged, once per
recorder; then the fuse is blown and nothing more is recorded, but facts are still kept, spans
still end, and gauges and closes still count. `KeyboardInterrupt`, `SystemExit` and cancellation are
not ours to stop.
"""

import logging
from contextlib import suppress
from types import TracebackType
from typing import Literal

from strawberry_ws_otel._semconv import SCOPE

_logger = logging.getLogger(SCOPE)


class Fuse:
    """A reusable context manager that swallows, and logs once, what is raised inside it."""

    __slots__ = ("blown",)

    def __init__(self) -> None:
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
                _logger.error(
                    "Telemetry failed and is off for this connection or operation;"
                    " the conversation goes on untouched",
                    exc_info=exc,
                )
        return True
