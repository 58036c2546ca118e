"""Operations that a handler refuses to begin, in whatever task, or begins in two tries."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.applications.conversations import (
    both,
    elsewhere,
    one_subscription,
    operations,
    rejected,
    served_by,
    ticks,
)
from tests.support.applications.reading_tasks import Each, Pulling
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    OPERATION,
    connection,
    init,
    operation,
    recorded,
)
from tests.support.hosting import part
from tests.support.raw_client import Client
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import subscribe
from tests.support.schema import TICKS
from tests.support.telemetry import Telemetry

protocols = pytest.mark.parametrize("protocol", BOTH)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


async def at_once(coroutine: Coroutine[Any, Any, None]) -> None:
    await coroutine


async def in_a_task(coroutine: Coroutine[Any, Any, None]) -> None:
    await asyncio.create_task(coroutine)


async def in_a_worker(coroutine: Coroutine[Any, Any, None]) -> None:
    await elsewhere(coroutine)


kept: set[asyncio.Task[None]] = set()


async def later(coroutine: Coroutine[Any, Any, None]) -> None:
    """In a task that nobody waits for."""
    task = asyncio.create_task(coroutine)
    kept.add(task)
    task.add_done_callback(kept.discard)


@pytest.mark.parametrize("send", [at_once, in_a_task, in_a_worker, later])
@protocols
async def test_an_operation_that_a_handler_refuses_is_rejected_whoever_says_so(
    telemetry: Telemetry, send: Callable[..., Any], protocol: str
) -> None:
    class Refusing:
        async def refuse(self, message: Any) -> None:
            error: Any = {"message": "too many of your tenant"}
            payload = error if message["type"] == "start" else [error]
            said = {"id": message["id"], "type": "error", "payload": payload}
            handler: Any = self
            await send(handler.send_message(said))

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
    ]


@pytest.mark.parametrize("send", [at_once, in_a_task, in_a_worker, later])
@pytest.mark.parametrize(
    ("code", "outcome"), [(4401, "unauthorized"), (4409, "duplicate_operation")]
)
@protocols
async def test_an_operation_that_a_handler_closes_for_is_rejected_whoever_closes(
    telemetry: Telemetry, send: Callable[..., Any], code: int, outcome: str, protocol: str
) -> None:
    class Closing:
        async def refuse(self, message: Any) -> None:
            handler: Any = self
            await send(handler.websocket.close(code=code, reason="No"))

        handle_subscribe = handle_start = refuse

    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", TICKS, variables={"to": 2}))

    await both(telemetry, served_by(Closing), talk, protocol, abnormal=1)
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["attributes"]["websocket.close.outcome"] == outcome
    assert connected["attributes"]["graphql.ws.operation.interrupted_count"] == 0
    assert operations(telemetry) == [
        operation(TICKS, "rejected", protocol=protocol, known=False, error="rejected")
    ]


@protocols
async def test_an_operation_is_rejected_though_another_is_being_begun_meanwhile(
    telemetry: Telemetry, protocol: str
) -> None:
    """Each message is handled in a task of its own: the first one's answer comes last."""

    class Checking(Each):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.second = asyncio.Event()
            self.refused = asyncio.Event()

        async def handle_subscribe(self, message: Any) -> None:
            if not await self.refuses(message):
                await super().handle_subscribe(message)  # type: ignore[misc]  # the host's

        async def handle_start(self, message: Any) -> None:
            if not await self.refuses(message):
                await super().handle_start(message)  # type: ignore[misc]  # the host's

        async def refuses(self, message: Any) -> bool:
            if message["id"] == "b":
                self.second.set()
                await self.refused.wait()
                return False
            await self.second.wait()
            handler: Any = self
            error: Any = {"message": "not now"}
            payload = error if message["type"] == "start" else [error]
            await handler.send_message({"id": "a", "type": "error", "payload": payload})
            self.refused.set()
            return True

    async def talk(client: Client) -> None:
        client.json(
            subscribe(client, "a", TICKS, variables={"to": 2}),
            subscribe(client, "b", TICKS, variables={"to": 2}),
        )
        await client.message("complete")
        await part(client)

    await both(telemetry, served_by(Checking), talk, protocol)
    assert operations(telemetry) == [
        rejected(protocol),
        ticks(protocol, id_="b"),
    ]


@protocols
async def test_an_operation_whose_message_is_handled_again_is_one_operation(
    telemetry: Telemetry, protocol: str
) -> None:
    """The first try to begin it fails, and the client has not received an error."""

    class Again(Pulling):
        tried = False

        async def pull(self, handler: Any, messages: Any) -> None:
            async for message in messages:
                try:
                    await handler.handle_message(message)
                except ConnectionError:
                    await handler.handle_message(message)

        async def handle_subscribe(self, message: Any) -> None:
            self.fail_once()
            await super().handle_subscribe(message)  # type: ignore[misc]  # the host's

        async def handle_start(self, message: Any) -> None:
            self.fail_once()
            await super().handle_start(message)  # type: ignore[misc]  # the host's

        def fail_once(self) -> None:
            tried, self.tried = self.tried, True
            if not tried:
                raise ConnectionError

    await both(telemetry, served_by(Again), one_subscription, protocol)
    assert recorded(telemetry) == [
        connection(protocol, messages=(2, 4), operations=["subscription"]),
        init(),
        ticks(protocol),
    ]
