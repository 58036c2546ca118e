"""Spans come one by one, and conversations go; what waits is bounded whatever comes."""

from collections.abc import Iterable

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from strawberry_ws_otel import _semconv
from strawberry_ws_otel.console import _grouping
from strawberry_ws_otel.console._conversation import Conversation, Operation
from strawberry_ws_otel.console._grouping import INNER_SPANS, OPERATIONS, Grouping
from strawberry_ws_otel.console._snapshot import snapshot_of
from tests.support.drawn import (
    BEGIN,
    ID,
    MS,
    begin,
    closed,
    completed,
    connection,
    continued,
    ended,
    inner,
    operation,
)


def added(grouping: Grouping, spans: Iterable[ReadableSpan]) -> list[Conversation | Operation]:
    """Add spans; return what they complete."""
    results = [grouping.add(snapshot_of(span)) for span in spans]
    return [result for result in results if result is not None]


def conversation_of(grouping: Grouping, *spans: ReadableSpan) -> Conversation:
    [result] = added(grouping, spans)
    assert isinstance(result, Conversation)
    return result


def shape(operation: Operation) -> list[tuple[int, str]]:
    return [(0, operation.span.name), *((depth, span.name) for depth, span in operation.inner)]


def test_a_connection_takes_its_operations_and_they_take_their_phases() -> None:
    grouping, root = Grouping(), operation()
    resolver = inner("resolve", root, at=40)
    spans = [
        ended(begin(_semconv.SPAN_CONNECTION_INIT, {_semconv.CONNECTION_ID: ID}), 2),
        ended(inner(_semconv.SPAN_VALIDATION, root, at=30), 31),
        ended(inner(_semconv.SPAN_PARSING, root, at=20), 21),
        ended(inner("SELECT", resolver, at=50, scope="db"), 60),
        ended(resolver, 70),
        completed(root),
    ]
    conversation = conversation_of(grouping, *spans, closed(connection()))
    assert [shape(each) for each in conversation.operations] == [
        [(0, _semconv.SPAN_CONNECTION_INIT)],
        [
            (0, "subscription"),
            (1, _semconv.SPAN_PARSING),
            (1, _semconv.SPAN_VALIDATION),
            (1, "resolve"),
            (2, "SELECT"),
        ],
    ]
    assert conversation.operations_left_out == 0
    assert len(grouping) == 0


def test_two_connections_at_once_are_two_conversations() -> None:
    grouping, first, second = Grouping(), connection("a"), connection("b")
    added(grouping, [completed(operation(1, "a")), completed(operation(2, "b"))])
    for span, id_, name in (second, "b", "Op2"), (first, "a", "Op1"):
        conversation = conversation_of(grouping, closed(span))
        assert conversation.get(_semconv.CONNECTION_ID) == id_
        [only] = conversation.operations
        assert only.span.attributes[_semconv.OPERATION_NAME] == name


def test_in_one_nested_trace_each_operation_takes_its_own() -> None:
    grouping, root = Grouping(), connection()
    one, two = operation(1, parent=root), operation(2, parent=root)
    spans = [
        ended(inner("parse one", one), 30),
        ended(inner("parse two", two), 30),
        ended(inner("of the connection", root), 30),
        completed(two),
        completed(one),
    ]
    conversation = conversation_of(grouping, *spans, closed(root, operations=2))
    assert [shape(each) for each in conversation.operations] == [
        [(0, "subscription"), (1, "parse two")],
        [(0, "subscription"), (1, "parse one")],
    ]
    assert len(grouping) == 0


def test_a_query_of_the_application_is_inside_the_operation() -> None:
    grouping, root = Grouping(), operation()
    attributes = {_semconv.CONNECTION_ID: ID, _semconv.DOCUMENT_HASH: "sha256:1"}
    own = begin("query", attributes, at=15, parent=root)
    spans = [ended(inner(_semconv.SPAN_PARSING, own), 30), ended(own, 40), completed(root)]
    [only] = conversation_of(grouping, *spans, closed(connection())).operations
    assert shape(only) == [(0, "subscription"), (1, "query"), (2, _semconv.SPAN_PARSING)]


def test_an_operation_over_http_is_returned_at_once() -> None:
    grouping, root = Grouping(), begin("query")
    [only] = added(grouping, [ended(inner(_semconv.SPAN_PARSING, root), 30), ended(root, 40)])
    assert isinstance(only, Operation)
    assert shape(only) == [(0, "query"), (1, _semconv.SPAN_PARSING)]
    assert len(grouping) == 0


def test_a_trace_of_others_is_forgotten_when_it_ends() -> None:
    grouping, root = Grouping(), begin("GET /", scope="http")
    added(grouping, [ended(inner("render", root, scope="http"), 30)])
    assert len(grouping) == 1
    added(grouping, [ended(root, 40)])
    assert len(grouping) == 0


def test_the_first_and_the_last_operations_are_kept_and_the_others_counted() -> None:
    grouping, count = Grouping(), 2 * OPERATIONS + 7
    spans = []
    for number in range(count):
        root = operation(number)
        spans += [ended(inner(_semconv.SPAN_PARSING, root), 30), completed(root)]
    added(grouping, spans)
    assert len(grouping) == 2 * 2 * OPERATIONS
    conversation = conversation_of(grouping, closed(connection(), operations=count))
    names = [
        [one.span.attributes[_semconv.OPERATION_NAME] for one in group]
        for group in (conversation.first_operations, conversation.last_operations)
    ]
    assert names == [
        [f"Op{number}" for number in range(OPERATIONS)],
        [f"Op{number}" for number in range(count - OPERATIONS, count)],
    ]
    assert conversation.operations_left_out == 7
    assert len(grouping) == 0


def test_what_was_left_out_is_counted_without_the_attribute_too() -> None:
    grouping, count = Grouping(), 2 * OPERATIONS + 7
    added(grouping, (completed(operation(number)) for number in range(count)))
    conversation = conversation_of(grouping, ended(connection(), 1))
    assert conversation.operations_left_out == 7


def test_operations_that_were_not_sampled_are_counted() -> None:
    grouping = Grouping()
    span = closed(connection(), operations=3)
    assert conversation_of(grouping, completed(operation()), span).operations_left_out == 2


def test_the_spans_of_an_operation_are_bounded_and_the_others_counted() -> None:
    grouping, root = Grouping(), operation()
    children = [inner(f"tick {number}", root, at=20 + number) for number in range(INNER_SPANS + 5)]
    added(grouping, (ended(inner("below", child), 50) for child in children))
    added(grouping, (ended(child, 50) for child in children))
    # The children that found no room took what waited for them along.
    assert len(grouping) == 2 * INNER_SPANS
    conversation = conversation_of(grouping, completed(root), closed(connection()))
    [only] = conversation.operations
    assert len(only.inner) == INNER_SPANS
    assert only.inner_left_out == 2 * len(children) - INNER_SPANS
    assert len(grouping) == 0


def test_the_number_of_connections_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grouping, "CONNECTIONS", 2)
    grouping = Grouping()
    added(grouping, (completed(operation(1, id_)) for id_ in ("a", "b", "a", "c")))
    assert len(grouping) == 3
    kept = {id_: conversation_of(grouping, closed(connection(id_))) for id_ in ("a", "b", "c")}
    assert {id_: len(each.operations) for id_, each in kept.items()} == {"a": 2, "b": 0, "c": 1}
    assert kept["b"].operations_left_out == 1
    assert len(grouping) == 0


def test_the_number_of_spans_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grouping, "SPANS", 4)
    grouping = Grouping()
    # Spans of others whose parents never end go first.
    added(grouping, (ended(inner("of others", begin("root")), 30) for _ in range(9)))
    assert len(grouping) == 4
    added(grouping, (completed(operation(number, "a")) for number in range(3)))
    assert len(grouping) == 4
    added(grouping, (completed(operation(number, "b")) for number in range(3)))
    # Then the connection that was silent longest.
    assert len(grouping) == 3
    first, second = (conversation_of(grouping, closed(connection(id_))) for id_ in ("a", "b"))
    assert [len(first.operations), len(second.operations)] == [0, 3]


def names(operations: Iterable[Operation]) -> list[object]:
    return [each.span.attributes[_semconv.OPERATION_NAME] for each in operations]


def test_each_segment_of_a_connection_gives_what_was_recorded_so_far() -> None:
    grouping, first = Grouping(), connection()
    added(grouping, [completed(operation(1))])
    second = continued(first, 300, {_semconv.OPERATION_COUNT: 2})
    conversation = conversation_of(grouping, first)
    assert conversation.is_open
    assert names(conversation.operations) == ["Op1"]
    # The second operation has no span yet.
    assert (conversation.operations_left_out, conversation.live_operations) == (0, 1)

    live = operation(2)
    last_of_live = continued(live, 400)
    last = continued(second, 900, {_semconv.OPERATION_COUNT: 2})
    conversation = conversation_of(grouping, live, second)
    assert names(conversation.operations) == ["Op1", "Op2"]
    assert [each.is_live for each in conversation.operations] == [False, True]
    assert (conversation.operations_left_out, conversation.live_operations) == (0, 1)
    assert conversation.connection.start == snapshot_of(first).start

    spans = completed(last_of_live, 1000), closed(last, 1100, operations=2)
    conversation = conversation_of(grouping, *spans)
    assert not conversation.is_open
    assert names(conversation.operations) == ["Op1", "Op2"]
    assert conversation.end_reasons == ("completed", "completed")
    assert conversation.operations_left_out == 0
    assert conversation.connection.start == snapshot_of(first).start
    assert len(grouping) == 0


def test_the_segments_of_an_operation_are_one_with_all_that_is_inside() -> None:
    grouping, first = Grouping(), operation(at=10)
    second = continued(first, 400)
    last = continued(second, 600)
    spans = [
        *(ended(inner("early", first), 30) for _ in range(INNER_SPANS - 1)),
        first,
        ended(inner("late", second, at=500), 510),
        ended(inner("too many", second, at=550), 560),
        second,
    ]
    added(grouping, spans)
    assert len(grouping) == 1 + INNER_SPANS
    [only] = conversation_of(grouping, completed(last), closed(connection())).operations
    assert [name for _, name in shape(only)][-2:] == ["early", "late"]
    assert only.inner_left_out == 1
    assert (only.span.start, only.span.end) == (snapshot_of(first).start, snapshot_of(last).end)
    assert len(grouping) == 0


def test_of_an_open_connection_the_operations_that_ended_are_counted() -> None:
    grouping, span, count = Grouping(), connection(), 2 * OPERATIONS + 7
    live = operation(count)
    spans = [completed(operation(number)) for number in range(count)]
    rest = continued(live, 400)
    added(grouping, [*spans, live])
    continued(span, 300, {_semconv.OPERATION_COUNT: count + 3})
    conversation = conversation_of(grouping, span)
    # One more gave way to the operation that is live.
    assert conversation.operations_left_out == 8
    assert conversation.live_operations == 3
    # It is the last operation once more, although it was left out in between.
    added(grouping, (completed(operation(number)) for number in range(OPERATIONS)))
    added(grouping, [completed(rest)])
    conversation = conversation_of(grouping, closed(connection(), operations=count + 13))
    assert names(conversation.last_operations)[-1] == f"Op{count}"
    assert conversation.live_operations == 0


def test_a_segment_whose_earlier_ones_were_not_sampled_begins_a_conversation() -> None:
    grouping, first = Grouping(), connection()
    last = continued(first, 300)
    conversation = conversation_of(grouping, closed(last))
    assert conversation.connection.start == snapshot_of(last).start


def test_an_open_connection_without_a_count_of_its_operations_has_none_that_are_live() -> None:
    grouping, span = Grouping(), connection()
    continued(span, 300)
    assert conversation_of(grouping, span).live_operations == 0


def test_an_operation_without_its_last_segment_is_shown_at_the_close() -> None:
    grouping, live = Grouping(), operation()
    continued(live, 300)
    conversation = conversation_of(grouping, live, closed(connection(), operations=1))
    assert len(conversation.operations) == 1
    assert conversation.operations_left_out == 0


def test_only_the_last_segment_of_an_operation_over_http_is_returned() -> None:
    grouping, first = Grouping(), begin("subscription")
    last = continued(first, 300)
    spans = [ended(inner("resolve", first), 30), first, ended(last, 900)]
    [only] = added(grouping, spans)
    assert isinstance(only, Operation)
    assert shape(only) == [(0, "subscription")]
    assert len(grouping) == 0


def test_open_connections_are_as_many_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grouping, "CONNECTIONS", 2)
    grouping = Grouping()
    later = {}
    for id_ in ("a", "b", "c"):
        span = connection(id_)
        later[id_] = continued(span, 300)
        conversation_of(grouping, span)
    assert len(grouping) == 2
    starts = {
        id_: conversation_of(grouping, closed(span, 900)).connection.start - BEGIN
        for id_, span in later.items()
    }
    assert starts == {"a": 300 * MS, "b": 0, "c": 0}
    assert len(grouping) == 0


def test_spans_may_be_nested_deeply() -> None:
    grouping, root = Grouping(), operation()
    chain = [root]
    for _ in range(3_000):
        chain.append(inner("deeper", chain[-1]))  # each has the one before
    added(grouping, (ended(span, 50) for span in reversed(chain[1:])))
    [only] = conversation_of(grouping, completed(root), closed(connection())).operations
    assert only.inner[-1][0] == INNER_SPANS
    assert only.inner_left_out == 3_000 - INNER_SPANS
    assert len(grouping) == 0
