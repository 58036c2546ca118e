"""Incidents that are not in the drill, with the library itself: the answer names who it is."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

import pytest

from examples.demo import clients, trouble
from examples.demo.telemetry import SERVICE
from examples.operations import servers
from examples.operations.closes import Visit, leaves, says
from examples.operations.jaeger import Jaeger
from examples.operations.ports import Ports, url
from examples.operations.shared import NAMED, ask
from examples.operations.traffic import PEOPLE, Client, come_and_go
from strawberry_ws_otel import _semconv
from tests.support.kit.exporting import ticking, until
from tests.support.kit.servers import Start

pytestmark = pytest.mark.operations

TIMES = 12
BAD_RELEASE = "Firefox/128.0"
POLLER = Client("poller/3", "127.0.0.99", "station")

BY: dict[Visit, Callable[[int, Client], bool]] = {
    # What all clients meet.
    trouble.handler_exception: lambda number, _: number < len(PEOPLE),
    # A tenant whose messages are too big.
    trouble.oversized_message: lambda _, client: client.tenant == "meadow",
    # A release that says nonsense.
    says({"type": "nonsense"}): lambda _, client: client.agent.endswith(BAD_RELEASE),
    # Nobody in particular does not like what it gets.
    leaves(4499): lambda number, _: number < len(PEOPLE),
}
"""What goes wrong, and for which of the ordinary clients."""


@pytest.fixture(scope="module")
def base(start: Start, ports: Ports) -> str:
    """The address of a Jaeger that has all incidents."""
    start(servers.jaeger(ports))
    jaeger = Jaeger(url(ports.jaeger_query))
    asyncio.run(cause(jaeger, url(ports.jaeger_otlp)))
    return jaeger.url


async def cause(jaeger: Jaeger, otlp: str) -> None:
    async with ticking(otlp) as ticker:
        ordinary = [clients.query_and_mutation, clients.resolver_error, come_and_go]
        visits = [client.doing(visit) for client in PEOPLE for visit in ordinary]
        visits += [
            client.doing(visit)
            for visit, is_hit in BY.items()
            for number, client in enumerate(PEOPLE * 2)
            if is_hit(number, client)
        ]
        visits += [POLLER.doing(trouble.rejected_login) for _ in range(TIMES)]
        # The same client, from another place each time.
        visits += [
            replace(POLLER, address=f"127.0.9.{number}").doing(trouble.no_init)
            for number in range(TIMES)
        ]
        await ticker.traffic.send(dict.fromkeys(visits, 1))
    assert ticker.troubles == []
    connections = {
        str((span.attributes or {})[_semconv.CONNECTION_ID])
        for span in ticker.spans
        if span.name == _semconv.SPAN_CONNECTION
    }
    search = f"/search?service={SERVICE}&operation={quote(_semconv.SPAN_CONNECTION)}&limit=10000"
    found = await until(
        lambda: jaeger.search(search), lambda traces: len(traces) >= len(connections)
    )
    assert len(found) == len(connections)


async def answer(base: str, tags: str, operation: str = _semconv.SPAN_CONNECTION) -> list[str]:
    """Return the values that the connections share, or what is said instead."""
    query = f"service={SERVICE}&operation={quote(operation)}&tags={quote(tags)}&lookback=1h"
    status, lines = await ask(f"{base}/search?{query}&limit=1000")
    shared = lines[lines.index("What they share:") + 1 :] if status == NAMED else lines[1:]
    how = shared.index("How they ended:") if "How they ended:" in shared else None
    values = [re.split(" of \\d+ normal +", line)[-1] for line in shared[:how]]
    return [re.sub(" +", " ", value) for value in values]


def of(outcome: str) -> str:
    return f'{{"{_semconv.CLOSE_OUTCOME}":"{outcome}"}}'


async def test_what_everybody_meets_is_nobodys(base: str) -> None:
    for outcome in ("server_error", "client_terminated"):
        assert await answer(base, of(outcome)) == [
            "Nothing in common that the normal closes do not also have."
        ]


async def test_a_tenant_is_named_whatever_its_clients_are(base: str) -> None:
    assert await answer(base, of("invalid_frame")) == [
        "graphql.operation.name Prices",
        "tenant.id meadow",
    ]


async def test_a_release_is_named_whatever_its_tenant_is(base: str) -> None:
    agent = next(client.agent for client in PEOPLE if client.agent.endswith(BAD_RELEASE))
    assert await answer(base, of("invalid_message")) == [f"user_agent.original {agent}"]


async def test_a_client_is_named_wherever_it_comes_from(base: str) -> None:
    assert await answer(base, of("init_timeout")) == [
        "user_agent.original poller/3",
        "client.address in 127.0.9.0/24",
        "tenant.id station",
    ]


async def test_a_client_that_tries_again_and_again_is_named(base: str) -> None:
    assert await answer(base, of("forbidden")) == [
        "user_agent.original poller/3",
        "client.address 127.0.0.99",
        "tenant.id station",
    ]


async def test_an_operation_with_errors_is_named(base: str) -> None:
    assert await answer(base, '{"graphql.error.count":"1"}', "subscription") == [
        "graphql.operation.name TulipPrices"
    ]
