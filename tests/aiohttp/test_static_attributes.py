"""The attributes of a configuration are on all that its view records, and tell two views apart."""

from typing import Any

import pytest

from strawberry_ws_otel import OTelExtension, connection_attributes
from strawberry_ws_otel._close import FAULTS
from tests.support.clock import stop_clock
from tests.support.expected import (
    EXECUTION,
    PARSING,
    VALIDATION,
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
)
from tests.support.hosting import hosting, part
from tests.support.log import LogKeeper
from tests.support.raw_client import Client
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.schema import FOREVER, HELLO, TICKS, make_schema
from tests.support.telemetry import Attributes, Telemetry, labels
from tests.support.views import View, extension, instrumented

ADMIN: dict[str, Any] = {"graphql.endpoint": "admin", "tier": 1, "beta": True}
PUBLIC: dict[str, Any] = {"graphql.endpoint": "public"}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


def view_of(telemetry: Telemetry, attributes: dict[str, Any], base: type[View] = View) -> View:
    class_ = instrumented(telemetry, base, attributes=attributes)
    return class_(schema=make_schema(OTelExtension), keep_alive=False)


async def tick(client: Client) -> None:
    client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
    await client.message("complete")
    await part(client)


def with_attributes(spans: list[SpanDict], attributes: dict[str, Any]) -> list[SpanDict]:
    return [{**span, "attributes": {**span["attributes"], **attributes}} for span in spans]


@pytest.mark.parametrize("protocol", BOTH)
async def test_all_spans_of_a_conversation_have_them(protocol: str, telemetry: Telemetry) -> None:
    async with hosting(view_of(telemetry, ADMIN)) as host:
        await tick(await host.acknowledged(protocol))

    ticks = operation(
        TICKS,
        "completed",
        protocol=protocol,
        name="Ticks",
        results=2,
        events=[*results_of(protocol, 1, 2), sent("complete")],
    )
    spans = [
        connection(protocol, messages=(2, 4), operations=["subscription"]),
        init(),
        ticks,
    ]
    assert recorded(telemetry) == with_attributes(spans, ADMIN)


async def test_all_spans_of_a_request_over_http_have_them(telemetry: Telemetry) -> None:
    async with hosting(view_of(telemetry, ADMIN)) as host:
        await host.post({"query": HELLO})

    spans = [executed(HELLO, name="Hello"), *phases("query", PARSING, VALIDATION, EXECUTION)]
    assert recorded(telemetry) == with_attributes(spans, ADMIN)


async def test_an_extension_on_its_own_has_them_too(telemetry: Telemetry) -> None:
    await make_schema(extension(telemetry, attributes=ADMIN)).execute(HELLO)
    spans = [standalone(HELLO, name="Hello"), *phases("query", PARSING, VALIDATION, EXECUTION)]
    assert recorded(telemetry) == with_attributes(spans, ADMIN)
    assert telemetry.metrics()["graphql.server.request.duration"] == {
        labels({**ADMIN, "graphql.operation.type": "query"}): 1
    }


async def test_the_attributes_of_a_connection_come_before_them_and_are_on_no_metric(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Tenanted(View):
        async def on_ws_connect(self, context: Any) -> Any:
            connection_attributes({"tier": 2, "tenant": "acme"})
            return await super().on_ws_connect(context)

    async with hosting(view_of(telemetry, ADMIN, Tenanted)) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next")
        client.reset()
        await client.until_end()

    whole, greeting, forever, *_ = recorded(telemetry)
    expected = {**ADMIN, "tier": 2, "tenant": "acme"}
    for one, attributes in ((whole, expected), (greeting, ADMIN), (forever, expected)):
        assert attributes.items() <= one["attributes"].items()
    [record] = library_log.closes
    assert expected.items() <= vars(record).items()
    every_point = [key for points in telemetry.metrics().values() for key in points]
    assert all(labels(ADMIN) <= key and "tenant" not in dict(key) for key in every_point)


def closes(attributes: dict[str, Any], **counts: int) -> dict[Attributes, float]:
    return {
        labels(
            {
                **attributes,
                "websocket.close.outcome": outcome.value,
                "websocket.close.fault": fault.value,
            }
        ): counts.get(outcome.value, 0)
        for outcome, fault in FAULTS.items()
    }


async def test_two_views_have_counts_of_their_own_and_every_outcome_from_0_on(
    telemetry: Telemetry,
) -> None:
    admin, public, plain = (view_of(telemetry, each) for each in (ADMIN, PUBLIC, {}))
    assert telemetry.metrics()["websocket.server.closes"] == {
        **closes(ADMIN),
        **closes(PUBLIC),
        **closes({}),
    }
    for view, times in ((admin, 1), (public, 2)):
        async with hosting(view) as host:
            for _ in range(times):
                await tick(await host.acknowledged())

    found = telemetry.metrics()
    assert found["websocket.server.closes"] == {
        **closes(ADMIN, normal=1),
        **closes(PUBLIC, normal=2),
        **closes({}),
    }
    subprotocol = {"websocket.subprotocol": TRANSPORT}
    assert found["websocket.server.active_connections"] == {
        labels({**ADMIN, **subprotocol}): 0,
        labels({**PUBLIC, **subprotocol}): 0,
    }
    assert found["graphql.server.subscription.event_count"] == {
        labels(ADMIN): 2,
        labels(PUBLIC): 4,
        labels({}): 0,
    }
    ended = {"graphql.operation.type": "subscription"}
    ended["graphql.ws.operation.end_reason"] = "completed"
    assert found["graphql.ws.operation.duration"] == {
        labels({**ADMIN, **ended}): 1,
        labels({**PUBLIC, **ended}): 2,
    }
    del plain
