"""Attributes that the application gives a connection, from any code that serves it."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import strawberry

from strawberry_ws_otel import OTelExtension, connection_attributes
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    GREETING,
    RESULT,
    connection,
    executed,
    init,
    operation,
    recorded,
    results_of,
    sent,
    stopped,
)
from tests.support.hosting import hosting, part
from tests.support.log import LIBRARY, LogKeeper
from tests.support.scenarios.model import BOTH, without_frames
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.schema import HELLO, make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import View, instrumented

ASK = "query { ask }"
IN_THREAD = "query { askInThread }"
COUNT = "subscription { count }"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


@strawberry.type
class Query:
    @strawberry.field
    async def ask(self) -> str:
        connection_attributes({"asked": True, "tenant": "other"})
        return "answer"

    @strawberry.field
    async def ask_in_thread(self) -> str:
        await asyncio.to_thread(connection_attributes, {"thread": 1})
        return "answer"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self) -> AsyncGenerator[int, None]:
        connection_attributes({"counted": 0.5})
        yield 1
        await asyncio.Event().wait()


class Tenanted(View):
    async def get_context(self, request: Any, response: Any) -> Any:
        connection_attributes({"tenant": "acme"})
        return {}

    async def on_ws_connect(self, context: Any) -> Any:
        connection_attributes({"user.id": 7})
        return await super().on_ws_connect(context)


def tenanted(telemetry: Telemetry) -> View:
    schema = strawberry.Schema(Query, subscription=Subscription, extensions=[OTelExtension])
    return instrumented(telemetry, Tenanted)(schema=schema, keep_alive=False)


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_subscription_has_the_attributes_from_before_it_and_its_connection_all(
    protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(tenanted(telemetry)) as host:
        client = await host.acknowledged(protocol)
        for id_ in ("a", "b"):
            client.json(subscribe(client, id_, COUNT))
            await client.message(RESULT[protocol])
        client.reset()
        await client.until_end()

    lost = without_frames("connection_lost")
    first: dict[str, Any] = {"tenant": "acme", "user.id": 7}
    ends: dict[str, Any] = {
        "protocol": protocol,
        "results": 1,
        "events": results_of(protocol, 1),
        "verdict": lost,
        "error": "connection_lost",
        "description": "interrupted by an abnormal close: connection_lost",
    }
    assert recorded(telemetry) == [
        connection(
            protocol,
            lost,
            messages=(3, 3),
            operations=["subscription", "subscription 2"],
            interrupted=2,
            **first,
            counted=0.5,
        ),
        init(),
        operation(COUNT, "connection_closed", **ends, **first),
        operation(COUNT, "connection_closed", id_="b", **ends, **first, counted=0.5),
    ]


async def test_resolvers_and_threads_change_and_add_attributes(telemetry: Telemetry) -> None:
    async with hosting(tenanted(telemetry)) as host:
        client = await host.acknowledged()
        for query in (ASK, IN_THREAD, COUNT):
            client.json(subscribe(client, "a", query))
            await client.message("next")
            if query is not COUNT:
                await client.message("complete")
        client.json({"type": "complete", "id": "a"})
        await part(client)

    asked: dict[str, Any] = {"tenant": "other", "user.id": 7, "asked": True}
    one_result: dict[str, Any] = {
        "results": 1,
        "events": [*results_of(TRANSPORT, 1), sent("complete")],
    }
    stop: dict[str, Any] = {"results": 1, "events": [*results_of(TRANSPORT, 1), stopped(TRANSPORT)]}
    [whole, first, second, third] = recorded(telemetry, CONNECTION, "query", "subscription")
    assert whole == connection(
        messages=(5, 6),
        operations=["query", "query 2", "subscription"],
        events=GREETING,
        **asked,
        thread=1,
        counted=0.5,
    )
    before: dict[str, Any] = {"tenant": "acme", "user.id": 7}
    assert first == operation(ASK, "completed", **one_result, **before)
    assert second == operation(IN_THREAD, "completed", **one_result, **asked)
    assert third == operation(COUNT, "client_completed", **stop, **asked, thread=1)


async def test_a_query_of_the_application_s_own_has_them_too(telemetry: Telemetry) -> None:
    schema = make_schema(OTelExtension)

    class Asking(View):
        async def on_ws_connect(self, context: Any) -> Any:
            connection_attributes({"tenant": "acme"})
            await schema.execute(HELLO)
            return await super().on_ws_connect(context)

    async with hosting(instrumented(telemetry, Asking)(schema=schema)) as host:
        await part(await host.acknowledged())

    attributes: dict[str, Any] = {"tenant": "acme", "websocket.connection.id": "c1"}
    [query] = recorded(telemetry, "query")
    assert query == executed(
        HELLO,
        name="Hello",
        parent="GraphQL WebSocket Connection Init",
        **attributes,
    )


async def test_a_request_over_http_has_none(telemetry: Telemetry) -> None:
    async with hosting(tenanted(telemetry)) as host:
        assert (await host.post({"query": ASK}))[0] == 200
        client = await host.acknowledged()
        await part(client)

    [query] = telemetry.spans("query")
    assert not {"tenant", "asked"} & attributes_of(query).keys()
    [whole] = telemetry.spans(CONNECTION)
    assert attributes_of(whole)["tenant"] == "acme"


async def test_two_connections_have_their_own(telemetry: Telemetry) -> None:
    class Named(View):
        async def on_ws_connect(self, context: Any) -> Any:
            connection_attributes({"user": context["connection_params"]["user"]})
            return await super().on_ws_connect(context)

    async with hosting(instrumented(telemetry, Named)(schema=make_schema())) as host:
        clients = [await host.acknowledged(payload={"user": user}) for user in ("ada", "bob")]
        for client in clients:
            await part(client)

    users = [attributes_of(span)["user"] for span in telemetry.spans(CONNECTION)]
    assert users == ["ada", "bob"]


async def test_the_log_record_of_an_abnormal_close_has_them(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async with hosting(tenanted(telemetry)) as host:
        client = await host.acknowledged()
        client.reset()
        await client.until_end()

    [record] = library_log.records
    assert vars(record)["tenant"] == "acme"
    assert vars(record)["user.id"] == 7


async def test_a_view_class_logs_once_that_a_connection_has_too_many(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Crowded(View):
        async def on_ws_connect(self, context: Any) -> Any:
            connection_attributes({f"n{number}": number for number in range(40)})
            return await super().on_ws_connect(context)

    async with hosting(instrumented(telemetry, Crowded)(schema=make_schema(OTelExtension))) as host:
        for _ in range(2):
            await part(await host.acknowledged())

    expected: dict[str, Any] = {f"n{number}": number for number in range(32)}
    assert recorded(telemetry, CONNECTION) == [
        connection(messages=(1, 1), links=[link], id_=id_, **expected)
        for id_, link in (
            ("c1", "GraphQL WebSocket Connection Init"),
            ("c2", "GraphQL WebSocket Connection Init 2"),
        )
    ]
    [record] = library_log.records
    assert (record.name, record.levelno) == (LIBRARY, logging.WARNING)
    assert record.getMessage() == (
        "connection_attributes() leaves out 'n32': a connection has at most 32 attributes;"
        " further ones are left out without a warning"
    )


async def test_a_wrong_value_is_an_error_of_the_caller_s(telemetry: Telemetry) -> None:
    raised: list[str] = []

    class Mistaken(View):
        async def on_ws_connect(self, context: Any) -> Any:
            user: Any = None
            for wrong in ({"user.id": user}, {"error.type": "x"}):
                try:
                    connection_attributes(wrong)
                except (TypeError, ValueError) as error:
                    raised.append(str(error))
            return await super().on_ws_connect(context)

    async with hosting(instrumented(telemetry, Mistaken)(schema=make_schema())) as host:
        await part(await host.acknowledged())

    assert recorded(telemetry) == [connection(messages=(1, 1)), init()]
    assert raised == [
        "connection_attributes() must have a str, bool, int or float in 'user.id', not None",
        "connection_attributes() must not have 'error.type', which is a name of the library",
    ]
