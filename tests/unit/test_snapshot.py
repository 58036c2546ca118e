"""What is kept of a span: nothing long, nothing that a terminal would obey."""

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags

from strawberry_ws_otel import _semconv
from strawberry_ws_otel.console._snapshot import ATTRIBUTES, EVENTS, TEXT, printable, snapshot_of
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
    message,
    operation,
)


def test_a_connection_is_kept_with_its_times_and_ids() -> None:
    span = connection()
    snapshot = snapshot_of(closed(span, at=7))
    assert (snapshot.id, snapshot.trace_id) == (span.context.span_id, span.context.trace_id)
    assert (snapshot.parent, snapshot.connection_id) == (None, ID)
    assert (snapshot.start, snapshot.end) == (BEGIN, BEGIN + 7 * MS)
    assert snapshot.is_ours
    assert snapshot.is_request
    assert snapshot.is_connection
    assert not snapshot.is_error


def test_a_renamed_connection_is_one() -> None:
    span = connection()
    span.update_name("mine")
    assert snapshot_of(closed(span)).is_connection


def test_a_connection_whose_attributes_a_sampler_dropped_is_one() -> None:
    assert snapshot_of(ended(begin(_semconv.SPAN_CONNECTION), 1)).is_connection


def test_an_operation_of_a_client_and_an_init_are_what_a_client_asks_for() -> None:
    init = begin(_semconv.SPAN_CONNECTION_INIT, {_semconv.CONNECTION_ID: ID})
    for span in completed(operation()), ended(init, 2):
        snapshot = snapshot_of(span)
        assert snapshot.is_of_client
        assert not snapshot.is_connection


def test_an_operation_of_the_application_is_not_what_a_client_asks_for() -> None:
    own = begin("query", {_semconv.CONNECTION_ID: ID, _semconv.DOCUMENT_HASH: "sha256:1"})
    assert not snapshot_of(ended(own, 1)).is_of_client


def test_a_phase_has_a_parent_and_is_no_request() -> None:
    root = operation()
    snapshot = snapshot_of(ended(inner(_semconv.SPAN_PARSING, root), 1))
    assert snapshot.parent == root.context.span_id
    assert snapshot.is_ours
    assert not snapshot.is_request
    assert not snapshot.is_of_client
    assert snapshot.connection_id is None


def test_a_parent_in_another_process_is_none() -> None:
    remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    span = ReadableSpan("a", parent=remote)
    assert snapshot_of(span).parent is None


def test_of_another_s_span_only_its_name_and_place_are_kept() -> None:
    span = begin("SELECT 1", {"db.statement": "secret"}, scope="db", kind=SpanKind.SERVER)
    span.add_event("leak", {"more": "secret"})
    span.set_status(StatusCode.ERROR)
    snapshot = snapshot_of(ended(span, 3))
    assert (snapshot.name, snapshot.is_error) == ("SELECT 1", True)
    assert not snapshot.is_ours
    assert not snapshot.is_request
    assert snapshot.attributes == {}
    assert not snapshot.first_events


def test_a_span_that_says_nothing_of_itself_is_kept() -> None:
    snapshot = snapshot_of(ReadableSpan("bare"))
    assert (snapshot.id, snapshot.trace_id, snapshot.start, snapshot.end) == (0, 0, 0, 0)


def test_long_text_is_truncated_and_the_document_left_out() -> None:
    span = connection(ID, {"tenant": "t" * 1_000_000, _semconv.DOCUMENT: "{ a }" * 100_000})
    attributes = snapshot_of(closed(span)).attributes
    assert attributes["tenant"] == "t" * TEXT
    assert _semconv.DOCUMENT not in attributes


def test_attributes_are_bounded_and_sequences_are_text() -> None:
    own = {f"own.{number}": (1, 2) for number in range(100)}
    attributes = snapshot_of(closed(connection(ID, own))).attributes
    assert sum(key.startswith("own.") for key in attributes) == ATTRIBUTES
    assert attributes["own.0"] == "(1, 2)"


def test_the_verdict_is_kept_however_many_attributes_the_application_has_set_before() -> None:
    own = {f"own.{number}": number for number in range(2 * ATTRIBUTES)}
    attributes = snapshot_of(closed(connection(ID, own), verdict=LOUD)).attributes
    assert attributes[_semconv.CLOSE_CODE] == 1008
    assert attributes[_semconv.CONNECTION_ID] == ID


def test_numbers_and_flags_stay() -> None:
    attributes = snapshot_of(closed(connection(), verdict=LOUD)).attributes
    assert attributes[_semconv.CLOSE_CODE] == 1008
    assert attributes[_semconv.CLOSE_CLEAN] is True
    assert attributes["seconds"] == 0.5


LOUD = {
    _semconv.CLOSE_FAULT: "client",
    _semconv.CLOSE_CODE: 1008,
    _semconv.CLOSE_CLEAN: True,
    "seconds": 0.5,
}


def test_the_first_and_the_last_events_are_kept_and_the_others_counted() -> None:
    span = operation()
    for number in range(2 * EVENTS + 5):
        message(span, f"m{number}", number)
    snapshot = snapshot_of(completed(span))
    names = [each.name for each in (*snapshot.first_events, *snapshot.last_events)]
    kept = [*range(EVENTS), *range(EVENTS + 5, 2 * EVENTS + 5)]
    assert names == [f"graphql.ws.m{number}" for number in kept]
    assert snapshot.events_left_out == 5


def test_few_events_are_all_kept_once() -> None:
    span = operation()
    for number in range(EVENTS + 1):
        message(span, f"m{number}", number)
    snapshot = snapshot_of(completed(span))
    assert [len(snapshot.first_events), len(snapshot.last_events)] == [EVENTS, 1]
    assert snapshot.events_left_out == 0
    assert snapshot.last_events[0].attributes[_semconv.IO_DIRECTION] == "receive"


def test_what_a_terminal_would_obey_is_replaced() -> None:
    assert printable("a\x1b[31mb\x07\x9bc") == "a?[31mb??c"
    assert printable("up\u202edown\u200b\ud800") == "up?down??"
    assert printable("two\nlines\tand\rmore") == "two lines and more"
    assert printable("[red]é価 ok[/red]") == "[red]é価 ok[/red]"


def test_names_keys_and_values_are_printable() -> None:
    span = begin("na\x1bme", {"k\x1bey": "v\x1bal"})
    span.add_event("ev\x1bent", {"o\x1bther": "v\x9bal"})
    snapshot = snapshot_of(ended(span, 1))
    assert snapshot.name == "na?me"
    assert snapshot.attributes == {"k?ey": "v?al"}
    [only] = snapshot.first_events
    assert (only.name, only.attributes) == ("ev?ent", {"o?ther": "v?al"})


def test_a_segment_knows_the_one_before_by_its_link() -> None:
    first = connection()
    first.add_link(operation().context, {_semconv.LINK: "operation"})
    first.add_link(begin("of others").context)
    last = continued(first, 300)
    assert snapshot_of(first).earlier is None
    assert snapshot_of(first).is_continued
    assert snapshot_of(closed(last)).earlier == first.context.span_id
    assert not snapshot_of(last).is_continued


def test_segments_are_one_span_with_the_first_and_the_last_events() -> None:
    def numbered(*spans: ReadableSpan) -> tuple[list[str], list[str], int]:
        joined = snapshot_of(spans[0])
        for span in spans[1:]:
            joined = snapshot_of(span).after(joined)
        groups = joined.first_events, joined.last_events
        first, last = ([event.name for event in group] for group in groups)
        return first, last, joined.events_left_out

    def segments(*counts: int) -> list[ReadableSpan]:
        spans, number = [connection()], 0
        for at, count in enumerate(counts):
            for _ in range(count):
                spans[-1].add_event(str(number))
                number += 1
            spans.append(continued(spans[-1], at + 1))
        return list(spans[:-1])

    for counts in (3, 4), (EVENTS, 2), (20, 20), (3, 100), (100, 3), (40, 0, 40), (0, 5, 30, 50):
        total = [str(number) for number in range(sum(counts))]
        first, last = total[:EVENTS], total[EVENTS:][-EVENTS:]
        left_out = len(total) - len(first) - len(last)
        assert numbered(*segments(*counts)) == (first, last, left_out)


def test_segments_are_one_span_from_the_beginning_as_it_is_now() -> None:
    first = connection(attributes={_semconv.MESSAGES_SENT: 1})
    last = continued(first, 300)
    joined = snapshot_of(ended(last, 900, {_semconv.MESSAGES_SENT: 9})).after(snapshot_of(first))
    assert (joined.start, joined.end) == (BEGIN, BEGIN + 900 * MS)
    assert joined.id == last.context.span_id
    assert joined.attributes[_semconv.MESSAGES_SENT] == 9
