"""A connection that is informed of what happens ends each of its spans once, whatever happens."""

import asyncio
import json
import logging
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, Final

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext

from strawberry_ws_otel import (
    OpenConnection,
    OpenOperation,
    OTelConfig,
    _connection,
    connection_attributes,
    connection_span,
    open_connections,
)
from strawberry_ws_otel._attributes import StaticAttributes
from strawberry_ws_otel._close import CloseFrame
from strawberry_ws_otel._connection import current_connection, current_request
from strawberry_ws_otel._current import Activation, Current
from strawberry_ws_otel._fuse import RECORDS_PER_MINUTE, Fuse
from strawberry_ws_otel._operations import Execution, unclaimed
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, GRAPHQL_WS
from strawberry_ws_otel._recording import Telemetry as Recording
from strawberry_ws_otel._segments import first_length
from tests.support.broken_api import PIPES
from tests.support.clock import Clock, stop_clock
from tests.support.fake_connection import (
    BOTH,
    QUERY,
    RESULT,
    START,
    STOP,
    FakeConnection,
    Place,
    operation_in,
)
from tests.support.garbage import living
from tests.support.log import LogKeeper
from tests.support.segments import end_due_segments
from tests.support.telemetry import Telemetry, attributes_of, events_of, labels
from tests.support.views import config

ID = "0123456789abcdef"
TRACEPARENT = f"00-{0xABC:032x}-{0xDEF:016x}-01"

Tell = Callable[["FakeConnection"], object]


class Handshake(dict[str, str]):
    """Attributes that can be seen to go."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(_connection, "getrandbits", lambda bits: int(ID, 16) % (1 << bits))
    return stop_clock(monkeypatch)


def connect(telemetry: Telemetry, protocol: str | None, **options: Any) -> FakeConnection:
    talk = FakeConnection(config(telemetry, **options))
    talk.accept(protocol)
    return talk


# --- Whole conversations ---------------------------------------------------------------------


def hears(type_: str, ordinal: int = 1) -> tuple[str, dict[str, Any]]:
    return _message(type_, "receive", ordinal)


def says(type_: str, ordinal: int = 1) -> tuple[str, dict[str, Any]]:
    return _message(type_, "transmit", ordinal)


def _message(type_: str, direction: str, ordinal: int) -> tuple[str, dict[str, Any]]:
    return (
        f"graphql.ws.{type_}",
        {"network.io.direction": direction, "graphql.ws.message.sequence": ordinal},
    )


def root(number: int, name: str, **fields: Any) -> dict[str, Any]:
    """The span of this number, a trace of its own, that went well unless `fields` say so."""
    return {
        "name": name,
        "kind": "SERVER",
        "id": (0x1000 * number, number),
        "parent": None,
        "links": [],
        "attributes": {},
        "events": [],
        "status": "UNSET",
        "description": None,
        **fields,
    }


LINKED_TO: Final[dict[int, dict[str, Any]]] = {
    1: {"graphql.ws.link": "connection"},
    2: {"graphql.ws.link": "init"},
    3: {"graphql.ws.link": "operation", "graphql.operation.name": "N"},
    4: {"graphql.ws.link": "operation", "graphql.operation.name": "N"},
}
"""The attributes of links to the span of each number."""


def linked(*numbers: int) -> list[tuple[tuple[int, int], dict[str, Any]]]:
    return [((0x1000 * number, number), LINKED_TO[number]) for number in numbers]


def described(id_: str, reason: str, **attributes: Any) -> dict[str, Any]:
    """The attributes of a subscription that the extension has described."""
    return {
        "websocket.connection.id": ID,
        "graphql.ws.operation.id": id_,
        "graphql.document.hash": f"sha256:{sha256(QUERY.encode()).hexdigest()}",
        "graphql.operation.type": "subscription",
        "graphql.operation.name": "N",
        "graphql.subscription.id": f"{ID}-{id_}",
        "graphql.ws.operation.end_reason": reason,
        "graphql.ws.segment.number": 0,
        "graphql.ws.duration": 0.0,
        **attributes,
    }


def converse(talk: FakeConnection, clock: Clock) -> None:
    """A conversation of `graphql-transport-ws`, from the init to the close."""
    talk.initialize()
    talk.receive_and_handle({"type": "ping", "payload": {}})
    talk.send("pong")
    clock.passes(1)
    operation_in(talk.start_operation("a", operationName="N")).describe("subscription", "N")
    clock.passes(0.5)
    talk.send_result("a")
    clock.passes(0.5)
    talk.send_result("a")
    talk.send("complete", id="a")
    operation_in(talk.start_operation("b", operationName="N")).describe("subscription", "N")
    talk.receive_and_handle({"type": "complete", "id": "b"})
    clock.passes(3)
    talk.close_by_client(1001, "page left")


CLOSED_BY_CLIENT: Final = {
    "websocket.close.code": 1001,
    "websocket.close.reason": "page left",
    "websocket.close.initiator": "client",
    "websocket.close.outcome": "normal",
}


def test_a_conversation_of_graphql_transport_ws_is_recorded_completely(
    numbered_telemetry: Telemetry, clock: Clock
) -> None:
    talk = connect(numbered_telemetry, GRAPHQL_TRANSPORT_WS)
    converse(talk, clock)
    assert numbered_telemetry.snapshots() == [
        root(
            1,
            "GraphQL WebSocket Connection",
            links=linked(2, 3, 4),
            attributes={
                "websocket.connection.id": ID,
                "network.protocol.name": "websocket",
                "url.path": "/graphql",
                "websocket.subprotocol": "graphql-transport-ws",
                **CLOSED_BY_CLIENT,
                "websocket.close.clean": True,
                "websocket.close.fault": "none",
                "websocket.close.sent_code": 1000,
                "websocket.close.received_code": 1001,
                "graphql.ws.messages.received": 5,
                "graphql.ws.messages.sent": 5,
                "graphql.ws.operation.count": 2,
                "graphql.ws.operation.interrupted_count": 0,
                "graphql.ws.acknowledged": True,
                "graphql.ws.receive_idle_time": 3.0,
                "graphql.ws.send_idle_time": 3.0,
                "graphql.ws.segment.number": 0,
                "graphql.ws.duration": 5.0,
            },
            events=[
                hears("connection_init"),
                says("connection_ack"),
                hears("ping"),
                says("pong"),
                ("websocket.close", CLOSED_BY_CLIENT),
            ],
        ),
        root(
            2,
            "GraphQL WebSocket Connection Init",
            links=linked(1),
            attributes={"websocket.connection.id": ID},
        ),
        root(
            3,
            "subscription",
            links=linked(1),
            attributes=described(
                "a",
                "completed",
                **{
                    "graphql.ws.results": 2,
                    "graphql.ws.time_to_first_result": 0.5,
                    "graphql.ws.duration": 1.0,
                },
            ),
            events=[hears("subscribe"), says("next"), says("next", 2), says("complete")],
        ),
        root(
            4,
            "subscription",
            links=linked(1),
            attributes=described("b", "client_completed", **{"graphql.ws.results": 0}),
            events=[hears("subscribe"), hears("complete")],
        ),
    ]


def converse_in_legacy(talk: FakeConnection, clock: Clock) -> None:
    """A conversation of `graphql-ws`, up to a close by the server that nobody answers."""
    talk.initialize()
    talk.send("ka")
    first = talk.start_operation("a", operationName="N")
    operation_in(first).describe("subscription", "N")
    talk.send_result("a")
    second = talk.start_operation("a", operationName="N")
    operation_in(second).describe("subscription", "N")
    talk.send("complete", id="a", within=first)
    talk.end_serving(first, asyncio.CancelledError())
    clock.passes(2)
    talk.send("data", id="a", within=second)
    talk.close_by_server(1011)


BROKEN_BY_SERVER: Final = {
    "websocket.close.code": 1011,
    "websocket.close.initiator": "server",
    "websocket.close.outcome": "server_error",
}


def test_a_conversation_of_graphql_ws_is_recorded_completely(
    numbered_telemetry: Telemetry, clock: Clock
) -> None:
    talk = connect(numbered_telemetry, GRAPHQL_WS)
    converse_in_legacy(talk, clock)
    assert numbered_telemetry.snapshots() == [
        root(
            1,
            "GraphQL WebSocket Connection",
            links=linked(2, 3, 4),
            attributes={
                "websocket.connection.id": ID,
                "network.protocol.name": "websocket",
                "url.path": "/graphql",
                "websocket.subprotocol": "graphql-ws",
                **BROKEN_BY_SERVER,
                "websocket.close.clean": False,
                "websocket.close.fault": "server",
                "websocket.close.sent_code": 1011,
                "graphql.ws.messages.received": 3,
                "graphql.ws.messages.sent": 5,
                "graphql.ws.operation.count": 2,
                "graphql.ws.operation.interrupted_count": 1,
                "graphql.ws.acknowledged": True,
                "graphql.ws.receive_idle_time": 2.0,
                "graphql.ws.send_idle_time": 0.0,
                "graphql.ws.segment.number": 0,
                "graphql.ws.duration": 2.0,
                "error.type": "server_error",
            },
            events=[
                hears("connection_init"),
                says("connection_ack"),
                says("ka"),
                says("complete"),
                ("websocket.close", BROKEN_BY_SERVER),
            ],
            status="ERROR",
            description="closed abnormally: server_error",
        ),
        root(
            2,
            "GraphQL WebSocket Connection Init",
            links=linked(1),
            attributes={"websocket.connection.id": ID},
        ),
        root(
            3,
            "subscription",
            links=linked(1),
            attributes=described(
                "a",
                "client_completed",
                **{"graphql.ws.results": 1, "graphql.ws.time_to_first_result": 0.0},
            ),
            events=[hears("start"), says("data")],
        ),
        root(
            4,
            "subscription",
            links=linked(1),
            attributes=described(
                "a",
                "connection_closed",
                **{
                    "graphql.ws.results": 1,
                    "graphql.ws.time_to_first_result": 2.0,
                    "graphql.ws.duration": 2.0,
                    "websocket.close.outcome": "server_error",
                    "websocket.close.code": 1011,
                    "error.type": "server_error",
                },
            ),
            events=[hears("start"), says("data")],
            status="ERROR",
            description="interrupted by an abnormal close: server_error",
        ),
    ]


def test_a_conversation_is_counted_whole(telemetry: Telemetry, clock: Clock) -> None:
    converse(connect(telemetry, GRAPHQL_TRANSPORT_WS), clock)
    measured = telemetry.metrics()
    closes = measured.pop("websocket.server.closes")
    normal = labels({"websocket.close.outcome": "normal", "websocket.close.fault": "none"})
    assert {key for key, count in closes.items() if count} == {normal}
    protocol = {"websocket.subprotocol": "graphql-transport-ws"}
    sent, received = {"network.io.direction": "transmit"}, {"network.io.direction": "receive"}

    def message(name: str, direction: Mapping[str, str]) -> frozenset[tuple[str, Any]]:
        return labels({**protocol, **direction, "graphql.ws.message.type": name})

    def lived(reason: str) -> frozenset[tuple[str, Any]]:
        return labels(
            {"graphql.operation.type": "subscription", "graphql.ws.operation.end_reason": reason}
        )

    assert measured == {
        "websocket.server.active_connections": {labels(protocol): 0},
        "websocket.server.connection.duration": {
            labels(
                {
                    **protocol,
                    "websocket.close.code": 1001,
                    "websocket.close.initiator": "client",
                    "websocket.close.outcome": "normal",
                    "websocket.close.fault": "none",
                }
            ): 1
        },
        "websocket.server.messages": {
            message("connection_init", received): 1,
            message("ping", received): 1,
            message("subscribe", received): 2,
            message("complete", received): 1,
            message("connection_ack", sent): 1,
            message("pong", sent): 1,
            message("next", sent): 2,
            message("complete", sent): 1,
        },
        "websocket.server.io": {
            labels({**protocol, **received}): 50,
            labels({**protocol, **sent}): 100,
        },
        "graphql.ws.connection_init.duration": {labels({}): 1},
        "graphql.server.subscription.active": {labels({}): 0},
        "graphql.server.subscription.event_count": {labels({}): 2},
        "graphql.ws.operation.duration": {lived("completed"): 1, lived("client_completed"): 1},
        "graphql.ws.time_to_first_result": {
            labels({"graphql.operation.type": "subscription"}): 1,
        },
        "websocket.server.send.blocked": {labels({}): 0},
        "websocket.server.send.blocked_time": {labels({}): 0},
    }


def test_durations_are_those_of_the_clock(telemetry: Telemetry, clock: Clock) -> None:
    converse(connect(telemetry, GRAPHQL_TRANSPORT_WS), clock)
    sums = {
        name: sorted(point.sum for point in telemetry.points(name))
        for name in (
            "websocket.server.connection.duration",
            "graphql.ws.connection_init.duration",
            "graphql.ws.operation.duration",
        )
    }
    assert sums == {
        "websocket.server.connection.duration": [5.0],
        "graphql.ws.connection_init.duration": [0.0],
        "graphql.ws.operation.duration": [0.0, 1.0],
    }


# --- Every way in which an operation ends ----------------------------------------------------


def completes(talk: FakeConnection) -> None:
    task = talk.start_operation()
    talk.send("complete", id="a", within=task)
    talk.end_serving(task)


def completes_as_the_client_leaves(talk: FakeConnection) -> None:
    """The client has read the last message before the host is done with the operation."""
    task = talk.start_operation()
    talk.send("complete", id="a", within=task)


def completes_by_another_task(talk: FakeConnection) -> None:
    talk.end_serving(talk.start_operation())
    talk.send("complete", id="a")


def is_stopped(talk: FakeConnection) -> None:
    talk.start_operation()
    talk.receive_and_handle({"type": STOP[talk.protocol], "id": "a"})


def is_stopped_and_says_so(talk: FakeConnection) -> None:
    task = talk.start_operation()
    talk.receive_and_handle({"type": STOP[talk.protocol], "id": "a"})
    talk.send("complete", id="a", within=task)
    talk.end_serving(task, asyncio.CancelledError())


def is_limited_and_the_host_closes(talk: FakeConnection) -> None:
    talk.begin_operation()
    talk.send("error", id="a")
    talk.send_close(4401)
    talk.end_handling()


def errs(talk: FakeConnection) -> None:
    talk.start_operation()
    talk.send("error", id="a")


def errs_at_once(talk: FakeConnection) -> None:
    task = talk.begin_operation()
    talk.begin_serving(task)
    talk.send("error", id="a", within=task)
    talk.end_handling()


def is_limited(talk: FakeConnection) -> None:
    talk.begin_operation()
    talk.send("error", id="a")
    talk.end_handling()


def is_refused(code: int) -> Tell:
    def report(talk: FakeConnection) -> None:
        talk.begin_operation()
        talk.send_close(code)
        talk.end_handling()

    return report


def is_closed_by_itself(code: int) -> Tell:
    def report(talk: FakeConnection) -> None:
        task = talk.begin_operation()
        talk.begin_serving(task)
        talk.send_close(code, within=task)
        talk.end_handling()

    return report


def fails(talk: FakeConnection) -> None:
    task = talk.start_operation()
    talk.send("complete", id="a", within=task)
    talk.end_serving(task, KeyError("n"))


def cannot_be_sent(talk: FakeConnection) -> None:
    talk.start_operation()
    talk.connection.message_failed({"type": "next", "id": "a"}, OverflowError())
    talk.send("error", id="a")


def loses_its_task(error: BaseException, *, after: Tell = lambda talk: None) -> Tell:
    def report(talk: FakeConnection) -> None:
        task = talk.start_operation()
        after(talk)
        talk.end_serving(task, error)

    return report


def is_cancelled_by_the_application(talk: FakeConnection) -> None:
    loses_its_task(asyncio.CancelledError())(talk)
    talk.receive_and_handle({"type": "connection_init"})


def lives_on(talk: FakeConnection) -> None:
    talk.start_operation()


def cleans_up(talk: FakeConnection) -> None:
    task = talk.start_operation()
    talk.send("complete", id="a", within=task)
    talk.end_serving(task, asyncio.CancelledError())


ENDS: dict[str, tuple[Tell, str, str | None]] = {
    # what happens, its end reason, its error.type
    "its source ends": (completes, "completed", None),
    "its source ends as the client leaves": (completes_as_the_client_leaves, "completed", None),
    "another task says that its source has ended": (completes_by_another_task, "completed", None),
    "the client stops it": (is_stopped, "client_completed", None),
    "the client stops it, the host confirms": (is_stopped_and_says_so, "client_completed", None),
    "it errs": (errs, "error", "error"),
    "it errs while it is being started": (errs_at_once, "error", "error"),
    "the host's limit refuses it": (is_limited, "rejected", "rejected"),
    "the host's limit refuses it, and closes": (
        is_limited_and_the_host_closes,
        "rejected",
        "rejected",
    ),
    "the client is not acknowledged": (is_refused(4401), "rejected", "rejected"),
    "its id is in use": (is_refused(4409), "rejected", "rejected"),
    "it makes the host close": (is_closed_by_itself(4401), "connection_closed", "unauthorized"),
    "its document makes the host close": (is_refused(4400), "connection_closed", "invalid_message"),
    "its task fails": (fails, "failed", "KeyError"),
    "its result cannot be encoded": (cannot_be_sent, "error", "OverflowError"),
    "its task dies": (loses_its_task(KeyError("n")), "failed", "KeyError"),
    "its task is cancelled": (
        loses_its_task(asyncio.CancelledError()),
        "connection_closed",
        None,
    ),
    "its task is cancelled, and the host goes on": (
        is_cancelled_by_the_application,
        "failed",
        "asyncio.exceptions.CancelledError",
    ),
    "its task dies with the socket": (
        loses_its_task(KeyError("n"), after=lambda talk: talk.connection.write_failed()),
        "connection_closed",
        None,
    ),
    "its task dies after the client has closed": (
        loses_its_task(
            KeyError("n"),
            after=lambda talk: talk.connection.close_received(CloseFrame(1000)),
        ),
        "connection_closed",
        None,
    ),
    "its task dies after the host has closed": (
        loses_its_task(KeyError("n"), after=lambda talk: talk.send_close(1000)),
        "connection_closed",
        None,
    ),
    "its task dies after the end of the stream": (
        loses_its_task(KeyError("n"), after=lambda talk: talk.connection.disconnected(None)),
        "connection_closed",
        None,
    ),
    "it lives as the client leaves": (lives_on, "connection_closed", None),
    "it is cancelled as the client leaves": (cleans_up, "connection_closed", None),
}


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("what", ENDS)
async def test_an_operation_ends_once_and_says_why(
    what: str, protocol: str, telemetry: Telemetry
) -> None:
    report, reason, error_type = ENDS[what]
    talk = connect(telemetry, protocol)
    talk.initialize()
    report(talk)
    talk.close_by_client(1000)
    (span,) = telemetry.spans("GraphQL Operation")
    attributes = attributes_of(span)
    assert attributes["graphql.ws.operation.end_reason"] == reason
    assert attributes.get("error.type") == error_type
    assert span.status.is_ok == (error_type is None)
    assert ("websocket.close.outcome" in attributes) == (reason == "connection_closed")
    assert telemetry.total("graphql.ws.operation.duration") == 1


async def test_a_task_that_returns_leaves_the_rest_to_others(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.end_serving(talk.start_operation())
    talk.send_result()
    talk.send("complete", id="a")
    talk.close_by_client()
    (span,) = telemetry.spans("GraphQL Operation")
    attributes = attributes_of(span)
    assert attributes["graphql.ws.operation.end_reason"] == "completed"
    assert attributes["graphql.ws.results"] == 1


@pytest.mark.parametrize(
    ("goes_on", "reason", "error_type"),
    [
        (False, "connection_closed", None),
        (True, "failed", "asyncio.exceptions.CancelledError"),
    ],
)
async def test_a_cancellation_that_the_host_swallows_is_one_all_the_same(
    reason: str, error_type: str | None, telemetry: Telemetry, *, goes_on: bool
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)

    async def serve() -> None:
        task = talk.start_operation()
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        talk.end_serving(task)

    serving = asyncio.create_task(serve())
    await asyncio.sleep(0)
    serving.cancel()
    await serving
    if goes_on:
        talk.receive_and_handle({"type": "connection_init"})
    talk.close_by_client()
    (span,) = telemetry.spans("GraphQL Operation")
    attributes = attributes_of(span)
    assert attributes["graphql.ws.operation.end_reason"] == reason
    assert attributes.get("error.type") == error_type


AGAIN: list[Tell] = [
    lambda talk: talk.send("complete", id="a"),
    lambda talk: talk.send("error", id="a"),
    lambda talk: talk.receive_and_handle({"type": STOP[talk.protocol], "id": "a"}),
]


@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("protocol", BOTH)
async def test_only_the_first_end_counts(protocol: str, again: Tell, telemetry: Telemetry) -> None:
    talk = connect(telemetry, protocol)
    completes(talk)
    again(talk)
    talk.close_by_client()
    (span,) = telemetry.spans("GraphQL Operation")
    assert attributes_of(span)["graphql.ws.operation.end_reason"] == "completed"
    assert [event.name for event in span.events] == [
        f"graphql.ws.{START[protocol]}",
        "graphql.ws.complete",
    ]


def reasons(telemetry: Telemetry) -> list[Any]:
    return [
        attributes_of(span)["graphql.ws.operation.end_reason"]
        for span in telemetry.spans("GraphQL Operation")
    ]


def test_a_duplicate_id_is_refused_and_the_first_lives_on(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.start_operation()
    talk.begin_operation()
    talk.send_result()
    talk.send_close(4409, "Subscriber for a already exists")
    talk.end_handling()
    talk.end()
    assert reasons(telemetry) == ["connection_closed", "rejected"]
    assert [
        attributes_of(span)["graphql.ws.results"] for span in telemetry.spans("GraphQL Operation")
    ] == [1, 0]


def test_a_host_that_fails_while_it_refuses_a_duplicate_has_refused_it(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.start_operation()
    talk.begin_operation()
    talk.end(ValueError())
    assert reasons(telemetry) == ["connection_closed", "rejected"]


def test_an_id_that_the_host_held_to_be_free_changes_hands(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    first, second = talk.start_operation(), talk.start_operation()
    talk.send("complete", id="a", within=first)
    talk.send("next", id="a", within=second)
    talk.send("complete", id="a", within=second)
    talk.close_by_client()
    assert reasons(telemetry) == ["completed", "completed"]
    assert [
        attributes_of(span)["graphql.ws.results"] for span in telemetry.spans("GraphQL Operation")
    ] == [0, 1]


@pytest.mark.parametrize("protocol", BOTH)
async def test_what_a_stopped_operation_still_sends_is_not_taken_for_the_next_one_of_its_id(
    protocol: str, telemetry: Telemetry
) -> None:
    talk = connect(telemetry, protocol)
    first = talk.start_operation()
    talk.receive_and_handle({"type": STOP[protocol], "id": "a"})
    second = talk.start_operation()
    talk.send(RESULT[protocol], id="a", within=first)
    talk.send("complete", id="a", within=first)
    talk.end_serving(first)
    talk.send(RESULT[protocol], id="a", within=second)
    talk.send("complete", id="a", within=second)
    talk.close_by_client()
    assert reasons(telemetry) == ["client_completed", "completed"]
    assert [
        attributes_of(span)["graphql.ws.results"] for span in telemetry.spans("GraphQL Operation")
    ] == [0, 1]


def test_a_legacy_start_ends_the_operation_of_its_id(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    first, second = talk.start_operation(), talk.start_operation()
    talk.send("data", id="a", within=first)
    talk.send("data", id="a", within=second)
    talk.send("complete", id="a")
    talk.close_by_client()
    assert reasons(telemetry) == ["client_completed", "completed"]
    assert [
        attributes_of(span)["graphql.ws.results"] for span in telemetry.spans("GraphQL Operation")
    ] == [0, 1]


def test_a_thousand_starts_of_one_id_are_as_many_operations(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    for _ in range(1000):
        talk.start_operation()
    talk.close_by_client()
    assert reasons(telemetry) == ["client_completed"] * 999 + ["connection_closed"]
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    assert len(span.links) == 8 + len([2**n for n in range(4, 10)])


@pytest.mark.parametrize("id_", [1, 0, 1.5, True, None, "", "\ud800", "x" * 1_000_000])
@pytest.mark.parametrize("protocol", BOTH)
def test_an_operation_may_have_any_id_that_a_host_can_keep(
    protocol: str, id_: Any, telemetry: Telemetry
) -> None:
    talk = connect(telemetry, protocol)
    talk.start_operation(id_)
    talk.send_result(id_)
    talk.send("complete", id=id_)
    talk.close_by_client()
    (span,) = telemetry.spans("GraphQL Operation")
    attributes = attributes_of(span)
    assert attributes["graphql.ws.operation.end_reason"] == "completed"
    assert attributes["graphql.ws.results"] == 1
    assert len(attributes["graphql.ws.operation.id"]) <= 128


@pytest.mark.parametrize(
    ("name", "recorded"),
    [("N", "N"), ("x" * 1_000_000, "x" * 256), ("\ud800", "?"), ("", ""), (None, None), (5, None)],
)
def test_the_name_that_the_client_gives_is_bounded(
    name: Any, recorded: str | None, telemetry: Telemetry
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.start_operation(operationName=name)
    talk.close_by_client()
    (span,) = telemetry.spans("GraphQL Operation")
    assert attributes_of(span).get("graphql.operation.name") == recorded


# --- Init ------------------------------------------------------------------------------------


def test_a_second_init_is_only_an_event(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.initialize()
    talk.receive_and_begin_handling({"type": "connection_init"})
    talk.close_by_server(4429)
    assert len(telemetry.spans("GraphQL WebSocket Connection Init")) == 1
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    assert [
        event["graphql.ws.message.sequence"]
        for event in events_of(span, "graphql.ws.connection_init")
    ] == [1, 2]


def refuses(code: int) -> Tell:
    """As the legacy handler does, which says so first."""

    def report(talk: FakeConnection) -> None:
        talk.send("connection_error")
        talk.close_by_server(code)

    return report


REFUSALS: dict[str, tuple[str, Tell, str]] = {
    "forbidden": (GRAPHQL_TRANSPORT_WS, lambda talk: talk.close_by_server(4403), "forbidden"),
    "forbidden, in legacy": (GRAPHQL_WS, refuses(1011), "forbidden"),
    "a bad payload": (
        GRAPHQL_TRANSPORT_WS,
        lambda talk: talk.close_by_server(4400),
        "invalid_message",
    ),
    "a bad payload, in legacy": (GRAPHQL_WS, refuses(1000), "invalid_message"),
    "the application fails": (
        GRAPHQL_WS,
        lambda talk: talk.end(KeyError("user")),
        "KeyError",
    ),
    "the client is lost": (GRAPHQL_WS, FakeConnection.lose, "connection_lost"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_an_init_that_is_refused_says_by_what(what: str, telemetry: Telemetry) -> None:
    protocol, refuse, error_type = REFUSALS[what]
    talk = connect(telemetry, protocol)
    talk.receive_and_begin_handling({"type": "connection_init"})
    refuse(talk)
    (init,) = telemetry.spans("GraphQL WebSocket Connection Init")
    assert attributes_of(init)["error.type"] == error_type
    assert not init.status.is_ok
    assert telemetry.metrics()["graphql.ws.connection_init.duration"] == {
        labels({"error.type": error_type}): 1
    }
    (connection,) = telemetry.spans("GraphQL WebSocket Connection")
    assert attributes_of(connection)["graphql.ws.acknowledged"] is False


def test_an_init_that_the_client_did_not_wait_for_is_no_failure(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.receive_and_begin_handling({"type": "connection_init"})
    talk.close_by_client(1000)
    (init,) = telemetry.spans("GraphQL WebSocket Connection Init")
    assert attributes_of(init).keys() == {"websocket.connection.id"}


def test_an_ack_that_nobody_asked_for_is_one_all_the_same(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.send("connection_ack")
    talk.close_by_client()
    (span,) = telemetry.spans()
    assert attributes_of(span)["graphql.ws.acknowledged"] is True


def test_an_init_that_crosses_a_close_frame_is_ended_all_the_same(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.send_close(4408)
    talk.receive_and_begin_handling({"type": "connection_init"})
    talk.end()
    (init,) = telemetry.spans("GraphQL WebSocket Connection Init")
    assert attributes_of(init)["error.type"] == "init_timeout"
    assert telemetry.span_counter.started == telemetry.span_counter.ended


# --- The close -------------------------------------------------------------------------------


def close_of(telemetry: Telemetry) -> dict[str, Any]:
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    (event,) = events_of(span, "websocket.close")
    return event


def test_the_close_is_recorded_once_at_the_moment_it_was_decided(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.send_close(4400, "bad")
    talk.send_close(1011, "worse")
    talk.connection.disconnected(None)
    talk.close_by_client(1000)
    assert close_of(telemetry) == {
        "websocket.close.code": 4400,
        "websocket.close.reason": "bad",
        "websocket.close.initiator": "server",
        "websocket.close.outcome": "invalid_message",
    }


def test_a_refused_handshake_has_no_close_event(telemetry: Telemetry) -> None:
    talk = FakeConnection(config(telemetry))
    talk.end(status=403)
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    assert not span.events
    attributes = attributes_of(span)
    assert attributes["http.response.status_code"] == 403
    assert attributes["websocket.close.outcome"] == "handshake_rejected"
    assert attributes.keys().isdisjoint(
        {
            "websocket.close.code",
            "websocket.subprotocol",
            "graphql.ws.receive_idle_time",
            "graphql.ws.send_idle_time",
            "graphql.ws.send_blocked_time",
        }
    )
    assert "websocket.server.active_connections" not in telemetry.metrics()
    assert telemetry.total("websocket.server.closes") == 1


@pytest.mark.parametrize("is_late", [True, False])
def test_a_close_of_which_no_frame_can_be_made_is_decided_unless_another_has_come(
    telemetry: Telemetry, *, is_late: bool
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    if is_late:
        talk.connection.close_received(CloseFrame(1000))
    talk.connection.close_dropped(OverflowError())
    talk.connection.close_dropped(ValueError())
    talk.end()
    attributes = attributes_of(*telemetry.spans())
    assert attributes["websocket.close.outcome"] == ("normal" if is_late else "server_error")
    assert attributes.get("error.type") == (None if is_late else "OverflowError")
    assert close_of(telemetry)["websocket.close.outcome"] == attributes["websocket.close.outcome"]


def test_an_error_frame_may_be_left_without_an_answer(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.connection.error_received(CodedError("reset"), None)
    talk.end()
    attributes = attributes_of(*telemetry.spans())
    assert "websocket.close.sent_code" not in attributes
    assert attributes["websocket.close.initiator"] == "none"
    assert telemetry.total("websocket.server.errors") == 1


def test_a_redundant_close_is_an_event_and_nothing_else(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.connection.close_received(CloseFrame(1000))
    talk.connection.close_redundant()
    talk.end()
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    assert events_of(span, "websocket.redundant_close") == [{}]
    assert attributes_of(span)["websocket.close.outcome"] == "normal"


SYNTAX_ERROR = "Syntax Error: Unexpected Name 'hunter2'."


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("execution", "Syntax Error"), ("none", "Syntax Error"), ("all", SYNTAX_ERROR)],
)
def test_the_reason_of_a_syntax_error_quotes_the_document_only_where_all_messages_are_recorded(
    mode: str, reason: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, error_messages=mode)
    talk.close_by_server(4400, SYNTAX_ERROR)
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    assert attributes_of(span)["websocket.close.reason"] == reason
    assert close_of(telemetry)["websocket.close.reason"] == reason
    assert vars(library_log.closes[0])["websocket.close.reason"] == reason


def test_a_reason_is_bounded(telemetry: Telemetry) -> None:
    connect(telemetry, GRAPHQL_WS).close_by_client(1000, "x" * 200)
    assert close_of(telemetry)["websocket.close.reason"] == "x" * 123


class CodedError(Exception):
    code = 1009


@pytest.mark.parametrize(
    ("error", "code"), [(CodedError("too big"), 1009), (ValueError("too big"), None)]
)
def test_an_error_frame_is_an_event_a_count_and_a_verdict(
    error: Exception, code: int | None, telemetry: Telemetry
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.connection.error_received(error, CloseFrame(1009))
    talk.end()
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    name = attributes_of(span)["error.type"]
    assert name.endswith(type(error).__name__)
    recorded = {
        "exception.type": name,
        "exception.message": "too big",
        "websocket.close.code": code,
    }
    assert events_of(span, "websocket.error") == [
        {key: value for key, value in recorded.items() if value is not None}
    ]
    assert telemetry.metrics()["websocket.server.errors"] == {labels({"error.type": name}): 1}
    assert attributes_of(span)["websocket.close.outcome"] == "invalid_frame"


def test_an_error_frame_after_a_close_frame_does_not_change_the_verdict(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.send_close(4400)
    talk.connection.error_received(ConnectionResetError(), None)
    talk.end()
    assert close_of(telemetry)["websocket.close.outcome"] == "invalid_message"
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    assert attributes_of(span)["error.type"] == "invalid_message"


@pytest.mark.parametrize(
    ("closed_before", "error", "outcome"),
    [
        (False, TimeoutError(), "heartbeat_timeout"),
        (False, ConnectionResetError(), "connection_lost"),
        (False, None, "connection_lost"),
        (True, TimeoutError(), "normal"),
    ],
)
def test_a_timeout_before_any_close_frame_is_a_missed_pong(
    error: Exception | None, outcome: str, telemetry: Telemetry, *, closed_before: bool
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    if closed_before:
        talk.send_close(1000)
    talk.connection.disconnected(error)
    talk.end()
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    assert attributes_of(span)["websocket.close.outcome"] == outcome


Trip = Callable[[FakeConnection, BaseException], BaseException]
"""Ends a connection with an exception; returns the one that leaves the view."""


def trips_over(value: Any) -> Trip:
    def trip(talk: FakeConnection, error: BaseException) -> BaseException:
        talk.receive_and_begin_handling(value)
        talk.end_handling(error)
        return error

    return trip


def trips_unheard_over(value: Any) -> Trip:
    """The handler is one that nobody sees handle a message."""

    def trip(talk: FakeConnection, error: BaseException) -> BaseException:
        talk.receive(value)
        return error

    return trip


def reads_in_vain(talk: FakeConnection, error: BaseException) -> BaseException:
    talk.connection.data_received(9)
    talk.connection.message_unreadable(error)
    return error


def reads_in_vain_and_raises(make: Callable[[BaseException], BaseException]) -> Trip:
    """What leaves the view is made of what reading raised."""

    def trip(talk: FakeConnection, error: BaseException) -> BaseException:
        return make(reads_in_vain(talk, error))

    return trip


def caused(by: BaseException, times: int = 1) -> BaseException:
    """An error with the cause of its cause, so many times."""
    for _ in range(times):
        error = RuntimeError()
        error.__cause__, by = by, error
    return by


def circular(_: BaseException) -> BaseException:
    first, second = RuntimeError(), RuntimeError()
    first.__context__, second.__context__ = second, first
    return first


def met(while_handling: BaseException) -> BaseException:
    error = RuntimeError()
    error.__context__ = while_handling
    return error


def grouped(error: BaseException) -> BaseException:
    return BaseExceptionGroup("", [OSError(), ExceptionGroup("", [ValueError()]), caused(error)])


def is_done_with(value: Any) -> Trip:
    def trip(talk: FakeConnection, error: BaseException) -> BaseException:
        talk.receive_and_handle(value)
        return error

    return trip


def goes_on_after_reading_in_vain(talk: FakeConnection, error: BaseException) -> BaseException:
    reads_in_vain(talk, error)
    talk.receive_and_handle({"type": "connection_init"})
    return error


def asks_for_no_frame(talk: FakeConnection, error: BaseException) -> BaseException:
    talk.connection.message_unreadable(error)
    return error


def raises_while_a_frame_waits(talk: FakeConnection, error: BaseException) -> BaseException:
    talk.connection.data_received(9)
    return error


SOUND: Final = {"type": "start", "id": "a", "payload": {"query": QUERY}}
STRAY: Final = {"type": "stop", "id": "nobody's"}

CLIENT, SERVER = "invalid_message", "server_error"

BLAME: dict[str, tuple[Trip, BaseException, str]] = {
    "handles a message that is none": (trips_over([]), TypeError(), CLIENT),
    "handles a start without a payload": (
        trips_over({"type": "start", "id": "a"}),
        KeyError(),
        CLIENT,
    ),
    "handles a start whose id is a list": (
        trips_over({**SOUND, "id": []}),
        TypeError(),
        CLIENT,
    ),
    "handles a start as it should be": (trips_over(SOUND), KeyError(), SERVER),
    "handles a stray stop": (trips_over(STRAY), KeyError(), CLIENT),
    "handles a stray stop, and has another fault": (trips_over(STRAY), TypeError(), SERVER),
    "has handled a message that is none": (is_done_with([]), TypeError(), SERVER),
    "handles, unheard, a message that is none": (trips_unheard_over([]), TypeError(), CLIENT),
    "handles, unheard, a start as it should be": (trips_unheard_over(SOUND), KeyError(), SERVER),
    "cannot read a frame": (reads_in_vain, ValueError(), CLIENT),
    "cannot read a frame that is too deep": (reads_in_vain, RecursionError(), CLIENT),
    "cannot read a frame by means of its own": (reads_in_vain, KeyError(), CLIENT),
    "gives up reading by a cancellation of its own": (
        reads_in_vain,
        asyncio.CancelledError(),
        CLIENT,
    ),
    "fails because it is closed while it reads": (
        reads_in_vain_and_raises(caused),
        GeneratorExit(),
        SERVER,
    ),
    "fails where it reads, and no frame came": (asks_for_no_frame, ValueError(), SERVER),
    "fails while a frame waits": (raises_while_a_frame_waits, ValueError(), SERVER),
    "goes on after what it could not read": (goes_on_after_reading_in_vain, ValueError(), SERVER),
    "raises because it cannot read": (reads_in_vain_and_raises(caused), ValueError(), CLIENT),
    "raises as it cannot read": (reads_in_vain_and_raises(met), ValueError(), CLIENT),
    "cannot read in a group of tasks": (reads_in_vain_and_raises(grouped), ValueError(), CLIENT),
    "raises something else": (reads_in_vain_and_raises(lambda _: OSError()), KeyError(), SERVER),
    "raises something that goes round": (reads_in_vain_and_raises(circular), KeyError(), SERVER),
    "raises because it cannot read, a hundred causes later": (
        reads_in_vain_and_raises(lambda error: caused(error, 100)),
        ValueError(),
        SERVER,
    ),
}


@pytest.mark.parametrize("what", BLAME)
async def test_an_exception_is_the_clients_fault_if_what_it_sent_has_raised_it(
    what: str, telemetry: Telemetry
) -> None:
    trip, error, outcome = BLAME[what]
    talk = connect(telemetry, GRAPHQL_WS)
    left = trip(talk, error)
    # Nobody has cancelled the handler.
    talk.end(left, is_cancelled=False)
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    attributes = attributes_of(span)
    assert attributes["websocket.close.outcome"] == outcome
    assert attributes["error.type"].rpartition(".")[2] == type(left).__name__


def test_what_no_message_can_be_made_of_is_counted_as_another(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.connection.data_received(3)
    talk.receive_and_handle({"type": "start"})
    talk.connection.data_received(3)
    talk.connection.data_received(3)
    talk.close_by_client()
    assert telemetry.total("websocket.server.messages", graphql__ws__message__type="_OTHER") == 3
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    assert [
        event["graphql.ws.message.sequence"] for event in events_of(span, "graphql.ws._OTHER")
    ] == [1, 2, 3]


def test_an_exception_is_not_kept(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.end(KeyError("user"))
    assert talk.connection._facts.end.exception is None


def test_the_record_of_an_abnormal_close_names_the_connection(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.lose()
    (record,) = library_log.closes
    extras = {key: value for key, value in vars(record).items() if "." in key}
    assert extras == {
        "websocket.connection.id": talk.connection.id,
        "websocket.close.code": 1006,
        "websocket.close.initiator": "none",
        "websocket.close.clean": False,
        "websocket.close.outcome": "connection_lost",
        "websocket.close.fault": "network",
        "error.type": "connection_lost",
    }
    assert record.levelno == logging.WARNING


CLIENT_OF_A_HANDSHAKE: Final = {
    "client.address": "192.0.2.1",
    "user_agent.original": "ticker/2.1",
}


def test_the_record_of_an_abnormal_close_says_who_the_client_was(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    FakeConnection(config(telemetry), handshake=CLIENT_OF_A_HANDSHAKE).lose()
    (record,) = library_log.closes
    assert vars(record).items() >= CLIENT_OF_A_HANDSHAKE.items()
    assert "url.path" not in vars(record)


@pytest.mark.internal_error
def test_a_handshake_that_cannot_be_read_costs_the_record_only_the_client(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.connection._handshake_attributes = None  # type: ignore[assignment]  # what is tried
    talk.lose()
    (record,) = library_log.closes
    assert vars(record)["websocket.close.outcome"] == "connection_lost"
    assert "client.address" not in vars(record)


def test_nothing_is_gathered_for_a_record_that_is_left_out(
    telemetry: Telemetry, clock: Clock, library_log: LogKeeper
) -> None:
    recording, asked = Recording(config(telemetry)), 0

    def handshake() -> dict[str, str]:
        nonlocal asked
        asked += 1
        return CLIENT_OF_A_HANDSHAKE

    for _ in range(RECORDS_PER_MINUTE + 5):
        talk = FakeConnection(config(telemetry), recording=recording)
        talk.connection._handshake_attributes = handshake
        talk.lose()
    assert len(library_log.closes) == asked == RECORDS_PER_MINUTE


def raised_by(code: str, module: str) -> Exception:
    """What the code raises as the code of a module."""
    try:
        exec(code, {"json": json, "__name__": module})  # noqa: S102  # our own
    except Exception as error:  # noqa: BLE001  # whatever it is
        return error
    raise AssertionError


RAISES = "raise KeyError('secret')"


@pytest.mark.parametrize(
    ("messages", "module", "code", "named"),
    [
        ("execution", "app", RAISES, "KeyError: 'secret'"),
        ("execution", "strawberry.http", RAISES, "KeyError"),
        ("execution", "app", "json.loads('secret')", "json.decoder.JSONDecodeError"),
        ("all", "strawberry.http", RAISES, "KeyError: 'secret'"),
        ("none", "app", RAISES, "KeyError"),
    ],
)
def test_the_record_names_the_exception_that_ended_the_connection(  # noqa: PLR0913, PLR0917  # a row
    messages: str,
    module: str,
    code: str,
    named: str,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    talk = connect(telemetry, GRAPHQL_WS, error_messages=messages)
    talk.end(raised_by(code, module))
    (record,) = library_log.closes
    assert record.getMessage().endswith(f" (code 1006, fault server, initiator none): {named}")
    class_, _, message = named.partition(": ")
    assert exceptions_of(telemetry) == [
        {"exception.type": class_, **({"exception.message": message} if message else {})}
    ]


def exceptions_of(telemetry: Telemetry) -> list[dict[str, Any]]:
    """The events of exceptions on the connection's span."""
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    return events_of(span, "exception")


def test_neither_record_nor_span_names_an_exception_if_none_ended_the_connection(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    connect(telemetry, GRAPHQL_WS).close_by_server(1011)
    (record,) = library_log.closes
    assert record.getMessage().endswith(" (code 1011, fault server, initiator server)")
    assert exceptions_of(telemetry) == []


@pytest.mark.parametrize("is_upgraded", [True, False])
def test_the_exception_of_a_server_error_is_an_event_before_the_close(
    telemetry: Telemetry, *, is_upgraded: bool
) -> None:
    talk = FakeConnection(config(telemetry))
    if is_upgraded:
        talk.accept(GRAPHQL_WS)
    talk.end(KeyError("x" * 1000), status=500)
    (span,) = telemetry.spans("GraphQL WebSocket Connection")
    names = [event.name for event in span.events]
    assert names == ["exception", *(["websocket.close"] if is_upgraded else [])]
    assert exceptions_of(telemetry) == [
        {"exception.type": "KeyError", "exception.message": "'" + "x" * 511}
    ]


@pytest.mark.parametrize("status", [403, 302])
def test_an_exception_that_refuses_a_handshake_otherwise_is_no_event(
    status: int, telemetry: Telemetry
) -> None:
    FakeConnection(config(telemetry)).end(KeyError(), status=status)
    assert exceptions_of(telemetry) == []


def test_the_exception_of_a_server_error_that_was_declared_normal_is_no_event(
    telemetry: Telemetry,
) -> None:
    connect(telemetry, GRAPHQL_WS, normal_outcomes={"server_error"}).end(KeyError())
    assert exceptions_of(telemetry) == []


# --- Attributes of the application ---------------------------------------------------------------


def test_attributes_are_on_the_connection_and_on_what_begins_later(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.initialize()
    talk.start_operation("a")
    talk.reader.run(connection_attributes, {"tenant": "acme", "seats": 5})
    talk.start_operation("b").run(connection_attributes, {"tenant": "other"})
    talk.start_operation("c")
    talk.lose()
    whole, _, *operations = map(attributes_of, telemetry.spans())
    assert (whole["tenant"], whole["seats"]) == ("other", 5)
    assert [one.get("tenant") for one in operations] == [None, "acme", "other"]
    assert [one.get("seats") for one in operations] == [None, 5, 5]
    (record,) = library_log.closes
    assert (vars(record)["tenant"], vars(record)["seats"]) == ("other", 5)
    assert talk.connection.operation_attributes == {
        "websocket.connection.id": talk.connection.id,
        "http.route": None,
    }


def test_a_connection_has_at_most_32_attributes_and_each_can_change(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    for number in range(40):
        talk.reader.run(connection_attributes, {f"n{number}": number, "n0": "changed"})
    talk.close_by_client()
    [whole] = map(attributes_of, telemetry.spans())
    own = {key: value for key, value in whole.items() if key.startswith("n") and "." not in key}
    assert own == {"n0": "changed", **{f"n{number}": number for number in range(1, 32)}}
    assert (
        library_log.records[0].getMessage().startswith("connection_attributes() leaves out 'n32'")
    )


def test_after_the_end_and_outside_of_a_connection_attributes_go_nowhere(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    place = talk.start_operation()
    talk.close_by_client()
    place.run(connection_attributes, {"tenant": "acme"})
    connection_attributes({"tenant": "acme"})
    assert not any("tenant" in attributes_of(span) for span in telemetry.spans())
    assert "tenant" not in talk.connection.operation_attributes


@pytest.mark.parametrize("inside", [True, False])
def test_wrong_attributes_are_an_error_of_the_caller_s(
    *, inside: bool, telemetry: Telemetry
) -> None:
    place = connect(telemetry, GRAPHQL_WS).reader if inside else Place()
    wrong: Any
    for wrong in (None, {5: "x"}, {"tenant": None}, {"tenant": ["a"]}):
        with pytest.raises(TypeError, match=r"^connection_attributes\(\) must"):
            place.run(connection_attributes, wrong)
    with pytest.raises(ValueError, match=r"'error\.type', which is a name of the library"):
        place.run(connection_attributes, {"error.type": "x"})


# --- What is open now --------------------------------------------------------------------------


def shown(talk: FakeConnection) -> list[OpenConnection]:
    """The snapshot of a connection, if it is listed; others of the process may be, too."""
    return [each for each in open_connections(None) if each.id == talk.connection.id]


def test_a_connection_is_open_from_its_upgrade_to_the_end_of_its_handler(
    telemetry: Telemetry,
) -> None:
    talk = FakeConnection(config(telemetry))
    assert shown(talk) == []
    talk.accept(GRAPHQL_WS)
    assert len(shown(talk)) == 1
    talk.connection.close_received(CloseFrame(1000))
    talk.send_close(1000)
    assert len(shown(talk)) == 1
    talk.end()
    assert shown(talk) == []


def test_a_snapshot_says_all_that_is_known_of_a_connection(
    telemetry: Telemetry, clock: Clock
) -> None:
    handshake = {"client.address": "192.0.2.1", "user_agent.original": "test"}
    talk = FakeConnection(config(telemetry), handshake=handshake)
    clock.passes(1)
    talk.accept(GRAPHQL_TRANSPORT_WS)
    talk.initialize()
    talk.reader.run(connection_attributes, {"tenant": "acme", "seats": 5})
    operation_in(talk.start_operation("a")).describe("subscription", "Prices")
    clock.passes(1)
    talk.send_result("a")
    talk.send_result("a")
    talk.start_operation("b", operationName="M")
    clock.passes(2)
    assert shown(talk) == [
        OpenConnection(
            id=talk.connection.id,
            subprotocol=GRAPHQL_TRANSPORT_WS,
            age=4.0,
            receive_idle_time=2.0,
            send_idle_time=2.0,
            is_send_blocked=False,
            send_blocked_for=0.0,
            send_blocked_time=0.0,
            attributes=StaticAttributes({"tenant": "acme", "seats": 5}),
            client_address="192.0.2.1",
            user_agent="test",
            bytes_received=30,
            bytes_sent=60,
            messages_received=3,
            messages_sent=3,
            operations=(
                OpenOperation(
                    id="a",
                    type="subscription",
                    name="Prices",
                    age=3.0,
                    results=2,
                    result_idle_time=2.0,
                ),
                OpenOperation(
                    id="b", type=None, name="M", age=2.0, results=0, result_idle_time=None
                ),
            ),
        )
    ]


def test_what_a_snapshot_cannot_know_is_none(telemetry: Telemetry, clock: Clock) -> None:
    handshake: Any = {"client.address": None, "user_agent.original": ["odd"]}
    talk = FakeConnection(config(telemetry), handshake=handshake)
    talk.accept(None)
    [snapshot] = shown(talk)
    values = snapshot.as_dict()
    assert {name for name, value in values.items() if value is None} == {
        "subprotocol",
        "receive_idle_time",
        "send_idle_time",
        "client_address",
        "user_agent",
    }
    assert (snapshot.age, dict(snapshot.attributes), snapshot.operations) == (0.0, {}, ())


def test_a_send_that_waits_is_blocked_until_it_goes_on(telemetry: Telemetry, clock: Clock) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    seen = list[tuple[bool, float, float]]()

    def look(seconds: float) -> None:
        clock.passes(seconds)
        [each] = shown(talk)
        seen.append((each.is_send_blocked, each.send_blocked_for, each.send_blocked_time))

    waits = talk.connection.send_blocked()
    look(1)
    look(1)
    talk.connection.send_unblocked(waits)
    look(1)
    waits = talk.connection.send_blocked()
    look(4)
    talk.connection.send_unblocked(waits)
    assert seen == [(True, 1.0, 1.0), (True, 2.0, 2.0), (False, 0.0, 2.0), (True, 4.0, 6.0)]


def test_what_comes_while_connections_are_read_has_come_just_now(
    telemetry: Telemetry, clock: Clock
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    before = clock.now
    clock.passes(1)
    talk.start_operation("a")
    snapshot = talk.connection.snapshot(before)
    assert snapshot is not None
    assert (snapshot.receive_idle_time, snapshot.operations[0].age) == (0.0, 0.0)


@pytest.mark.parametrize("protocol", BOTH)
def test_the_results_of_operations_stay_in_the_sum_when_these_end(
    protocol: str, telemetry: Telemetry
) -> None:
    talk = connect(telemetry, protocol)
    talk.start_operation("a")
    talk.start_operation("b")
    talk.send_result("a")
    talk.send_result("b")
    talk.receive_and_handle({"type": STOP[protocol], "id": "a"})
    [snapshot] = shown(talk)
    assert [(each.id, each.results) for each in snapshot.operations] == [("b", 1)]
    assert (snapshot.messages_sent, snapshot.messages_received) == (2, 3)


def test_a_snapshot_that_a_processor_takes_as_an_operation_ends_counts_its_results(
    telemetry: Telemetry,
) -> None:
    talk, taken = connect(telemetry, GRAPHQL_TRANSPORT_WS), list[OpenConnection]()

    class Takes(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            taken.extend(shown(talk))

    telemetry.tracer_provider.add_span_processor(Takes())
    for id_ in ("a", "b"):
        talk.start_operation(id_)
        talk.send_result(id_)
        talk.receive_and_handle({"type": "complete", "id": id_})
    assert [(each.messages_sent, each.operations) for each in taken] == [(1, ()), (2, ())]


def test_a_snapshot_shows_all_attributes_of_a_call_or_none(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, seen = connect(telemetry, GRAPHQL_WS), list[dict[str, Any]]()

    class Watched(dict[str, Any]):
        def items(self) -> Any:
            for item in super().items():
                seen.extend(dict(each.attributes) for each in shown(talk))
                yield item

    monkeypatch.setattr(_connection, "truncated", Watched)
    talk.reader.run(connection_attributes, {"tenant": "acme", "user": "ada"})
    assert seen == [{}, {}]
    [snapshot] = shown(talk)
    assert snapshot.attributes == {"tenant": "acme", "user": "ada"}


@pytest.mark.internal_error
def test_a_connection_that_cannot_be_read_is_left_out_and_the_log_says_why(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    talk, other = connect(telemetry, GRAPHQL_WS), connect(telemetry, GRAPHQL_WS)
    talk.connection.traffic.messages = None  # type: ignore[assignment]  # that is what is tried
    assert (shown(talk), len(shown(other))) == ([], 1)
    assert len(library_log.records) == 2
    for record in library_log.records:
        assert record.getMessage().startswith("Telemetry failed in the library: TypeError")
    talk.connection.traffic.messages = defaultdict(int)


def test_a_closed_connection_keeps_nothing_of_its_handshake(telemetry: Telemetry) -> None:
    handshake = Handshake({"client.address": "192.0.2.1"})
    talk = FakeConnection(config(telemetry), handshake=handshake)
    talk.accept(GRAPHQL_WS)
    kept = weakref.ref(handshake)
    del handshake
    assert kept() is not None
    talk.close_by_client()
    assert kept() is None


def suppressed() -> Context:
    """A context in which nothing is to be recorded."""
    with suppress_instrumentation():
        return get_current()


def test_an_abnormal_close_is_not_logged_where_instrumentation_is_suppressed(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.reader.attach(suppressed())
    talk.lose()
    assert library_log.closes == []
    assert telemetry.total("websocket.server.closes") == 1


def test_what_the_operator_declared_ordinary_is_no_failure(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    talk = connect(telemetry, GRAPHQL_WS, normal_outcomes={"connection_lost"})
    talk.start_operation()
    talk.lose()
    assert all(span.status.is_ok for span in telemetry.spans())
    assert all("error.type" not in attributes_of(span) for span in telemetry.spans())
    assert not library_log.records
    assert (
        telemetry.total(
            "websocket.server.closes",
            websocket__close__outcome="connection_lost",
            websocket__close__fault="none",
        )
        == 1
    )


# --- What nobody expects ---------------------------------------------------------------------


@pytest.mark.parametrize("odd", [[], {}, [1], {"a": 1}])
@pytest.mark.parametrize("type_", ["next", "complete", "error", "ping"])
def test_a_message_with_an_odd_id_may_be_sent(type_: str, odd: Any, telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.send(type_, id=odd)
    talk.connection.message_failed({"type": type_, "id": odd}, ValueError())
    talk.close_by_client()
    assert telemetry.total("websocket.server.messages", graphql__ws__message__type=type_) == 1


@pytest.mark.parametrize("odd", [[], {}, ["next"], None, 5, "\ud800"])
def test_a_message_of_an_odd_type_is_one_of_the_others(odd: Any, telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.send_message({"type": odd})
    talk.close_by_client()
    assert telemetry.total("websocket.server.messages", graphql__ws__message__type="_OTHER") == 1


LATE: dict[str, Tell] = {
    "an upgrade": lambda talk: talk.connection.accepted(GRAPHQL_WS),
    "an init": lambda talk: talk.receive_and_begin_handling({"type": "connection_init"}),
    "an operation": lambda talk: talk.begin_operation(),
}


@pytest.mark.parametrize("what", LATE)
def test_nothing_begins_after_the_end(what: str, telemetry: Telemetry) -> None:
    talk = (
        FakeConnection(config(telemetry))
        if what == "an upgrade"
        else connect(telemetry, GRAPHQL_WS)
    )
    talk.end()
    LATE[what](talk)
    assert telemetry.span_counter.started == telemetry.span_counter.ended
    assert telemetry.total("websocket.server.active_connections") == 0


# --- Contexts --------------------------------------------------------------------------------


def test_outside_a_connection_its_span_is_the_invalid_one() -> None:
    assert connection_span() is trace.INVALID_SPAN
    assert current_connection() is None


def test_the_connection_is_found_wherever_its_code_runs(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    places = [
        talk.reader,
        talk.receive_and_begin_handling({"type": "connection_init"}),
        talk.begin_operation(),
        talk.start_operation(),
    ]
    for place in places:
        assert place.run(current_connection) is talk.connection
        assert place.run(connection_span) is talk.connection.span
    talk.close_by_client()
    assert talk.reader.run(current_connection) is None


@pytest.mark.parametrize("shape", ["linked", "nested"])
@pytest.mark.parametrize("mode", ["parent", "link", "ignore"])
def test_the_carrier_of_an_operation_comes_before_that_of_the_init(
    shape: str, mode: str, numbered_telemetry: Telemetry
) -> None:
    talk = connect(numbered_telemetry, GRAPHQL_TRANSPORT_WS, trace_shape=shape, remote_context=mode)
    talk.receive_and_handle({"type": "connection_init", "payload": {"traceparent": TRACEPARENT}})
    other = TRACEPARENT.replace("abc", "def")
    talk.start_operation("a", extensions={"traceparent": other})
    talk.start_operation("b")
    talk.close_by_client()
    traces = [(span["parent"] or (0, 0))[0] for span in numbered_telemetry.snapshots()]
    own = 0x1000 if shape == "nested" else 0
    expected = [0xABC, 0xDEF, 0xABC] if mode == "parent" else [own] * 3
    assert traces == [0, *expected]


# --- Messages that wait, and others that nobody announces --------------------------------------


def kept(count: int) -> list[int]:
    """The ordinals of so many events of a type that are kept."""
    return [n for n in range(1, count + 1) if n <= 8 or n & (n - 1) == 0]


def test_a_flood_of_messages_without_a_document_is_events_of_the_connection(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    for number in range(300):
        talk.receive({"type": "subscribe", "id": str(number), "payload": {"extensions": {}}})
    assert len(talk.connection._without_document) == 100
    talk.close_by_client()
    (span,) = telemetry.spans()
    ordinals = [
        event["graphql.ws.message.sequence"] for event in events_of(span, "graphql.ws.subscribe")
    ]
    assert ordinals == kept(300)
    assert attributes_of(span)["graphql.ws.operation.count"] == 0
    assert attributes_of(span)["graphql.ws.messages.received"] == 300


@pytest.mark.parametrize(("knows", "operations"), [(True, 1), (False, 0), (None, 0)])
def test_a_message_without_a_document_begins_an_operation_if_the_handler_may_know_it(
    operations: int, telemetry: Telemetry, *, knows: bool | None
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    value = {"type": "start", "id": "a", "payload": {"extensions": {"hash": "abc"}}}
    talk.receive_and_begin_handling(value)
    begin = talk.connection.message_handling
    inner = talk.reader.run(begin, value, talk.request, knows_documents=knows)
    talk.reader.run(talk.connection.message_handled, inner, None)
    talk.end_handling()
    talk.close_by_client()
    spans = telemetry.spans("GraphQL Operation")
    (connection,) = telemetry.spans("GraphQL WebSocket Connection")
    assert len(spans) == attributes_of(connection)["graphql.ws.operation.count"] == operations
    events = [event.name for span in (connection, *spans) for event in span.events]
    assert events.count("graphql.ws.start") == 1
    assert all("graphql.document.hash" not in attributes_of(span) for span in spans)


@pytest.mark.parametrize("protocol", BOTH)
def test_a_copy_of_a_message_that_is_being_handled_is_handled_for_the_same_operation(
    protocol: str, telemetry: Telemetry
) -> None:
    talk = connect(telemetry, protocol)
    value = {"type": START[protocol], "id": "a", "payload": {"query": QUERY}}
    task = talk.receive_and_begin_handling(value)
    operation, before = operation_in(task), task.current
    handling = task.run(talk.connection.message_handling, dict(value), talk.request)
    assert handling is not None
    assert handling.operation is operation
    assert task.current == before
    task.run(talk.connection.message_handled, handling, None)
    talk.end_handling()
    talk.close_by_client()
    assert len(telemetry.spans("GraphQL Operation")) == 1


async def test_a_flood_of_operations_that_nobody_handles_leaves_each_one_its_own(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    values = [
        {"type": "subscribe", "id": str(n), "payload": {"query": QUERY, "n": n}} for n in range(300)
    ]
    for value in values:
        talk.receive(value)
    assert len(talk.connection._operations.waiting) == 100
    for number in (0, 299):
        task = talk.begin_handling(values[number])
        talk.end_handling()
        talk.begin_serving(task, str(number))
        talk.send_result(str(number), within=task)
        talk.send("complete", id=str(number), within=task)
        talk.end_serving(task)
    talk.close_by_client()
    ends = {
        attributes_of(span)["graphql.ws.operation.id"]: (
            attributes_of(span)["graphql.ws.operation.end_reason"],
            attributes_of(span)["graphql.ws.results"],
        )
        for span in telemetry.spans("GraphQL Operation")
    }
    assert len(ends) == 300
    assert ends.pop("0") == ends.pop("299") == ("completed", 1)
    assert set(ends.values()) == {("connection_closed", 0)}


@pytest.mark.parametrize("reads_ahead", [False, True])
async def test_a_message_that_the_application_reads_by_itself_is_one_when_it_is_handled(
    telemetry: Telemetry, *, reads_ahead: bool
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)
    talk.connection.reads_ahead = reads_ahead
    value = {"type": "start", "id": "a", "payload": {"query": QUERY}}
    talk.connection.data_received(10)
    talk.begin_handling(value)
    talk.end_handling()
    talk.close_by_client()
    messages = telemetry.metrics()["websocket.server.messages"]
    types = {dict(key)["graphql.ws.message.type"]: n for key, n in messages.items()}
    # Where it reads frames in advance, nobody knows which one the message was made of.
    assert types == ({"_OTHER": 1} if reads_ahead else {"start": 1})
    assert len(telemetry.spans("GraphQL Operation")) == (0 if reads_ahead else 1)


async def test_a_reader_that_is_cancelled_does_not_blame_what_it_was_reading(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_WS)

    async def read() -> None:
        talk.connection.data_received(10)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as cancellation:
            talk.connection.message_unreadable(cancellation)
            talk.end(cancellation, is_cancelled=False)

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    reading.cancel()
    await reading
    (span,) = telemetry.spans()
    assert attributes_of(span)["websocket.close.outcome"] == "server_error"


# --- Executions --------------------------------------------------------------------------------


def execution(document: Any = QUERY, *, is_stream: bool = True) -> Execution:
    return Execution(document, None, lambda: is_stream, lambda: True)


def test_an_execution_elsewhere_is_the_operations_and_goes_on_below_its_span(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    operation = operation_in(talk.start_operation())
    elsewhere = Place()
    claim = talk.connection.claim
    assert elsewhere.run(claim, execution(), talk.request) is operation
    assert elsewhere.current[:2] == (talk.request, operation)
    assert trace.get_current_span(elsewhere.context) is operation.span.span
    talk.close_by_client()


def test_an_execution_in_a_context_that_was_kept_from_the_operation_stays_there(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    task, elsewhere = talk.start_operation(), Place()
    elsewhere.attach(context := task.context)
    claim = talk.connection.claim
    assert elsewhere.run(claim, execution(), talk.request) is operation_in(task)
    assert elsewhere.current[:2] == (talk.request, operation_in(task))
    assert elsewhere.context is context
    talk.close_by_client()


@pytest.mark.parametrize(("is_stream", "operations"), [(True, 1), (False, 0)])
def test_an_execution_for_a_message_without_a_document_begins_its_operation(
    operations: int, telemetry: Telemetry, *, is_stream: bool
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.receive({"type": "subscribe", "id": "a", "payload": {"extensions": {"hash": "abc"}}})
    # The handler is one that nobody sees handle a message.
    claim = talk.connection.claim
    claimed = talk.reader.run(claim, execution(is_stream=is_stream), talk.request)
    assert (claimed is not None) == bool(operations)
    talk.close_by_client()
    spans = telemetry.spans("GraphQL Operation")
    assert [attributes_of(span)["graphql.ws.operation.id"] for span in spans] == ["a"] * operations


def as_sent(document: str) -> Any:
    """A document as each message brings it: an object of its own."""
    return json.loads(json.dumps(document))


def theirs() -> Context:
    """A context with a span of the application's."""
    ids = SpanContext(0xABC, 0xDEF, is_remote=False)
    return trace.set_span_in_context(NonRecordingSpan(ids), Context())


@pytest.mark.parametrize(
    ("document", "move", "is_own"),
    [
        (QUERY, lambda talk, task: None, True),
        (QUERY, lambda talk, task: task.attach(theirs()), True),
        (QUERY, lambda talk, task: task.attach(Context()), False),
        (QUERY, lambda talk, task: talk.receive_and_handle({"type": "complete", "id": "a"}), False),
        (as_sent(QUERY), lambda talk, task: None, False),
        ("{ other }", lambda talk, task: None, False),
        (None, lambda talk, task: None, False),
    ],
    ids=["its own", "under a span of theirs", "elsewhere", "ended", "equal", "other", "none"],
)
def test_a_running_operation_is_known_by_its_very_document(
    document: str | None,
    move: Callable[[FakeConnection, Place], object],
    telemetry: Telemetry,
    *,
    is_own: bool,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    task = talk.start_operation()
    operation = operation_in(task)
    move(talk, task)
    claimed = task.run(talk.connection.claim_own, document)
    assert claimed is (operation if is_own else None)
    assert (operation.executions == 1) == is_own
    assert (unclaimed.find(QUERY) is None) == (operation.executions == 1 or operation.has_ended)
    talk.close_by_client()


def test_an_operation_that_nothing_serves_yet_is_not_known_by_its_document(
    telemetry: Telemetry,
) -> None:
    talk, other = (connect(telemetry, GRAPHQL_TRANSPORT_WS) for _ in range(2))
    task = talk.begin_operation()
    assert task.run(talk.connection.claim_own, QUERY) is None
    assert talk.reader.run(talk.connection.claim_own, QUERY) is None
    talk.begin_serving(task)
    assert task.run(other.connection.claim_own, QUERY) is None
    talk.close_by_client()
    other.close_by_client()


@pytest.mark.parametrize(
    ("is_observed", "was_written", "count"),
    [(True, True, 1), (True, False, 0), (False, False, 1)],
    ids=["written before", "not written", "nobody saw whether"],
)
def test_a_message_counts_whose_sender_was_cancelled_when_it_had_been_written(
    telemetry: Telemetry, *, is_observed: bool, was_written: bool, count: int
) -> None:
    talk = FakeConnection(config(telemetry))
    talk.connection.accepted(GRAPHQL_TRANSPORT_WS, is_observed=is_observed)
    cancellation = asyncio.CancelledError()
    talk.connection.write_cancelled(cancellation if was_written else asyncio.CancelledError())
    talk.connection.message_failed({"type": "ping"}, cancellation)
    talk.close_by_client()
    assert telemetry.total("websocket.server.messages") == count


def test_what_only_looks_like_a_request_is_none() -> None:
    place = Place()
    place.run(Activation, Current(SimpleNamespace(connection="mine")), Fuse())
    assert place.run(current_request) is None
    assert place.run(current_connection) is None


def test_a_document_whose_operation_was_stopped_before_it_is_handled_leads_nowhere(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    document = as_sent("query Read { ahead }")
    first = {"type": "subscribe", "id": "a", "payload": {"query": document}}
    talk.receive(first)
    talk.receive({"type": "complete", "id": "a"})
    talk.begin_handling(first)
    assert unclaimed.find(document) is None
    talk.close_by_client()


def test_an_execution_after_the_end_is_nobodys(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    task = talk.start_operation()
    talk.close_by_client()
    assert task.run(talk.connection.claim, execution(), talk.request) is None


def test_a_task_that_an_operation_left_behind_may_serve_another(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    task = talk.start_operation("a")
    claim = talk.connection.claim
    assert task.run(claim, execution(), talk.request) is operation_in(task)
    talk.receive_and_handle({"type": "complete", "id": "a"})
    other = operation_in(talk.start_operation("b"))
    assert task.run(claim, execution(as_sent(QUERY)), talk.request) is other
    talk.close_by_client()


def test_an_operation_may_be_served_without_a_document(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    task = talk.begin_operation()
    talk.begin_serving(task, "a", document=None)
    assert operation_in(task).document is QUERY
    talk.close_by_client()


async def test_nothing_of_an_operation_is_kept_whose_document_was_rewritten(
    frozen_garbage: None,
) -> None:
    telemetry = Telemetry()
    before = living()

    def converse() -> None:
        talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
        task = talk.begin_operation("a", query="query Sent { n }")
        talk.end_handling()
        talk.begin_serving(task, "a", "query Rewritten { n }")
        talk.send("complete", id="a", within=task)
        talk.end_serving(task)
        talk.close_by_client()

    converse()
    assert living() == before
    telemetry.shutdown()


# --- Tasks that were cancelled -----------------------------------------------------------------


def test_what_others_send_for_an_operation_whose_task_was_cancelled_is_counted(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    task = talk.start_operation()
    talk.send_result(within=task)
    talk.end_serving(task, asyncio.CancelledError())
    talk.send_result()
    talk.close_by_client()
    assert telemetry.total("websocket.server.messages", graphql__ws__message__type="next") == 2


def test_an_operation_that_is_described_after_its_task_was_cancelled_is_counted_once(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    task = talk.start_operation()
    talk.send_result(within=task)
    operation = operation_in(task)
    talk.end_serving(task, asyncio.CancelledError())
    operation.describe("subscription", "N")
    talk.close_by_client()
    assert telemetry.total("websocket.server.messages", graphql__ws__message__type="next") == 1
    assert telemetry.total("graphql.server.subscription.active") == 0


# --- An edge that does not see the frames ------------------------------------------------------


def unobserved(telemetry: Telemetry, **options: Any) -> FakeConnection:
    talk = FakeConnection(config(telemetry, **options))
    talk.protocol = GRAPHQL_TRANSPORT_WS
    talk.connection.accepted(GRAPHQL_TRANSPORT_WS, is_observed=False)
    return talk


def stops_reading(error: BaseException) -> Tell:
    return lambda talk: talk.connection.message_unreadable(error)


def cannot_write(error: BaseException) -> Tell:
    return lambda talk: talk.connection.message_failed({"type": "pong"}, error)


def because_of(cause: BaseException) -> BaseException:
    error = RuntimeError()
    error.__cause__ = cause
    return error


UNSEEN: dict[str, tuple[Tell, str]] = {
    # what an edge sees that sees no frames, and why an operation ends whose task dies then
    "the end of the messages": (stops_reading(StopAsyncIteration()), "connection_closed"),
    "a lost connection where it reads": (stops_reading(ConnectionError()), "connection_closed"),
    "a frame that is no message": (stops_reading(ValueError()), "failed"),
    "a lost connection where it writes": (cannot_write(ConnectionError()), "connection_closed"),
    "one that is the cause": (cannot_write(because_of(ConnectionError())), "connection_closed"),
    "a message that cannot be encoded": (cannot_write(ValueError()), "failed"),
}


@pytest.mark.parametrize("what", UNSEEN)
async def test_what_dies_with_a_connection_is_known_without_its_frames(
    what: str, telemetry: Telemetry
) -> None:
    sees, reason = UNSEEN[what]
    talk = unobserved(telemetry)
    task = talk.start_operation()
    sees(talk)
    talk.end_serving(task, KeyError())
    talk.end()
    assert reasons(telemetry) == [reason]


@pytest.mark.parametrize(("error", "error_type"), [(OSError(), "OSError"), (None, "other")])
def test_a_close_that_nobody_saw_is_by_an_unknown(
    error: BaseException | None, error_type: str, telemetry: Telemetry
) -> None:
    talk = unobserved(telemetry)
    talk.connection.close_unobserved(error)
    talk.end()
    attributes = attributes_of(*telemetry.spans())
    assert attributes["websocket.close.outcome"] == "other"
    assert attributes["websocket.close.initiator"] == "unknown"
    assert attributes["error.type"] == error_type


# --- A span for each message -------------------------------------------------------------------


def message_spans(telemetry: Telemetry) -> list[tuple[str, str, str | None, Any]]:
    """Of each message: type, kind, parent, error type; in the order of their ends."""
    finished = telemetry.exporter.get_finished_spans()
    names = {each.context.span_id: each.name for each in finished if each.context}
    return [
        (
            each.name.removeprefix("graphql.ws."),
            each.kind.name,
            names[each.parent.span_id] if each.parent else None,
            attributes_of(each).get("error.type"),
        )
        for each in finished
        if each.name.startswith("graphql.ws.")
    ]


CONNECTION, INIT = "GraphQL WebSocket Connection", "GraphQL WebSocket Connection Init"


async def test_each_message_has_a_span_below_what_it_is_about(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, message_spans=True)
    talk.initialize()
    talk.receive_and_handle({"type": "connection_init"})
    task = talk.start_operation("a")
    talk.send_result("a", within=task)
    talk.send_result("unknown", within=task)
    operation_in(task).describe("subscription", None)
    talk.receive_and_handle({"type": "complete", "id": "a"})
    talk.end_serving(task)
    talk.receive_and_begin_handling({"type": "ping"})
    talk.send("pong")
    talk.end_handling(ValueError())
    talk.connection.data_received(9)
    talk.connection.message_unreadable(TimeoutError())
    talk.connection.data_received(9)
    talk.connection.message_unreadable(ValueError())
    talk.close_by_server(4429)
    assert message_spans(telemetry) == [
        ("connection_ack", "PRODUCER", INIT, None),
        ("connection_init", "CONSUMER", INIT, None),
        ("connection_init", "CONSUMER", CONNECTION, None),
        ("subscribe", "CONSUMER", "subscription", None),
        ("next", "PRODUCER", "subscription", None),
        ("next", "PRODUCER", CONNECTION, None),
        ("complete", "CONSUMER", "subscription", None),
        ("pong", "PRODUCER", CONNECTION, None),
        ("ping", "CONSUMER", CONNECTION, "ValueError"),
        ("_OTHER", "CONSUMER", CONNECTION, "_OTHER"),
        ("_OTHER", "CONSUMER", CONNECTION, "ValueError"),
    ]


def test_without_an_id_of_its_own_a_span_of_a_message_is_nowhere_current(
    telemetry: Telemetry,
) -> None:
    no_tracers = trace.NoOpTracerProvider()
    options = OTelConfig(tracer_provider=no_tracers, meter_provider=telemetry.meter_provider)
    talk = FakeConnection(replace(options, message_spans=True))
    talk.accept(GRAPHQL_TRANSPORT_WS)
    before = talk.reader.context
    assert talk.receive_and_begin_handling({"type": "ping"}).context is before
    talk.send("pong")
    talk.end_handling()
    assert talk.reader.context is before


def test_where_no_frame_is_seen_a_message_has_a_span_all_the_same(telemetry: Telemetry) -> None:
    talk = unobserved(telemetry, message_spans=True)
    talk.reader.run(talk.connection.message_received, {"type": "ping"})
    talk.connection.message_unreadable(ValueError())
    sending = talk.reader.run(talk.connection.send_begun, {"type": "pong"})
    talk.reader.run(talk.connection.send_ended, sending, asyncio.CancelledError())
    sending = talk.reader.run(talk.connection.send_begun, {"type": "pong"})
    talk.reader.run(talk.connection.send_ended, sending, ConnectionError())
    talk.end()
    assert message_spans(telemetry) == [
        ("_OTHER", "CONSUMER", CONNECTION, "ValueError"),
        ("pong", "PRODUCER", CONNECTION, None),
        ("pong", "PRODUCER", CONNECTION, "ConnectionError"),
        ("ping", "CONSUMER", CONNECTION, None),
    ]


def test_after_the_end_and_without_the_option_a_send_has_no_span(telemetry: Telemetry) -> None:
    for options in ({"message_spans": True}, {}):
        talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, **options)
        assert talk.connection.has_message_spans == bool(options)
        if options:
            talk.close_by_client()
        assert talk.reader.run(talk.connection.send_begun, {"type": "pong"}) is None
        talk.connection.send_ended(None, None)
    assert message_spans(telemetry) == []


# --- Handling and serving that is nested, late or about nothing ----------------------------------


@pytest.mark.parametrize("message_spans", [False, True])
def test_a_message_may_be_handled_within_its_own_handling(
    telemetry: Telemetry, *, message_spans: bool
) -> None:
    """As where a handler's `handle_message` calls its `handle_connection_init`."""
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, message_spans=message_spans)
    message = {"type": "connection_init"}
    talk.receive_and_begin_handling(message)
    outside = talk.reader.context
    begin, leave = talk.connection.message_handling, talk.connection.message_handled
    inner = talk.reader.run(begin, message, talk.request)
    assert trace.get_current_span(talk.reader.context) is trace.get_current_span(outside)
    talk.reader.run(leave, inner, None)
    assert talk.reader.context == outside
    talk.send("connection_ack")
    talk.end_handling()
    talk.close_by_client()
    assert len(telemetry.spans("GraphQL WebSocket Connection Init")) == 1
    assert telemetry.span_counter.started == telemetry.span_counter.ended


def test_a_handler_within_that_of_an_operation_enters_nothing(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    value = {"type": "subscribe", "id": "a", "payload": {"query": QUERY}}
    task = talk.receive_and_begin_handling(value)
    before = task.current
    assert task.run(talk.connection.message_handling, value, talk.request) is None
    task.run(talk.connection.message_handled, None, KeyError())
    assert task.current == before
    talk.end_handling()
    talk.close_by_client()
    attributes = attributes_of(*telemetry.spans("GraphQL WebSocket Connection"))
    assert attributes["websocket.close.outcome"] == "normal"


def test_a_message_may_still_be_handled_when_the_connection_has_ended(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    elsewhere = Place()
    value = {"type": "subscribe", "id": "a", "payload": {}}
    talk.receive(value)
    handling = elsewhere.run(talk.connection.message_handling, value, talk.request)
    assert elsewhere.current.request is talk.request
    talk.close_by_client()
    recorded = telemetry.snapshots()
    elsewhere.run(talk.connection.message_handled, handling, KeyError())
    assert (elsewhere.current, telemetry.snapshots()) == (Current(), recorded)


async def test_a_handler_that_is_done_with_a_message_was_not_cancelled(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    task = talk.start_operation()
    talk.receive_and_begin_handling({"type": "ping"})
    talk.end_serving(task, asyncio.CancelledError())
    assert reasons(telemetry) == []
    talk.end_handling()
    assert reasons(telemetry) == ["failed"]
    talk.close_by_client()


async def test_an_operation_that_nobody_asked_for_is_served_unrecorded(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    place = Place()
    talk.begin_serving(place, "unknown")
    assert (place.running, place.current) == (None, Current())
    talk.end_serving(place)
    talk.close_by_client()
    assert telemetry.spans("GraphQL Operation") == []


async def test_an_operation_may_be_served_in_a_task_that_knows_nothing_of_it(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    operation = operation_in(talk.begin_operation())
    talk.end_handling()
    elsewhere = Place()
    talk.begin_serving(elsewhere)
    assert elsewhere.current[:2] == (talk.request, operation)
    assert trace.get_current_span(elsewhere.context) is operation.span.span
    talk.end_serving(elsewhere)
    assert (elsewhere.current, elsewhere.context) == (Current(), {})
    talk.close_by_client()


async def test_an_operation_without_a_span_leaves_the_context_of_its_task_alone() -> None:
    telemetry = Telemetry()
    talk = FakeConnection(config(telemetry), context=suppressed())
    talk.accept(GRAPHQL_TRANSPORT_WS)
    operation = operation_in(talk.begin_operation())
    talk.end_handling()
    elsewhere = Place()
    talk.begin_serving(elsewhere)
    assert (operation.placement, elsewhere.current.operation) == (None, operation)
    assert elsewhere.context == {}
    talk.end_serving(elsewhere)
    talk.close_by_client()
    assert telemetry.spans() == []
    telemetry.shutdown()


def test_documents_may_be_looked_up_in_another_order_than_that_of_the_messages(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    values = [
        {"type": "subscribe", "id": id_, "payload": {"extensions": {"hash": id_}}}
        for id_ in ("first", "second")
    ]
    for value in values:
        talk.receive(value)
    handle = talk.connection.message_handling
    handling = talk.reader.run(handle, values[1], talk.request, knows_documents=True)
    assert handling is not None
    assert handling.operation is not None
    assert handling.operation.client_id == "second"
    talk.reader.run(talk.connection.message_handled, handling, None)
    talk.close_by_client()
    ids = [
        attributes_of(span)["graphql.ws.operation.id"]
        for span in telemetry.spans("GraphQL Operation")
    ]
    assert ids == ["second"]
    [connection] = telemetry.spans("GraphQL WebSocket Connection")
    assert len(events_of(connection, "graphql.ws.subscribe")) == 1


# --- Sends that wait, and silence --------------------------------------------------------------


def test_a_send_that_waits_is_the_connection_s_and_that_of_the_operation_of_its_task(
    telemetry: Telemetry, clock: Clock
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    first, second = talk.start_operation("a"), talk.start_operation("b")
    own = first.run(talk.connection.send_blocked)
    clock.passes(1)
    others = [second.run(talk.connection.send_blocked), talk.connection.send_blocked()]
    clock.passes(2)
    talk.connection.send_unblocked(own)
    clock.passes(4)
    assert telemetry.total("websocket.server.send.blocked") == 1
    assert telemetry.total("websocket.server.send.blocked_time") == 7
    talk.lose()
    clock.passes(8)
    for each in others:
        talk.connection.send_unblocked(each)
    assert {
        attributes.get("graphql.ws.operation.id"): attributes["graphql.ws.send_blocked_time"]
        for attributes in map(attributes_of, telemetry.spans())
    } == {None: 7, "a": 3, "b": 6}
    assert telemetry.total("websocket.server.send.blocked") == 0
    assert telemetry.total("websocket.server.send.blocked_time") == 7


def test_both_silences_are_on_the_span_and_on_the_log_record(
    telemetry: Telemetry, clock: Clock, library_log: LogKeeper
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.start_operation()
    clock.passes(1)
    talk.send_result()
    clock.passes(2)
    talk.lose()
    [record] = library_log.records
    [span] = telemetry.spans("GraphQL WebSocket Connection")
    for recorded in (vars(record), attributes_of(span)):
        assert recorded["graphql.ws.receive_idle_time"] == 3
        assert recorded["graphql.ws.send_idle_time"] == 2


def test_where_no_frames_are_seen_the_last_message_to_the_client_ends_the_silence(
    telemetry: Telemetry, clock: Clock
) -> None:
    talk = unobserved(telemetry)
    operation = operation_in(talk.start_operation())
    talk.connection.message_sent({"type": "next", "id": "a", "payload": {"data": {}}})
    clock.passes(5)
    assert operation.results.sent_at == clock.now - 5
    # The fast path of an edge, which takes no time, is not for it.
    assert talk.connection.result_name not in RESULT.values()
    talk.lose()
    [span] = telemetry.spans("GraphQL WebSocket Connection")
    assert attributes_of(span)["graphql.ws.send_idle_time"] == 5


# --- A broken pipe ---------------------------------------------------------------------------


@pytest.mark.internal_error
@pytest.mark.parametrize("name", PIPES)
def test_a_broken_pipe_changes_no_verdict_and_no_count(
    name: str, clock: Clock, library_log: LogKeeper
) -> None:
    pipe = PIPES[name]()
    broken = OTelConfig(tracer_provider=pipe.tracer_provider, meter_provider=pipe.meter_provider)
    talk = FakeConnection(broken)
    talk.accept(GRAPHQL_TRANSPORT_WS)
    talk.start_operation("alive")
    converse(talk, clock)
    talk = FakeConnection(broken)
    talk.accept(GRAPHQL_WS)
    talk.lose()
    totals = Recording(broken).metrics.totals
    assert {outcome: n for (outcome, _), n in totals.closes().items() if n} == {
        "normal": 1,
        "connection_lost": 1,
    }
    assert totals.connections() == {GRAPHQL_TRANSPORT_WS: 0, GRAPHQL_WS: 0}
    assert totals.subscriptions() == 0
    assert len(library_log.closes) == 1


# --- Segments --------------------------------------------------------------------------------


def names_of(telemetry: Telemetry) -> list[tuple[str, int | None]]:
    """The spans that have ended, in this order, and which segment each is."""
    ended = telemetry.exporter.get_finished_spans()
    return [(span.name, attributes_of(span).get("graphql.ws.segment.number")) for span in ended]


def test_a_connection_says_when_its_next_segment_is_due(telemetry: Telemetry, clock: Clock) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, segment_duration=300)
    due = clock.now + first_length(300, ID)
    assert talk.connection.rotate() == due
    clock.now = due
    # In time for an operation that begins now.
    assert talk.connection.rotate() == due + 300
    clock.passes(300)
    assert talk.connection.rotate() == due + 2 * first_length(300, ID)
    talk.close_by_client()
    connections = [(CONNECTION, 0), (CONNECTION, 1)]
    assert names_of(telemetry) == connections


def test_its_operations_take_turns_of_their_own(telemetry: Telemetry, clock: Clock) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, segment_duration=300)
    talk.initialize()
    for id_ in ("a", "b"):
        operation_in(talk.start_operation(id_)).describe("subscription", None)
        clock.passes(1)
    clock.passes(1000)
    end_due_segments(talk.connection, clock.now)
    talk.close_by_client()
    assert names_of(telemetry)[1:] == [
        (CONNECTION, 0),
        ("subscription", 0),
        ("subscription", 0),
        ("subscription", 1),
        ("subscription", 1),
        (CONNECTION, 1),
    ]


def test_a_result_after_a_segment_leaves_the_context_of_the_application_alone(
    telemetry: Telemetry, clock: Clock
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, segment_duration=300)
    talk.initialize()
    place = talk.start_operation("a")
    clock.passes(300)
    end_due_segments(talk.connection, clock.now)
    place.attach(own := Context({"own": 1}))
    talk.send_result("a", within=place)
    assert place.context == own
    talk.close_by_client()
    assert names_of(telemetry)[-1] == (CONNECTION, 1)


def test_the_totals_of_a_segment_count_from_the_beginning(
    telemetry: Telemetry, clock: Clock
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, segment_duration=300)
    talk.initialize()
    talk.connection.describe({"tenant": "acme"})
    place = talk.start_operation("a")
    for seconds in (1000, 300):
        clock.passes(seconds)
        talk.send_result("a", within=place)
        talk.connection.rotate()
    talk.close_by_client()
    totals = [
        {
            name: value
            for name, value in attributes_of(span).items()
            if name == "tenant" or name.startswith(("graphql.ws.", "websocket.close.outcome"))
        }
        for span in telemetry.spans(CONNECTION)
    ]
    said = {
        "tenant": "acme",
        "graphql.ws.messages.received": 2,
        "graphql.ws.operation.count": 1,
        "graphql.ws.acknowledged": True,
    }
    assert totals == [
        {
            **said,
            "graphql.ws.segment.number": 0,
            "graphql.ws.segment.continued": True,
            "graphql.ws.messages.sent": 2,
            "graphql.ws.receive_idle_time": 1000.0,
            "graphql.ws.send_idle_time": 0.0,
        },
        {
            **said,
            "graphql.ws.segment.number": 1,
            "graphql.ws.messages.sent": 3,
            "graphql.ws.receive_idle_time": 1300.0,
            "graphql.ws.send_idle_time": 0.0,
            "graphql.ws.operation.interrupted_count": 1,
            "graphql.ws.duration": 1300.0,
            "websocket.close.outcome": "normal",
        },
    ]


def test_without_a_duration_a_span_lasts_as_long_as_its_connection(
    telemetry: Telemetry, clock: Clock
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, segment_duration=None)
    talk.initialize()
    talk.start_operation("a")
    clock.passes(1e6)
    talk.connection.rotate()
    talk.connection.next_segment()
    talk.close_by_client()
    assert [number for _, number in names_of(telemetry)] == [None, None, None]


async def test_a_connection_takes_its_turn_until_it_ends(telemetry: Telemetry) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, segment_duration=300)
    turn = talk.connection._turn
    assert turn is not None
    assert turn.owner() is talk.connection
    talk.close_by_client()
    assert turn.owner() is None


def test_as_the_process_exits_all_open_segments_end(telemetry: Telemetry, clock: Clock) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.initialize()
    talk.start_operation("a")
    clock.passes(5)
    talk.connection.leave_open()
    talk.close_by_client()
    [_, operation, connection] = map(attributes_of, telemetry.exporter.get_finished_spans())
    assert (operation["graphql.ws.segment.continued"], operation["graphql.ws.results"]) == (True, 0)
    assert connection["graphql.ws.segment.continued"] is True
    assert "websocket.close.outcome" not in connection


@pytest.mark.internal_error
def test_a_segment_that_cannot_be_looked_for_is_looked_for_later(
    telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, segment_duration=300)
    monkeypatch.setattr(talk.connection._operations, "open", None)
    assert talk.connection.rotate() == clock.now + 300


def test_attributes_of_the_connection_win_over_what_its_span_had_before(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS)
    talk.connection.span.set_attribute("tenant", "a")
    talk.connection.describe({"tenant": "b"})
    talk.connection.next_segment()
    talk.close_by_client()
    tenants = [attributes_of(span)["tenant"] for span in telemetry.spans(CONNECTION)]
    assert tenants == ["b", "b"]


async def test_an_operation_takes_a_turn_once_it_has_outlived_a_look_at_its_connection(
    telemetry: Telemetry,
) -> None:
    talk = connect(telemetry, GRAPHQL_TRANSPORT_WS, segment_duration=300)
    operation = operation_in(talk.start_operation("a"))
    assert operation._turn is None
    talk.connection.rotate()
    turn = operation._turn
    assert turn is not None
    talk.connection.rotate()
    assert operation._turn is turn
    talk.connection.leave_open()
    assert (turn.owner(), talk.connection._turn.owner()) == (None, None)
    talk.close_by_client()
    assert (operation._turn, talk.connection._turn) == (None, None)
