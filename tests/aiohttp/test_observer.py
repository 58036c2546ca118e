"""What stands between a response and aiohttp: it looks like aiohttp's, and leaves no trace."""

import asyncio
import gc
import inspect
import logging
from collections.abc import Callable, Iterator
from functools import partial
from types import new_class
from typing import Any, ClassVar, Final, NoReturn

import pytest
from aiohttp import WSMessage, WSMsgType, web

from strawberry_ws_otel import OTelExtension, OTelViewMixin
from strawberry_ws_otel._aiohttp.websocket import (
    NotObservableError,
    Observer,
    Transport,
    _Observed,
    _observed_class,
)
from strawberry_ws_otel._semconv import METRIC_IO
from strawberry_ws_otel._semconv import SPAN_CONNECTION as CONNECTION
from tests.support.applications.side_by_side import HANDLER, alike
from tests.support.assertions import TRANSMIT
from tests.support.broken_api import PipeError
from tests.support.fake_connection import FakeConnection
from tests.support.faults.unobservable_sockets import (
    REFUSING,
    Childless,
    Closed,
    Deaf,
    attributes_past,
)
from tests.support.hosting import Handler, Host, hosting, part
from tests.support.log import LogKeeper
from tests.support.scenarios.steps import subscribe
from tests.support.schema import HELLO, make_schema
from tests.support.server import Socket
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import View, answering, config, instrumented

METHODS: Final = ("receive", "close", "send_str", "send_bytes", "send_frame")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_what_aiohttp_s_takes(name: str) -> None:
    own, host = getattr(_Observed, name), getattr(web.WebSocketResponse, name)
    assert inspect.iscoroutinefunction(own)
    assert inspect.iscoroutinefunction(host)
    assert taken_by(own) == taken_by(host)
    assert own.__qualname__ == host.__qualname__


def taken_by(function: Any) -> list[tuple[str, object, object]]:
    parameters = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters]


def test_no_other_method_is_observed() -> None:
    own = {name for name, value in vars(_Observed).items() if inspect.isfunction(value)}
    assert own == set(METHODS)


WRONG: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    # a method, and arguments that it does not take
    "a code by position": ("close", (4000,), {}),
    "a reason by another name": ("close", (), {"reason": b"why"}),
    "no text": ("send_str", (), {}),
    "too much": ("receive", (1.0, 2.0), {}),
}


class Strict(web.WebSocketResponse):
    """A response of the application's, which takes what aiohttp's takes."""

    async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109  # aiohttp's
        return await super().receive(timeout)

    async def close(self, *, code: int = 1000, message: bytes = b"", drain: bool = True) -> bool:
        return await super().close(code=code, message=message, drain=drain)

    async def send_str(self, data: str, compress: int | None = None) -> None:
        await super().send_str(data, compress)

    async def send_bytes(self, data: bytes, compress: int | None = None) -> None:
        await super().send_bytes(data, compress)


def wrapped() -> web.WebSocketResponse:
    """A response whose methods are hidden by attributes."""
    ws = web.WebSocketResponse()
    for name in METHODS[:4]:
        setattr(ws, name, getattr(Strict(), name))
    return ws


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_call_is_refused_in_the_words_of_python_for_aiohttp(what: str) -> None:
    name, arguments, options = WRONG[what]
    for make in (web.WebSocketResponse, Strict, wrapped):
        said = []
        for socket in (make(), observed(make())):
            with pytest.raises(TypeError) as raised:
                getattr(socket, name)(*arguments, **options)
            said.append(str(raised.value))
        assert said[0] == said[1]


# --- The class -------------------------------------------------------------------------------


class Own(web.WebSocketResponse):
    """A response of the application's."""

    async def close(self, *, code: int = 1000, **options: Any) -> bool:
        return await super().close(code=code, **options)


class Slotted(Own):
    """One with a slot."""

    __slots__ = ("slot",)


class Frozen(Own):
    """One of which nothing can be set or deleted by the ordinary means."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "__class__" or "otel" in name:
            raise TypeError("it is frozen")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise TypeError("it is frozen")


class Mixed(Own, Socket):
    """One with two bases."""


class Registering(Own):
    """One that has its say about every class that is derived from it."""

    derived: ClassVar[list[type]] = []

    def __init_subclass__(cls, *, name: str) -> None:
        cls.derived.append(cls)


OBSERVABLE: Final = (web.WebSocketResponse, Own, Slotted, Frozen, Mixed, Registering)


def test_a_class_has_no_say_about_the_one_of_the_library(telemetry: Telemetry) -> None:
    ws = Registering()
    observer(ws, telemetry)
    assert Registering.derived == []

    theirs = new_class("Theirs", (type(ws),), {"name": "theirs"})
    assert Registering.derived == [theirs]


def observer(ws: web.WebSocketResponse, telemetry: Telemetry | None = None) -> Observer:
    connection = FakeConnection(config(telemetry or Telemetry())).connection
    request: Any = web.BaseRequest.__new__(web.BaseRequest)
    request._protocol = None
    transport: Any = Transport.__new__(Transport)
    transport._request = request
    return Observer(ws, connection, transport)


def observed(ws: web.WebSocketResponse) -> web.WebSocketResponse:
    observer(ws)
    return ws


@pytest.mark.parametrize("cls", OBSERVABLE)
def test_an_observed_socket_looks_as_before(
    cls: type[web.WebSocketResponse], telemetry: Telemetry
) -> None:
    ws = cls()
    before = looks(ws)
    observer(ws, telemetry)
    assert type(ws) is _observed_class(cls)
    assert isinstance(ws, cls)
    assert looks(ws) == before


def looks(ws: web.WebSocketResponse) -> tuple[Any, ...]:
    cls = type(ws)
    return cls.__name__, cls.__qualname__, cls.__module__, cls.__doc__, repr(ws)


@pytest.mark.parametrize("cls", OBSERVABLE)
def test_a_socket_has_its_class_back_in_the_end(
    cls: type[web.WebSocketResponse], telemetry: Telemetry
) -> None:
    ws = cls()
    before = dict(vars(ws))
    observer(ws, telemetry).remove()
    assert type(ws) is cls
    assert vars(ws) == before


def test_an_observer_may_be_removed_twice(telemetry: Telemetry) -> None:
    ws = Own()
    observing = observer(ws, telemetry)
    observing.remove()
    observing.remove()
    assert type(ws) is Own


def test_a_class_that_the_application_has_given_it_since_stays(telemetry: Telemetry) -> None:
    ws = Own()
    observing = observer(ws, telemetry)
    ws.__class__ = Mixed
    observing.remove()
    assert type(ws) is Mixed
    assert not [name for name in vars(ws) if "otel" in name]


def test_the_class_is_made_once_for_all_sockets_of_a_class(telemetry: Telemetry) -> None:
    one, other = Own(), Own()
    for ws in (one, other):
        observer(ws, telemetry)
    assert type(one) is type(other)


def test_what_the_application_does_comes_before_what_is_observed() -> None:
    cls = _observed_class(Mixed)
    order = [each for each in cls.__mro__ if "close" in vars(each)]
    assert order == [cls, Own, Socket, _Observed, web.WebSocketResponse]


def calls_of(ws: Any) -> Iterator[Any]:
    yield from (
        ws.close,
        ws.receive,
        partial(ws.send_str, "text"),
        partial(ws.send_bytes, b"bytes"),
    )


@pytest.mark.parametrize("cls", OBSERVABLE)
async def test_when_it_is_no_longer_observed_its_methods_are_aiohttp_s(
    cls: type[web.WebSocketResponse], telemetry: Telemetry
) -> None:
    ws = cls()
    calls = list(calls_of(ws))
    kept = observer(ws, telemetry)
    # As a wrapper of the application's keeps them.
    calls += calls_of(ws)
    kept.remove()
    for call in calls:
        with pytest.raises(RuntimeError, match="prepare"):
            await call()
    with pytest.raises(RuntimeError, match="prepare"):
        await ws.send_frame(b"", WSMsgType.CLOSE)


# --- What goes past --------------------------------------------------------------------------


CALLS: Final[dict[str, tuple[Any, ...]]] = {
    "receive": (),
    "close": (),
    "send_str": ("text",),
    "send_bytes": (b"bytes",),
}


@pytest.mark.parametrize("make", [web.WebSocketResponse, Strict, wrapped])
@pytest.mark.parametrize(("name", "arguments"), CALLS.items())
def test_what_a_method_returns_has_the_name_of_the_application_s(
    name: str, arguments: tuple[Any, ...], make: Any
) -> None:
    calls = [getattr(ws, name)(*arguments) for ws in (make(), observed(make()))]
    looks = [(call.__name__, call.__qualname__, call.cr_code.co_name) for call in calls]
    for call in calls:
        call.close()
    assert looks[0] == looks[1]


@pytest.mark.parametrize("make", [web.WebSocketResponse, Strict, wrapped])
@pytest.mark.parametrize(("name", "arguments"), CALLS.items())
async def test_a_call_that_is_cancelled_before_it_begins_leaves_nothing(
    name: str, arguments: tuple[Any, ...], make: Any
) -> None:
    # A coroutine that was never awaited is a warning, which fails the test.
    task = asyncio.ensure_future(getattr(observed(make()), name)(*arguments))
    task.cancel()
    await asyncio.wait([task])
    gc.collect()
    assert task.cancelled()


class Eager(web.WebSocketResponse):
    """Does at once what it is called for: nobody has to await it."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[asyncio.Task[bool]] = []

    def close(self, **options: Any) -> Any:
        self.tasks.append(asyncio.create_task(super().close(**options)))
        return self.tasks[-1]


def eager() -> Eager:
    """The same with a wrapper on the object."""
    ws = Eager()
    ws.close = partial(ws.close)  # type: ignore[method-assign]  # as an application may
    return ws


@pytest.mark.parametrize("make", [Eager, eager])
async def test_a_method_that_is_no_coroutine_does_at_once_what_it_is_called_for(
    make: Callable[[], Eager], telemetry: Telemetry
) -> None:
    ws = make()
    observer(ws, telemetry)
    returned: Any = ws.close(code=4000)
    assert ws.tasks == [returned]
    with pytest.raises(RuntimeError, match="prepare"):
        await returned


class Silent(web.WebSocketResponse):
    """Sends when the test lets it, and not by way of aiohttp's methods."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[asyncio.Future[None]] = []

    async def send_str(self, data: str, compress: int | None = None) -> None:
        self.turns.append(asyncio.get_running_loop().create_future())
        await self.turns[-1]

    async def send_bytes(self, data: bytes, compress: int | None = None) -> None:
        await self.send_str("")


async def test_the_bytes_of_all_that_is_sent_at_once_are_counted(telemetry: Telemetry) -> None:
    ws = Silent()
    observing = observer(ws, telemetry)
    calls: list[Any] = [ws.send_str("héllo"), ws.send_bytes(b"four"), ws.send_str(data="keyword")]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    assert observing.traffic.bytes_sent == 0
    for turn in ws.turns:
        turn.set_result(None)
    await asyncio.wait(tasks)
    assert observing.traffic.bytes_sent == 6 + 4 + 7


async def test_a_send_that_is_cancelled_has_been_written(telemetry: Telemetry) -> None:
    ws = Silent()
    observing = observer(ws, telemetry)
    task = asyncio.ensure_future(ws.send_str("text"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert observing.traffic.bytes_sent == 4


async def test_a_close_frame_that_cannot_be_written_is_none(telemetry: Telemetry) -> None:
    ws = web.WebSocketResponse()
    observing = observer(ws, telemetry)
    with pytest.raises(RuntimeError, match="prepare"):
        await ws.send_frame(b"", WSMsgType.CLOSE)
    assert observing._connection._facts.sent is None


async def test_an_attribute_that_was_replaced_meanwhile_stays(telemetry: Telemetry) -> None:
    ws: Any = wrapped()
    before = dict(vars(ws))
    observing = observer(ws, telemetry)
    ws.close = replaced = Strict().close
    del ws.send_str
    observing.remove()
    assert vars(ws) == {**without(before, "send_str"), "close": replaced}


def without(attributes: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key != name}


async def test_a_receive_that_fails_is_over_however_it_is_overridden(telemetry: Telemetry) -> None:
    for make in (web.WebSocketResponse, Strict, wrapped):
        ws = make()
        observing = observer(ws, telemetry)
        with pytest.raises(RuntimeError, match="prepare"):
            await ws.receive()
        assert (observing._receiving, observing.timed_out) == (None, False)


# --- By hand ---------------------------------------------------------------------------------


class Text(str):
    """A text that does not say what it is made of."""

    __slots__ = ()

    def isascii(self) -> NoReturn:
        raise PipeError


WORD: Final = '{"type": "wörd"}'
BYTES: Final = b'{"type": "bytes"}'


class Talkative(View):
    """Its application sends what it likes, until the client has left, and when the view is done."""

    sent: tuple[Any, ...] = (WORD, BYTES)
    kept: ClassVar[list[Any]] = []

    async def on_ws_connect(self, context: Any) -> Any:
        ws = context["response"]
        for each in self.sent:
            await (ws.send_bytes if isinstance(each, bytes) else ws.send_str)(each)
        await ws.send_frame(b"beat", WSMsgType.PING)
        self.kept[:] = [ws.send_str, ws.send_bytes, ws.receive]
        return await super().on_ws_connect(context)


class Leaving(HANDLER):  # type: ignore[misc]  # a class in a variable
    """Serves one message, and leaves the socket open."""

    async def handle(self) -> None:
        self.on_request_accepted()
        messages = self.websocket.iter_json()
        await self.handle_message(await anext(messages))
        await messages.aclose()
        await self.shutdown()


class Open(Talkative):
    graphql_transport_ws_handler_class = Leaving


@web.middleware
async def when_it_is_done(request: web.Request, handler: Any) -> Any:
    response = await handler(request)
    send_str, send_bytes, receive = Talkative.kept
    await send_str(WORD)
    await send_bytes(BYTES)
    assert (await receive()).data == '"word"'
    return response


async def greet(host: Host) -> int:
    client = await host.acknowledged()
    client.json("word")
    return len(client.data_frames[-1].text)


async def test_what_the_application_sends_by_hand_is_counted_until_the_view_is_done(
    telemetry: Telemetry,
) -> None:
    sides = await alike(telemetry, Open, greet, when_it_is_done)
    expected = len(WORD.encode()) + len(BYTES) + sides.ours
    assert telemetry.total(METRIC_IO, TRANSMIT) == expected


@pytest.mark.internal_error
async def test_a_text_that_cannot_be_counted_is_sent(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Odd(Talkative):
        sent = (Text(WORD),)

    async def talk(host: Host) -> None:
        await part(await host.acknowledged())

    await alike(telemetry, Odd, talk)
    assert len([each for each in library_log.records if "PipeError" in each.getMessage()]) == 1


# --- What refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", REFUSING)
def test_what_refuses_is_not_changed(refusal: str, telemetry: Telemetry) -> None:
    cls = REFUSING[refusal]
    ws = cls()
    before = set(attributes_past(ws))
    with pytest.raises(NotObservableError):
        observer(ws, telemetry)
    assert type(ws) is cls
    assert set(attributes_past(ws)) == before


def test_a_socket_says_why_it_is_not_observed(telemetry: Telemetry) -> None:
    with pytest.raises(NotObservableError, match=r"^it is final$"):
        observer(Childless(), telemetry)
    with pytest.raises(NotObservableError, match=r"^its class was set, and is what it was$"):
        observer(Deaf(), telemetry)


async def visit(view: Any, *middlewares: Handler) -> None:
    async with hosting(view, *middlewares) as host:
        for _ in range(2):
            await part(await host.acknowledged())


@pytest.mark.parametrize("socket_class", [Childless, Closed])
async def test_a_view_class_warns_once_of_sockets_that_refuse(
    socket_class: type[Socket], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Recorded(OTelViewMixin, answering(socket_class)):  # type: ignore[misc]  # from a call
        otel_config = config(telemetry)

    schema = make_schema(OTelExtension)
    for _ in range(2):
        await visit(Recorded(schema=schema))
    assert levels(library_log) == [logging.WARNING]


async def test_views_that_are_made_for_every_request_warn_once(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Recorded(OTelViewMixin, answering(Childless)):  # type: ignore[misc]  # from a call
        pass

    schema = make_schema(OTelExtension)

    async def serve(request: web.Request) -> web.StreamResponse:
        view: Any = Recorded(schema=schema)
        view.otel_config = config(telemetry)
        response: web.StreamResponse = await view(request)
        return response

    await visit(serve)
    assert levels(library_log) == [logging.WARNING]


async def test_each_view_class_warns_for_itself(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    base: type[View] = answering(Childless)
    for _ in range(2):

        class Recorded(OTelViewMixin, base):  # type: ignore[valid-type,misc]  # whichever it is
            otel_config = config(telemetry)

        await visit(Recorded(schema=make_schema(OTelExtension)))
    assert levels(library_log) == [logging.WARNING] * 2


class Wrapped:
    """What an application may put around a response: it hands on everything."""

    def __init__(self, response: web.WebSocketResponse) -> None:
        self._response = response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    def __aiter__(self) -> Any:
        return aiter(self._response)


async def test_what_stands_for_a_response_is_recorded_but_for_its_closes(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Wrapping(View):
        async def create_websocket_response(self, *arguments: Any) -> Any:
            return Wrapped(await super().create_websocket_response(*arguments))

    view = instrumented(telemetry, Wrapping)(schema=make_schema(OTelExtension))
    async with hosting(view) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", HELLO))
        await client.message("complete")
        await part(client)

    assert levels(library_log) == [logging.WARNING]
    [span] = telemetry.spans(CONNECTION)
    known = attributes_of(span)
    names = ("subprotocol", "close.outcome", "close.initiator")
    assert [known[f"websocket.{name}"] for name in names] == [
        "graphql-transport-ws",
        "other",
        "unknown",
    ]
    assert (known["graphql.ws.messages.received"], known["graphql.ws.operation.count"]) == (2, 1)
    assert known["graphql.ws.receive_idle_time"] >= 0


def levels(log: LogKeeper) -> list[int]:
    return [each.levelno for each in log.records if "cannot be observed" in each.getMessage()]
