"""Views that override what can be overridden, and the log record of an abnormal close."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial, partialmethod
from typing import Any, ClassVar

import pytest
from aiohttp import web
from opentelemetry import trace
from strawberry.aiohttp.views import AiohttpWebSocketAdapter, GraphQLView
from strawberry.exceptions import ConnectionRejectionError
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_ws.handlers import BaseGraphQLWSHandler

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin, connection_span
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    GREETING,
    INIT,
    SpanDict,
    close_event,
    connection,
    init,
    operation,
    received,
    recorded,
    results_of,
    sent,
)
from tests.support.frames import Frame, Opcode
from tests.support.hosting import Handler, Host, hosting, part
from tests.support.log import LIBRARY, LogKeeper, is_internal
from tests.support.raw_client import Client
from tests.support.scenarios.model import (
    BOTH,
    Verdict,
    by_client,
    by_server,
    refused,
    without_frames,
)
from tests.support.scenarios.steps import LEGACY, TRANSPORT, subscribe
from tests.support.schema import FOREVER, HELLO, TICKS, AppError, make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import Adapter, Fixed, View, answering, config, instrumented

METHODS = {"receive", "close", "send_str", "send_bytes", "send_frame"}
"""What an observed socket has of the library's."""


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


def instance(class_: type[View]) -> View:
    return class_(schema=make_schema(OTelExtension), keep_alive=False)


async def converse(host: Host, protocol: str = TRANSPORT) -> None:
    """One connection for one subscription."""
    client = await host.acknowledged(protocol)
    client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
    await client.message("complete")
    await part(client)


def conversation(protocol: str = TRANSPORT, **attributes: Any) -> list[SpanDict]:
    """What is recorded of it; `attributes` are further ones of the connection."""
    return [
        connection(protocol, messages=(2, 4), operations=["subscription"], **attributes),
        init(),
        operation(
            TICKS,
            "completed",
            protocol=protocol,
            name="Ticks",
            results=2,
            events=[*results_of(protocol, 1, 2), sent("complete")],
        ),
    ]


# --- Overridden members ----------------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_view_keeps_its_own_adapter(protocol: str, telemetry: Telemetry) -> None:
    class Own(OTelViewMixin, View):
        websocket_adapter_class = Adapter  # type: ignore[assignment]  # narrower in the host
        otel_config = config(telemetry)

    Adapter.seen.clear()
    async with hosting(instance(Own)) as host:
        await converse(host, protocol)

    assert issubclass(Own.websocket_adapter_class, Adapter)
    assert Adapter.seen[:3] == ["created", "received connection_init", "sent connection_ack"]
    assert len(Adapter.seen) == 7
    assert recorded(telemetry) == conversation(protocol)


async def test_the_adapter_may_come_from_a_base_class(telemetry: Telemetry) -> None:
    class Company(View):
        websocket_adapter_class = Adapter  # type: ignore[assignment]  # narrower in the host

    class Own(OTelViewMixin, Company):
        otel_config = config(telemetry)

    class Special(Own):
        pass

    Adapter.seen.clear()
    async with hosting(instance(Special)) as host:
        await converse(host)

    assert Special.websocket_adapter_class is Own.websocket_adapter_class
    assert Company.websocket_adapter_class is Adapter
    assert Adapter.seen.count("created") == 1
    assert recorded(telemetry) == conversation()


async def test_a_subclass_may_bring_another_adapter(telemetry: Telemetry) -> None:
    class Base(OTelViewMixin, View):
        otel_config = config(telemetry)

    class Own(Base):
        websocket_adapter_class = Adapter  # type: ignore[assignment]  # narrower in the host

    Adapter.seen.clear()
    async with hosting(instance(Own)) as host:
        await converse(host)

    assert Adapter.seen.count("created") == 1
    assert recorded(telemetry) == conversation()


def make_adapter(*arguments: Any) -> Adapter:
    return Adapter(*arguments)


def make_as_method(_self: View, *arguments: Any) -> Adapter:
    return Adapter(*arguments)


MAKERS = {
    "partial": staticmethod(partial(Adapter)),
    "static method": staticmethod(make_adapter),
    "method": make_as_method,
}


@pytest.mark.parametrize("kind", MAKERS)
async def test_a_view_keeps_what_makes_its_adapters(kind: str, telemetry: Telemetry) -> None:
    own: Any = type("Own", (GraphQLView,), {"websocket_adapter_class": MAKERS[kind]})
    async with hosting(instance(own)) as host:
        await converse(host)
    Adapter.seen.clear()
    async with hosting(instance(instrumented(telemetry, own))) as host:
        await converse(host)

    assert Adapter.seen.count("created") == 1
    assert len(Adapter.seen) == 7
    assert recorded(telemetry) == conversation()


class OfItsBase(View):
    """A view that asks for its adapters where it has them from."""

    def websocket_adapter_class(self, *arguments: Any) -> Any:  # type: ignore[override]
        return super().websocket_adapter_class(*arguments)


async def test_what_a_view_has_from_a_recorded_base_is_recorded_once(telemetry: Telemetry) -> None:
    base = instrumented(
        telemetry, type("Own", (GraphQLView,), {"websocket_adapter_class": Adapter})
    )
    Adapter.seen.clear()
    async with hosting(instance(type("Derived", (OfItsBase, base), {}))) as host:
        await converse(host)

    assert Adapter.seen.count("created") == 1
    assert recorded(telemetry) == conversation()


async def test_a_view_inherits_what_makes_adapters(telemetry: Telemetry) -> None:
    base = instrumented(
        telemetry, type("Own", (GraphQLView,), {"websocket_adapter_class": make_as_method})
    )
    Adapter.seen.clear()
    async with hosting(instance(type("Derived", (base,), {}))) as host:
        await converse(host)

    assert Adapter.seen.count("created") == 1
    assert recorded(telemetry) == conversation()


class Partial(AiohttpWebSocketAdapter):
    """An adapter whose way to send is no function."""

    async def _send(self, how: str, message: Mapping[str, Any]) -> None:
        await super().send_json({**message, "sent": how})

    send_json = partialmethod(_send, "in part")


async def test_the_adapter_may_send_by_whatever_can_be_called(telemetry: Telemetry) -> None:
    class Own(OTelViewMixin, View):
        websocket_adapter_class = Partial
        otel_config = config(telemetry)

    async with hosting(instance(Own)) as host:
        client = await host.connect()
        client.json({"type": "connection_init"})
        assert await client.message("connection_ack") == {
            "type": "connection_ack",
            "sent": "in part",
        }
        await part(client)
        await host.served()

    [whole] = telemetry.spans("GraphQL WebSocket Connection")
    assert attributes_of(whole)["graphql.ws.messages.sent"] == 1


class Codec:
    """What sends for an adapter, and is none."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket

    async def send_json(self, message: Mapping[str, Any]) -> None:
        await self.socket.send_json(dict(message))


class Delegating(AiohttpWebSocketAdapter):
    """An adapter whose way to send is somebody else's."""

    @property
    def send_json(self) -> Any:
        return Codec(self.ws).send_json


async def test_the_adapter_may_have_somebody_else_send(telemetry: Telemetry) -> None:
    class Own(OTelViewMixin, View):
        websocket_adapter_class = Delegating
        otel_config = config(telemetry)

    async with hosting(instance(Own)) as host:
        await converse(host)

    assert recorded(telemetry) == conversation()


class Waiting(AiohttpWebSocketAdapter):
    """An adapter in which results wait for their turn, which comes once."""

    turn: ClassVar[asyncio.Semaphore]

    async def send_json(self, message: Mapping[str, Any]) -> None:
        if message["type"] in {"next", "data"}:
            await self.turn.acquire()
        await super().send_json(message)


@asynccontextmanager
async def waiting(view_class: type[View], protocol: str) -> AsyncIterator[Client]:
    """A client that has heard a result, and leaves while the next one waits for its turn."""
    Waiting.turn = asyncio.Semaphore(1)
    async with hosting(instance(view_class)) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", TICKS, variables={"to": 5}))
        await client.message("next", "data")
        yield client
        await part(client)
        await host.served()


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_result_that_waits_for_its_turn_when_its_operation_is_stopped_is_not_counted(
    protocol: str, telemetry: Telemetry
) -> None:
    class Own(OTelViewMixin, View):
        websocket_adapter_class = Waiting
        otel_config = config(telemetry)

    async with waiting(Own, protocol):
        pass

    [whole] = telemetry.spans("GraphQL WebSocket Connection")
    [one] = telemetry.spans("subscription")
    assert attributes_of(one)["graphql.ws.results"] == 1
    # Beside it the ack.
    assert attributes_of(whole)["graphql.ws.messages.sent"] == 2


class Slow(web.WebSocketResponse):
    """A socket that waits when it has sent what the application says on it."""

    async def send_str(self, data: str, *arguments: Any, **options: Any) -> None:
        await super().send_str(data, *arguments, **options)
        if data == "raw":
            await asyncio.Event().wait()


class Impatient(Waiting):
    """An adapter whose own message on the socket is cancelled, after which results wait."""

    async def send_json(self, message: Mapping[str, Any]) -> None:
        if message["type"] in {"next", "data"} and self.turn.locked():
            with suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await self.ws.send_str("raw")
        await super().send_json(message)


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_cancelled_message_of_the_application_says_nothing_of_the_next_result(
    protocol: str, telemetry: Telemetry
) -> None:
    class Own(answering(Slow, instrumented(telemetry))):  # type: ignore[misc]  # a class from a call
        websocket_adapter_class = Impatient

    async with waiting(Own, protocol) as client:
        while (await client.frame()).payload != b"raw":
            pass

    [one] = telemetry.spans("subscription")
    assert attributes_of(one)["graphql.ws.results"] == 1


class Demanding(Adapter):
    """An adapter of which there is no class but by way of a keyword."""

    def __init_subclass__(cls, *, needed: int) -> None:
        raise AssertionError(needed)


@pytest.mark.parametrize("made_by", [Demanding, staticmethod(partial(Demanding))], ids=type)
async def test_an_adapter_has_no_say_in_the_classes_of_the_library(
    made_by: Any, telemetry: Telemetry
) -> None:
    own: Any = type("Own", (GraphQLView,), {"websocket_adapter_class": made_by})
    async with hosting(instance(instrumented(telemetry, own))) as host:
        await converse(host)
    assert recorded(telemetry) == conversation()


@pytest.mark.internal_error
async def test_an_adapter_that_cannot_be_recorded_serves_all_the_same(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    maker = staticmethod(partial(Fixed))
    own: Any = type("Own", (GraphQLView,), {"websocket_adapter_class": maker})
    async with hosting(instance(instrumented(telemetry, own))) as host:
        await converse(host)

    [record] = library_log.records
    assert is_internal(record)
    [whole] = telemetry.spans(CONNECTION)
    assert attributes_of(whole)["websocket.close.outcome"] == "normal"


class Iterable:
    """Messages that are no generator."""

    def __init__(self, messages: AsyncIterator[object]) -> None:
        self._messages = messages

    def __aiter__(self) -> AsyncIterator[object]:
        return self._messages


class Iterating(Adapter):
    def iter_json(self, **options: Any) -> Any:
        return Iterable(super().iter_json(**options))


async def test_messages_may_be_any_iterable(telemetry: Telemetry) -> None:
    own: Any = type("Own", (GraphQLView,), {"websocket_adapter_class": Iterating})
    async with hosting(instance(instrumented(telemetry, own))) as host:
        await converse(host)
    assert recorded(telemetry) == conversation()


@pytest.mark.parametrize("adapter", [None, dict, "adapter"])
def test_what_makes_no_adapters_is_refused(adapter: Any) -> None:
    with pytest.raises(TypeError, match="must be a subclass of AsyncWebSocketAdapter"):

        class Wrong(OTelViewMixin, View):
            websocket_adapter_class = adapter


def handlers(seen: list[str]) -> dict[str, Any]:
    """Handler classes that note what they handle."""

    class Transport(BaseGraphQLTransportWSHandler[Any, Any]):
        async def handle_message(self, message: Any) -> None:
            seen.append(message["type"])
            await super().handle_message(message)

    class Legacy(BaseGraphQLWSHandler[Any, Any]):
        async def handle_message(self, message: Any) -> None:
            seen.append(message["type"])
            await super().handle_message(message)

    return {"graphql_transport_ws_handler_class": Transport, "graphql_ws_handler_class": Legacy}


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_view_keeps_its_own_handlers(protocol: str, telemetry: Telemetry) -> None:
    seen: list[str] = []
    own: Any = type("Own", (GraphQLView,), handlers(seen))
    async with hosting(instance(instrumented(telemetry, own))) as host:
        await converse(host, protocol)

    assert seen == ["connection_init", {TRANSPORT: "subscribe", LEGACY: "start"}[protocol]]
    assert recorded(telemetry) == conversation(protocol)


class Driven(BaseGraphQLTransportWSHandler[Any, Any]):
    """A handler that drives its messages as the generator that they are."""

    async def handle(self) -> Any:
        messages = self.websocket.iter_json()
        assert await messages.asend(None) == {"type": "connection_init"}
        assert await anext(messages) == {"type": "ping"}
        await self.end(messages)
        assert [message async for message in messages] == []
        await self.websocket.close(code=4321, reason="driven")

    async def end(self, messages: Any) -> None:
        raise NotImplementedError


class Thrown(Driven):
    """It throws into them."""

    async def end(self, messages: Any) -> None:
        with pytest.raises(AppError):
            await messages.athrow(AppError())


class Closed(Driven):
    """It closes them."""

    async def end(self, messages: Any) -> None:
        await messages.aclose()


async def drive(view_class: type[Any], handler: type[Driven]) -> list[Frame]:
    own: Any = type("Own", (view_class,), {"graphql_transport_ws_handler_class": handler})
    async with hosting(own(schema=make_schema(OTelExtension), keep_alive=False)) as host:
        client = await host.connect()
        client.json({"type": "connection_init"}, {"type": "ping"}, {"type": "pong"})
        await client.until_end()
        return client.frames


@pytest.mark.parametrize("handler", [Thrown, Closed])
async def test_a_handler_may_drive_the_messages_as_a_generator(
    handler: type[Driven], telemetry: Telemetry
) -> None:
    frames = await drive(instrumented(telemetry), handler)
    assert frames == await drive(GraphQLView, handler)
    assert [frame.opcode for frame in frames] == [Opcode.CLOSE]
    [whole] = telemetry.spans(CONNECTION)
    assert [event.name for event in whole.events] == [
        "graphql.ws.connection_init",
        "graphql.ws.ping",
        "websocket.close",
    ]


async def test_a_view_keeps_its_own_context_and_connect(telemetry: Telemetry) -> None:
    class Own(OTelViewMixin, View):
        otel_config = config(telemetry)

        async def get_context(self, request: Any, response: Any) -> Any:
            connection_span().set_attribute("context", type(response).__name__)
            return {"user": "ada"}

        async def on_ws_connect(self, context: Any) -> Any:
            connection_span().set_attribute("user", context["user"])
            return {"welcome": context["user"]}

    async with hosting(instance(Own)) as host:
        await converse(host)
        [client] = host.clients

    assert client.data_frames[0].json == {
        "type": "connection_ack",
        "payload": {"welcome": "ada"},
    }
    assert recorded(telemetry) == conversation(context="WebSocketResponse", user="ada")


async def test_a_view_may_make_its_response_with_the_help_of_its_base(
    telemetry: Telemetry,
) -> None:
    made: list[web.WebSocketResponse] = []

    class Own(OTelViewMixin, View):
        otel_config = config(telemetry)

        async def create_websocket_response(self, request: Any, subprotocol: Any) -> Any:
            ws = await super().create_websocket_response(request, subprotocol)
            made.append(ws)
            return ws

    async with hosting(instance(Own)) as host:
        await converse(host)

    assert len(made) == 1
    assert recorded(telemetry) == conversation()


class Alone(View):
    """A view that makes its response without any help."""

    made: ClassVar[list[web.WebSocketResponse]] = []

    async def create_websocket_response(self, request: Any, subprotocol: Any) -> Any:
        ws = self.response(subprotocol)
        await ws.prepare(request)
        self.made.append(ws)
        return ws

    def response(self, subprotocol: str | None) -> web.WebSocketResponse:
        return web.WebSocketResponse(protocols=[subprotocol] if subprotocol else [])


class Wrapped(Alone):
    """The same, with a wrapper around `close`."""

    closes: ClassVar[list[int]] = []

    def response(self, subprotocol: str | None) -> web.WebSocketResponse:
        ws = super().response(subprotocol)
        close = ws.close

        async def counted(*, code: int = 1000, **options: Any) -> bool:
            self.closes.append(code)
            return await close(code=code, **options)

        ws.close = counted  # type: ignore[method-assign]  # as an application may
        return ws


@pytest.fixture
def _forgetful() -> Iterator[None]:
    yield
    Wrapped.closes.clear()
    Alone.made.clear()


def by_itself(base: type[View], telemetry: Telemetry) -> Iterator[type[View]]:
    """Views that upgrade in a way which the mixin notices, and in one which it does not."""

    class Own(OTelViewMixin, base):  # type: ignore[valid-type,misc]  # whichever it is
        otel_config = config(telemetry)

    class Last(Own):
        async def create_websocket_response(self, request: Any, subprotocol: Any) -> Any:
            return await Alone.create_websocket_response(self, request, subprotocol)

    yield from (Own, Last)


@pytest.mark.usefixtures("_forgetful")
@pytest.mark.parametrize("base", [Alone, Wrapped])
async def test_a_view_may_make_its_response_alone(
    base: type[View], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    for class_ in by_itself(base, telemetry):
        async with hosting(instance(class_)) as host:
            await converse(host)

    links = [INIT, "subscription"]
    [first, second] = recorded(telemetry, CONNECTION)
    assert first == conversation()[0]
    assert second == {
        **conversation(id_="c2")[0],
        "links": [f"{link} 2" for link in links],
    }
    # aiohttp answers the client, and asks again when the handler is done.
    assert Wrapped.closes == ([1000] * 4 if base is Wrapped else [])
    assert not library_log.records


async def test_a_view_keeps_its_own_call_and_run(telemetry: Telemetry) -> None:
    seen: list[str] = []

    class Own(OTelViewMixin, View):
        otel_config = config(telemetry)

        async def __call__(self, request: Any) -> Any:
            seen.append("call")
            return await super().__call__(request)

        async def run(self, request: Any, *arguments: Any, **keywords: Any) -> Any:
            seen.append(f"run {trace.get_current_span().is_recording()}")
            try:
                return await super().run(request, *arguments, **keywords)
            finally:
                seen.append(f"ran {trace.get_current_span().is_recording()}")

    async with hosting(instance(Own)) as host:
        await converse(host)

    assert seen == ["call", "run False", "ran False"]
    assert recorded(telemetry) == conversation()


async def test_a_run_below_the_mixin_is_inside_the_connection(telemetry: Telemetry) -> None:
    class Below(View):
        async def run(self, request: Any, *arguments: Any, **keywords: Any) -> Any:
            connection_span().set_attribute("below", "yes")
            return await super().run(request, *arguments, **keywords)

    async with hosting(instance(instrumented(telemetry, Below))) as host:
        await converse(host)

    assert recorded(telemetry) == conversation(below="yes")


async def test_a_run_that_raises_before_it_can_be_awaited_is_recorded_like_any_other(
    telemetry: Telemetry,
) -> None:
    class Guarded(View):
        def run(self, request: Any, *arguments: Any, **keywords: Any) -> Any:
            if "X-Forbidden" in request.headers:
                raise web.HTTPForbidden
            return super().run(request, *arguments, **keywords)

    async with hosting(instance(instrumented(telemetry, Guarded))) as host:
        client = await host.connect(headers={"X-Forbidden": "yes"})
        assert client.status == 403
        await host.served()

    [span] = telemetry.spans()
    assert attributes_of(span)["websocket.close.outcome"] == "handshake_rejected"
    assert telemetry.total("websocket.server.closes") == 1


async def test_a_run_may_bring_context_and_root_value(telemetry: Telemetry) -> None:
    class Own(OTelViewMixin, View):
        otel_config = config(telemetry)

        async def __call__(self, request: Any) -> Any:
            return await self.run(request, {"given": True}, root_value=None)

        async def on_ws_connect(self, context: Any) -> Any:
            connection_span().set_attribute("given", context["given"])
            return await super().on_ws_connect(context)

    async with hosting(instance(Own)) as host:
        await converse(host)

    assert recorded(telemetry) == conversation(given=True)


# --- Class layouts ---------------------------------------------------------------------------


async def test_the_mixin_may_stand_in_a_base_that_is_no_view(telemetry: Telemetry) -> None:
    class Base(OTelViewMixin):
        otel_config = config(telemetry)

    class Own(Base, GraphQLView[Any, Any]):
        pass

    async with hosting(instance(Own)) as host:
        await converse(host)

    assert recorded(telemetry) == conversation()


async def test_an_instance_may_have_a_configuration_of_its_own(telemetry: Telemetry) -> None:
    class Own(OTelViewMixin, View):
        pass

    view: Any = instance(Own)
    view.otel_config = config(telemetry)
    async with hosting(view) as host:
        await converse(host)
        assert recorded(telemetry) == conversation()
        recording = view._otel_telemetry()
        await part(await host.acknowledged())

    assert view._otel_telemetry() is recording
    assert len(telemetry.spans(CONNECTION)) == 2


def test_a_mixin_behind_the_view_is_refused() -> None:
    with pytest.raises(
        TypeError,
        match=r"Wrong would not be recorded.*class Wrong\(OTelViewMixin, GraphQLView\)",
    ):

        class Wrong(GraphQLView[Any, Any], OTelViewMixin):
            pass


def test_a_mixin_behind_a_view_further_up_is_refused() -> None:
    class Company(View):
        pass

    with pytest.raises(TypeError, match="Wrong would not be recorded"):

        class Wrong(Company, OTelViewMixin):
            pass


def test_a_mixin_without_a_view_is_refused_at_the_latest_when_it_is_used() -> None:
    class Base(OTelViewMixin):
        pass

    with pytest.raises(TypeError, match="Base is no GraphQLView"):
        Base()
    with pytest.raises(TypeError, match="OTelViewMixin is no GraphQLView"):
        OTelViewMixin()


@pytest.mark.parametrize("wrong", [None, {}, OTelConfig, "config"])
def test_a_configuration_of_another_type_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"Wrong\.otel_config must be an OTelConfig, not"):

        class Wrong(OTelViewMixin, View):
            otel_config = wrong


# --- The socket ------------------------------------------------------------------------------


def watching(base: type[View], sockets: list[Any]) -> type[View]:
    """The same view, but the sockets of its connections, and its adapters', are kept."""

    class Keeping(AiohttpWebSocketAdapter):
        def __init__(self, view: Any, request: Any, ws: Any) -> None:
            super().__init__(view, request, ws)
            sockets.append((self, ws))

    class Watched(base):  # type: ignore[valid-type,misc]  # whichever it is
        websocket_adapter_class = Keeping

    return Watched


def look(ws: web.WebSocketResponse) -> tuple[type, str, set[str]]:
    """What the application sees of a socket: its class, the name of that, and its attributes."""
    cls = type(ws)
    return cls, f"{cls.__module__}.{cls.__qualname__}", METHODS & vars(ws).keys()


@pytest.mark.parametrize("protocol", BOTH)
async def test_the_socket_is_the_host_s_and_has_its_class_back_in_the_end(
    protocol: str, telemetry: Telemetry
) -> None:
    kept: list[Any] = []
    responses: list[web.StreamResponse] = []
    seen: list[tuple[type, str, set[str]]] = []

    class Looking(View):
        async def on_ws_connect(self, context: Any) -> Any:
            seen.append(look(context["response"]))
            return await super().on_ws_connect(context)

    @web.middleware
    async def keep(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        responses.append(response)
        return response

    async with hosting(instance(instrumented(telemetry, watching(Looking, kept))), keep) as host:
        await converse(host, protocol)

    [(adapter, ws)] = kept
    assert adapter.ws is ws
    assert responses == [ws]
    [(class_, name, attributes)] = seen
    assert issubclass(class_, web.WebSocketResponse)
    assert class_ is not web.WebSocketResponse
    assert look(ws) == (web.WebSocketResponse, name, attributes)
    assert (name, attributes) == ("aiohttp.web_ws.WebSocketResponse", set())
    assert not [key for key in vars(ws) if "otel" in key]
    assert recorded(telemetry) == conversation(protocol)


async def test_a_wrapper_that_the_application_laid_over_an_observed_socket_stays(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    sockets: list[Any] = []
    closes: list[Any] = []

    class Wrapping(View):
        async def get_context(self, request: Any, response: Any) -> Any:
            sockets.append((response, wrap_close(response, closes)))
            return {}

    async with hosting(instance(instrumented(telemetry, Wrapping))) as host:
        client = await host.connect()
        client.json({"type": "nonsense"})
        await client.until_end()

    [(ws, wrapper)] = sockets
    assert METHODS & vars(ws).keys() == {"close"}
    assert vars(ws)["close"] is wrapper
    # aiohttp closes again when the handler is done.
    assert closes == [4400, 1000]
    assert not [record for record in caplog.records if record.name != LIBRARY]
    verdict = by_server("invalid_message", 4400, "Unknown message type: nonsense", echo=4400)
    assert recorded(telemetry) == [
        connection(
            TRANSPORT,
            verdict,
            messages=(1, 0),
            acknowledged=False,
            links=[],
            events=[received("_OTHER")],
        )
    ]


def wrap_close(ws: Any, closes: list[Any]) -> Callable[..., Any]:
    close = ws.close

    async def wrapper(*, code: int = 1000, **options: Any) -> Any:
        closes.append(code)
        return await close(code=code, **options)

    ws.close = wrapper
    return wrapper


@pytest.mark.usefixtures("_forgetful")
@pytest.mark.parametrize("recording", [False, True])
async def test_a_wrapper_that_the_application_laid_before_us_is_there_again(
    recording: bool,  # noqa: FBT001  # a parameter of the test
    telemetry: Telemetry,
) -> None:
    class_ = instrumented(telemetry, Wrapped) if recording else Wrapped
    async with hosting(instance(class_)) as host:
        client = await host.connect()
        client.json({"type": "nonsense"})
        await client.until_end()

    [ws] = Alone.made
    assert METHODS & vars(ws).keys() == {"close"}
    assert vars(ws)["close"].__name__ == "counted"
    # aiohttp closes again when the handler is done.
    assert Wrapped.closes == [4400, 1000]


# --- The log ---------------------------------------------------------------------------------


class Traced(logging.Handler):
    """Keeps the span in whose context each record was made."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.spans.append(trace.get_current_span().get_span_context().span_id)


@pytest.fixture
def traced() -> Iterator[Traced]:
    handler, logger = Traced(), logging.getLogger(LIBRARY)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def resets(client: Any) -> None:
    client.reset()


def says_nonsense(client: Any) -> None:
    client.json({"type": "nonsense"})


def gives_up(client: Any) -> None:
    client.close(4499, b"enough")


ABNORMAL: dict[str, tuple[Callable[[Any], None], Verdict]] = {
    "a lost connection": (resets, without_frames("connection_lost")),
    "a message of no type": (
        says_nonsense,
        by_server("invalid_message", 4400, "Unknown message type: nonsense", echo=4400),
    ),
    "a client that gives up": (gives_up, by_client("client_terminated", 4499, "enough")),
}


def extra(record: logging.LogRecord) -> dict[str, Any]:
    """What a record holds beyond what every record does."""
    return {key: value for key, value in vars(record).items() if "." in key}


def expected_extra(verdict: Verdict, whole: SpanDict) -> dict[str, Any]:
    """The verdict and the client as they stand on the span."""
    keys = [key for key in whole["attributes"] if key.startswith("websocket.close.")]
    idle = ["graphql.ws.receive_idle_time", "graphql.ws.send_idle_time"]
    client = ["client.address", "user_agent.original"]
    return {key: whole["attributes"][key] for key in [*keys, *idle, *client, "error.type"]}


@pytest.mark.parametrize("case", ABNORMAL)
async def test_an_abnormal_close_is_logged_once_with_its_verdict_inside_its_trace(
    case: str, telemetry: Telemetry, library_log: LogKeeper, traced: Traced
) -> None:
    ending, verdict = ABNORMAL[case]
    async with hosting(instance(instrumented(telemetry))) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next")
        ending(client)
        await client.until_end()

    [whole] = telemetry.spans(CONNECTION)
    assert whole.context is not None
    assert whole.attributes is not None
    [record] = library_log.records
    assert (record.levelno, record.name) == (logging.WARNING, LIBRARY)
    fields, id_ = extra(record), whole.attributes["websocket.connection.id"]
    assert record.getMessage() == message_about(id_, verdict)
    assert fields.pop("websocket.connection.id") == id_
    assert fields == expected_extra(verdict, recorded(telemetry, CONNECTION)[0])
    assert traced.spans == [whole.context.span_id]


def message_about(id_: object, verdict: Verdict) -> str:
    return (
        f"GraphQL WebSocket {id_} closed abnormally: {verdict.outcome} (code {verdict.code},"
        f" fault {verdict.fault}, initiator {verdict.initiator})"
    )


async def test_what_the_log_says_of_a_client_is_as_short_as_on_the_span(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async with hosting(instance(instrumented(telemetry))) as host:
        client = await host.connect(headers={"User-Agent": "x" * 4000})
        client.reset()
        await client.until_end()

    [whole] = recorded(telemetry, CONNECTION)
    [record] = library_log.records
    assert extra(record)["user_agent.original"] == "x" * 256
    assert whole["attributes"]["user_agent.original"] == "x" * 256


async def test_a_close_that_is_the_server_s_fault_is_logged_as_an_error(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Broken(View):
        async def on_ws_connect(self, context: Any) -> Any:
            raise AppError("no database")

    async with hosting(instance(instrumented(telemetry, Broken))) as host:
        client = await host.connect()
        client.json({"type": "connection_init"})
        await client.until_end()

    verdict = without_frames("server_error", "tests.support.schema.AppError", "no database")
    [record] = library_log.records
    assert record.levelno == logging.ERROR
    id_ = extra(record)["websocket.connection.id"]
    raised = "tests.support.schema.AppError: no database"
    assert record.getMessage() == f"{message_about(id_, verdict)}: {raised}"
    assert recorded(telemetry) == [
        connection(
            TRANSPORT,
            verdict,
            messages=(1, 0),
            acknowledged=False,
            links=[INIT],
            events=[received("connection_init")],
        ),
        init(error="tests.support.schema.AppError"),
    ]


async def test_an_exception_before_the_upgrade_is_a_refused_handshake_with_a_500(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Broken(View):
        async def get_root_value(self, request: Any) -> Any:
            raise AppError("no database")

    async with hosting(instance(instrumented(telemetry, Broken))) as host:
        client = await host.connect()
        assert client.status == 500

    verdict = refused("server_error", 500, "tests.support.schema.AppError", "no database")
    [record] = library_log.records
    assert record.levelno == logging.ERROR
    id_ = extra(record)["websocket.connection.id"]
    raised = "tests.support.schema.AppError: no database"
    assert record.getMessage() == f"{message_about(id_, verdict)}: {raised}"
    assert recorded(telemetry) == [refusal(verdict)]


def refusal(verdict: Verdict) -> SpanDict:
    """What is recorded of a handshake that was refused."""
    whole = connection(
        None, verdict, messages=(0, 0), acknowledged=False, links=[], events=(), idle=None
    )
    assert whole["events"].pop() == close_event(verdict)
    return whole


async def test_a_handshake_refused_with_a_4xx_is_not_logged(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Strict(View):
        async def get_root_value(self, request: Any) -> Any:
            raise web.HTTPUnauthorized

    async with hosting(instance(instrumented(telemetry, Strict))) as host:
        client = await host.connect()
        assert client.status == 401

    verdict = refused("handshake_rejected", 401, error="aiohttp.web_exceptions.HTTPUnauthorized")
    assert library_log.records == []
    assert recorded(telemetry) == [refusal(verdict)]


async def test_a_rejected_login_is_the_client_s_fault(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Strict(View):
        async def on_ws_connect(self, context: Any) -> Any:
            raise ConnectionRejectionError

    async with hosting(instance(instrumented(telemetry, Strict))) as host:
        client = await host.connect()
        client.json({"type": "connection_init"})
        await client.until_end()

    verdict = by_server("forbidden", 4403, "Forbidden", echo=4403)
    [record] = library_log.records
    assert record.levelno == logging.WARNING
    assert recorded(telemetry) == [
        connection(
            TRANSPORT,
            verdict,
            messages=(1, 0),
            acknowledged=False,
            links=[INIT],
            events=[received("connection_init")],
        ),
        init(error="forbidden"),
    ]


@pytest.mark.parametrize("code", [1000, 1001, None])
async def test_a_normal_close_is_not_logged(
    code: int | None, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async with hosting(instance(instrumented(telemetry))) as host:
        client = await host.acknowledged()
        client.close(code)
        await client.until_end()

    assert library_log.records == []
    assert recorded(telemetry) == [
        connection(TRANSPORT, by_client("normal", code), messages=(1, 1), events=GREETING),
        init(),
    ]


async def test_a_request_over_http_that_is_no_handshake_makes_no_connection(
    telemetry: Telemetry,
) -> None:
    async with hosting(instance(instrumented(telemetry))) as host:
        assert await host.post({"query": HELLO}) == (200, {"data": {"hello": "world"}})

    assert CONNECTION not in {each["name"] for each in recorded(telemetry)}
    assert telemetry.total("websocket.server.closes") == 0
