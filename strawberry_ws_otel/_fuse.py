"""The fuse between the library and the host: it stops every exception of the library.

* A fuse guards every call of the host into the library, and every call of the library into the
  OpenTelemetry API, which may raise, too.
* Spans, metrics and the log fail independently. Each has its own fuse for every connection, and for
  every operation over HTTP.
* The first exception blows the fuse and is logged. From then on the signal records nothing. But
  facts are kept, spans end, and gauges and closes count.
* A vendor's bridge may refuse single calls of a span, such as `add_link`. Only that call is lost,
  with one WARNING.
* `KeyboardInterrupt`, `SystemExit` and cancellation pass.

A broken SDK blows the fuses of every connection. So all fuses of one view class, or of one
extension class, share a `FailureLog`.
"""

import logging
import os
import threading
import time
from contextlib import suppress
from typing import Final, Literal, NamedTuple

from strawberry_ws_otel._limits import exception_type, headline
from strawberry_ws_otel._semconv import OTHER, SCOPE

_logger = logging.getLogger(SCOPE)

RECORDS_PER_MINUTE: Final = 10  # of each kind
MAX_KINDS: Final = 100  # all further kinds share one bound
_MINUTE: Final = 60.0


class _Minute(NamedTuple):
    """The records of one kind since the minute `began`."""

    began: float
    written: int = 0
    left_out: int = 0  # since the last record that was written, whenever that was


class RecordRate:
    """The bound on the records of one log, which event loops in several threads may share."""

    def __init__(self) -> None:
        # Reentrant: the collector may end a connection of an abandoned loop while this one is held.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._minutes: dict[str, _Minute] = {}

    def admit(self, kind: str) -> int | None:
        """Return how many of `kind` were left out before this one, or None to leave it out."""
        # Only the parent of a fork has the thread that may have held the lock. `register_at_fork`
        # would keep every object alive for ever.
        if (pid := os.getpid()) != self._pid:
            self._lock, self._pid = threading.RLock(), pid
        now = time.monotonic()
        with self._lock:
            if kind not in self._minutes and len(self._minutes) >= MAX_KINDS:
                kind = OTHER
            minute = self._minutes.get(kind) or _Minute(now)
            if now - minute.began >= _MINUTE:
                minute = _Minute(now, left_out=minute.left_out)
            if minute.written >= RECORDS_PER_MINUTE:
                self._minutes[kind] = minute._replace(left_out=minute.left_out + 1)
                return None
            self._minutes[kind] = _Minute(minute.began, minute.written + 1)
            return minute.left_out


class FailureLog:
    """The log records of the library's failures, at most 10 a minute for each exception class."""

    def __init__(self) -> None:
        self._rate = RecordRate()
        self._warned: set[str] = set()

    def failed(self, signal: str, exc: Exception) -> None:
        """Log that `signal` failed with `exc`, and how many of its class were left out before."""
        left_out = self._rate.admit(exception_type(exc))
        if left_out is not None:
            _logger.error(
                "Telemetry failed in %s: %s; it is off for this connection, operation or"
                " instrument, and the conversation goes on untouched%s",
                signal,
                headline(exc),
                f"; {left_out} more failures like it were not logged" if left_out else "",
                exc_info=exc,
            )

    def warn_once(self, message: str, *arguments: object) -> None:
        """Log a WARNING, once for each message."""
        if message not in self._warned:
            self._warned.add(message)
            _logger.warning(message, *arguments)


class Fuse:
    """A reusable context manager that stops what is raised inside it, and logs it once."""

    __slots__ = ("_failures", "_signal", "blown")

    def __init__(self, failures: FailureLog | None = None, signal: str = "the library") -> None:
        """Guard `signal`, as the log names it, and share the log of `failures`, if there is one."""
        self._failures = failures or FailureLog()
        self._signal = signal
        self.blown = False

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _type: object, exc: BaseException | None, _traceback: object) -> bool:
        """Stop an `Exception`, let everything else pass."""
        return isinstance(exc, Exception) and self.blow(exc)

    def blow(self, exc: Exception) -> Literal[True]:
        """Log `exc` unless the fuse is blown already."""
        if not self.blown:
            self.blown = True
            # A log handler may raise, too.
            with suppress(Exception):
                self._failures.failed(self._signal, exc)
        return True

    def refuse(self, call: str, exc: Exception) -> None:
        """Log once that a call of spans raised `exc`; everything else goes on."""
        text = f"Telemetry leaves out {call}() in %s, which raised %s"
        with suppress(Exception):
            self._failures.warn_once(text, self._signal, headline(exc))


class Fuses:
    """The fuses of one connection, or of one operation that has none."""

    __slots__ = ("library", "log", "metrics", "spans")

    def __init__(
        self,
        failures: FailureLog | None = None,
        spans: str = "the spans",
        metrics: str = "the metrics",
    ) -> None:
        """Share the log of `failures`, and give it names for the spans and the metrics."""
        self.library = Fuse(failures)
        self.spans = Fuse(failures, spans)
        self.metrics = Fuse(failures, metrics)
        self.log = Fuse(failures, "the log of closes")
