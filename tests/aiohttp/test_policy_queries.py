"""Queries that the application asks its own schema while it serves a client.

Each is an operation of its own, below the client's: it has the connection's id, but no id of a
client, no end reason and no results over the socket. The client's is recorded as if it were the
only one.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any

import pytest
from strawberry.extensions import SchemaExtension

from strawberry_ws_otel import OTelExtension
from tests.support.applications.conversations import (
    ACTIVE,
    APP_ERROR,
    DURATION,
    EVENTS,
    QUERY,
    REQUESTS,
    both,
    clients,
    one_subscription,
    operations,
    others,
    rejected,
    served_by,
    ticks,
)
from tests.support.applications.policy_queries import (
    ALLOWED,
    PLACES,
    WAYS,
    Ask,
    before_it_is_begun,
    before_it_is_run,
    execute,
    guarded_schema,
    stream,
)
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    EXECUTION,
    INIT,
    OPERATION,
    PARSING,
    VALIDATION,
    Event,
    SpanDict,
    connection,
    executed,
    init,
    operation,
    phases,
    recorded,
    results_of,
    sent,
    standalone,
    stopped,
)
from tests.support.hosting import hosting, part
from tests.support.raw_client import Client
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import COMPLETE, TRANSPORT, subscribe
from tests.support.schema import HELLO, TICKS, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View, extension, instrumented

DENIED = "query Denied { broken }"
FIRST_TICK = "subscription Allowed { ticks(to: 1) }"
GUARDED = "query Guarded { guarded }"
THREE_PHASES = (PARSING, VALIDATION, EXECUTION)

protocols = pytest.mark.parametrize("protocol", BOTH)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


def policy(parent: str, document: str = ALLOWED, **more: Any) -> list[SpanDict]:
    """What is recorded of a query of the application's in a connection."""
    attributes: dict[str, Any] = {"websocket.connection.id": "c1", "name": "Allowed"} | more
    return [
        executed(document, parent=parent, **attributes),
        *phases("query", *THREE_PHASES),
    ]


def unordered(spans: Iterable[SpanDict]) -> list[SpanDict]:
    return sorted(spans, key=repr)


def conversation(protocol: str) -> list[SpanDict]:
    """What is recorded of a connection for one subscription."""
    return [
        connection(protocol, messages=(2, 4), operations=["subscription"]),
        init(),
        ticks(protocol),
    ]


@pytest.mark.parametrize(
    ("place", "ask"),
    [(place, execute) for place in PLACES]
    + [(before_it_is_begun, ask) for ask in WAYS if ask is not execute]
    + [(before_it_is_run, stream)],
)
@protocols
async def test_a_policy_query_is_an_operation_of_its_own_below_the_client_s(
    telemetry: Telemetry, place: Callable[[Ask], type], ask: Ask, protocol: str
) -> None:
    await both(telemetry, served_by(place(ask)), one_subscription, protocol)
    expected = conversation(protocol) + policy("subscription")
    assert unordered(recorded(telemetry)) == unordered(expected)
    assert telemetry.total(DURATION) == 1
    assert telemetry.total(REQUESTS) == telemetry.total(REQUESTS, QUERY) == 1
    assert telemetry.total(ACTIVE) == 0
    assert telemetry.total(EVENTS) == 2


@protocols
async def test_a_policy_subscription_is_not_the_client_s(
    telemetry: Telemetry, protocol: str
) -> None:
    """It is pulled once, and closed."""

    async def ask(schema: Any, context: Any) -> None:
        async with aclosing(await schema.subscribe(FIRST_TICK, context_value=context)) as results:
            await anext(results)

    await both(telemetry, served_by(before_it_is_begun(ask)), one_subscription, protocol)
    [own] = others(telemetry)
    assert [own] == policy("subscription", FIRST_TICK)[:1]
    assert clients(telemetry) == [ticks(protocol)]
    assert telemetry.total(DURATION) == 1
    assert telemetry.total(REQUESTS) == 0
    assert telemetry.total(ACTIVE) == 0


@protocols
async def test_each_operation_has_its_own_policy_query(telemetry: Telemetry, protocol: str) -> None:
    async def talk(client: Client) -> None:
        client.json(
            subscribe(client, "a", TICKS, variables={"to": 2}),
            subscribe(client, "b", TICKS, variables={"to": 3}),
        )
        await client.message("complete")
        await client.message("complete")
        await part(client)

    await both(telemetry, served_by(before_it_is_run(execute)), talk, protocol)
    assert clients(telemetry) == [ticks(protocol), ticks(protocol, 3, id_="b")]
    own, second = others(telemetry)
    assert [own] == policy("subscription")[:1]
    assert [second] == policy("subscription 2")[:1]


@protocols
async def test_a_dry_run_of_the_client_s_document_is_not_the_client_s(
    telemetry: Telemetry, protocol: str
) -> None:
    """Only who asked for it distinguishes the two."""

    class Trying:
        async def run_operation(self, operation: Any) -> None:
            handler: Any = self
            await self.dry_run(operation.query, operation.variables)
            await super().run_operation(operation)  # type: ignore[misc]  # the host's
            assert handler.operations == {}

        async def handle_async_results(
            self, id_: str, query: str, name: Any, variables: Any
        ) -> None:
            await self.dry_run(query, variables)
            await super().handle_async_results(id_, query, name, variables)  # type: ignore[misc]  # the host's

        async def dry_run(self, query: str, variables: Any) -> None:
            handler: Any = self
            result = await handler.schema.execute(query, variables, handler.context)
            assert result.errors  # A subscription cannot be executed.

    await both(telemetry, served_by(Trying), one_subscription, protocol)
    assert clients(telemetry) == [ticks(protocol)]
    for each in others(telemetry):
        assert each["parent"] == "subscription"
        assert not {name for name in each["attributes"] if name.startswith("graphql.ws.")}


async def test_a_query_is_the_client_s_though_the_same_was_asked_before(
    telemetry: Telemetry,
) -> None:
    async def ask(schema: Any, context: Any) -> None:
        await schema.execute(HELLO, context_value=context)

    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", HELLO))
        await client.message("complete")
        await part(client)

    await both(telemetry, served_by(before_it_is_begun(ask)), talk)
    events = [*results_of(TRANSPORT, 1), sent("complete")]
    assert operations(telemetry) == [
        operation(HELLO, "completed", name="Hello", results=1, events=events),
        policy("query", HELLO, name="Hello")[0],
    ]
    assert telemetry.total(REQUESTS, QUERY) == 2


# --- While the operation is executed ---------------------------------------------------------


def asking(document: str, **more: Any) -> Callable[[Client], Any]:
    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", document, **more))
        await client.message("complete")
        await part(client)

    return talk


@pytest.mark.parametrize("ask", WAYS)
@protocols
async def test_a_query_of_a_source_is_below_its_subscription(
    telemetry: Telemetry, ask: Ask, protocol: str
) -> None:
    document = "subscription Guarded { guarded }"
    await both(telemetry, View, asking(document), protocol, schema=guarded_schema(ask))
    events = [*results_of(protocol, 1), sent("complete")]
    assert recorded(telemetry)[2:] == [
        operation(
            document, "completed", protocol=protocol, name="Guarded", results=1, events=events
        ),
        *policy("subscription"),
    ]
    assert telemetry.total(EVENTS) == 1


@pytest.mark.parametrize("ask", WAYS)
async def test_a_query_of_a_resolver_is_below_the_client_s_query(
    telemetry: Telemetry, ask: Ask
) -> None:
    await both(telemetry, View, asking(GUARDED), schema=guarded_schema(ask))
    events = [*results_of(TRANSPORT, 1), sent("complete")]
    assert operations(telemetry) == [
        operation(GUARDED, "completed", name="Guarded", results=1, events=events),
        policy("query")[0],
    ]
    assert telemetry.total(REQUESTS, QUERY) == 2
    assert telemetry.total(DURATION) == 1


@protocols
async def test_a_query_of_a_source_that_the_client_stopped_is_below_its_subscription(
    telemetry: Telemetry, protocol: str
) -> None:
    document = "subscription Cleaned { cleaned }"

    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", document))
        await client.message("next", "data")
        client.json({"id": "a", "type": COMPLETE[protocol]})
        client.json(subscribe(client, "b", TICKS, variables={"to": 2}))
        while (await client.message("complete"))["id"] != "b":
            pass
        await part(client)

    await both(telemetry, View, talk, protocol, schema=guarded_schema(execute))
    events: list[Event] = [*results_of(protocol, 1), stopped(protocol)]
    assert clients(telemetry) == [
        operation(
            document,
            "client_completed",
            protocol=protocol,
            name="Cleaned",
            results=1,
            events=events,
        ),
        ticks(protocol, id_="b"),
    ]
    assert others(telemetry) == policy("subscription")[:1]


async def test_a_query_of_a_policy_query_is_below_that(telemetry: Telemetry) -> None:
    async def ask(schema: Any, context: Any) -> None:
        await schema.execute(GUARDED, context_value=context)

    layer = before_it_is_begun(ask)
    await both(telemetry, served_by(layer), one_subscription, schema=guarded_schema(execute))
    assert operations(telemetry) == [
        ticks(TRANSPORT),
        policy("subscription", GUARDED, name="Guarded")[0],
        policy("query")[0],
    ]


@pytest.mark.parametrize("place", ["before ours", "after ours"])
@protocols
async def test_a_query_of_another_extension_is_below_the_client_s_operation(
    telemetry: Telemetry, place: str, protocol: str
) -> None:
    class Asking(SchemaExtension):
        async def on_operation(self) -> AsyncIterator[None]:
            execution = self.execution_context
            if execution.query != ALLOWED:
                await execute(execution.schema, execution.context)
            yield

    extensions = (Asking, OTelExtension)[:: 1 if place == "before ours" else -1]
    await both(telemetry, View, one_subscription, protocol, extensions=extensions)
    assert operations(telemetry) == [ticks(protocol), policy("subscription")[0]]


# --- What the answer does --------------------------------------------------------------------


@protocols
async def test_the_errors_of_a_policy_query_are_not_the_client_s(
    telemetry: Telemetry, protocol: str
) -> None:
    async def ask(schema: Any, context: Any) -> None:
        assert (await schema.execute(DENIED, context_value=context)).errors

    await both(telemetry, served_by(before_it_is_begun(ask)), one_subscription, protocol)
    assert clients(telemetry) == [ticks(protocol)]
    [own] = others(telemetry)
    assert own["parent"] == "subscription"
    assert own["status"] == "ERROR"
    assert own["attributes"]["error.type"] == APP_ERROR
    assert own["attributes"]["graphql.error.count"] == 1
    assert telemetry.total(EVENTS, {"error.type": APP_ERROR}) == 0


@protocols
async def test_an_operation_that_a_policy_query_forbids_is_rejected(
    telemetry: Telemetry, protocol: str
) -> None:
    class Refusing:
        async def refuse(self, message: Any) -> None:
            handler: Any = self
            await execute(handler.schema, handler.context)
            error: Any = {"message": "not yours"}
            payload = error if message["type"] == "start" else [error]
            said = {"id": message["id"], "type": "error", "payload": payload}
            await handler.send_message(said)

        handle_subscribe = handle_start = refuse

    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
        await client.message("error")
        await part(client)

    await both(telemetry, served_by(Refusing), talk, protocol)
    assert recorded(telemetry) == [
        connection(protocol, messages=(2, 2), operations=[OPERATION]),
        init(),
        rejected(protocol),
        *policy(OPERATION),
    ]


# --- Where the client has asked for nothing yet, or over HTTP --------------------------------


@pytest.mark.parametrize("ask", WAYS)
@protocols
async def test_a_query_of_on_ws_connect_is_below_the_init(
    telemetry: Telemetry, ask: Ask, protocol: str
) -> None:
    class Checking(View):
        async def on_ws_connect(self, context: Any) -> Any:
            await ask(self.schema, context)
            return await super().on_ws_connect(context)

    await both(telemetry, Checking, one_subscription, protocol)
    [connected, first, *rest] = conversation(protocol)
    assert recorded(telemetry) == [connected, first, *policy(INIT), *rest]
    assert connected["attributes"]["graphql.ws.operation.count"] == 1


@protocols
async def test_a_query_of_get_context_is_no_operation_of_the_client_s(
    telemetry: Telemetry, protocol: str
) -> None:
    class Checking(View):
        async def get_context(self, request: Any, response: Any) -> Any:
            await execute(self.schema, None)
            return await super().get_context(request, response)

    await both(telemetry, Checking, one_subscription, protocol)
    assert clients(telemetry) == [ticks(protocol)]
    [own] = others(telemetry)
    assert own["attributes"] == policy(INIT)[0]["attributes"]
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["attributes"]["graphql.ws.operation.count"] == 1


@pytest.mark.parametrize("ask", WAYS)
async def test_a_query_of_a_resolver_over_http_is_below_the_request_s(
    telemetry: Telemetry, ask: Ask
) -> None:
    schema = guarded_schema(ask)(OTelExtension)
    async with hosting(instrumented(telemetry)(schema=schema)) as host:
        assert await host.post({"query": GUARDED}) == (200, {"data": {"guarded": "done"}})
    assert operations(telemetry) == [
        executed(GUARDED, name="Guarded"),
        executed(ALLOWED, name="Allowed", parent="query"),
    ]
    assert telemetry.total(REQUESTS, QUERY) == 2


@pytest.mark.parametrize("part_of_ours", ["both", "extension alone"])
async def test_a_query_before_a_request_over_http_is_beside_it(
    telemetry: Telemetry, part_of_ours: str
) -> None:
    class Checking(View):
        async def get_context(self, request: Any, response: Any) -> Any:
            await execute(self.schema, None)
            return await super().get_context(request, response)

    mixed = part_of_ours == "both"
    kind = instrumented(telemetry, Checking) if mixed else Checking
    schema = make_schema(OTelExtension if mixed else extension(telemetry))
    async with hosting(kind(schema=schema)) as host:
        assert await host.post({"query": HELLO}) == (200, {"data": {"hello": "world"}})
    own = executed if mixed else standalone
    assert operations(telemetry) == [own(ALLOWED, name="Allowed"), own(HELLO, name="Hello")]
