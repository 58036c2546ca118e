"""Draws spans as bars on one scale, with their events on the bar."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from strawberry_ws_otel.console._events import CLOSE, STYLES, TROUBLE, duration, symbol
from strawberry_ws_otel.console._snapshot import SpanSnapshot

LABEL: Final = 35
"""Cells of the longest name of a span of the library."""

LEAST_LABEL: Final = 8
NOTE: Final = 18
"""Cells of the longest end reason, and one more."""

BAR: Final = 20
"""Cells of a bar for which names are truncated."""

MOST_BAR: Final = 60
DURATION: Final = 8
"""Cells of a duration below four minutes, with the space before it."""

GAPS: Final = 3
"""Cells between name and bar, and between duration and note."""

COMMON: Final = re.compile("GraphQL (WebSocket )?")
"""What most names begin with."""

FINAL_SIGNS: Final = {TROUBLE, CLOSE}
"""The symbols that stay visible if several events share one place on a bar."""


@dataclass(frozen=True)
class Row:
    """One line: a span, what it is called, and how it ended."""

    label: str
    span: SpanSnapshot
    style: str
    note: str = ""
    depth: int = 0

    @property
    def cells(self) -> int:
        """How wide its label is, with the indent."""
        return 2 * self.depth + cell_len(self.label)


@dataclass(frozen=True)
class Timeline:
    """Places spans on one scale, the life of the connection."""

    origin: int
    length: int
    label: int = LABEL
    """Cells for the name of a span, its place, how it ended, and how long it took."""
    bar: int = BAR
    note: int = NOTE
    duration: int = DURATION
    is_short: bool = False
    """Whether names are written without what most of them begin with."""

    @classmethod
    def fitting(cls, rows: Sequence[Row], origin: int, length: int, width: int) -> "Timeline":
        """Make one for these rows that is no wider than `width`."""
        widest = min(max(row.cells for row in rows), LABEL)
        note = min(max(cell_len(row.note) for row in rows), NOTE, width // 4)
        longest = max(cell_len(duration(row.span.end - row.span.start)) for row in rows)
        room = max(DURATION, longest + 1)
        rest = width - room - GAPS - note
        label = min(widest, max(rest - BAR, rest * 3 // 5, LEAST_LABEL))
        bar = min(max(rest - label, 1), MOST_BAR)
        return cls(origin, length, label, bar, note, room, is_short=label < widest)

    def place(self, moment: int) -> int:
        """Find the place of a moment on a bar."""
        at = (moment - self.origin) * (self.bar - 1) // max(self.length, 1)
        return min(max(at, 0), self.bar - 1)

    def drawn(self, span: SpanSnapshot, style: str) -> Text:
        """Draw a span as a line with its events on it."""
        first, last = self.place(span.start), self.place(span.end)
        line = [
            ("━", style) if first <= at <= last else ("·", "bright_black") for at in range(self.bar)
        ]
        for event in (*span.first_events, *span.last_events):
            sign, at = symbol(event), self.place(event.time)
            if line[at][0] not in FINAL_SIGNS:
                mark = sign if sign in FINAL_SIGNS else "●"
                line[at] = (mark, STYLES.get(sign, style))
        runs = groupby(line, key=itemgetter(1))
        return Text.assemble(*(("".join(mark for mark, _ in run), each) for each, run in runs))

    def line(self, row: Row) -> Text:
        """Draw one line: name, place, duration, and how it ended."""
        indent = " " * min(2 * row.depth, self.label // 2)
        room = self.label - len(indent)
        name = Text(COMMON.sub("", row.label, count=1) if self.is_short else row.label, row.style)
        name.truncate(room, overflow="ellipsis")
        note = Text(row.note, "bold")
        note.truncate(self.note, overflow="ellipsis")
        return Text.assemble(
            indent,
            name,
            " " * (room - name.cell_len + 1),
            self.drawn(row.span, row.style),
            (duration(row.span.end - row.span.start).rjust(self.duration), "bold"),
            *(("  ", note) if note else ()),
        )
