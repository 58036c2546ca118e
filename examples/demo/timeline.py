"""Draws spans as bars on one scale, with their events on the bar and in words below."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from rich.padding import Padding
from rich.text import Text

from examples.demo.conversation import end_of, start_of
from examples.demo.events import CLOSE, STYLES, TROUBLE, duration, lay_out, steps, symbol

LABEL_WIDTH, BAR_WIDTH, DURATION_WIDTH = 35, 32, 8
EVENT_INDENT: Final = 4

FINAL_SIGNS: Final = {TROUBLE, CLOSE}
"""The symbols that stay visible if several events share one place on a bar."""


@dataclass(frozen=True)
class Timeline:
    """Places spans on one scale, the life of the connection."""

    origin: int
    length: int

    def cell(self, moment: int) -> int:
        """Find the place of a moment on a bar."""
        place = (moment - self.origin) * (BAR_WIDTH - 1) // max(self.length, 1)
        return min(max(place, 0), BAR_WIDTH - 1)

    def bar(self, span: ReadableSpan, style: str) -> Text:
        """Draw a span as a line with its events on it."""
        first, last = self.cell(start_of(span)), self.cell(end_of(span))
        line = [
            ("━", style) if first <= at <= last else ("·", "bright_black")
            for at in range(BAR_WIDTH)
        ]
        for event in span.events:
            sign, at = symbol(event), self.cell(event.timestamp)
            if line[at][0] not in FINAL_SIGNS:
                mark = sign if sign in FINAL_SIGNS else "●"
                line[at] = (mark, STYLES.get(sign, style))
        return Text.assemble(*line)

    def row(
        self, label: str, span: ReadableSpan, style: str, note: str = "", depth: int = 0
    ) -> Text:
        """Draw one line: name, position, duration, and how it ended."""
        indent = " " * 2 * depth
        name = Text(label, style)
        name.truncate(LABEL_WIDTH - len(indent), overflow="ellipsis")
        fill = " " * (LABEL_WIDTH - len(indent) - name.cell_len)
        life = duration(end_of(span) - start_of(span))
        before = " " * (DURATION_WIDTH - len(life))
        return Text.assemble(
            indent,
            name,
            fill,
            " ",
            self.bar(span, style),
            before,
            (life, "bold"),
            "  ",
            (note, "bold" if note else ""),
        )

    def events(self, span: ReadableSpan, width: int) -> Iterator[Padding]:
        """Write the events of a span below it."""
        texts = [step.text(self.origin) for step in steps(span.events)]
        for line in lay_out(texts, width - EVENT_INDENT):
            yield Padding(line, (0, 0, 0, EVENT_INDENT))
