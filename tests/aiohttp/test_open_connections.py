"""What `open_connections()` shows of sockets, from any thread, while they are open."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from strawberry_ws_otel import (
    OpenConnection,
    OTelExtension,
    connection_attributes,
    open_connections,
)
from tests.support.clock import Clock
from tests.support.expected import CONNECTION
from tests.support.fake_connection import BOTH
from tests.support.flood import flooded, flooding
from tests.support.hosting import Host, hosting, part
from tests.support.scenarios.steps import COMPLETE, TRANSPORT, subscribe
from tests.support.schema import BROKEN, FOREVER, HELLO, make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import View, instrumented

AGENT = {"User-Agent": "test/1.0"}
SCHEMA = make_schema(OTelExtension)


def view(telemetry: Telemetry, base: type[View] = View, **options: Any) -> View:
    return instrumented(telemetry, base, **options)(schema=SCHEMA, keep_alive=False)


class LoggedInView(View):
    """A view that knows its clients."""

    async def on_ws_connect(self, context: Any) -> Any:
        connection_attributes({"user": "ada", "seats": 5})
        return await super().on_ws_connect(context)


async def of_a_thread() -> list[OpenConnection]:
    """What another thread finds."""
    return await asyncio.to_thread(open_connections)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("sampled", [True, False])
async def test_a_snapshot_is_what_the_client_sees_and_the_telemetry_says(
    protocol: str, *, sampled: bool
) -> None:
    telemetry = Telemetry() if sampled else Telemetry(sampler=ALWAYS_OFF)
    async with hosting(view(telemetry, LoggedInView)) as host:
        client = await host.acknowledged(protocol, AGENT)
        client.json(subscribe(client, "a", FOREVER), subscribe(client, "b", FOREVER))
        await client.message("next", "data")
        await client.message("next", "data")
        client.json({"id": "a", "type": COMPLETE[protocol]})
        client.json(subscribe(client, "c", FOREVER))
        await client.message("next", "data")
        [snapshot] = await of_a_thread()
        [same] = open_connections()
        await part(client)
    assert (snapshot.subprotocol, snapshot.client_address) == (protocol, "127.0.0.1")
    assert snapshot.user_agent == AGENT["User-Agent"]
    assert snapshot.attributes == {"user": "ada", "seats": 5}
    assert [(each.id, each.type, each.name, each.results) for each in snapshot.operations] == [
        ("b", "subscription", "Forever", 1),
        ("c", "subscription", "Forever", 1),
    ]
    sent = 4 + (protocol != TRANSPORT)  # The older host answers a `stop`.
    assert (snapshot.messages_received, snapshot.messages_sent) == (5, sent)
    frames = [frame for frame in client.frames if frame.is_data]
    assert snapshot.bytes_sent == sum(len(frame.payload) for frame in frames)
    io = telemetry.total("websocket.server.io", network__io__direction="receive")
    assert snapshot.bytes_received == io
    assert snapshot.receive_idle_time is not None
    older, younger = (operation.age for operation in snapshot.operations)
    assert snapshot.age > older > younger > snapshot.receive_idle_time - 1 > -1
    assert (same.id, same.bytes_sent, same.age > snapshot.age) == (
        snapshot.id,
        snapshot.bytes_sent,
        True,
    )
    for span in telemetry.spans(CONNECTION):
        assert attributes_of(span)["websocket.connection.id"] == snapshot.id
    assert open_connections() == []


async def test_a_handshake_is_not_open_before_its_upgrade(telemetry: Telemetry) -> None:
    seen = dict[str, int]()

    class Looks(View):
        async def create_websocket_response(
            self, request: web.Request, subprotocol: str | None
        ) -> web.WebSocketResponse:
            seen["before"] = len(open_connections())
            return await super().create_websocket_response(request, subprotocol)

        async def on_ws_connect(self, context: Any) -> Any:
            seen["after"] = len(open_connections())
            return await super().on_ws_connect(context)

    async with hosting(view(telemetry, Looks)) as host:
        await part(await host.acknowledged())
    assert seen == {"before": 0, "after": 1}


async def test_a_handshake_that_is_refused_is_never_open(telemetry: Telemetry) -> None:
    class Refuses(View):
        async def create_websocket_response(self, *_arguments: Any) -> Any:
            raise web.HTTPForbidden

    async with hosting(view(telemetry, Refuses)) as host:
        await host.connect()
        await host.served()
        assert open_connections() == []


@pytest.mark.parametrize("sampled", [True, False])
async def test_the_type_of_an_operation_is_known_while_it_runs(*, sampled: bool) -> None:
    telemetry = Telemetry() if sampled else Telemetry(sampler=ALWAYS_OFF)
    seen = list[tuple[str | None, str | None]]()

    class Looks(View):
        async def get_root_value(self, request: web.Request) -> Any:
            return None

    class Watching(OTelExtension):
        async def resolve(self, _next: Any, root: Any, info: Any, *args: Any, **kwargs: Any) -> Any:
            for connection in open_connections():
                seen.extend((each.type, each.name) for each in connection.operations)
            result = _next(root, info, *args, **kwargs)
            return await result if asyncio.iscoroutine(result) else result

    async with hosting(
        instrumented(telemetry, Looks)(schema=make_schema(Watching), keep_alive=False)
    ) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", HELLO, operationName="Hello"))
        await client.message("complete")
        client.json(subscribe(client, "b", BROKEN))
        await client.message("complete")
        await part(client)
    name = "Broken" if sampled else None
    assert seen == [("query", "Hello"), ("query", name)]


async def test_the_mixin_alone_knows_no_type(telemetry: Telemetry) -> None:
    alone = instrumented(telemetry)(schema=make_schema(), keep_alive=False)
    async with hosting(alone) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, 5, FOREVER, operationName="Forever"))
        await client.message("next")
        [snapshot] = open_connections()
        assert [(each.id, each.type, each.name) for each in snapshot.operations] == [
            ("5", None, "Forever")
        ]
        await part(client)


async def test_a_snapshot_of_a_socket_is_json(telemetry: Telemetry) -> None:
    async with hosting(view(telemetry, LoggedInView)) as host:
        client = await host.acknowledged(headers=AGENT)
        client.json(subscribe(client, "\ud800" * 1000, FOREVER))
        await client.message("next")
        [values] = [each.as_dict() for each in open_connections()]
        await part(client)
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["operations"][0]["id"] == "?" * 128


async def test_what_a_client_says_of_itself_is_bounded(telemetry: Telemetry) -> None:
    async with hosting(view(telemetry)) as host:
        client = await host.acknowledged(headers={"User-Agent": "x" * 5000})
        assert [each.user_agent for each in open_connections()] == ["x" * 256]
        await part(client)


async def test_a_client_that_does_not_read_blocks_its_connection(
    telemetry: Telemetry, clock: Clock
) -> None:
    served = flooding(telemetry)
    async with hosting(served) as host:
        client = await flooded(host, telemetry)
        clock.passes(30)
        [during] = await of_a_thread()
        served.has_enough = True
        await client.message("complete")
        clock.passes(5)
        [after] = await of_a_thread()
        await part(client)
    waits = [
        (each.is_send_blocked, each.send_blocked_for, each.send_blocked_time)
        for each in (during, after)
    ]
    assert waits == [(True, 30.0, 30.0), (False, 0.0, 30.0)]
    assert (during.receive_idle_time, after.receive_idle_time, after.send_idle_time) == (30, 35, 5)
    [operation] = during.operations
    assert operation.results == during.messages_sent - 1
    assert operation.result_idle_time == (30.0 if operation.results else None)


# --- Several views, loops and threads ----------------------------------------------------------


def in_loop_of_a_thread(
    served: View, opened: threading.Event, over: threading.Event, found: Callable[[str], object]
) -> None:
    """Serve a client on an event loop of this thread until it is over."""

    async def serve() -> None:
        async with hosting(served) as host:
            client = await host.acknowledged(headers={"User-Agent": "of a thread"})
            opened.set()
            await asyncio.to_thread(over.wait)
            found(client.protocol or "")
            await part(client)

    asyncio.run(serve())


async def test_connections_of_all_views_loops_and_threads_are_listed(telemetry: Telemetry) -> None:
    opened, over, found = threading.Event(), threading.Event(), list[str]()
    async with hosting(view(telemetry)) as one, hosting(view(Telemetry(), LoggedInView)) as two:
        clients = [await host.acknowledged(headers=AGENT) for host in (one, two)]
        arguments = view(telemetry), opened, over, found.append
        thread = threading.Thread(target=in_loop_of_a_thread, args=arguments)
        thread.start()
        try:
            await asyncio.to_thread(opened.wait)
            agents = [each.user_agent for each in open_connections(None)]
        finally:
            over.set()
            await asyncio.to_thread(thread.join)
        left = [each.attributes for each in open_connections(None)]
        for client in clients:
            await part(client)
    assert agents == [AGENT["User-Agent"], AGENT["User-Agent"], "of a thread"]
    assert left == [{}, {"user": "ada", "seats": 5}]


@pytest.mark.parametrize("limit", [1, 2, None])
async def test_the_oldest_are_listed_first(limit: int | None, telemetry: Telemetry) -> None:
    async def connect(host: Host) -> str:
        known = {each.id for each in open_connections(None)}
        await host.acknowledged()
        [new] = {each.id for each in open_connections(None)} - known
        return new

    async with hosting(view(telemetry)) as host:
        ids = [await connect(host) for _ in range(3)]
        listed = open_connections(limit)
        for client in host.clients:
            await part(client)
    assert [each.id for each in listed] == ids[:limit]
    assert sorted((each.age for each in listed), reverse=True) == [each.age for each in listed]
