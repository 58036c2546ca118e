"""How many log records there are: of each kind 10 a minute, and the next one says what it misses.

Strangers can cause some kinds as often as they like, and a broken SDK others. Each kind has its own
bound, so that no flood of one hides another. The last ones of a flood may never be told of, since
nothing here waits for the end of a minute.
"""

import os
import threading
import time
from typing import Final, NamedTuple

from strawberry_ws_otel._semconv import OTHER

RECORDS_PER_MINUTE: Final = 10
"""Records of one kind."""

MAX_KINDS: Final = 100
"""Distinct kinds; all further ones share one bound."""

_MINUTE: Final = 60.0


class _Minute(NamedTuple):
    """What became of one kind since the minute `began`."""

    began: float
    written: int = 0
    left_out: int = 0
    """Since the last record, whenever that was."""


class RecordRate:
    """The bound on the records of one log, which event loops in several threads may share."""

    __slots__ = ("_lock", "_minutes", "_pid")

    def __init__(self) -> None:
        # Reentrant: the collector may end a connection of an abandoned loop while this one is held.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._minutes: dict[str, _Minute] = {}

    def admit(self, kind: str) -> int | None:
        """Return how many of `kind` were left out before this one, or None to leave it out."""
        self._open_after_fork()
        now = time.monotonic()
        with self._lock:
            if kind not in self._minutes and len(self._minutes) >= MAX_KINDS:
                kind = OTHER
            minute = self._minutes.get(kind) or _Minute(now)
            if now - minute.began >= _MINUTE:
                minute = _Minute(now, left_out=minute.left_out)
            full = minute.written >= RECORDS_PER_MINUTE
            self._minutes[kind] = (
                minute._replace(left_out=minute.left_out + 1)
                if full
                else _Minute(minute.began, minute.written + 1)
            )
        return None if full else minute.left_out

    def _open_after_fork(self) -> None:
        # Only the parent has the thread that may have held the lock. Not `register_at_fork`, which
        # would keep every bound for ever.
        pid = os.getpid()
        if pid != self._pid:
            self._lock, self._pid = threading.RLock(), pid
