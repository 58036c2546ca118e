"""A close is what was written, also where a class of the application's stands before aiohttp's.

A response class may wait before it closes, change the code, or not close at all; a middleware or a
subclass may close when the view is done.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from strawberry.exceptions import ConnectionRejectionError

from tests.support.applications.application_closes import (
    CONNECTING,
    SOURCE,
    Close,
    Meanwhile,
    closes,
    closing,
    nothing,
)
from tests.support.applications.side_by_side import HANDLER, HANDLER_LEGACY, alike, assert_ended
from tests.support.clock import stop_clock
from tests.support.expected import CONNECTION, GREETING, NORMAL, connection, init, recorded
from tests.support.hosting import Host
from tests.support.log import LogKeeper
from tests.support.raw_client import Client, Ended
from tests.support.scenarios.model import (
    BOTH,
    Verdict,
    by_client,
    by_server,
    unwritable,
    without_frames,
)
from tests.support.scenarios.steps import LEGACY, TRANSPORT
from tests.support.telemetry import Telemetry
from tests.support.views import View, answering

Sockets = type[web.WebSocketResponse]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


async def goes(client: Client) -> None:
    """Go when the application has said that it closed, or did not."""
    await client.message("next", "data")
    client.close(1000)


# --- Classes that wait -------------------------------------------------------------------------


class Rendezvous(web.WebSocketResponse):
    """What the application closes waits until aiohttp closes by itself, to answer the client."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked = asyncio.Event()
        self.answering = asyncio.Event()
        self.written = asyncio.Event()

    async def close(self, **arguments: Any) -> bool:
        if self.asked.is_set():
            return await self.answer(**arguments)
        self.asked.set()
        await self.answering.wait()
        try:
            return await super().close(**arguments)
        finally:
            self.written.set()

    async def answer(self, **arguments: Any) -> bool:
        self.answering.set()
        return await super().close(**arguments)


class AfterYou(Rendezvous):
    """The answer waits as well, until what the application closes was written."""

    async def answer(self, **arguments: Any) -> bool:
        self.answering.set()
        await self.written.wait()
        return await web.WebSocketResponse.close(self, **arguments)


async def close_and_announce(ws: Any) -> Any:
    """Close after the client has been asked to close, so that it closes first."""
    task = asyncio.ensure_future(ws.close(code=4000))
    await ws.asked.wait()
    await ws.send_str('{"type": "closing"}')
    return await task


async def is_faster(client: Client) -> None:
    await client.message("closing")
    client.close(1000)


AT_ONCE = pytest.mark.skipif(
    tuple(map(int, aiohttp.__version__.split(".")[:2])) < (3, 12),
    reason="aiohttp 3.11 answers in several steps, and a close that waits is redundant by then",
)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        pytest.param(Rendezvous, NORMAL, marks=AT_ONCE),
        (AfterYou, Verdict(**{**vars(NORMAL), "sent": 4000})),
    ],
    ids=["with the answer", "with what the application asked for"],
)
async def test_a_client_that_closes_while_a_close_waits_was_the_first_however_it_is_answered(
    response: Sockets,
    verdict: Verdict,
    protocol: str,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    await closes(
        telemetry,
        library_log,
        close_and_announce,
        verdict,
        "",
        protocol=protocol,
        base=answering(response),
        meanwhile=is_faster,
    )


class Waiting(web.WebSocketResponse):
    """Waits for a turn of the loop before it closes."""

    async def close(self, **arguments: Any) -> bool:
        await asyncio.sleep(0)
        return await super().close(**arguments)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("place", [SOURCE, CONNECTING])
async def test_of_a_close_past_the_class_of_the_socket_nobody_knows_the_code(
    place: str, protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def close(ws: Any) -> Any:
        return await web.WebSocketResponse.close(ws, code=4000, message=b"enough")

    verdict = Verdict(outcome="other", code=None, initiator="unknown")
    came = "True" if place == CONNECTING else ""
    await closes(telemetry, library_log, close, verdict, came, place, protocol)


@pytest.mark.parametrize("protocol", BOTH)
async def test_what_is_read_after_such_a_close_says_nothing_of_it_either(
    protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def close(ws: Any) -> Any:
        await web.WebSocketResponse.close(ws, code=4000)
        return (await ws.receive()).type.name

    verdict = Verdict(outcome="other", code=None, initiator="unknown")
    await closes(telemetry, library_log, close, verdict, "'CLOSED'", CONNECTING, protocol)


async def test_a_close_after_such_a_one_is_redundant_and_no_more_is_known(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Closing(View):
        async def on_ws_connect(self, context: Any) -> Any:
            await web.WebSocketResponse.close(context["response"], code=4000)
            raise ConnectionRejectionError

    async def talk(host: Host) -> None:
        client = await host.connect()
        client.json({"type": "connection_init"})

    await alike(telemetry, Closing, talk)
    verdict = Verdict(outcome="other", code=None, initiator="unknown")
    [connected] = recorded(telemetry, CONNECTION)
    assert [name for name, _ in connected["events"]] == [
        "graphql.ws.connection_init",
        "websocket.redundant_close",
        "websocket.close",
    ]
    assert_ended(telemetry, library_log, verdict)


class Reading(web.WebSocketResponse):
    """Reads by the name of aiohttp's class."""

    async def receive(self, *args: Any, **options: Any) -> Any:
        return await web.WebSocketResponse.receive(self, *args, **options)


@pytest.mark.parametrize("response", [web.WebSocketResponse, Reading])
async def test_a_second_reader_is_refused_and_the_first_one_goes_on(
    response: Sockets, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def read(ws: Any) -> Any:
        return await ws.receive()

    base, came = answering(response), "RuntimeError"
    await closes(telemetry, library_log, read, NORMAL, came, base=base, meanwhile=goes, results=1)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(("place", "echo"), [(SOURCE, None), (CONNECTING, 4000)])
async def test_a_class_that_waits_closes_when_it_has_waited(
    place: str, echo: int | None, protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    verdict = by_server("application_code", 4000, echo=echo)
    came = "True" if echo else ""
    close, base = closing(code=4000), answering(Waiting)
    await closes(telemetry, library_log, close, verdict, came, place, protocol, base)


async def test_a_class_that_waits_and_then_cannot_make_a_frame_drops_the_connection(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    verdict = unwritable("struct.error", None)
    close, base = closing(code=None), answering(Waiting)
    await closes(telemetry, library_log, close, verdict, "True", base=base)


async def test_a_close_that_is_cancelled_while_it_waits_has_closed_nothing(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def close(ws: Any) -> Any:
        task = asyncio.ensure_future(ws.close(code=4000))
        await ws.asked.wait()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    base = answering(Rendezvous)
    await closes(
        telemetry, library_log, close, NORMAL, "True", base=base, meanwhile=goes, results=1
    )


class Patient(web.WebSocketResponse):
    """Waits for the transport to go before it closes."""

    async def close(self, **arguments: Any) -> bool:
        assert self._req is not None
        while self._req.transport is not None:  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0)
        return await super().close(**arguments)


@pytest.mark.parametrize("code", [4000, None])
async def test_a_close_that_waits_until_the_client_has_vanished_closes_nothing(
    code: Any, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def close(ws: Any) -> Any:
        await ws.send_str('{"type": "closing"}')
        return await ws.close(code=code)

    async def vanishes(client: Client) -> None:
        await client.message("closing")
        client.reset()

    verdict = without_frames("connection_lost")
    base = answering(Patient)
    await closes(telemetry, library_log, close, verdict, "True", base=base, meanwhile=vanishes)


# --- Classes that close in another way ---------------------------------------------------------


class Changing(web.WebSocketResponse):
    async def close(self, **arguments: Any) -> bool:
        return await super().close(code=4444, message=b"changed")


class Swallowing(web.WebSocketResponse):
    """Does not close what the application asks for."""

    async def close(self, **arguments: Any) -> bool:
        return arguments.get("code") != 4000 and await super().close(**arguments)


class Lenient(web.WebSocketResponse):
    async def close(self, code: Any = 1000, message: Any = b"", *, drain: bool = True) -> bool:
        return await super().close(
            code=1000 if code is None else int(code), message=message or b"", drain=drain
        )


class Catching(web.WebSocketResponse):
    async def close(self, *args: Any, **kwargs: Any) -> bool:
        try:
            return await super().close(*args, **kwargs)
        except TypeError:
            return False


class Tripping(web.WebSocketResponse):
    """Fails before it closes what the application asks for."""

    async def close(self, **arguments: Any) -> bool:
        if arguments.get("code") == 4000:
            raise PermissionError
        return await super().close(**arguments)


class Stumbling(web.WebSocketResponse):
    """Fails when it has closed."""

    async def close(self, **arguments: Any) -> bool:
        await super().close(**arguments)
        raise PermissionError


class InATask(web.WebSocketResponse):
    async def close(self, **arguments: Any) -> bool:
        return await asyncio.shield(asyncio.ensure_future(super().close(**arguments)))


CHANGED = by_server("application_code", 4444, "changed")


@pytest.mark.parametrize(
    ("response", "close", "came", "verdict", "meanwhile", "results"),
    [
        (
            Changing,
            closing(code=4000),
            "",
            by_server("application_code", 4444, "changed"),
            nothing,
            0,
        ),
        (Swallowing, closing(code=4000), "False", NORMAL, goes, 1),
        (Lenient, closing("4000"), "", by_server("application_code", 4000), nothing, 0),
        (Lenient, closing(None, None), "", by_server("normal", 1000), nothing, 0),
        (Catching, closing(4000), "False", NORMAL, goes, 1),
        (Tripping, closing(code=4000), "PermissionError", NORMAL, goes, 1),
        (InATask, closing(code=4000), "", by_server("application_code", 4000), nothing, 0),
    ],
)
@pytest.mark.parametrize("protocol", BOTH)
async def test_what_a_class_makes_of_a_close_is_what_is_recorded(  # noqa: PLR0913, PLR0917
    response: Sockets,
    close: Close,
    came: str,
    verdict: Verdict,
    meanwhile: Meanwhile,
    results: int,
    protocol: str,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    await closes(
        telemetry,
        library_log,
        close,
        verdict,
        came,
        protocol=protocol,
        base=answering(response),
        meanwhile=meanwhile,
        results=results,
    )


async def test_a_class_that_fails_when_it_has_closed_has_closed(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    verdict = by_server("application_code", 4000, echo=4000)
    close, base = closing(code=4000), answering(Stumbling)
    came = "PermissionError"
    await closes(telemetry, library_log, close, verdict, came, CONNECTING, base=base)


# --- Closes when the view is done --------------------------------------------------------------

Finish = Callable[[Any], Awaitable[Any]]


class Leaving(HANDLER):  # type: ignore[misc]  # a class in a variable
    """Serves one ping, and leaves the socket open."""

    async def handle(self) -> None:
        self.on_request_accepted()
        messages = self.websocket.iter_json()
        await self.handle_message(await anext(messages))
        await messages.aclose()
        await self.shutdown()


class LeavingLegacy(HANDLER_LEGACY):  # type: ignore[misc]  # a class in a variable
    async def handle(self) -> None:
        messages = self.websocket.iter_json(ignore_parsing_errors=True)
        await self.handle_message(await anext(messages))
        await messages.aclose()
        await self.cleanup()


class Open(View):
    """A view whose handlers leave the socket open."""

    graphql_transport_ws_handler_class = Leaving
    graphql_ws_handler_class = LeavingLegacy


def in_a_middleware(finish: Finish) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> Any:
        response = await handler(request)
        await finish(response)
        return response

    return middleware


def in_a_subclass(finish: Finish) -> Callable[[type[View]], type[View]]:
    def derive(view: type[View]) -> type[View]:
        class Derived(view):  # type: ignore[valid-type,misc]  # whichever it is
            async def run(self, *args: Any, **kwargs: Any) -> Any:
                response = await super().run(*args, **kwargs)
                await finish(response)
                return response

        return Derived

    return derive


async def greets(host: Host) -> None:
    client = await host.connect()
    client.json({"type": "connection_init"})


async def greets_in_legacy(host: Host) -> None:
    client = await host.connect(LEGACY)
    client.json({"type": "connection_init"})


ABOVE: dict[str, tuple[Close | None, Verdict, Verdict]] = {
    "nothing": (None, by_server("normal", 1000), by_server("normal", 1000)),
    "a code": (
        closing(code=4000, message=b"done"),
        by_server("application_code", 4000, "done"),
        by_server("normal", 1000),
    ),
    "no code": (
        closing(code=None),
        unwritable("struct.error", None),
        by_server("normal", 1000),
    ),
}
"""Who closes, how that is recorded below the mixin, and above it, where it is over by then."""


@pytest.mark.parametrize("where", ["in a middleware", "in a subclass", "in a base class"])
@pytest.mark.parametrize(
    ("protocol", "greeting"), [(TRANSPORT, greets), (LEGACY, greets_in_legacy)]
)
@pytest.mark.parametrize(("close", "below", "above"), ABOVE.values(), ids=ABOVE)
async def test_a_socket_that_the_view_left_open_is_closed_with_1000_as_far_as_the_mixin_sees(  # noqa: PLR0913, PLR0917
    close: Close | None,
    below: Verdict,
    above: Verdict,
    protocol: str,
    greeting: Any,
    where: str,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    async def finish(ws: Any) -> None:
        if close is not None:
            await close(ws)

    async def talk(host: Host) -> None:
        await greeting(host)
        [client] = host.clients
        with suppress(Ended):
            await client.closing()
            client.fin()

    verdict = above
    match where:
        case "in a middleware":
            await alike(telemetry, Open, talk, in_a_middleware(finish))
        case "in a subclass":
            await alike(telemetry, Open, talk, above=in_a_subclass(finish))
        case _:
            verdict = below
            await alike(telemetry, in_a_subclass(finish)(Open), talk)
    assert recorded(telemetry) == [connection(protocol, verdict, messages=(1, 1)), init()]
    assert_ended(telemetry, library_log, verdict)


async def test_a_close_above_the_view_of_what_the_client_has_closed_is_none(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def talk(host: Host) -> None:
        client = await host.acknowledged()
        client.close(4499, b"bye")

    verdict = by_client("client_terminated", 4499, "bye")
    await alike(telemetry, View, talk, in_a_middleware(closing(code=4000)))
    assert recorded(telemetry) == [
        connection(TRANSPORT, verdict, messages=(1, 1), events=GREETING),
        init(),
    ]
    assert_ended(telemetry, library_log, verdict)
