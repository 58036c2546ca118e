"""The clock of the library, in the hands of a test; the event loop keeps its own."""

import sys
import time

import pytest

from tests.support.library import MODULES, PACKAGE


class Clock:
    """A clock that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        """The time of day, by which spans are sorted, goes on."""
        return time.time_ns()

    def passes(self, seconds: float) -> None:
        self.now += seconds


def stop_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Put a clock in the place of `time`, wherever the library looks at it."""
    clock = Clock()
    for name in MODULES:
        module = sys.modules.get(f"{PACKAGE}.{name.replace('/', '.')}")
        if module is not None and vars(module).get("time") is time:
            monkeypatch.setattr(module, "time", clock)
    return clock
