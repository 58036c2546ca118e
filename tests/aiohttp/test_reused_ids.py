"""An id that a client takes again while the operation that had it is still at work."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import strawberry

from strawberry_ws_otel import OTelExtension
from strawberry_ws_otel._connection import Connection, current_connection
from tests.support.cases import STRAWBERRY
from tests.support.clock import stop_clock
from tests.support.expected import (
    GREETING,
    connection,
    init,
    operation,
    recorded,
    results_of,
    sent,
    stopped,
)
from tests.support.hosting import hosting, part
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.schema import Query
from tests.support.telemetry import Telemetry
from tests.support.views import instrumented

OLD = "subscription Old { stubborn }"
NEW = "subscription New { patient }"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


class Sources:
    """Where the two sources stand, and what they wait for."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.go_on = asyncio.Event()
        self.last = asyncio.Event()
        self.connection: Connection | None = None

    async def stubborn(self) -> AsyncGenerator[int, None]:
        """A source that has one more thing to say when it is stopped."""
        self.connection = current_connection()
        yield 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            await self.go_on.wait()
            yield 2
            raise

    async def patient(self) -> AsyncGenerator[int, None]:
        yield 10
        await self.last.wait()
        yield 11

    async def forgotten(self) -> None:
        """Wait until the connection has forgotten whom the client stopped."""
        assert self.connection is not None
        async with asyncio.timeout(10):
            operations = self.connection._operations
            while operations.winding_down:  # noqa: ASYNC110  # there is no event
                await asyncio.sleep(0)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def stubborn(self, info: strawberry.Info) -> AsyncGenerator[int, None]:
        async for number in sources(info).stubborn():
            yield number

    @strawberry.subscription
    async def patient(self, info: strawberry.Info) -> AsyncGenerator[int, None]:
        async for number in sources(info).patient():
            yield number


def sources(info: strawberry.Info) -> Sources:
    found = info.root_value
    assert isinstance(found, Sources)
    return found


def payloads(messages: list[Any]) -> list[Any]:
    return [message["payload"]["data"] for message in messages if message["type"] == "next"]


@pytest.mark.skipif(STRAWBERRY < (0, 341), reason="older hosts wind operations down otherwise")
async def test_what_a_stopped_operation_still_sends_is_not_recorded_on_the_next_of_its_id(
    telemetry: Telemetry,
) -> None:
    at = Sources()

    class Rooted(instrumented(telemetry)):  # type: ignore[misc]  # whichever it is
        async def get_root_value(self, request: Any) -> Sources:
            return at

    schema = strawberry.Schema(query=Query, subscription=Subscription, extensions=[OTelExtension])
    async with hosting(Rooted(schema=schema, keep_alive=False)) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", OLD))
        await client.message("next")
        client.json({"type": "complete", "id": "a"})
        await asyncio.wait_for(at.cancelled.wait(), 10)
        client.json(subscribe(client, "a", NEW))
        await client.message("next")

        at.go_on.set()
        await at.forgotten()
        at.last.set()
        while payloads([frame.json for frame in client.data_frames])[-1] != {"patient": 11}:
            await client.message("next")
        await client.message("complete")
        await part(client)

    messages = [frame.json for frame in client.data_frames]
    late = [data for data in payloads(messages) if data == {"stubborn": 2}]
    completes = sum(message["type"] == "complete" for message in messages)
    assert recorded(telemetry) == [
        connection(
            messages=(4, len(messages)),
            operations=["subscription", "subscription 2"],
            events=[*GREETING, sent("next")],
        ),
        init(),
        operation(
            OLD,
            "client_completed",
            name="Old",
            results=1,
            events=[*results_of(TRANSPORT, 1), stopped(TRANSPORT)],
        ),
        operation(
            NEW,
            "completed",
            name="New",
            results=2,
            events=[*results_of(TRANSPORT, 1, 2), sent("complete")],
        ),
    ]
    assert (late, completes) == ([{"stubborn": 2}], 1)
