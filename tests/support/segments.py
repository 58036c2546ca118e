"""Segments, joined to the whole spans that there would be without them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan

from strawberry_ws_otel import _semconv as name
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._operation import SocketOperation
from tests.support.telemetry import attributes_of

TOTALS: Final = (
    name.MESSAGES_RECEIVED,
    name.MESSAGES_SENT,
    name.OPERATION_COUNT,
    name.RESULTS,
    name.ERROR_COUNT,
    name.SEND_BLOCKED_TIME,
)
"""The attributes that never become less."""

LAST: Final = {
    name.DURATION,
    name.END_REASON,
    name.CLOSE_OUTCOME,
    name.CLOSE_FAULT,
    name.OPERATION_INTERRUPTED_COUNT,
}
"""The attributes of a last segment alone."""


def end_due_segments(connection: Connection, now: float) -> None:
    """End the segments of a connection and its operations that are due, as the timer ends them."""
    connection.rotate()
    owners: list[Connection | SocketOperation] = [connection, *connection._operations.open]
    while due := [each for each in owners if each.segments and each.segments.due <= now]:
        min(due, key=_due).rotate()


def _due(owner: Connection | SocketOperation) -> float:
    assert owner.segments is not None
    return owner.segments.due


def joined(spans: Iterable[ReadableSpan]) -> list[ReadableSpan]:
    """Whole spans, in the order of their start: what the last segment says, and all events.

    Raises:
        AssertionError: segments do not continue each other.
    """
    chains: dict[int, list[ReadableSpan]] = {}
    for span in sorted(spans, key=lambda each: each.start_time or 0):
        before = chains.pop(_before(span), [])
        chains[_id(span)] = [*before, span]
    for segments in chains.values():
        _assert_continuing(segments)
    return sorted(map(_whole, chains.values()), key=lambda each: each.start_time or 0)


def _id(span: ReadableSpan) -> int:
    assert span.context is not None
    id_: int = span.context.span_id
    return id_


def _before(span: ReadableSpan) -> int:
    """The id of the segment before, 0 of a first one."""
    links = [each for each in span.links if (each.attributes or {}).get(name.LINK) == "segment"]
    before: int = links[0].context.span_id if links else 0
    return before


def _whole(segments: Sequence[ReadableSpan]) -> ReadableSpan:
    first, last = segments[0], segments[-1]
    return ReadableSpan(
        name=last.name,
        context=last.context,
        parent=first.parent,
        kind=last.kind,
        attributes=last.attributes,
        events=list(chain.from_iterable(each.events for each in segments)),
        links=list(chain.from_iterable(each.links for each in segments)),
        status=last.status,
        start_time=first.start_time,
        end_time=last.end_time,
    )


def _assert_continuing(segments: Sequence[ReadableSpan]) -> None:
    *earlier, last = map(attributes_of, segments)
    numbers = [each.get(name.SEGMENT_NUMBER, 0) for each in (*earlier, last)]
    assert numbers == list(range(len(segments)))
    assert name.SEGMENT_CONTINUED not in last
    for each in earlier:
        assert each[name.SEGMENT_CONTINUED] is True
        assert not LAST & each.keys()
    for before, after in pairwise((*earlier, last)):
        _assert_same(before, after)
    for before_, after_ in pairwise(segments):
        assert (before_.start_time or 0) <= (after_.start_time or 0)
        assert before_.context != after_.context
    _assert_sequences(segments)


def _assert_same(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Later totals are not less, and what is found by an id is found in every segment."""
    for key in TOTALS:
        assert before.get(key, 0) <= after.get(key, 0), key
    for key in (name.CONNECTION_ID, name.OPERATION_ID, name.HTTP_ROUTE):
        assert before.get(key) == after.get(key), key


def _assert_sequences(segments: Sequence[ReadableSpan]) -> None:
    """The messages of a type are numbered through all segments."""
    seen: Counter[Any] = Counter()
    for event in chain.from_iterable(each.events for each in segments):
        attributes = event.attributes or {}
        number, type_ = (
            attributes.get(name.MESSAGE_SEQUENCE),
            (event.name, attributes.get(name.IO_DIRECTION)),
        )
        if isinstance(number, int):
            assert number > seen[type_], type_
            seen[type_] = number
