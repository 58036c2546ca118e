"""A server that sends more than its client reads."""

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import Any, Final

import strawberry

from strawberry_ws_otel import OTelExtension
from tests.support.hosting import Host
from tests.support.instruments import BLOCKED
from tests.support.raw_client import Client
from tests.support.scenarios.steps import subscribe
from tests.support.schema import Query
from tests.support.telemetry import Telemetry
from tests.support.views import View, instrumented

NOISE: Final = random.Random(7).randbytes(1 << 19).hex()  # noqa: S311  # no secret
"""A text that compression makes half as long."""

MUCH: Final = NOISE[: 1 << 17]
"""So much that aiohttp looks after each message whether writing is paused."""

POLL: Final = 0.001
"""Seconds between two looks at a gauge: a loop that spins leaves a compressing thread no turn."""

FLOOD: Final = "subscription { flood }"
PACED: Final = "subscription {{ paced(size: {}) }}"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def flood(self, info: strawberry.Info) -> AsyncGenerator[str, None]:
        """Send as fast as the client reads, until the view has enough."""
        while not info.context["view"].has_enough:
            yield MUCH

    @strawberry.subscription
    async def paced(self, info: strawberry.Info, size: int) -> AsyncGenerator[str, None]:
        """Send a message for each turn, until the view has enough."""
        view = info.context["view"]
        while not view.has_enough:
            await view.turns.acquire()
            yield NOISE[:size]


class Flooding(View):
    """A view that says when its sources send."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.has_enough = False
        self.turns = asyncio.Semaphore(0)

    async def get_context(self, request: Any, response: Any) -> Any:
        return {"view": self, "response": response}


def flooding(telemetry: Telemetry, base: type[View] = Flooding) -> Any:
    """Such a view, recorded."""
    schema = strawberry.Schema(Query, subscription=Subscription, extensions=[OTelExtension])
    return instrumented(telemetry, base)(schema=schema)


async def blocked(telemetry: Telemetry, connections: int = 1) -> None:
    """Wait until so many connections have a send that waits."""
    while telemetry.total(BLOCKED) != connections:  # noqa: ASYNC110  # a gauge is no event
        await asyncio.sleep(POLL)


async def flooded(host: Host, telemetry: Telemetry, **options: Any) -> Client:
    """A client that has asked for more than it reads."""
    client = await host.acknowledged(**options)
    client.json(subscribe(client, "a", FLOOD))
    await blocked(telemetry)
    return client
