"""Holds the log records of abnormal closes against the truth, and those that there are none of.

An abnormal close has one record, or it was left out since there were too many. How many were left
out is told by the next record of the same view and outcome; the last ones are never told.
"""

import logging
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Final

from strawberry_ws_otel import _semconv as name
from tests.attacks.soak.lie import Lie
from tests.support.assertions import CLOSE_ATTRIBUTES, close_attributes
from tests.support.scenarios.model import Verdict

A_MINUTE: Final = 10
"""Records of one view and outcome in a minute."""

MINUTE: Final = 60.0

SLACK: Final = 1.0
"""Seconds by which the clock of the records and that of the library may differ in a minute."""


def told_record(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says."""
    said = vars(record)
    return {
        "level": record.levelno,
        "extra": {key: said[key] for key in CLOSE_ATTRIBUTES & said.keys()},
        "names the connection": str(said.get(name.CONNECTION_ID)) in record.getMessage(),
    }


def true_records(verdict: Verdict, count: int) -> list[dict[str, Any]]:
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
        """How many have none before it, as its record tells."""
        return int(vars(self.record).get(name.LOG_LEFT_OUT, 0))


@dataclass
class Closes:
    """The closes of one view with one outcome."""

    all: list[Close] = field(default_factory=list)
    untold: int = 0
    """How many of the last ones have no record, as `lies` found."""

    @property
    def recorded(self) -> list[Close]:
        """Those that have a record."""
        return [close for close in self.all if close.record is not None]

    def lies(self) -> Iterator[Lie]:
        """Everything in which the records are not the truth."""
        times: list[float] = []
        self.untold = 0
        for close in sorted(self.all, key=attrgetter("time")):
            if close.record is None:
                self.untold += 1
                if len(times) < A_MINUTE or close.time - times[-A_MINUTE] > MINUTE + SLACK:
                    yield Lie(
                        "records, where there was room", len(times), f"more than {len(times)}"
                    )
                continue
            if close.left_out != self.untold:
                yield Lie("left out before a record", close.left_out, self.untold)
            self.untold = 0
            times.append(close.time)
        # Each minute begins with a record.
        minutes = 1 + int((times[-1] - times[0] + SLACK) // MINUTE) if times else 0
        if len(times) > A_MINUTE * minutes:
            yield Lie("records", len(times), f"{A_MINUTE * minutes} at most")


class Log:
    """The log records of all connections."""

    def __init__(self) -> None:
        self._closes: defaultdict[tuple[Hashable, str], Closes] = defaultdict(Closes)

    def add(
        self, view: Hashable, verdict: Verdict, time: float, records: Sequence[logging.LogRecord]
    ) -> None:
        """Add a close in a view, of which no record tells anything untrue."""
        if _is_owed(verdict):
            close = Close(time, records[0] if records else None)
            self._closes[view, verdict.outcome].all.append(close)

    def lies(self) -> Iterator[Lie]:
        """Everything in which they are not the truth, by outcome."""
        for (_, outcome), closes in self._closes.items():
            for lie in closes.lies():
                yield replace(lie, what=f"{outcome}: {lie.what}")

    def __str__(self) -> str:
        groups = self._closes.values()
        recorded = [close for closes in groups for close in closes.recorded]
        left_out = sum(close.left_out for close in recorded)
        untold = sum(closes.untold for closes in groups)
        return f"{len(recorded)}, {left_out} left out, {untold} never told"
