"""Compares the log records of abnormal closes, and missing ones, with what happened.

An abnormal close has one record, or it was left out since there were too many. How many were left
out is recorded by the next record of the same view and outcome; the last ones are never recorded.
"""

import logging
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Final

from strawberry_ws_otel import _semconv as name
from tests.attacks.soak.mismatch import Mismatch
from tests.support.assertions import CLOSE_ATTRIBUTES, close_attributes
from tests.support.scenarios.model import Verdict

A_MINUTE: Final = 10
"""Records of one view and outcome in a minute."""

MINUTE: Final = 60.0

SLACK: Final = 1.0
"""Seconds by which the clock of the records and that of the library may differ in a minute."""


def recorded_log(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says."""
    said = vars(record)
    return {
        "level": record.levelno,
        "extra": {key: said[key] for key in CLOSE_ATTRIBUTES & said.keys()},
        "names the connection": str(said.get(name.CONNECTION_ID)) in record.getMessage(),
    }


def expected_logs(verdict: Verdict, count: int) -> list[dict[str, Any]]:
    """What `count` records have to say: there is one at most, and none of an ordinary close."""
    record = {
        "level": logging.ERROR if verdict.fault == "server" else logging.WARNING,
        "extra": close_attributes(verdict),
        "names the connection": True,
    }
    return [record] * min(count, int(_is_owed(verdict)))


def _is_owed(verdict: Verdict) -> bool:
    return verdict.abnormal and verdict.outcome != "handshake_rejected"


@dataclass(frozen=True)
class Close:
    """An abnormal close, when it was, and its record, if it has one."""

    time: float
    record: logging.LogRecord | None

    @property
    def left_out(self) -> int:
        """How many have none before it, as its record reports."""
        return int(vars(self.record).get(name.LOG_LEFT_OUT, 0))


@dataclass
class Closes:
    """The closes of one view with one outcome."""

    all: list[Close] = field(default_factory=list)
    unrecorded: int = 0
    """How many of the last ones have no record, as `mismatches` found."""

    @property
    def logged(self) -> list[Close]:
        """Those that have a record."""
        return [close for close in self.all if close.record is not None]

    def mismatches(self) -> Iterator[Mismatch]:
        """Everything in which the records differ from what happened."""
        times: list[float] = []
        self.unrecorded = 0
        for close in sorted(self.all, key=attrgetter("time")):
            if close.record is None:
                self.unrecorded += 1
                if len(times) < A_MINUTE or close.time - times[-A_MINUTE] > MINUTE + SLACK:
                    yield Mismatch(
                        "records, where there was room", len(times), f"more than {len(times)}"
                    )
                continue
            if close.left_out != self.unrecorded:
                yield Mismatch("left out before a record", close.left_out, self.unrecorded)
            self.unrecorded = 0
            times.append(close.time)
        # Each minute begins with a record.
        minutes = 1 + int((times[-1] - times[0] + SLACK) // MINUTE) if times else 0
        if len(times) > A_MINUTE * minutes:
            yield Mismatch("records", len(times), f"{A_MINUTE * minutes} at most")


class Log:
    """The log records of all connections."""

    def __init__(self) -> None:
        self._closes: defaultdict[tuple[Hashable, str], Closes] = defaultdict(Closes)

    def add(
        self, view: Hashable, verdict: Verdict, time: float, records: Sequence[logging.LogRecord]
    ) -> None:
        """Add a close in a view whose records are right."""
        if _is_owed(verdict):
            close = Close(time, records[0] if records else None)
            self._closes[view, verdict.outcome].all.append(close)

    def mismatches(self) -> Iterator[Mismatch]:
        """Everything in which they differ from what happened, by outcome."""
        for (_, outcome), closes in self._closes.items():
            for mismatch in closes.mismatches():
                yield replace(mismatch, what=f"{outcome}: {mismatch.what}")

    def __str__(self) -> str:
        groups = self._closes.values()
        logged = [close for closes in groups for close in closes.logged]
        left_out = sum(close.left_out for close in logged)
        unrecorded = sum(closes.unrecorded for closes in groups)
        return f"{len(logged)}, {left_out} left out, {unrecorded} never reported"
