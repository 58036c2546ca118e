"""Operations served by whichever task, schema method or handler: they are recorded as always.

An operation is what the client asked for. It ends when the client has received its end,
not when some task or execution ends, and its results are those that the client was sent.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import strawberry

from strawberry_ws_otel import OTelExtension
from tests.support.applications.conversations import (
    ACTIVE,
    DURATION,
    EVENTS,
    REQUESTS,
    all_ends,
    both,
    clients,
    elsewhere,
    expected_spans,
    forever,
    layers,
    operations,
    others,
    served_by,
    stopped_and_left,
    stops_and_leaves,
    streams,
    ticks,
)
from tests.support.applications.serving_tasks import (
    AT_ONCE,
    STREAMS,
    UNSTEADY,
    Abandoned,
    EachInATask,
    HandledInExcept,
    Hedged,
    InATask,
    InExcept,
    Own,
    Prefetched,
    Pumped,
    Raced,
    Repeated,
    Retried,
    Schema,
    Task,
    schemas,
)
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    EXECUTION,
    PARSING,
    VALIDATION,
    Event,
    connection,
    init,
    operation,
    phases,
    recorded,
    results_of,
    sent,
    standalone,
)
from tests.support.hosting import hosting, part
from tests.support.raw_client import Client
from tests.support.scenarios.model import BOTH, by_client
from tests.support.scenarios.steps import LEGACY, TRANSPORT, subscribe
from tests.support.schema import FOREVER, HELLO, TICKS
from tests.support.telemetry import Telemetry
from tests.support.views import View, extension, instrumented

protocols = pytest.mark.parametrize("protocol", BOTH)
MULTIPART = {"Accept": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


# --- Schemas ---------------------------------------------------------------------------------


@streams(*STREAMS)
@protocols
async def test_all_ends_are_recorded_whoever_makes_the_stream(
    telemetry: Telemetry, schema: type[Schema], protocol: str
) -> None:
    await both(telemetry, View, all_ends, protocol, schema=schemas(schema))
    assert recorded(telemetry) == expected_spans(protocol)
    assert telemetry.total(ACTIVE) == 0
    assert telemetry.total(DURATION) == 5
    assert telemetry.total(REQUESTS) == 0


@streams(*STREAMS)
async def test_a_query_is_recorded_whoever_makes_the_stream(
    telemetry: Telemetry, schema: type[Schema]
) -> None:
    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", HELLO))
        await client.message("complete")
        await part(client)

    await both(telemetry, View, talk, schema=schemas(schema))
    events = [*results_of(TRANSPORT, 1), sent("complete")]
    assert recorded(telemetry) == [
        connection(messages=(2, 3), operations=["query"]),
        init(),
        operation(HELLO, "completed", name="Hello", results=1, events=events),
        *phases("query", PARSING, VALIDATION, EXECUTION),
    ]
    assert telemetry.total(REQUESTS, {"graphql.operation.type": "query"}) == 1


@streams(*STREAMS)
@protocols
async def test_a_subscription_is_live_whoever_makes_the_stream(
    telemetry: Telemetry, schema: type[Schema], protocol: str
) -> None:
    view = instrumented(telemetry)
    async with hosting(view(schema=schemas(schema)(OTelExtension), keep_alive=False)) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next", "data")
        assert telemetry.total(ACTIVE) == 1
        assert telemetry.total(EVENTS) == 1
        await part(client)
    assert telemetry.total(ACTIVE) == 0


@protocols
async def test_an_operation_is_live_until_its_results_are_sent_whenever_they_were_made(
    telemetry: Telemetry, protocol: str
) -> None:
    gate = asyncio.Event()

    class Ahead(Schema):
        """Has all results made in one task before it hands on the first."""

        async def stream(self, *args: Any, **kwargs: Any) -> Any:
            async def made() -> list[Any]:
                return [result async for result in await self.host_stream(*args, **kwargs)]

            async def handed_on() -> Any:
                first, *rest = await asyncio.create_task(made())
                yield first
                await gate.wait()
                for result in rest:
                    yield result

            return handed_on()

    view = instrumented(telemetry)
    async with hosting(view(schema=schemas(Ahead)(OTelExtension), keep_alive=False)) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", TICKS, variables={"to": 3}))
        await client.message("next", "data")
        assert telemetry.total(ACTIVE) == 1
        assert telemetry.total(EVENTS) == 1
        gate.set()
        await client.message("complete")
        await part(client)
    assert operations(telemetry) == [ticks(protocol, 3)]
    assert telemetry.total(ACTIVE) == 0
    assert telemetry.total(EVENTS) == 3


@streams(InATask, Prefetched, EachInATask, Pumped)
async def test_a_stream_over_http_is_recorded_whoever_makes_it(
    telemetry: Telemetry, schema: type[Schema]
) -> None:
    served = schemas(schema)(extension(telemetry))
    view: View = View(schema=served, subscription_protocols=("multipart-subscription",))
    body = {"query": TICKS, "variables": {"to": 2}}
    async with (
        hosting(view) as host,
        host.session.post(host.url, json=body, headers=MULTIPART) as response,
    ):
        assert (await response.text()).count('"ticks":') == 2
    assert recorded(telemetry) == [
        standalone(TICKS, name="Ticks"),
    ]
    assert telemetry.total(ACTIVE) == 0
    assert telemetry.total(EVENTS) == 2


async def test_a_request_over_http_is_recorded_whoever_executes_it(telemetry: Telemetry) -> None:
    class Timed(strawberry.Schema):
        async def execute(self, *args: Any, **kwargs: Any) -> Any:
            return await asyncio.create_task(super().execute(*args, **kwargs))

    view: View = View(schema=schemas(Timed)(extension(telemetry)))
    async with hosting(view) as host:
        assert await host.post({"query": HELLO}) == (200, {"data": {"hello": "world"}})
    assert recorded(telemetry) == [
        standalone(HELLO, name="Hello"),
        *phases("query", PARSING, VALIDATION, EXECUTION),
    ]


@protocols
async def test_an_operation_is_recorded_if_its_execution_knows_nothing_of_the_connection(
    telemetry: Telemetry, protocol: str
) -> None:
    class Pooled(Schema):
        async def stream(self, *args: Any, **kwargs: Any) -> Any:
            return await elsewhere(self.host_stream(*args, **kwargs))

    await both(telemetry, View, stops_and_leaves, protocol, schema=schemas(Pooled))
    assert operations(telemetry) == stopped_and_left(protocol)


# --- Several executions of one operation -----------------------------------------------------


@streams(Raced, Hedged, Retried, Abandoned, Repeated)
@protocols
async def test_an_operation_that_is_executed_twice_is_one_operation(
    telemetry: Telemetry, schema: type[Schema], protocol: str
) -> None:
    document = UNSTEADY if schema in {Hedged, Retried} else TICKS
    results = 4 if schema is Repeated else 2

    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", document, variables={"to": 2}))
        await client.message("complete")
        await part(client)

    await both(telemetry, View, talk, protocol, schema=schemas(schema))
    name = document.split()[1].partition("(")[0]
    events = [*results_of(protocol, *range(1, results + 1)), sent("complete")]
    assert clients(telemetry) == [
        operation(
            document, "completed", protocol=protocol, name=name, results=results, events=events
        )
    ]
    for each in others(telemetry):
        assert each["parent"] == "subscription"
        assert each["status"] == "UNSET"
        assert not {name for name in each["attributes"] if name.startswith("graphql.ws.")}
        assert each["attributes"]["websocket.connection.id"] == "c1"
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["attributes"]["graphql.ws.operation.count"] == 1
    assert connected["attributes"]["graphql.ws.operation.interrupted_count"] == 0
    assert telemetry.total(DURATION) == 1
    assert telemetry.total(ACTIVE) == 0
    assert telemetry.total(EVENTS) == results
    assert telemetry.total(REQUESTS) == 0


@streams(Raced, Repeated)
@protocols
async def test_a_subscription_that_is_executed_twice_is_live_once(
    telemetry: Telemetry, schema: type[Schema], protocol: str
) -> None:
    view = instrumented(telemetry)
    async with hosting(view(schema=schemas(schema)(OTelExtension), keep_alive=False)) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next", "data")
        assert telemetry.total(ACTIVE) == 1
        await part(client)
    assert telemetry.total(ACTIVE) == 0
    assert telemetry.total(EVENTS) == 1
    assert clients(telemetry) == [
        forever(protocol, "a", "connection_closed", verdict=by_client("normal", 1000))
    ]


# --- Task factories --------------------------------------------------------------------------


class OwnTask(asyncio.Task):  # type: ignore[type-arg]  # it is generic in stubs only
    """A class of the application's."""


def own_tasks(loop: Any, coroutine: Any, **kwargs: Any) -> Any:
    return OwnTask(coroutine, loop=loop, **kwargs)


def wrapped_tasks(loop: Any, coroutine: Any, **kwargs: Any) -> Any:
    """Each coroutine below one of the application's, as a profiler would have it."""

    async def profiled() -> Any:
        return await coroutine

    return asyncio.Task(profiled(), loop=loop, **kwargs)


def eager_tasks(loop: Any, coroutine: Any, **kwargs: Any) -> Any:
    eager: Any = asyncio.eager_task_factory  # type: ignore[attr-defined,unused-ignore]  # since 3.12
    return eager(loop, coroutine, **kwargs)


SINCE_EAGER = pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks before")


@contextmanager
def making(factory: Any) -> Iterator[None]:
    """The running loop makes its tasks so as long as this lasts."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        yield
    finally:
        loop.set_task_factory(None)


@pytest.mark.parametrize(
    "factory",
    [own_tasks, wrapped_tasks, pytest.param(eager_tasks, marks=SINCE_EAGER)],
)
@pytest.mark.parametrize("layer", [object, HandledInExcept, Own, Task])
@protocols
async def test_operations_are_recorded_whatever_their_tasks_are(
    telemetry: Telemetry, factory: Any, layer: type, protocol: str
) -> None:
    with making(factory):
        view = View if layer is object else served_by(layer)
        await both(telemetry, view, stops_and_leaves, protocol)
    assert operations(telemetry) == stopped_and_left(protocol)
    assert telemetry.total(ACTIVE) == 0
    assert telemetry.total(DURATION) == 3


@SINCE_EAGER
@layers(InExcept, HandledInExcept)
async def test_an_operation_that_ends_while_it_is_begun_in_an_except_is_completed(
    telemetry: Telemetry, layer: type
) -> None:
    """The host of `graphql-ws` sends all of it before the task is even known to it."""

    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", AT_ONCE))
        await client.message("complete")
        await part(client)

    with making(eager_tasks):
        view = served_by(layer)
        await both(telemetry, view, talk, LEGACY, schema=schemas(Schema))
    events: list[Event] = [*results_of(LEGACY, 1, 2), sent("complete")]
    assert operations(telemetry) == [
        operation(AT_ONCE, "completed", protocol=LEGACY, name="AtOnce", results=2, events=events)
    ]
