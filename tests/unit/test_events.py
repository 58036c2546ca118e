"""Events in words: their symbol, their time, and runs of one message type."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, Span
from rich.text import Text

from strawberry_ws_otel import _semconv
from strawberry_ws_otel.console._events import duration, lay_out, texts
from strawberry_ws_otel.console._snapshot import EVENTS, snapshot_of
from tests.support.drawn import BEGIN, MS, completed, event, message, operation

SECOND = 1000 * MS


def words(span: ReadableSpan, origin: int = BEGIN) -> list[str]:
    return [text.plain for text in texts(snapshot_of(span), origin)]


@pytest.fixture
def root() -> Span:
    return operation(at=0)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.0 ms"),
        (123_456, "0.1 ms"),
        (9 * MS, "9.0 ms"),
        (10 * MS, "10 ms"),
        (999 * MS, "999 ms"),
        (SECOND, "1.00 s"),
        (12 * SECOND, "12 s"),
        (60 * SECOND, "1 m 0 s"),
        (3599 * SECOND, "59 m 59 s"),
        (3600 * SECOND, "1 h 0 m"),
        (90_000 * SECOND, "25 h 0 m"),
    ],
)
def test_a_duration_is_written_shortly(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


def test_a_span_without_events_has_no_words(root: Span) -> None:
    assert words(completed(root)) == []


def test_messages_have_a_direction_and_runs_are_gathered(root: Span) -> None:
    message(root, "subscribe", 1)
    for number in range(1, 9):
        message(root, "next", 10 * number, number, sent=True)
    message(root, "complete", 99)
    message(root, "complete", 100, sent=True)
    event(root, "mine", 101)
    event(root, "mine", 102)
    assert words(completed(root)) == [
        "1.0 ms → subscribe",
        "10 ms ← next 1…8",
        "99 ms → complete",
        "100 ms ← complete",
        "101 ms · mine",
        "102 ms · mine",
    ]


def test_errors_and_the_close_say_what_happened(root: Span) -> None:
    error = {_semconv.ERROR_MESSAGE: "no price", _semconv.ERROR_PATH: "a[0].b"}
    root.add_event(_semconv.EVENT_GRAPHQL_ERROR, error, BEGIN)
    root.add_event(_semconv.EVENT_GRAPHQL_ERROR, {}, BEGIN)
    late = {_semconv.EXCEPTION_TYPE: "TimeoutError", _semconv.EXCEPTION_MESSAGE: "no PONG"}
    root.add_event(_semconv.EVENT_WEBSOCKET_ERROR, late, BEGIN)
    root.add_event(_semconv.EVENT_WEBSOCKET_ERROR, {_semconv.EXCEPTION_TYPE: "TimeoutError"}, BEGIN)
    raised = {_semconv.EXCEPTION_TYPE: "KeyError", _semconv.EXCEPTION_MESSAGE: "'token'"}
    root.add_event(_semconv.EVENT_EXCEPTION, raised, BEGIN)
    close: dict[str, Any] = {_semconv.CLOSE_CODE: 4400, _semconv.CLOSE_REASON: "Invalid message"}
    root.add_event(_semconv.EVENT_WEBSOCKET_CLOSE, close, BEGIN)
    root.add_event(_semconv.EVENT_WEBSOCKET_CLOSE, {_semconv.CLOSE_CODE: 1006}, BEGIN)
    assert words(completed(root)) == [
        "0.0 ms ✗ graphql.error no price at a[0].b",
        "0.0 ms ✗ graphql.error (message not recorded)",
        "0.0 ms ✗ websocket.error TimeoutError: no PONG",
        "0.0 ms ✗ websocket.error TimeoutError",
        "0.0 ms ✗ exception KeyError: 'token'",
        "0.0 ms ■ websocket.close 4400 Invalid message",
        "0.0 ms ■ websocket.close 1006",
    ]


def test_a_time_before_the_origin_is_zero(root: Span) -> None:
    message(root, "subscribe", 1)
    assert words(completed(root), BEGIN + SECOND) == ["0.0 ms → subscribe"]


def test_what_was_left_out_is_said_between_the_others(root: Span) -> None:
    for number in range(2 * EVENTS + 1_234):
        message(root, "ping" if number % 2 else "pong", number, number // 2 + 1)
    lines = words(completed(root))
    # The SDK keeps 128 events.
    assert len(lines) == 2 * EVENTS + 1
    assert lines[EVENTS] == f"… {128 - 2 * EVENTS} more events …"


def test_parts_are_joined_as_far_as_the_width_allows() -> None:
    parts = [Text(part) for part in ("aaaa", "bbbb", "cccc", "d" * 30, "e")]
    lines = [line.plain for line in lay_out(parts, 11)]
    assert lines == ["aaaa   bbbb", "cccc", "d" * 30, "e"]


def test_the_gap_may_be_another() -> None:
    assert [line.plain for line in lay_out([Text("a"), Text("b")], 11, " · ")] == ["a · b"]
    assert list(lay_out([], 11)) == []


def test_wide_characters_take_two_cells() -> None:
    lines = [line.plain for line in lay_out([Text("価格価格"), Text("a")], 11)]
    assert lines == ["価格価格", "a"]
