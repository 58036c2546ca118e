"""A recorded handler enters the context of a message or operation for the host's method."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_ws.handlers import BaseGraphQLWSHandler

from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._current import Current, current
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, GRAPHQL_WS
from strawberry_ws_otel._strawberry.handlers import HANDLER_LAYERS
from strawberry_ws_otel._strawberry.layers import CoroutineProxy
from tests.support.broken_api import PipeError
from tests.support.fake_connection import BOTH, QUERY, START, FakeConnection, operation_in
from tests.support.log import LogKeeper
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import config

LAYERS = dict(zip((GRAPHQL_TRANSPORT_WS, GRAPHQL_WS), HANDLER_LAYERS, strict=True))


class Recorder:
    """What both handlers of the application have in common: they note for whom they run."""

    def __init__(self, websocket: object, failure: BaseException | None = None) -> None:
        self.websocket: Any = websocket
        self.seen: list[Current] = []
        self.failure = failure

    async def note(self, *_arguments: object, **_keywords: object) -> Any:
        self.seen.append(current())
        if self.failure is not None:
            raise self.failure
        return "noted"


class Transport(Recorder, BaseGraphQLTransportWSHandler[Any, Any]):
    handle_message = handle_connection_init = handle_subscribe = run_operation = Recorder.note


class Legacy(Recorder, BaseGraphQLWSHandler[Any, Any]):
    handle_message = handle_connection_init = handle_start = handle_async_results = Recorder.note


APPLICATIONS: dict[str, Any] = {GRAPHQL_TRANSPORT_WS: Transport, GRAPHQL_WS: Legacy}
BEGINS = {GRAPHQL_TRANSPORT_WS: "handle_subscribe", GRAPHQL_WS: "handle_start"}


@pytest.fixture(params=BOTH)
def talk(request: pytest.FixtureRequest, telemetry: Telemetry) -> FakeConnection:
    talk = FakeConnection(config(telemetry))
    talk.accept(request.param)
    return talk


def handler_of(talk: FakeConnection, failure: BaseException | None = None) -> Any:
    """A recorded handler that knows its connection by its adapter."""
    cls = LAYERS[talk.protocol].over(APPLICATIONS[talk.protocol])
    return cls(SimpleNamespace(_otel_request=talk.request), failure)


def start(talk: FakeConnection, **payload: Any) -> dict[str, Any]:
    return {"type": START[talk.protocol], "id": "a", "payload": {"query": QUERY, **payload}}


async def runs(handler: Any) -> Any:
    """The task that serves the operation, as each subprotocol has it."""
    if isinstance(handler, Transport):
        asked = SimpleNamespace(id="a", query=QUERY, operation_name=None)
        return await handler.run_operation(asked)
    return await handler.handle_async_results("a", QUERY, operation_name=None)


def reasons(telemetry: Telemetry) -> list[Any]:
    return [
        attributes_of(span)["graphql.ws.operation.end_reason"]
        for span in telemetry.spans("GraphQL Operation")
    ]


@pytest.mark.parametrize("method", ["handle_message", "handle_connection_init"])
async def test_a_message_is_handled_for_its_connection_whoever_is_asked(
    method: str, talk: FakeConnection
) -> None:
    handler, message = handler_of(talk), {"type": "connection_init"}
    talk.receive(message)
    assert await getattr(handler, method)(message) == "noted"
    [inside] = handler.seen
    assert inside.request is talk.request
    assert inside.placement is not None
    assert current() == Current()
    talk.close_by_client()


async def test_an_operation_is_begun_for_itself_however_it_is_reached(
    talk: FakeConnection,
) -> None:
    handler, message = handler_of(talk), start(talk)
    talk.receive(message)
    await getattr(handler, BEGINS[talk.protocol])(message)
    await handler.handle_message(message)
    [operation] = talk.connection._operations.open
    assert [inside.operation for inside in handler.seen] == [operation, operation]
    assert current() == Current()
    talk.close_by_client()


async def test_within_the_handling_of_its_message_an_operation_is_begun_as_the_host_does(
    talk: FakeConnection,
) -> None:
    handler, message = handler_of(talk), start(talk)
    operation = operation_in(talk.receive_and_begin_handling(message))
    place = talk.reader.task()
    begin = getattr(handler, BEGINS[talk.protocol])
    task = place.run(asyncio.ensure_future, begin(message))
    assert await task == "noted"
    [inside] = handler.seen
    assert inside.operation is operation
    talk.end_handling()
    talk.close_by_client()


async def test_an_application_that_begins_operations_may_know_a_document_by_other_means(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    handler = handler_of(talk)
    message = {**start(talk), "payload": {"extensions": {"hash": "abc"}}}
    talk.receive(message)
    await getattr(handler, BEGINS[talk.protocol])(message)
    talk.close_by_client()
    assert reasons(telemetry) == ["connection_closed"]


async def test_the_hosts_own_method_knows_no_document(telemetry: Telemetry) -> None:
    for protocol, kind, method in (
        (GRAPHQL_TRANSPORT_WS, BaseGraphQLTransportWSHandler, "handle_subscribe"),
        (GRAPHQL_WS, BaseGraphQLWSHandler, "handle_start"),
    ):
        talk = FakeConnection(config(telemetry))
        talk.accept(protocol)
        closes: list[object] = []

        async def close(closes: list[object] = closes, **how: object) -> None:
            closes.append(how)

        cls = LAYERS[protocol].over(kind)
        handler = cls.__new__(cls)
        handler.connection_acknowledged = False
        handler.websocket = SimpleNamespace(_otel_request=talk.request, close=close)
        message = {**start(talk), "payload": {"extensions": {"hash": "abc"}}}
        talk.receive(message)
        await getattr(handler, method)(message)
        assert closes == [{"code": 4401, "reason": "Unauthorized"}]
        talk.close_by_client()
    assert reasons(telemetry) == []


@pytest.mark.parametrize(
    ("failure", "reason"), [(None, "connection_closed"), (PipeError(), "failed")], ids=repr
)
async def test_an_operation_is_served_for_itself_and_how_that_ends_is_reported(
    failure: BaseException | None, reason: str, talk: FakeConnection, telemetry: Telemetry
) -> None:
    handler = handler_of(talk, failure)
    operation = operation_in(talk.begin_operation())
    talk.end_handling()
    if failure is None:
        assert await runs(handler) == "noted"
    else:
        with pytest.raises(PipeError) as raised:
            await runs(handler)
        assert raised.value is failure
    [inside] = handler.seen
    assert (inside.request, inside.operation) == (talk.request, operation)
    assert current() == Current()
    talk.close_by_client()
    assert reasons(telemetry) == [reason]


class Unusual(BaseGraphQLWSHandler[Any, Any]):
    """A handler whose method makes something to await that is no coroutine."""

    def __init__(self, websocket: object) -> None:
        self.websocket: Any = websocket

    def handle_async_results(self, *_arguments: Any, **_keywords: Any) -> Any:
        return (
            asyncio.sleep(0, "slept")
            if self.websocket is None
            else asyncio.ensure_future(asyncio.sleep(0, "slept"))
        )


async def test_only_a_coroutine_gets_a_proxy() -> None:
    cls = LAYERS[GRAPHQL_WS].over(Unusual)
    shown = cls(None).handle_async_results("a", QUERY, None, None)
    assert isinstance(shown, CoroutineProxy)
    assert await shown == "slept"
    other = cls(object()).handle_async_results("a", QUERY, None, None)
    assert not isinstance(other, CoroutineProxy)
    assert await other == "slept"


NOBODYS: dict[str, Callable[[FakeConnection], object]] = {
    "it keeps no adapter": lambda talk: None,
    "its adapter is recorded nowhere": lambda talk: SimpleNamespace(_otel_request=None),
    "its adapter has another thing of that name": lambda talk: SimpleNamespace(_otel_request=5),
}


@pytest.mark.parametrize("why", NOBODYS)
async def test_a_handler_outside_of_a_connection_does_its_work(
    why: str, talk: FakeConnection
) -> None:
    handler = handler_of(talk)
    handler.websocket = NOBODYS[why](talk)
    message = start(talk)
    assert await handler.handle_message(message) == "noted"
    assert await getattr(handler, BEGINS[talk.protocol])(message) == "noted"
    assert await runs(handler) == "noted"
    assert handler.seen == [Current()] * 3


@pytest.mark.internal_error
async def test_a_message_is_handled_though_nobody_can_say_for_whom(
    talk: FakeConnection, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_keywords: object) -> NoReturn:
        raise PipeError

    for name in ("message_handling", "message_handled"):
        monkeypatch.setattr(Connection, name, fail)
    assert await handler_of(talk).handle_message({"type": "connection_init"}) == "noted"
    assert len(library_log.records) == 1


@pytest.mark.parametrize("protocol", BOTH)
def test_only_an_applications_class_is_announced_to_its_base(protocol: str) -> None:
    announced: list[str] = []
    application: Any = APPLICATIONS[protocol]

    class Own(application):  # type: ignore[misc]  # a class in a variable
        def __init_subclass__(cls) -> None:
            announced.append(cls.__name__)

    type("Further", (LAYERS[protocol].over(Own),), {})
    assert announced == ["Further"]
