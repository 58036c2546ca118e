"""Bars: where a span and its events are, and how the width is shared."""

import pytest
from rich.cells import cell_len

from strawberry_ws_otel import _semconv
from strawberry_ws_otel.console._snapshot import snapshot_of
from strawberry_ws_otel.console._timeline import Row, Timeline
from tests.support.drawn import BEGIN, MS, completed, connection, ended, event, message, operation


def row(label: str = "↳ subscription Prices", note: str = "completed", depth: int = 0) -> Row:
    root = operation(at=25)
    message(root, "subscribe", 25)
    message(root, "next", 50, sent=True)
    event(root, _semconv.EVENT_GRAPHQL_ERROR, 51)
    message(root, "next", 51, 2, sent=True)
    return Row(label, snapshot_of(completed(root, 75)), "green", note, depth)


def test_a_line_has_a_name_a_bar_a_duration_and_a_note() -> None:
    timeline = Timeline(BEGIN, 100 * MS, label=22, bar=21, note=9)
    line = timeline.line(row()).plain
    assert line == "↳ subscription Prices  ·····●━━━━✗━━━━━····· " + "  50 ms  completed"


def test_a_note_that_is_empty_takes_no_room() -> None:
    timeline = Timeline(BEGIN, 100 * MS, label=22, bar=21)
    assert timeline.line(row(note="")).plain.endswith("  50 ms")


def test_a_close_stays_visible_and_a_span_outside_of_the_scale_is_at_its_end() -> None:
    span = connection()
    event(span, _semconv.EVENT_WEBSOCKET_CLOSE, 60)
    message(span, "ping", 60)
    late = Row("late", snapshot_of(ended(span, 60)), "green")
    assert Timeline(BEGIN, 10 * MS, label=4, bar=3).line(late).plain == "late ━━■   60 ms"
    assert Timeline(BEGIN, 0, label=4, bar=3).line(late).plain == "late ━━■   60 ms"
    early = Timeline(BEGIN + 90 * MS, 10 * MS, label=4, bar=3)
    assert early.line(late).plain == "late ■··   60 ms"


def test_inner_spans_are_indented_but_not_without_end() -> None:
    timeline = Timeline(BEGIN, 100 * MS, label=10, bar=2)
    assert timeline.line(row("parse", depth=1)).plain.startswith("  parse    ")
    assert timeline.line(row("a long name", depth=99)).plain.startswith("     a lo… ")


@pytest.mark.parametrize("width", [96, 76, 46, 30])
def test_a_line_is_no_wider_than_there_is_room(width: int) -> None:
    rows = [row("↳ GraphQL WebSocket Connection Init", "connection_closed"), row("価" * 60)]
    timeline = Timeline.fitting(rows, BEGIN, 100 * MS, width)
    widths = [timeline.line(each).cell_len for each in rows]
    assert max(widths) <= width
    assert timeline.bar >= 4


def test_names_lose_what_they_begin_with_before_they_are_truncated() -> None:
    rows = [row("↳ GraphQL WebSocket Connection Init", "connection_closed")]
    wide, narrow = (Timeline.fitting(rows, BEGIN, 100 * MS, width) for width in (96, 76))
    assert wide.line(rows[0]).plain.startswith("↳ GraphQL WebSocket Connection Init ")
    assert narrow.line(rows[0]).plain.startswith("↳ Connection Init ")
    assert narrow.line(row("GraphQL Document Parsing")).plain.startswith("Document Parsing ")


def test_a_wide_terminal_does_not_stretch_a_bar_without_end() -> None:
    timeline = Timeline.fitting([row()], BEGIN, 100 * MS, 500)
    assert (timeline.label, timeline.bar) == (cell_len("↳ subscription Prices"), 60)
    assert not timeline.is_short


def test_a_terminal_that_is_too_narrow_has_at_least_one_cell_of_a_bar() -> None:
    timeline = Timeline.fitting([row()], BEGIN, 100 * MS, 5)
    assert (timeline.label, timeline.bar) == (8, 1)
