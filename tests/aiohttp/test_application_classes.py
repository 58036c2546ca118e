"""An application's classes may take, return or do more than the host's: nothing changes.

The conversation is compared with the one without the mixin, the verdict with what was on the wire.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType, web
from strawberry.aiohttp.views import AiohttpWebSocketAdapter
from strawberry.extensions import SchemaExtension

from strawberry_ws_otel import OTelExtension
from tests.support.expected import CONNECTION, recorded
from tests.support.frames import Frame, Opcode
from tests.support.hosting import Host, hosting, part
from tests.support.raw_client import Client
from tests.support.scenarios.steps import LEGACY, TRANSPORT, subscribe
from tests.support.schema import FOREVER, TICKS, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View, answering, instrumented

PING = {"type": "ping"}
ENDS = {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}

Talk = Callable[[Client], Awaitable[None]]
Handler: Any = View.graphql_transport_ws_handler_class  # type: ignore[misc]  # it is generic


async def conversation(view: type[View], talk: Talk) -> list[Frame]:
    """What the server sends to a client that is acknowledged and talks, then leaves if it may."""
    async with hosting(view(schema=make_schema(), keep_alive=False)) as host:
        client = await host.acknowledged()
        await talk(client)
        await host.served()
        return client.frames


async def both(telemetry: Telemetry, view: type[View], talk: Talk) -> None:
    """The conversation with the mixin over the class is that with the class alone."""
    frames = await conversation(instrumented(telemetry, view), talk)
    assert frames == await conversation(view, talk)


def closed(telemetry: Telemetry) -> tuple[Any, ...]:
    """Outcome, code, initiator and class of the error of the one connection."""
    [connection] = recorded(telemetry, CONNECTION)
    attributes = connection["attributes"]
    names = ("outcome", "code", "initiator")
    return (
        *(attributes.get(f"websocket.close.{name}") for name in names),
        attributes.get("error.type"),
    )


def adapted(adapter: type[AiohttpWebSocketAdapter], handler: Any = Handler) -> type[View]:
    """A view with this adapter and this handler."""

    class Adapted(View):
        websocket_adapter_class = adapter
        graphql_transport_ws_handler_class = handler

    return Adapted


# --- Methods that take and return more -------------------------------------------------------


class Wider(AiohttpWebSocketAdapter):
    """Each method takes something more, and returns something."""

    async def send_json(self, message: Any, compress: int | None = None) -> Any:
        await self.ws.send_str(str(self.view.encode_json(message)), compress=compress)
        return "sent"

    async def close(self, code: int, reason: str = "by default", *, quiet: bool = False) -> Any:
        await super().close(code, "" if quiet else reason)
        return "closed"


def calling(said: list[object], *calls: Callable[[Any], Awaitable[object]]) -> Any:
    """A handler that answers a PING by these calls, and keeps what they return."""

    class Calling(Handler):  # type: ignore[misc]  # a class in a variable
        async def handle_ping(self, _message: object) -> None:
            said.extend([await call(self.websocket) for call in calls])

    return Calling


async def ping(client: Client) -> None:
    client.json(PING)
    await client.until_end()


@pytest.mark.parametrize(
    ("close", "verdict"),
    [
        (lambda ws: ws.close(4000), ("application_code", 4000, "server", "application_code")),
        (lambda ws: ws.close(4000, "x"), ("application_code", 4000, "server", "application_code")),
        (
            lambda ws: ws.close(reason="x", code=1000, quiet=True),
            ("normal", 1000, "server", None),
        ),
    ],
    ids=["with a default", "by position", "by name, with one more"],
)
async def test_an_adapter_may_take_and_return_more(
    telemetry: Telemetry, close: Any, verdict: tuple[Any, ...]
) -> None:
    said: list[object] = []
    pong = {"type": "pong"}
    handler = calling(
        said,
        lambda ws: ws.send_json(pong),
        lambda ws: ws.send_json(pong, 0),
        lambda ws: ws.send_json(pong, compress=0),
        close,
    )
    await both(telemetry, adapted(Wider, handler), ping)
    assert said == ["sent", "sent", "sent", "closed"] * 2
    assert closed(telemetry) == verdict


async def test_the_messages_of_an_adapter_may_be_sent_values(telemetry: Telemetry) -> None:
    heard: list[object] = []

    class Hearing(AiohttpWebSocketAdapter):
        async def iter_json(  # type: ignore[override]  # that is the point
            self, first: object, *, ignore_parsing_errors: bool = False
        ) -> AsyncGenerator[object, object]:
            heard.append(first)
            async for message in self.ws:
                recorded = yield self.view.decode_json(message.data)
                heard.append(recorded)

    class Telling(Handler):  # type: ignore[misc]  # a class in a variable
        async def handle(self) -> None:
            self.on_request_accepted()
            messages = self.websocket.iter_json("first")
            try:
                message = await anext(messages)
                while True:
                    await self.handle_message(message)
                    message = await messages.asend(message["type"])
            except StopAsyncIteration:
                await self.shutdown()

    async def talk(client: Client) -> None:
        client.json(PING)
        await client.message("pong")
        await part(client)

    await both(telemetry, adapted(Hearing, Telling), talk)
    assert heard == ["first", "connection_init", "ping"] * 2
    assert closed(telemetry) == ("normal", 1000, "client", None)


async def test_messages_may_be_asked_for_when_the_view_is_done(telemetry: Telemetry) -> None:
    kept: list[Any] = []

    class Keeping(Handler):  # type: ignore[misc]  # a class in a variable
        async def handle(self) -> None:
            self.on_request_accepted()
            messages = self.websocket.iter_json()
            kept.append(messages)
            await anext(messages)
            await self.send_message({"type": "connection_ack"})

    await both(telemetry, adapted(AiohttpWebSocketAdapter, Keeping), is_idle)
    for messages in kept:
        assert [message async for message in messages] == []
    assert closed(telemetry) == ("normal", 1000, "server", None)


async def test_a_view_beneath_the_mixin_may_take_more(telemetry: Telemetry) -> None:
    class Company(View):
        async def create_websocket_response(
            self, request: web.Request, subprotocol: str | None, *, heartbeat: float | None = None
        ) -> web.WebSocketResponse:
            ws = web.WebSocketResponse(protocols=[subprotocol or ""], heartbeat=heartbeat)
            await ws.prepare(request)
            return ws

    class Team(instrumented(telemetry, Company)):  # type: ignore[misc]  # a class from a call
        async def create_websocket_response(
            self, request: web.Request, subprotocol: str | None
        ) -> web.WebSocketResponse:
            ws: web.WebSocketResponse = await super().create_websocket_response(
                request, subprotocol, heartbeat=30
            )
            return ws

    await conversation(Team, part)
    assert closed(telemetry) == ("normal", 1000, "client", None)


async def test_a_response_may_take_and_return_more(telemetry: Telemetry) -> None:
    said: list[object] = []

    class Response(web.WebSocketResponse):
        async def send_str(self, data: str, compress: int | None = None) -> Any:
            await super().send_str(data, compress)
            return "text"

        async def send_bytes(self, data: bytes, compress: int | None = None) -> Any:
            await super().send_bytes(data, compress)
            return "bytes"

        async def close(  # type: ignore[override]  # that is the point
            self, code: int = 1000, message: bytes = b"", *, why: str = ""
        ) -> bool:
            return await super().close(code=code, message=message + why.encode())

    class Saying(AiohttpWebSocketAdapter):
        async def send_json(self, message: Any) -> Any:
            ws: Any = self.ws
            said.append(await ws.send_str(self.view.encode_json(message)))

        async def close(self, code: int, reason: str) -> None:
            ws: Any = self.ws
            said.append(await ws.send_bytes(b"bye"))
            said.append(await ws.close(code, reason.encode(), why="!"))

    class Both(answering(Response)):  # type: ignore[misc]  # a class from a call
        websocket_adapter_class = Saying

    async def talk(client: Client) -> None:
        client.json({"type": "nonsense"})
        await client.until_end()

    await both(telemetry, Both, talk)
    assert said == ["text", "bytes", True] * 2
    assert closed(telemetry) == ("invalid_message", 4400, "server", "invalid_message")


async def test_what_the_application_passes_to_a_response_and_gets_from_it_is_the_response_s(
    telemetry: Telemetry,
) -> None:
    kept: list[tuple[object, object]] = []
    closes: list[bool] = []

    class Keeping(web.WebSocketResponse):
        async def send_str(self, data: str, compress: int | None = None) -> None:
            if compress is not None:
                kept.append((data, compress))
            await super().send_str(data)

        async def send_bytes(self, data: bytes, compress: int | None = None) -> None:
            kept.append((data, compress))
            await super().send_bytes(data)

    class Own(answering(Keeping)):  # type: ignore[misc]  # a class from a call
        async def on_ws_connect(self, context: Any) -> Any:
            ws = context["response"]
            await ws.send_str("a", compress=9)
            await ws.send_str("b", 9)
            await ws.send_bytes(b"c", compress=9)
            await ws.send_bytes(b"d", 9)
            closes.extend([await ws.close(), await ws.close()])

    for view in (Own, instrumented(telemetry, Own)):
        async with hosting(view(schema=make_schema())) as host:
            client = await host.connect()
            client.json({"type": "connection_init"})
            await client.until_end()
    assert kept == [("a", 9), ("b", 9), (b"c", 9), (b"d", 9)] * 2
    assert closes == [True, False] * 2


async def test_the_bytes_of_a_text_are_counted_not_its_characters(telemetry: Telemetry) -> None:
    class Own(View):
        async def on_ws_connect(self, context: Any) -> Any:
            await context["response"].send_str('{"type": "\u00fc\u20ac\U0001f600"}')
            return await super().on_ws_connect(context)

    frames = await conversation(instrumented(telemetry, Own), part)
    sent = sum(len(frame.payload) for frame in frames if frame.is_data)
    assert telemetry.total("websocket.server.io", {"network.io.direction": "transmit"}) == sent


async def test_a_response_may_be_given_what_is_no_text(telemetry: Telemetry) -> None:
    class Box:
        def __init__(self, text: str) -> None:
            self.text = text

    class Unboxing(web.WebSocketResponse):
        async def send_str(self, data: Any, compress: int | None = None) -> None:
            await super().send_str(data.text, compress)

    class Boxing(answering(Unboxing)):  # type: ignore[misc]  # a class from a call
        def encode_json(self, data: object) -> Any:
            return Box(super().encode_json(data))

    frames = await conversation(Boxing, part)
    assert await conversation(instrumented(telemetry, Boxing), part) == frames
    assert telemetry.total("websocket.server.closes") == 1
    sent = sum(len(frame.payload) for frame in frames if frame.is_data)
    assert telemetry.total("websocket.server.io", {"network.io.direction": "transmit"}) == sent


# --- Responses that call aiohttp's class by its name ------------------------------------------


class ClosingByName(web.WebSocketResponse):
    """Closes past every class in between."""

    async def close(self, **arguments: Any) -> bool:
        return await web.WebSocketResponse.close(self, **arguments)


class ReceivingByName(web.WebSocketResponse):
    """Receives so."""

    async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109  # aiohttp's
        return await web.WebSocketResponse.receive(self, timeout)


class SendingByName(web.WebSocketResponse):
    """Sends so."""

    async def send_str(self, data: str, compress: int | None = None) -> None:
        await web.WebSocketResponse.send_str(self, data, compress)


class AllByName(ClosingByName, ReceivingByName, SendingByName):
    """Does all of it so."""


class Hiding(AllByName):
    """Has attributes that hide its methods, and call them by the name of its class."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in ("close", "receive", "send_str"):
            setattr(self, name, partial(self.call, name))

    async def call(self, name: str, *args: Any, **options: Any) -> Any:
        return await getattr(type(self), name)(self, *args, **options)


BY_NAME = (ClosingByName, ReceivingByName, SendingByName, AllByName, Hiding)


async def nonsense(client: Client) -> None:
    client.json({"type": "nonsense"})
    await client.until_end()


async def terminates(client: Client) -> None:
    client.close(4499)
    await client.until_end()


@pytest.mark.parametrize("response", BY_NAME)
@pytest.mark.parametrize(
    ("talk", "verdict"),
    [
        (nonsense, ("invalid_message", 4400, "server", "invalid_message")),
        (terminates, ("client_terminated", 4499, "client", "client_terminated")),
        (part, ("normal", 1000, "client", None)),
    ],
    ids=["the host closes", "the client gives up", "the client closes"],
)
async def test_a_close_is_what_was_written_by_whatever_way_aiohttp_is_called(
    talk: Talk,
    verdict: tuple[Any, ...],
    response: type[web.WebSocketResponse],
    telemetry: Telemetry,
) -> None:
    await both(telemetry, answering(response), talk)
    assert closed(telemetry) == verdict


@pytest.mark.parametrize("response", BY_NAME)
async def test_bytes_are_counted_by_whatever_way_aiohttp_is_called(
    response: type[web.WebSocketResponse], telemetry: Telemetry
) -> None:
    frames = await conversation(instrumented(telemetry, answering(response)), part)
    sent = sum(len(frame.payload) for frame in frames if frame.is_data)
    assert telemetry.total("websocket.server.io", {"network.io.direction": "transmit"}) == sent


class Pinged(ClosingByName):
    """Closes as soon as a PING has come, to which the application has to answer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(autoping=False, **options)
        self.has_ping = asyncio.Event()

    async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109  # aiohttp's
        message = await super().receive(timeout)
        if message.type is WSMsgType.PING:
            self.has_ping.set()
        return message

    async def close(self, **arguments: Any) -> bool:
        await self.has_ping.wait()
        return await super().close(**arguments)


async def test_a_ping_that_is_read_before_a_close_says_nothing_of_it(telemetry: Telemetry) -> None:
    tasks: list[asyncio.Task[bool]] = []

    class Closing(answering(Pinged)):  # type: ignore[misc]  # a class from a call
        async def on_ws_connect(self, context: Any) -> Any:
            tasks.append(asyncio.create_task(context["response"].close(code=4000)))
            return await super().on_ws_connect(context)

    async def pings(client: Client) -> None:
        client.send(Frame(Opcode.PING, b""))
        await client.until_end()

    await both(telemetry, Closing, pings)
    assert all(task.done() for task in tasks)
    assert closed(telemetry) == ("application_code", 4000, "server", "application_code")


# --- Responses that receive in their own way -------------------------------------------------


class Awaitable_:  # noqa: N801  # it is an awaitable, and no coroutine
    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._coroutine.__await__())


class Wrapping(web.WebSocketResponse):
    """Receives in something that is no coroutine."""

    def receive(self, timeout: float | None = None) -> Any:
        return Awaitable_(super().receive(timeout))


class InATask(web.WebSocketResponse):
    """Receives in a task of its own."""

    async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109  # aiohttp's
        return await asyncio.create_task(super().receive(timeout))


async def gives_up(client: Client) -> None:
    client.close(4499, b"bye")
    await client.until_end()


async def sends_no_text(client: Client) -> None:
    client.send(Frame(Opcode.TEXT, b"\xff\xff"))
    await client.until_end()


@pytest.mark.parametrize("response", [web.WebSocketResponse, Wrapping, InATask])
@pytest.mark.parametrize(
    ("talk", "verdict"),
    [
        (gives_up, ("client_terminated", 4499, "client")),
        (sends_no_text, ("invalid_frame", 1007, "server")),
    ],
    ids=["the client closes", "a frame is broken"],
)
async def test_the_initiator_of_a_close_is_recorded_however_a_response_receives(
    telemetry: Telemetry, response: Any, talk: Talk, verdict: tuple[Any, ...]
) -> None:
    await both(telemetry, answering(response), talk)
    assert closed(telemetry)[:3] == verdict


async def test_a_response_that_closes_as_it_receives_is_the_one_that_closed(
    telemetry: Telemetry,
) -> None:
    class Strict(web.WebSocketResponse):
        async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109  # aiohttp's
            message = await super().receive(timeout)
            if "ping" not in str(message.data):
                return message
            await self.close(code=4029, message=b"slow down")
            return WSMessage(WSMsgType.CLOSED, None, None)

    await both(telemetry, answering(Strict), ping)
    assert closed(telemetry) == ("application_code", 4029, "server", "application_code")
    assert codes(telemetry) == (4029, 4029)


async def test_a_response_that_answers_as_it_receives_is_the_one_that_answered(
    telemetry: Telemetry,
) -> None:
    class Polite(web.WebSocketResponse):
        def __init__(self, **options: Any) -> None:
            super().__init__(autoclose=False, **options)

        async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109  # aiohttp's
            message = await super().receive(timeout)
            if message.type is WSMsgType.CLOSE:
                await self.close(code=4001, message=b"so long")
            return message

    await both(telemetry, answering(Polite), gives_up)
    assert closed(telemetry)[:3] == ("client_terminated", 4499, "client")
    assert codes(telemetry) == (4001, 4499)


def codes(telemetry: Telemetry) -> tuple[Any, ...]:
    """The codes of the close frames that were sent and received."""
    [connection] = recorded(telemetry, CONNECTION)
    names = ("sent_code", "received_code")
    return tuple(connection["attributes"].get(f"websocket.close.{name}") for name in names)


# --- Timeouts that the application handles ---------------------------------------------------


def impatient(*, then: Callable[[Any], Awaitable[bool]]) -> type[AiohttpWebSocketAdapter]:
    """An adapter that does something where no message comes, and goes on if that says so."""

    class Impatient(AiohttpWebSocketAdapter):
        async def iter_json(
            self, *, ignore_parsing_errors: bool = False
        ) -> AsyncGenerator[object, None]:
            waits: float | None = None  # For the init, however long it takes.
            while True:
                try:
                    message = await self.ws.receive(timeout=waits)
                except TimeoutError:
                    if not await then(self):
                        return
                    continue
                if message.type in ENDS:
                    return
                yield self.view.decode_json(message.data)
                waits = 0.01

    return Impatient


async def says_goodbye(adapter: Any) -> bool:
    await adapter.close(4000, "idle")
    return False


async def nudges(adapter: Any) -> bool:
    await adapter.send_json(PING)
    return True


async def trips(_adapter: Any) -> bool:
    raise ZeroDivisionError


async def is_idle(client: Client) -> None:
    await client.until_end()


async def is_nudged_and_babbles(client: Client) -> None:
    await client.message("ping")
    client.json({"type": "nonsense"})
    await client.until_end()


async def is_nudged_and_goes(client: Client) -> None:
    await client.message("ping")
    client.fin()
    await client.until_end()


@pytest.mark.parametrize(
    ("then", "talk", "verdict"),
    [
        (says_goodbye, is_idle, ("application_code", 4000, "server", "application_code")),
        (nudges, is_nudged_and_babbles, ("invalid_message", 4400, "server", "invalid_message")),
        (nudges, is_nudged_and_goes, ("connection_lost", 1006, "none", "connection_lost")),
        (trips, is_idle, ("server_error", 1006, "none", "ZeroDivisionError")),
    ],
    ids=["says goodbye", "then a bad message", "then the client goes", "then a bug"],
)
async def test_a_timeout_that_the_application_handles_is_no_missed_heartbeat(
    telemetry: Telemetry, then: Any, talk: Talk, verdict: tuple[Any, ...]
) -> None:
    await conversation(instrumented(telemetry, adapted(impatient(then=then))), talk)
    assert closed(telemetry) == verdict


# --- Views that close before anybody watches -------------------------------------------------


async def test_a_close_by_a_view_beneath_the_mixin_before_it_is_observed_is_unknown(
    telemetry: Telemetry,
) -> None:
    class Auth(View):
        async def create_websocket_response(
            self, request: web.Request, subprotocol: str | None
        ) -> web.WebSocketResponse:
            ws = await super().create_websocket_response(request, subprotocol)
            await ws.close(code=4401, message=b"no token")
            return ws

    async with hosting(instrumented(telemetry, Auth)(schema=make_schema())) as host:
        client = await host.connect()
        client.close(4401)
        await client.until_end()
    assert closed(telemetry) == ("other", None, "unknown", "other")


# --- Tasks that the application cancels ------------------------------------------------------


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
async def test_an_operation_whose_task_the_application_cancels_is_not_live_and_has_failed(
    telemetry: Telemetry, protocol: str
) -> None:
    tasks: list[Any] = []

    class KeepsTasks(SchemaExtension):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            tasks.append(asyncio.current_task())

    view = instrumented(telemetry)
    schema = make_schema(OTelExtension, KeepsTasks)
    async with hosting(view(schema=schema, keep_alive=False)) as host:
        await kicked(host, protocol, tasks, telemetry)
    [operation, _] = recorded(telemetry, "subscription")
    assert operation["attributes"]["error.type"] == "asyncio.exceptions.CancelledError"
    assert operation["attributes"]["graphql.ws.operation.end_reason"] == "failed"
    assert operation["attributes"]["graphql.ws.results"] == 1
    [connection] = recorded(telemetry, CONNECTION)
    assert connection["attributes"]["graphql.ws.operation.interrupted_count"] == 0


async def kicked(host: Host, protocol: str, tasks: list[Any], telemetry: Telemetry) -> None:
    """The application cancels the task of the only subscription; then the client says something."""
    client = await host.acknowledged(protocol)
    client.json(subscribe(client, "a", FOREVER))
    await client.message("next", "data")
    [task] = tasks
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)  # Then its callbacks have run.
    assert telemetry.total("graphql.server.subscription.active") == 0
    client.json(subscribe(client, "b", TICKS, variables={"to": 1}))
    while (await client.message("complete"))["id"] != "b":
        pass
    await part(client)
