"""Wherever the view is served, it is recorded, and what is not known there is left out."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from unittest import mock

import pytest
from aiohttp import ClientSession, StreamReader, web
from aiohttp.test_utils import RawTestServer, TestClient, TestServer, make_mocked_request
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
)
from strawberry.http.async_base_view import AsyncBaseHTTPView

from strawberry_ws_otel import OTelExtension
from tests.support.applications.conversations import ticks
from tests.support.applications.side_by_side import assert_ended, heard
from tests.support.clock import stop_clock
from tests.support.expected import (
    EXECUTION,
    NORMAL,
    PARSING,
    VALIDATION,
    SpanDict,
    closing,
    connection,
    executed,
    init,
    phases,
    recorded,
    span,
    standalone,
)
from tests.support.frames import close_frame, encode, text_frame
from tests.support.hosting import Host, part
from tests.support.log import LogKeeper
from tests.support.raw_client import HOST, KEY, Client
from tests.support.scenarios.model import BOTH, refused
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.schema import HELLO, TICKS, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View, extension, instrumented

Serve = Callable[..., Any]
ROUTE = "http.route"
ROUTES: dict[str, dict[str, Any]] = {"application": {}, "server": {ROUTE: None}}
"""What is unknown about the route of a connection."""

SINCE_ORIGINS = pytest.mark.skipif(
    not hasattr(AsyncBaseHTTPView, "is_websocket_origin_allowed"),
    reason="older hosts let every origin in",
)
FOREIGN = {"Origin": "https://elsewhere.example"}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


def views(telemetry: Telemetry) -> list[View]:
    """One without the library, and one with it."""
    return [
        View(schema=make_schema(), keep_alive=False),
        instrumented(telemetry)(schema=make_schema(extension(telemetry)), keep_alive=False),
    ]


async def converse(host: Host, protocol: str) -> Any:
    """A connection with a subscription, a refused handshake, and a request: what was heard."""
    client = await host.acknowledged(protocol)
    client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
    await client.message("complete")
    await part(client)
    foreign = await host.connect(protocol, FOREIGN)
    answer = await host.post({"query": HELLO})
    await host.served()
    return heard(client), heard(foreign), answer


def conversation(protocol: str, **attributes: Any) -> list[SpanDict]:
    """What is recorded of it; `attributes` are those of both connections."""
    rejected = refused("handshake_rejected", 403)
    route = attributes.get(ROUTE, "/graphql")
    foreign = span(
        "GraphQL WebSocket Connection",
        attributes={
            **connection(protocol, messages=(0, 0), id_="c2", **attributes)["attributes"],
            "websocket.subprotocol": None,
            "websocket.close.code": None,
            "websocket.close.sent_code": None,
            "websocket.close.received_code": None,
            "graphql.ws.acknowledged": False,
            "graphql.ws.receive_idle_time": None,
            **closing(rejected),
        },
        error="handshake_rejected",
        description="closed abnormally: handshake_rejected",
    )
    return [
        connection(protocol, messages=(2, 4), operations=["subscription"], **attributes),
        init(route=route),
        ticks(protocol, route=route),
        foreign,
        executed(HELLO, name="Hello", route=route),
        *phases("query", PARSING, VALIDATION, EXECUTION),
    ]


async def heard_alike(telemetry: Telemetry, serve: Serve, protocol: str) -> None:
    """Hold the conversation with both views, and assert that nobody hears the difference."""
    said = []
    for view in views(telemetry):
        async with serve(view) as host:
            said.append(await converse(host, protocol))
    assert said[1] == said[0]
    (status, _, _), (foreign, _, _), (answered, _) = said[0]
    assert (status, foreign, answered) == (101, 403, 200)


def assert_recorded(telemetry: Telemetry, log: LogKeeper, expected: list[SpanDict]) -> None:
    assert recorded(telemetry) == expected
    assert_ended(telemetry, log, NORMAL, refused("handshake_rejected", 403))


# --- aiohttp's servers -----------------------------------------------------------------------


@asynccontextmanager
async def listening(runner: Any, host: Host) -> AsyncIterator[Host]:
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host.listen(runner.addresses[0])
        yield host
    finally:
        for client in host.clients:
            await client.leave()
        await runner.cleanup()


@asynccontextmanager
async def hosted(make: Callable[[Any], Any]) -> AsyncIterator[Host]:
    """What the runner that is made for a handler serves."""
    async with asyncio.timeout(60), ClientSession() as session:
        host = Host(session)
        async with listening(make(host), host):
            yield host


def low_level(view: View) -> Any:
    """A server without an application: its requests have no `match_info`."""
    return hosted(
        lambda host: web.ServerRunner(web.Server(host.watched(view)), shutdown_timeout=0.05)
    )


def unresolved(view: View) -> Any:
    """The same with requests whose `match_info` was never set, and fails when it is asked for."""

    make: Any = web.Request

    def request(*args: Any) -> web.BaseRequest:
        unresolved: web.BaseRequest = make(*args, loop=asyncio.get_running_loop())
        return unresolved

    return hosted(
        lambda host: web.ServerRunner(
            web.Server(host.watched(view), request_factory=request), shutdown_timeout=0.05
        )
    )


@SINCE_ORIGINS
@pytest.mark.parametrize("serve", [low_level, unresolved])
@pytest.mark.parametrize("protocol", BOTH)
async def test_a_server_without_an_application_has_no_routes(
    protocol: str, serve: Serve, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    await heard_alike(telemetry, serve, protocol)
    assert_recorded(telemetry, library_log, conversation(protocol, **{ROUTE: None}))


def application(route: str, *prefixes: str) -> Callable[[View], Any]:
    """An application with the view below others."""

    def serve(view: View) -> Any:
        def runner(host: Host) -> web.AppRunner:
            app = web.Application()
            app.router.add_route("*", route, host.watched(view))
            for prefix in reversed(prefixes):
                outer = web.Application()
                outer.add_subapp(prefix, app)
                app = outer
            return web.AppRunner(app, access_log=None, shutdown_timeout=0.05)

        return hosted(runner)

    return serve


class Below(Client):
    """A client of an application below another."""

    def _ask(self, path: str, *args: Any) -> None:
        super()._ask(f"/outer/inner{path}", *args)


class OfRoute(Sampler):
    """A sampler that keeps one route only."""

    def __init__(self, route: str) -> None:
        self.route = route

    def should_sample(self, *arguments: Any, **keywords: Any) -> SamplingResult:
        attributes = keywords.get("attributes") or arguments[4]
        chosen = ALWAYS_ON if attributes.get(ROUTE) == self.route else ALWAYS_OFF
        return chosen.should_sample(*arguments, **keywords)

    def get_description(self) -> str:
        return "of a route"


async def test_a_sampler_may_choose_a_route() -> None:
    telemetry = Telemetry(sampler=ParentBased(OfRoute("/admin/{name}")))
    view = instrumented(telemetry)(schema=make_schema(OTelExtension), keep_alive=False)
    for route in ("/public/{name}", "/admin/{name}"):
        app = web.Application()
        app.router.add_route("*", route, view)
        async with TestClient(TestServer(app)) as http:
            path = route.format(name="graphql")
            async with http.post(path, json={"query": HELLO}) as response:
                assert response.status == 200
            async with http.ws_connect(path, protocols=[TRANSPORT]) as ws:
                await ws.send_json({"type": "connection_init"})
                await ws.receive()
                await ws.send_json(
                    {"type": "subscribe", "id": "a", "payload": {"query": "query Q { hello }"}}
                )
                while (await ws.receive_json())["type"] != "complete":
                    pass
    roots = [span for span in telemetry.spans() if span.parent is None]
    assert [(span.name, (span.attributes or {})[ROUTE]) for span in roots] == [
        ("query", "/admin/{name}"),
        ("GraphQL WebSocket Connection", "/admin/{name}"),
        ("GraphQL WebSocket Connection Init", "/admin/{name}"),
        ("query", "/admin/{name}"),
    ]
    telemetry.shutdown()


async def test_below_other_applications_the_route_is_whole(
    monkeypatch: pytest.MonkeyPatch, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    monkeypatch.setattr("tests.support.hosting.Client", Below)
    serve = application("/{name}", "/outer", "/inner")
    for view in views(telemetry):
        async with serve(view) as host:
            await part(await host.acknowledged())
            await host.served()
    path: dict[str, Any] = {"url.path": "/outer/inner/graphql", ROUTE: "/outer/inner/{name}"}
    route = path[ROUTE]
    assert recorded(telemetry) == [connection(messages=(1, 1), **path), init(route=route)]
    assert_ended(telemetry, library_log, NORMAL)


def in_a_domain(view: View) -> Any:
    def runner(host: Host) -> web.AppRunner:
        inner, outer = web.Application(), web.Application()
        inner.router.add_route("*", "/graphql", host.watched(view))
        outer.add_domain("tests.local:8000", inner)
        return web.AppRunner(outer, access_log=None, shutdown_timeout=0.05)

    return hosted(runner)


async def test_in_the_application_of_a_domain_a_connection_is_as_always(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    for view in views(telemetry):
        async with in_a_domain(view) as host:
            await part(await host.acknowledged())
            await host.served()
    assert recorded(telemetry) == [connection(messages=(1, 1)), init()]
    assert_ended(telemetry, library_log, NORMAL)


# --- UNIX sockets ----------------------------------------------------------------------------


class Local(Client):
    """A client of a UNIX socket."""

    path = ""

    @classmethod
    async def connect(  # type: ignore[override]  # it needs no more
        cls, _port: int, *, protocol: str | None, headers: Any = None, tls: None = None
    ) -> Self:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(cls.path)
        sock.settimeout(0)
        client = cls(sock, *await asyncio.open_unix_connection(sock=sock))
        client.protocol = protocol
        client._ask("/graphql", protocol, headers or {})
        return client


@asynccontextmanager
async def on_a_unix_socket(runner: Any, host: Host, path: str) -> AsyncIterator[Host]:
    await runner.setup()
    try:
        await web.UnixSite(runner, path).start()
        yield host
    finally:
        for client in host.clients:
            await client.leave()
        await runner.cleanup()


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("kind", ["application", "server"])
async def test_on_a_unix_socket_a_client_has_no_address(  # noqa: PLR0913, PLR0917
    kind: str,
    protocol: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    monkeypatch.chdir(tmp_path)  # The path of a UNIX socket is short.
    monkeypatch.setattr("tests.support.hosting.Client", Local)
    monkeypatch.setattr(Local, "path", "socket")
    said = []
    for view in views(telemetry):
        host = Host(mock.sentinel.session)
        handler: Any = host.watched(view)
        app = web.Application()
        app.router.add_route("*", "/graphql", handler)
        runner: Any = (
            web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
            if kind == "application"
            else web.ServerRunner(web.Server(handler), shutdown_timeout=0.05)
        )
        async with asyncio.timeout(60), on_a_unix_socket(runner, host, "socket"):
            client = await host.acknowledged(protocol)
            await part(client)
            await host.served()
            said.append(heard(client))
    assert said[1] == said[0]
    unknown = {"client.address": None} | ROUTES[kind]
    expected = connection(protocol, messages=(1, 1), **unknown)
    assert recorded(telemetry) == [expected, init(route=expected["attributes"].get(ROUTE))]
    assert_ended(telemetry, library_log, NORMAL)


# --- aiohttp's test utilities ----------------------------------------------------------------


@asynccontextmanager
async def on_a_test_server(server: Any, host: Host) -> AsyncIterator[Host]:
    async with asyncio.timeout(60), server:
        host.listen(("127.0.0.1", server.port))
        yield host
        for client in host.clients:
            await client.leave()


@pytest.mark.parametrize("kind", ["application", "server"])
async def test_a_test_server_is_a_server(
    kind: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    for view in views(telemetry):
        host = Host(mock.sentinel.session)
        handler: Any = host.watched(view)
        app = web.Application()
        app.router.add_route("*", "/graphql", handler)
        server = TestServer(app) if kind == "application" else RawTestServer(handler)
        async with on_a_test_server(server, host):
            await part(await host.acknowledged())
            await host.served()
    expected = connection(messages=(1, 1), **ROUTES[kind])
    assert recorded(telemetry) == [expected, init(route=expected["attributes"].get(ROUTE))]
    assert_ended(telemetry, library_log, NORMAL)


UPGRADE = {
    "Host": HOST,
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "User-Agent": "wire/1.0",
}
UNKNOWN: dict[str, Any] = {"client.address": None, ROUTE: None}


def upgrade(protocol: str, **headers: str) -> web.Request:
    """A handshake out of aiohttp's test utilities, over a transport that is no such thing."""
    fields = UPGRADE | {"Sec-WebSocket-Protocol": protocol} | headers
    request = make_mocked_request("GET", "/graphql", headers=fields)
    assert request.transport is not None
    request.transport.is_closing.return_value = False  # type: ignore[attr-defined]  # a mock
    return request


def written(request: web.Request) -> list[bytes]:
    """What aiohttp wrote to the transport, frame by frame."""
    transport: Any = request.transport
    return [call.args[0] for call in transport.write.call_args_list]


async def prepared(request: web.Request) -> Any:
    """The parser of the request's frames, as soon as it was upgraded."""
    set_parser: Any = request.protocol.set_parser
    async with asyncio.timeout(10):
        while not set_parser.called:  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0)
    return set_parser.call_args.args[0]


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_connection_of_a_mocked_request_is_one_without_what_it_does_not_know(
    protocol: str, telemetry: Telemetry, library_log: LogKeeper, caplog: pytest.LogCaptureFixture
) -> None:
    said = []
    for view in views(telemetry):
        request = upgrade(protocol)
        served = asyncio.ensure_future(view(request))
        parser = await prepared(request)
        parser.feed_data(encode(text_frame({"type": "connection_init"})))
        parser.feed_data(encode(close_frame(1000)))
        assert (await served).status == 101
        said.append(written(request))
    assert said[1] == said[0]
    assert len(said[0]) == 2
    expected = connection(protocol, messages=(1, 1), **UNKNOWN)
    assert recorded(telemetry) == [expected, init(route=None)]
    assert_ended(telemetry, library_log, NORMAL)
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


@SINCE_ORIGINS
async def test_a_mocked_handshake_that_is_refused_is_one(
    telemetry: Telemetry, library_log: LogKeeper, caplog: pytest.LogCaptureFixture
) -> None:
    for view in views(telemetry):
        assert (await view(upgrade(TRANSPORT, **FOREIGN))).status == 403
    verdict = refused("handshake_rejected", 403)
    [foreign] = recorded(telemetry)
    assert foreign["attributes"].items() >= closing(verdict).items()
    assert foreign["attributes"]["server.address"] == "tests.local"
    assert not UNKNOWN.keys() & foreign["attributes"].keys()
    assert_ended(telemetry, library_log, verdict)
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


async def test_a_mocked_request_is_answered(telemetry: Telemetry, library_log: LogKeeper) -> None:
    said = []
    for view in views(telemetry):
        payload = StreamReader(mock.Mock(), 2**16, loop=asyncio.get_running_loop())
        payload.feed_data(b'{"query": "query Hello { hello }"}')
        payload.feed_eof()
        request = make_mocked_request(
            "POST", "/graphql", headers={"Content-Type": "application/json"}, payload=payload
        )
        answer: Any = await view(request)
        said.append((answer.status, answer.text))
    assert said[1] == said[0]
    assert said[0][0] == 200
    assert recorded(telemetry) == [
        standalone(HELLO, name="Hello"),
        *phases("query", PARSING, VALIDATION, EXECUTION),
    ]
    assert_ended(telemetry, library_log)
