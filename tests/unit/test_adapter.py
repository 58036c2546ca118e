"""A recorded adapter reports every message, and changes nothing of what the host does."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from functools import wraps
from typing import Any, NoReturn

import pytest
from strawberry.aiohttp.views import AiohttpWebSocketAdapter
from strawberry.http.async_base_view import AsyncWebSocketAdapter

from strawberry_ws_otel._connection import Connection, Request
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS
from strawberry_ws_otel._strawberry.adapter import ADAPTER_LAYER
from tests.support.broken_api import PipeError
from tests.support.clock import Clock
from tests.support.fake_connection import QUERY, FakeConnection, Place, operation_in
from tests.support.log import LogKeeper
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import config

INIT = {"type": "connection_init"}
SUBSCRIBE = {"type": "subscribe", "id": "a", "payload": {"query": QUERY}}
NEXT = {"type": "next", "id": "a", "payload": {"data": {"n": 1}}}
PONG = {"type": "pong"}


class View:
    """What an adapter is made for."""


class Wire:
    """What an adapter reads from and writes to."""

    def __init__(self, *incoming: object) -> None:
        self.incoming = incoming
        self.heard: list[object] = []
        """What the reader has sent or thrown into the messages."""
        self.sent: list[tuple[object, ...]] = []
        self.failure: BaseException | None = None


class Decorated(AiohttpWebSocketAdapter):
    """An adapter of the application's, whose method looks like the host's."""

    @wraps(AiohttpWebSocketAdapter.iter_json)
    def iter_json(  # type: ignore[override]  # to mypy, what `wraps` makes is no method
        self, *, ignore_parsing_errors: bool = False
    ) -> AsyncGenerator[object, None]:
        return super().iter_json(ignore_parsing_errors=ignore_parsing_errors)


class Adapter(AsyncWebSocketAdapter):
    """An adapter of the application's."""

    def __init__(self, view: Any, _request: object, wire: Wire) -> None:
        super().__init__(view)
        self.wire = wire

    async def iter_json(
        self, *, ignore_parsing_errors: bool = False
    ) -> AsyncGenerator[object, None]:
        for message in self.wire.incoming:
            if isinstance(message, BaseException):
                raise message
            try:
                self.wire.heard.append((yield message))
            except ValueError as error:
                self.wire.heard.append(error)
                yield "caught"
            except GeneratorExit:
                self.wire.heard.append("closed")
                raise

    async def send_json(self, message: Mapping[str, object], *more: object, **named: object) -> Any:
        self.wire.sent.append((message, *more, *named.items()))
        if self.wire.failure is not None:
            raise self.wire.failure
        return "sent"

    async def close(self, code: int, reason: str) -> None:
        """Nothing is closed here."""


@pytest.fixture
def talk(telemetry: Telemetry) -> FakeConnection:
    talk = FakeConnection(config(telemetry))
    talk.accept(GRAPHQL_TRANSPORT_WS)
    return talk


def adapter_in(place: Place, wire: Wire, cls: type = Adapter) -> Any:
    """A recorded adapter, made there."""
    return place.run(ADAPTER_LAYER.over(cls), View(), None, wire)


def messages(telemetry: Telemetry) -> dict[Any, float]:
    """How many messages of each type were counted."""
    points = telemetry.metrics().get("websocket.server.messages", {})
    return {dict(key)["graphql.ws.message.type"]: count for key, count in points.items()}


def counted(talk: FakeConnection) -> int:
    return sum(talk.connection.traffic.messages.values())


# --- Outside of a connection ---------------------------------------------------------------------


async def test_outside_of_a_connection_it_does_its_work(telemetry: Telemetry) -> None:
    wire = Wire(INIT)
    adapter = adapter_in(Place(), wire)
    assert [message async for message in adapter.iter_json()] == [INIT]
    assert await adapter.send_json(PONG, "more", named=1) == "sent"
    assert wire.sent == [(PONG, "more", ("named", 1))]
    assert messages(telemetry) == {}


async def test_a_request_that_is_no_handshake_is_no_connection(talk: FakeConnection) -> None:
    place, wire = Place(), Wire()
    talk.request.connection = None  # type: ignore[assignment]  # as over HTTP
    place.run(talk.connection.serving, talk.request)
    assert await adapter_in(place, wire).send_json(PONG) == "sent"
    assert counted(talk) == 0


@pytest.mark.internal_error
async def test_an_adapter_is_made_though_it_cannot_be_recorded(
    talk: FakeConnection, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Request, "websocket_made", fail)
    wire = Wire()
    assert await adapter_in(talk.reader, wire).send_json(PONG) == "sent"
    assert wire.sent == [(PONG,)]
    assert counted(talk) == 0
    assert len(library_log.records) == 1


# --- What is received ----------------------------------------------------------------------------


async def test_each_message_is_reported_as_it_is_handed_on(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    adapter = adapter_in(talk.reader, Wire(INIT, {"type": "ping"}))
    received = []
    async for message in adapter.iter_json(ignore_parsing_errors=True):
        received.append(message)
        assert counted(talk) == len(received)
    assert received == [INIT, {"type": "ping"}]
    talk.close_by_client()
    assert messages(telemetry) == {"connection_init": 1, "ping": 1}


async def test_what_a_reader_says_reaches_the_adapter(talk: FakeConnection) -> None:
    wire = Wire(INIT, PONG, PONG)
    reading = adapter_in(talk.reader, wire).iter_json()
    assert await anext(reading) == INIT
    assert await reading.asend("value") == PONG
    error = ValueError()
    assert await reading.athrow(error) == "caught"
    assert await anext(reading) == PONG
    await reading.aclose()
    assert wire.heard == ["value", error, "closed"]


async def test_what_cannot_be_read_is_raised_and_is_the_clients_fault(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    error = ValueError("not JSON")
    reading = adapter_in(talk.reader, Wire(error)).iter_json()
    talk.connection.data_received(9)
    with pytest.raises(ValueError, match="not JSON") as raised:
        await anext(reading)
    assert raised.value is error
    talk.end(error)
    assert telemetry.total("websocket.server.closes", websocket__close__outcome="invalid_message")


@pytest.mark.internal_error
async def test_a_message_is_handed_on_though_it_cannot_be_reported(
    talk: FakeConnection, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "message_received", fail)
    monkeypatch.setattr(Connection, "message_unreadable", fail)
    reading = adapter_in(talk.reader, Wire(INIT, ValueError())).iter_json()
    assert await anext(reading) == INIT
    with pytest.raises(ValueError, match=r"^$"):
        await anext(reading)
    assert len(library_log.records) == 1


def fail(*_arguments: object) -> NoReturn:
    raise PipeError


class Unreadable(Adapter):
    """An adapter whose messages the host refuses."""

    def iter_json(self, **_options: bool) -> Any:
        return [INIT]


def test_what_is_no_iterator_is_left_to_the_host(talk: FakeConnection) -> None:
    adapter = adapter_in(talk.reader, Wire(), Unreadable)
    assert adapter.iter_json() == [INIT]


@pytest.mark.parametrize(
    ("cls", "reads_ahead"),
    [(Adapter, True), (Decorated, True), (AiohttpWebSocketAdapter, False)],
)
def test_only_the_hosts_own_adapter_is_known_to_read_a_frame_for_each_message(
    cls: type, talk: FakeConnection, *, reads_ahead: bool
) -> None:
    adapter_in(talk.reader, Wire(), cls)
    assert talk.connection.reads_ahead == reads_ahead


# --- What is sent --------------------------------------------------------------------------------


async def test_each_message_that_was_sent_counts(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    wire = Wire()
    adapter = adapter_in(talk.reader, wire)
    task = talk.start_operation()
    for _ in range(20):
        assert await adapter.send_json(NEXT) == "sent"
    assert await adapter.send_json(PONG, "more", named=1) == "sent"
    assert wire.sent == [(NEXT,)] * 20 + [(PONG, "more", ("named", 1))]
    talk.end_serving(task)
    talk.close_by_client()
    assert messages(telemetry) == {"subscribe": 1, "next": 20, "pong": 1}


async def test_a_result_has_the_time_at_which_its_frame_was_sent(
    talk: FakeConnection, clock: Clock
) -> None:
    adapter = adapter_in(talk.reader, Wire())
    operation = operation_in(talk.start_operation())
    assert operation.results.sent_at is None
    for _ in range(20):
        clock.passes(1)
        talk.connection.data_sent(20)
        await adapter.send_json(NEXT)
        assert operation.results.sent_at == clock.now


@pytest.mark.parametrize("message", [{}, {"type": "next"}, {"type": "next", "id": []}], ids=repr)
async def test_a_message_of_any_form_is_sent(
    message: Any, talk: FakeConnection, telemetry: Telemetry
) -> None:
    assert await adapter_in(talk.reader, Wire()).send_json(message) == "sent"
    talk.close_by_client()
    assert sum(messages(telemetry).values()) == 1


@pytest.mark.parametrize("error", [OverflowError(), asyncio.CancelledError()], ids=repr)
async def test_what_cannot_be_sent_is_raised_and_does_not_count(
    error: BaseException, talk: FakeConnection, telemetry: Telemetry
) -> None:
    wire = Wire()
    wire.failure = error
    with pytest.raises(type(error)) as raised:
        await adapter_in(talk.reader, wire).send_json(PONG)
    assert raised.value is error
    talk.close_by_client()
    assert messages(telemetry) == {}


@pytest.mark.internal_error
async def test_a_message_is_sent_though_it_cannot_be_counted(
    talk: FakeConnection, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "message_sent", fail)
    assert await adapter_in(talk.reader, Wire()).send_json(PONG) == "sent"
    assert len(library_log.records) == 1


async def write(message: object) -> object:
    return message


class Delegating(Adapter):
    """An adapter that sends by a function that knows nothing of it."""

    send_json = staticmethod(write)  # type: ignore[assignment]  # as an application may


async def test_an_adapter_may_send_by_what_is_no_method(talk: FakeConnection) -> None:
    adapter = adapter_in(talk.reader, Wire(), Delegating)
    assert await adapter.send_json(PONG) is PONG
    assert counted(talk) == 1


# --- What is sent, with a span for each message ----------------------------------------------


@pytest.fixture
def spanned(telemetry: Telemetry) -> FakeConnection:
    talk = FakeConnection(config(telemetry, message_spans=True))
    talk.accept(GRAPHQL_TRANSPORT_WS)
    return talk


def spans_of(telemetry: Telemetry, name: str) -> list[tuple[str, Any]]:
    """The status and the error type of each span of this name."""
    return [
        (span.status.status_code.name, attributes_of(span).get("error.type"))
        for span in telemetry.spans(name)
    ]


def test_without_spans_of_messages_nothing_stands_before_the_hosts_method(
    talk: FakeConnection,
) -> None:
    assert adapter_in(talk.reader, Wire())._otel_host_send is Adapter.send_json


async def test_the_span_of_a_message_covers_its_send(
    spanned: FakeConnection, telemetry: Telemetry
) -> None:
    wire = Wire()
    adapter = adapter_in(spanned.reader, wire)
    assert await adapter.send_json(PONG, "more", named=1) == "sent"
    assert wire.sent == [(PONG, "more", ("named", 1))]
    assert spans_of(telemetry, "graphql.ws.pong") == [("UNSET", None)]
    assert counted(spanned) == 1


@pytest.mark.parametrize(
    ("error", "recorded"),
    [
        (OverflowError("secret"), "OverflowError"),
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError"),
    ],
    ids=repr,
)
async def test_the_span_of_a_message_that_cannot_be_sent_has_failed(
    error: BaseException, recorded: str, spanned: FakeConnection, telemetry: Telemetry
) -> None:
    wire = Wire()
    wire.failure = error
    with pytest.raises(type(error)) as raised:
        await adapter_in(spanned.reader, wire).send_json(PONG)
    assert raised.value is error
    assert spans_of(telemetry, "graphql.ws.pong") == [("ERROR", recorded)]


async def test_a_message_that_was_written_before_its_sender_was_cancelled_has_not_failed(
    spanned: FakeConnection, telemetry: Telemetry
) -> None:
    wire = Wire()
    wire.failure = cancelled = asyncio.CancelledError()
    spanned.connection.write_cancelled(cancelled)
    with pytest.raises(asyncio.CancelledError):
        await adapter_in(spanned.reader, wire).send_json(PONG)
    assert spans_of(telemetry, "graphql.ws.pong") == [("UNSET", None)]
    assert counted(spanned) == 1


@pytest.mark.internal_error
@pytest.mark.parametrize("broken", ["send_begun", "send_ended"])
async def test_a_message_is_sent_though_its_span_fails(
    broken: str,
    spanned: FakeConnection,
    library_log: LogKeeper,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Connection, broken, fail)
    assert await adapter_in(spanned.reader, Wire()).send_json(PONG) == "sent"
    assert counted(spanned) == 1
    assert len(library_log.records) == 1


# --- How it is made ------------------------------------------------------------------------------


class Observed(Request):
    """A request that learns of the host's object for the WebSocket."""

    made: object = None

    def websocket_made(self, websocket: object) -> None:
        self.made = websocket


@pytest.mark.parametrize("is_factory", [True, False])
def test_an_edge_learns_of_the_websocket_however_the_adapter_is_made(
    talk: FakeConnection, telemetry: Telemetry, *, is_factory: bool
) -> None:
    request, place, wire = Observed(talk.request.telemetry), Place(), Wire()
    request.connection = talk.connection
    place.run(talk.connection.serving, request)
    over = ADAPTER_LAYER.over(staticmethod(Adapter) if is_factory else Adapter)
    owner: Any = type("Owner", (View,), {"adapter": over if is_factory else staticmethod(over)})
    place.run(owner().adapter, View(), None, wire)
    assert request.made is wire


def test_only_an_applications_class_is_announced_to_its_base() -> None:
    announced: list[str] = []

    class Own(Adapter):
        def __init_subclass__(cls) -> None:
            announced.append(cls.__name__)

    type("Further", (ADAPTER_LAYER.over(Own),), {})
    assert announced == ["Further"]
