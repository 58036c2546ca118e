"""Each message has one span, below what it is about, and current where it is handled or sent."""

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import NoOpTracerProvider, TracerProvider

from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, GRAPHQL_WS
from tests.support.broken_api import PIPES
from tests.support.clock import Clock, stop_clock
from tests.support.expected import CONNECTION, INIT, OPERATION
from tests.support.fake_connection import BOTH, QUERY, START, STOP, FakeConnection, Place
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import config

PING = {"type": "ping"}
RECEIVED, SENT = "CONSUMER", "PRODUCER"

OPEN = "open"
"""A parent that has not ended yet."""


def connect(
    telemetry: Telemetry, protocol: str = GRAPHQL_TRANSPORT_WS, **options: Any
) -> FakeConnection:
    talk = FakeConnection(config(telemetry, message_spans=True, **options))
    talk.accept(protocol)
    return talk


def recorded_by(tracer_provider: TracerProvider, telemetry: Telemetry) -> FakeConnection:
    """A connection whose spans go elsewhere."""
    talk = FakeConnection(
        OTelConfig(
            tracer_provider=tracer_provider,
            meter_provider=telemetry.meter_provider,
            message_spans=True,
        )
    )
    talk.accept(GRAPHQL_TRANSPORT_WS)
    return talk


@pytest.fixture
def talk(telemetry: Telemetry) -> FakeConnection:
    return connect(telemetry)


def messages(telemetry: Telemetry) -> list[tuple[str, str, str | None, str | None]]:
    """Of each message, in the order of the ends: type, kind, parent, error type."""
    finished = telemetry.exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in finished if span.context}
    return [
        (
            span.name.removeprefix("graphql.ws."),
            span.kind.name,
            names.get(span.parent.span_id, OPEN) if span.parent else None,
            attributes_of(span).get("error.type"),
        )
        for span in finished
        if span.name.startswith("graphql.ws.")
    ]


def only(telemetry: Telemetry, name: str) -> ReadableSpan:
    [span] = telemetry.spans(f"graphql.ws.{name}")
    return span


def name_of_current(place: Place) -> str:
    name: str = getattr(trace.get_current_span(place.context), "name", "")
    return name


# --- Parents ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("shape", ["linked", "nested"])
async def test_a_message_is_below_its_operation_the_init_or_the_connection(
    protocol: str, shape: Any, telemetry: Telemetry
) -> None:
    talk = connect(telemetry, protocol, trace_shape=shape)
    talk.initialize()
    task = talk.start_operation()
    talk.send_result(within=task)
    talk.send("ka", within=task)
    talk.receive_and_handle({"type": STOP[protocol], "id": "a"})
    talk.send("complete", id="a", within=task)
    talk.end_serving(task)
    talk.receive_and_handle({"type": STOP[protocol], "id": "a"})
    talk.close_by_client()

    other = "ka" if protocol == GRAPHQL_WS else "_OTHER"
    result = "data" if protocol == GRAPHQL_WS else "next"
    assert messages(telemetry) == [
        ("connection_ack", SENT, INIT, None),
        ("connection_init", RECEIVED, INIT, None),
        (START[protocol], RECEIVED, OPERATION, None),
        (result, SENT, OPERATION, None),
        (other, SENT, CONNECTION, None),
        (STOP[protocol], RECEIVED, OPERATION, None),
        ("complete", SENT, OPERATION, None),
        (STOP[protocol], RECEIVED, CONNECTION, None),
    ]


def test_a_second_init_is_below_the_first_until_that_is_acknowledged(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    talk.receive_and_handle({"type": "connection_init"})
    talk.receive_and_handle({"type": "connection_init"})
    talk.send("connection_ack")
    talk.receive_and_handle({"type": "connection_init"})
    talk.close_by_server(4429)
    assert [parent for *_, parent, _ in messages(telemetry)] == [INIT, INIT, INIT, CONNECTION]


def test_what_refuses_an_init_is_below_it(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.receive_and_begin_handling({"type": "connection_init"})
    talk.send("connection_error")
    talk.end_handling()
    talk.close_by_server(1011)
    assert messages(telemetry) == [
        ("connection_error", SENT, INIT, None),
        ("connection_init", RECEIVED, INIT, None),
    ]


def test_a_message_has_what_identifies_it_and_nothing_of_its_payload(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, attributes={"tenant": "a"})
    talk.start_operation("x")
    talk.send("error", id="x", payload=[{"message": "secret"}])
    talk.close_by_client()

    identity = {
        "tenant": "a",
        "websocket.connection.id": talk.connection.id,
        "graphql.ws.operation.id": "x",
    }
    assert attributes_of(only(telemetry, "subscribe")) == {
        **identity,
        "network.io.direction": "receive",
        "graphql.ws.message.type": "subscribe",
        "graphql.ws.message.sequence": 1,
    }
    assert attributes_of(only(telemetry, "error")) == {
        **identity,
        "network.io.direction": "transmit",
        "graphql.ws.message.type": "error",
        "graphql.ws.message.sequence": 1,
    }


def test_results_are_numbered_for_their_operation_and_others_for_the_connection(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    tasks = {id_: talk.start_operation(id_) for id_ in "ab"}
    for id_ in "aab":
        talk.send_result(id_, within=tasks[id_])
    talk.close_by_client()

    numbers = [
        (attributes["graphql.ws.operation.id"], attributes["graphql.ws.message.sequence"])
        for attributes in map(
            attributes_of, telemetry.spans("graphql.ws.subscribe", "graphql.ws.next")
        )
    ]
    assert numbers == [("a", 1), ("b", 2), ("a", 1), ("a", 2), ("b", 1)]


@pytest.mark.parametrize("id_", [[], {}, "x" * 1000, None, 5])
def test_the_id_in_a_message_may_be_anything(
    id_: Any, talk: FakeConnection, telemetry: Telemetry
) -> None:
    talk.send("complete", id=id_)
    talk.close_by_client()
    recorded = attributes_of(only(telemetry, "complete"))["graphql.ws.operation.id"]
    assert recorded == str(id_)[:128]


# --- Context ---------------------------------------------------------------------------------


async def test_a_message_is_current_while_it_is_handled_and_its_operation_while_that_runs(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    before = talk.reader.context
    task = talk.begin_operation()
    assert name_of_current(talk.reader) == name_of_current(task) == "graphql.ws.subscribe"
    talk.end_handling()
    assert talk.reader.context is before
    talk.begin_serving(task, "a", QUERY)
    assert name_of_current(task) == OPERATION
    talk.end_serving(task)
    talk.close_by_client()
    assert messages(telemetry) == [("subscribe", RECEIVED, OPERATION, None)]


async def test_a_span_of_the_applications_own_stays_current_in_the_task_of_an_operation(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    talk.begin_operation()
    own = telemetry.tracer_provider.get_tracer("own").start_span("own")
    talk.reader.attach(trace.set_span_in_context(own, talk.reader.context))
    task = talk.reader.task()
    talk.end_handling()
    talk.begin_serving(task, "a", QUERY)
    assert name_of_current(task) == "own"
    talk.end_serving(task)


def test_a_message_is_current_while_it_is_sent_and_leaves_the_context_as_it_was(
    talk: FakeConnection,
) -> None:
    task = talk.start_operation()
    before, inside = task.context, []

    def send() -> None:
        sending = talk.connection.send_begun({"type": "next", "id": "a"})
        inside.append(name_of_current(task.task()))
        talk.connection.send_ended(sending, None)

    task.run(send)
    assert inside == ["graphql.ws.next"]
    assert task.context is before


def test_a_span_without_an_id_stays_out_of_the_context(telemetry: Telemetry) -> None:
    talk = recorded_by(NoOpTracerProvider(), telemetry)
    before = talk.reader.context
    place = talk.receive_and_begin_handling(PING)
    assert place.context is before
    talk.send("pong")
    talk.end_handling()
    assert talk.reader.context is before


@pytest.mark.internal_error
@pytest.mark.parametrize("pipe", [name for name in PIPES if "tracer" in name or "span" in name])
def test_broken_spans_of_messages_leave_the_conversation_alone(
    pipe: str, telemetry: Telemetry
) -> None:
    talk = recorded_by(PIPES[pipe]().tracer_provider, telemetry)
    talk.initialize()
    talk.receive_and_handle(PING)
    talk.close_by_client()
    assert telemetry.total("websocket.server.messages") == 3


# --- What is handled, and what is not --------------------------------------------------------


def test_a_message_starts_as_its_frame_arrives_if_it_has_waited(
    talk: FakeConnection, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock: Clock = stop_clock(monkeypatch)
    talk.connection.reads_ahead = True
    talk.connection.data_received(9)
    clock.passes(5)
    talk.connection.data_received(9)
    first, second = {"type": "ping"}, {"type": "pong"}
    talk.connection.message_received(first)
    talk.connection.message_received(second)
    clock.passes(2)
    for message in (first, second):
        talk.begin_handling(message)
        talk.end_handling()
    talk.close_by_client()

    waited = [
        (span.end_time or 0) - (span.start_time or 0)
        for span in (only(telemetry, "ping"), only(telemetry, "pong"))
    ]
    assert [round(nanoseconds / 1e9) for nanoseconds in waited] == [7, 2]


def test_an_exception_that_ends_the_handling_is_on_the_span(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    talk.receive_and_begin_handling(PING)
    talk.end_handling(KeyError("secret"))
    talk.end()
    assert messages(telemetry) == [("ping", RECEIVED, CONNECTION, "KeyError")]
    assert only(telemetry, "ping").status.description is None


def test_a_message_that_one_method_hands_on_to_another_has_one_span_which_stays_current(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    message = {"type": "connection_init"}
    elsewhere = talk.reader.task()
    talk.receive_and_begin_handling(message)
    for place in (talk.reader, elsewhere):
        again = place.run(talk.connection.message_handling, message, talk.request)
        assert (name_of_current(place) == "graphql.ws.connection_init") == (place is talk.reader)
        place.run(talk.connection.message_handled, again, ValueError())
    talk.end_handling()
    talk.close_by_client()
    assert messages(telemetry) == [("connection_init", RECEIVED, INIT, None)]


def test_a_copy_of_a_message_is_handled_in_its_place(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    talk.receive({"type": "complete", "id": "other"})
    talk.receive(PING)
    talk.begin_handling(dict(PING))
    talk.end_handling()
    assert messages(telemetry) == [("ping", RECEIVED, OPEN, None)]
    talk.begin_handling(dict(PING))
    talk.end_handling()
    talk.close_by_client()
    assert messages(telemetry) == [
        ("ping", RECEIVED, CONNECTION, None),
        ("complete", RECEIVED, CONNECTION, None),
    ]


def never_handled(talk: FakeConnection) -> None:
    talk.receive({"type": "subscribe", "id": "a", "payload": {"query": QUERY}})


def stopped_before_it_was_handled(talk: FakeConnection) -> None:
    never_handled(talk)
    talk.receive({"type": "complete", "id": "a"})


@pytest.mark.parametrize(
    ("happens", "types"),
    [(never_handled, ["subscribe"]), (stopped_before_it_was_handled, ["subscribe", "complete"])],
)
def test_a_message_that_nothing_handles_ends_with_the_connection(
    happens: Callable[[FakeConnection], None],
    types: list[str],
    talk: FakeConnection,
    telemetry: Telemetry,
) -> None:
    happens(talk)
    assert messages(telemetry) == []
    talk.close_by_client()
    assert messages(telemetry) == [(type_, RECEIVED, OPERATION, None) for type_ in types]


def test_a_handling_that_outlasts_the_connection_ends_with_it(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    talk.receive_and_begin_handling(PING)
    talk.close_by_client()
    assert messages(telemetry) == [("ping", RECEIVED, CONNECTION, None)]
    talk.end_handling(ValueError())
    talk.send("pong")
    assert messages(telemetry) == [("ping", RECEIVED, CONNECTION, None)]


def test_of_the_messages_that_nothing_handles_100_wait(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    pings = [{"type": "ping"} for _ in range(103)]
    for ping in pings:
        talk.receive(ping)
    assert len(messages(telemetry)) == 3
    talk.close_by_client()
    numbers = [
        attributes_of(span)["graphql.ws.message.sequence"]
        for span in telemetry.exporter.get_finished_spans()
        if span.name == "graphql.ws.ping"
    ]
    assert numbers == list(range(1, 104))


def test_the_same_value_again_is_another_message(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    talk.receive(5)
    talk.receive(5)
    assert messages(telemetry) == [("_OTHER", RECEIVED, OPEN, None)]
    talk.close_by_client()
    assert messages(telemetry) == [("_OTHER", RECEIVED, CONNECTION, None)] * 2


def test_a_message_without_a_frame_starts_as_it_is_received(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    talk.reader.run(talk.connection.message_received, PING)
    talk.begin_handling(PING)
    talk.end_handling()
    talk.close_by_client()
    assert messages(telemetry) == [("ping", RECEIVED, CONNECTION, None)]


# --- What cannot be decoded, or sent ---------------------------------------------------------


def test_a_frame_of_which_no_message_can_be_decoded_has_failed(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    talk.connection.data_received(9)
    talk.connection.message_unreadable(ValueError("secret"))
    assert messages(telemetry) == [("_OTHER", RECEIVED, OPEN, "ValueError")]
    talk.connection.data_received(9)
    assert len(messages(telemetry)) == 1
    talk.connection.data_received(9)
    talk.receive_and_handle(PING)
    talk.close_by_client()
    assert messages(telemetry) == [
        ("_OTHER", RECEIVED, CONNECTION, "ValueError"),
        ("_OTHER", RECEIVED, CONNECTION, "_OTHER"),
        ("_OTHER", RECEIVED, CONNECTION, "_OTHER"),
        ("ping", RECEIVED, CONNECTION, None),
    ]
    sequence = "graphql.ws.message.sequence"
    others = telemetry.spans("graphql.ws._OTHER")
    assert [attributes_of(span)[sequence] for span in others] == [1, 2, 3]


def test_a_message_that_cannot_be_sent_has_failed(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    sending = talk.reader.run(talk.connection.send_begun, {"type": "pong"})
    talk.reader.run(talk.connection.send_ended, sending, TypeError("secret"))
    talk.close_by_client()
    assert messages(telemetry) == [("pong", SENT, CONNECTION, "TypeError")]
