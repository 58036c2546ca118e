"""The edges without what they are used to: a connection, a socket, a header."""

import asyncio
import json
from collections.abc import Callable, Mapping
from inspect import getattr_static
from typing import Any, ClassVar, get_origin

import aiohttp
import pytest
import strawberry
from strawberry.aiohttp.views import GraphQLView

from strawberry_ws_otel import OTelViewMixin
from strawberry_ws_otel._strawberry.adapter import ADAPTER_LAYER
from strawberry_ws_otel._strawberry.handlers import HANDLER_LAYERS
from strawberry_ws_otel._strawberry.layers import RecordingLayer
from tests.support.fake_connection import BOTH, RESULT, START, FakeConnection
from tests.support.hosting import hosting
from tests.support.scenarios.steps import TRANSPORT
from tests.support.schema import TICKS, Query, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import config, extension, instrumented


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("layer", [ADAPTER_LAYER, *HANDLER_LAYERS], ids=lambda each: each.attribute)
async def test_a_layer_outside_a_connection_does_its_work_and_records_nothing(
    layer: RecordingLayer, protocol: str, telemetry: Telemetry
) -> None:
    layered = layer.over(getattr_static(GraphQLView, layer.attribute))
    bare = type("Bare", (GraphQLView,), {layer.attribute: layered})
    view = bare(schema=make_schema(extension(telemetry)), keep_alive=False)
    async with hosting(view) as host:
        client = await host.acknowledged(protocol)
        payload = {"query": TICKS, "variables": {"to": 2}}
        client.json({"type": START[protocol], "id": "a", "payload": payload})
        heard = [(await client.message(RESULT[protocol]))["payload"]["data"] for _ in range(2)]
        await client.message("complete")
        client.close(1000)
        await client.until_end()
    assert heard == [{"ticks": 0}, {"ticks": 1}]
    # The extension is on its own there.
    assert [span.name for span in telemetry.spans()] == ["subscription"]


class Registered:
    """A base class that keeps every class derived from it."""

    names: ClassVar[list[str]] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.names.append(cls.__name__)


@pytest.mark.parametrize("layer", [ADAPTER_LAYER, *HANDLER_LAYERS], ids=lambda each: each.attribute)
def test_an_application_sees_its_own_classes_and_none_of_ours(layer: RecordingLayer) -> None:
    host = getattr_static(GraphQLView, layer.attribute)
    own = type("Own", (Registered, get_origin(host) or host), {})
    layered = layer.over(own)
    assert layer.over(layered) is layered
    below = type("Below", (layered,), {})
    assert layer.over(below) is below
    assert Registered.names == ["Own", "Below"]
    Registered.names.clear()


async def shake(header: str, telemetry: Telemetry) -> Mapping[str, Any]:
    """The attributes of a connection that came with this Host header."""
    view = instrumented(telemetry)(schema=strawberry.Schema(query=Query), keep_alive=False)
    async with (
        hosting(view) as host,
        aiohttp.ClientSession() as session,
        session.ws_connect(
            host.url, protocols=["graphql-transport-ws"], headers={"Host": header}
        ) as ws,
    ):
        await ws.close()
    [span] = telemetry.spans("GraphQL WebSocket Connection")
    return span.attributes or {}


@pytest.mark.parametrize(
    ("header", "server"),
    {
        "a.example": ("a.example", 80),
        "A.Example:8080": ("a.example", 8080),
        "a.example:": ("a.example", 80),
        "127.0.0.1:65535": ("127.0.0.1", 65535),
        "[::1]": ("::1", 80),
        "[FE80::1%25eth0]:81": ("fe80::1%25eth0", 81),
    }.items(),
)
async def test_the_host_that_the_client_asks_for_is_recorded(
    header: str, server: tuple[str, int], telemetry: Telemetry
) -> None:
    attributes = await shake(header, telemetry)
    assert (attributes["server.address"], attributes["server.port"]) == server


@pytest.mark.parametrize("header", ["a:b:c", "a:65536", "user@a", "[::1", "[]", "a/b", "a b", ""])
async def test_a_host_that_cannot_be_read_is_left_out(header: str, telemetry: Telemetry) -> None:
    assert not {"server.address", "server.port"} & (await shake(header, telemetry)).keys()


async def test_a_view_that_encodes_into_bytes_is_recorded(telemetry: Telemetry) -> None:
    class Binary(instrumented(telemetry)):  # type: ignore[misc]  # whichever it is
        def encode_json(self, data: object) -> bytes:
            return json.dumps(data).encode()

    async with (
        hosting(Binary(schema=strawberry.Schema(query=Query), keep_alive=False)) as host,
        aiohttp.ClientSession() as session,
        session.ws_connect(host.url, protocols=["graphql-transport-ws"]) as ws,
    ):
        await ws.send_json({"type": "connection_init"})
        acknowledged = await ws.receive_bytes()
        await ws.close()
    sent = telemetry.total("websocket.server.io", network__io__direction="transmit")
    assert sent == len(acknowledged)


def test_a_mixin_over_no_view_may_be_declared() -> None:
    class Base(OTelViewMixin):
        pass

    with pytest.raises(TypeError, match="is no GraphQLView"):
        Base()


@strawberry.type
class Plain:
    answer: int = 42


async def outside_a_task(function: Callable[[], object]) -> object:
    """Call a function where the loop calls back, and return what it returns."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[object] = loop.create_future()

    def call() -> None:
        try:
            result.set_result(function())
        except Exception as error:  # noqa: BLE001  # it is the caller's
            result.set_exception(error)

    loop.call_soon(call)
    return await result


async def test_an_operation_that_no_task_executes_is_described(telemetry: Telemetry) -> None:
    talk = FakeConnection(config(telemetry))
    talk.accept(TRANSPORT)
    task = talk.start_operation("a", query="{ answer }")
    schema = strawberry.Schema(query=Plain, extensions=[extension(telemetry)])

    def execute() -> object:
        return asyncio.current_task(), schema.execute_sync("{ answer }", root_value=Plain()).data

    assert await outside_a_task(lambda: task.run(execute)) == (None, {"answer": 42})
    talk.close_by_client()
    [operation] = telemetry.spans("query")
    assert (operation.attributes or {})["graphql.ws.operation.end_reason"] == "connection_closed"
