"""What a conversation says of itself."""

from strawberry_ws_otel import _semconv
from strawberry_ws_otel.console._conversation import Conversation, Operation
from strawberry_ws_otel.console._snapshot import snapshot_of
from tests.support.drawn import (
    LOST,
    begin,
    closed,
    completed,
    connection,
    continued,
    ended,
    operation,
)


def test_the_verdict_is_that_of_the_connection() -> None:
    lost = Conversation(snapshot_of(closed(connection(), verdict=LOST)))
    assert (lost.outcome, lost.fault, lost.is_abnormal) == ("connection_lost", "network", True)
    assert lost.get(_semconv.CLOSE_CODE) == 1006
    good = Conversation(snapshot_of(closed(connection())))
    assert (good.outcome, good.fault, good.is_abnormal) == ("normal", "none", False)


def test_a_connection_without_a_verdict_is_abnormal() -> None:
    broken = Conversation(snapshot_of(ended(connection(), 1)))
    assert (broken.outcome, broken.fault, broken.is_abnormal) == ("unknown", "unknown", True)


def test_an_open_connection_has_no_verdict() -> None:
    span = connection()
    continued(span, 300)
    conversation = Conversation(snapshot_of(span))
    assert (conversation.is_open, conversation.outcome) == (True, "open")
    assert not conversation.is_abnormal
    assert not Conversation(snapshot_of(closed(connection()))).is_open


def test_an_operation_whose_segment_goes_on_is_live() -> None:
    span = operation()
    last = continued(span, 300)
    assert Operation(snapshot_of(span)).is_live
    assert not Operation(snapshot_of(completed(last))).is_live


def test_end_reasons_are_in_the_order_in_which_operations_began() -> None:
    init = Operation(snapshot_of(ended(begin(_semconv.SPAN_CONNECTION_INIT), 1)))
    late = Operation(snapshot_of(completed(operation(at=20), reason="error")))
    early = Operation(snapshot_of(completed(operation(at=10))))
    conversation = Conversation(snapshot_of(closed(connection())), [init, late], [early])
    assert conversation.operations == (init, late, early)
    assert conversation.end_reasons == ("completed", "error")
