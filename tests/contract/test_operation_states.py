"""Every row of the table of what may happen to an operation, over a socket.

The handler is the application's, and does nothing of its own accord: a test says when a message is
handled, and what the method that serves an operation does. So each race comes out one way.
"""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_ws.handlers import BaseGraphQLWSHandler

from strawberry_ws_otel import OTelExtension
from strawberry_ws_otel._connection import Connection, current_connection
from tests.support.clock import stop_clock
from tests.support.hosting import SINCE_STREAMS, hosting
from tests.support.raw_client import Client
from tests.support.scenarios.steps import LEGACY, TRANSPORT, subscribe
from tests.support.schema import FOREVER, make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import View, instrumented

TRANSPORT_HANDLER: Any = BaseGraphQLTransportWSHandler
LEGACY_HANDLER: Any = BaseGraphQLWSHandler
DURATION = "graphql.ws.operation.duration"
RESULT = {TRANSPORT: "next", LEGACY: "data"}
STOP = {TRANSPORT: "complete", LEGACY: "stop"}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has waited, so that spans start in the order in which operations do."""
    stop_clock(monkeypatch)


class OwnError(Exception):
    pass


class Puppet:
    """A handler that reads ahead, and does nothing unless a test asks it to."""

    view: Any
    websocket: Any
    schema: Any
    handle_message: Any
    handle_connection_init: Any
    run: Any
    connection: Connection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.received = asyncio.Queue[Any]()
        self.begins: contextvars.Context | None = None
        """Where the host would create the task of an operation."""
        self.is_running = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.error: BaseException | None = None
        """What the method that serves an operation raises when it goes on."""
        self.is_over, self.may_leave = asyncio.Event(), asyncio.Event()

    async def handle(self) -> None:
        connection = current_connection()
        assert connection is not None
        self.connection = connection
        self.inside = contextvars.copy_context()
        async for message in self.websocket.iter_json():
            if message["type"] == "connection_init":
                await self.handle_message(message)
                self.view.puppets.append(self)
            else:
                self.received.put_nowait(message)
        self.is_over.set()
        await self.may_leave.wait()

    async def hold(self, _message: Any) -> None:
        """Handle the first message of an operation: neither refuse nor begin it."""
        self.begins = contextvars.copy_context()

    async def serve(self, *_operation: Any) -> None:
        self.is_running.set()
        await self.goes_on.wait()
        if self.error is not None:
            raise self.error


class TransportPuppet(Puppet, TRANSPORT_HANDLER):  # type: ignore[misc]  # a class in a variable
    handle_subscribe = Puppet.hold
    run_operation = Puppet.serve

    def run(self, id_: str, document: str) -> Any:
        return self.run_operation(SimpleNamespace(id=id_, query=document, operation_name=None))


class LegacyPuppet(Puppet, LEGACY_HANDLER):  # type: ignore[misc]  # a class in a variable
    handle_start = Puppet.hold
    handle_async_results = Puppet.serve

    def run(self, id_: str, document: str) -> Any:
        return self.handle_async_results(id_, document, None, None)


class PuppetView(View):
    graphql_transport_ws_handler_class = TransportPuppet
    graphql_ws_handler_class = LegacyPuppet

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.puppets: list[Any] = []
        """The handlers, as each has acknowledged its connection."""


class Play:
    """One operation on the stage: each method is something that happens to it."""

    def __init__(self, client: Client, puppet: Any, protocol: str) -> None:
        self.client = client
        self.puppet = puppet
        self.protocol = protocol
        self.first: Any = None
        self.task: asyncio.Task[Any] | None = None

    async def receive(self, message: Any) -> Any:
        """Return a message of the client's as the handler reads it."""
        self.client.json(message)
        return await asyncio.wait_for(self.puppet.received.get(), 10)

    async def ask(self) -> None:
        self.first = await self.receive(subscribe(self.client, "a", FOREVER))

    async def ask_again(self) -> None:
        await self.receive(subscribe(self.client, "a", FOREVER))

    restart = reuse = ask_again

    async def handle(self) -> None:
        await self.puppet.handle_message(self.first)

    async def run(self) -> None:
        coroutine = self.puppet.run("a", FOREVER)
        self.task = asyncio.create_task(coroutine, context=self.puppet.begins)
        await asyncio.wait_for(self.puppet.is_running.wait(), 10)

    async def execute(self) -> None:
        async def execute() -> None:
            results = await self.puppet.schema.subscribe(FOREVER)
            await anext(results)
            await results.aclose()

        inside = self.puppet.begins or self.puppet.inside
        await asyncio.create_task(execute(), context=inside.copy())

    async def send(self, type_: str, payload: Any = None) -> None:
        message = {"type": type_, "id": "a", "payload": payload}
        await asyncio.create_task(
            self.puppet.websocket.send_json(message), context=contextvars.Context()
        )

    async def result_sent(self) -> None:
        await self.send(RESULT[self.protocol], {"data": {}})

    async def error_sent(self) -> None:
        await self.send("error", [])

    async def complete_sent(self) -> None:
        await self.send("complete")

    async def stop(self) -> None:
        await self.receive({"type": STOP[self.protocol], "id": "a"})

    async def refuse(self) -> None:
        await self.puppet.websocket.close(code=4401, reason="no")

    async def end_method(self, error: BaseException | None) -> None:
        assert self.task is not None
        self.puppet.error = error
        self.puppet.goes_on.set()
        with suppress(OwnError):
            await self.task
        self.puppet.goes_on.clear()
        self.puppet.is_running.clear()

    async def return_(self) -> None:
        await self.end_method(None)

    async def raise_(self) -> None:
        await self.end_method(OwnError())

    async def cancel(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])
        self.puppet.is_running.clear()

    async def leave(self) -> None:
        """The client closes, and the handler is not done yet."""
        self.client.close(1000)
        await asyncio.wait_for(self.puppet.is_over.wait(), 10)

    async def raise_closing(self) -> None:
        await self.leave()
        await self.raise_()

    async def cancel_closing(self) -> None:
        await self.leave()
        await self.cancel()

    async def go_on(self) -> None:
        await self.receive({"type": "ping"})

    async def close(self) -> None:
        """The view is done, after a close of the client's unless there was another."""
        if not self.puppet.is_over.is_set():
            await self.leave()
        self.puppet.may_leave.set()
        await self.client.until_end()


Happens = Callable[[Play], Awaitable[None]]

RECEIVED: tuple[Happens, ...] = (Play.ask,)
HANDLED = (*RECEIVED, Play.handle)
SERVED = (*HANDLED, Play.result_sent)
RUNNING = (*HANDLED, Play.run)
COMPLETING = (*RUNNING, Play.complete_sent)
RETURNED = (*RUNNING, Play.return_)
CANCELLED = (*RUNNING, Play.cancel)
WINDING_DOWN = (*RUNNING, Play.stop)
STOPPED_AHEAD = (*RECEIVED, Play.stop, Play.handle)
"""The client stops it before the host handles it."""

COURSES: dict[tuple[Happens, ...], dict[Happens, str]] = {
    RECEIVED: {
        Play.handle: "connection_closed",
        Play.run: "connection_closed",
        Play.execute: "connection_closed",
        Play.result_sent: "connection_closed",
        Play.error_sent: "rejected",
        Play.complete_sent: "completed",
        Play.stop: "client_completed",
        Play.refuse: "rejected",
        Play.close: "connection_closed",
    },
    HANDLED: {
        Play.handle: "connection_closed",
        Play.run: "connection_closed",
        Play.execute: "connection_closed",
        Play.result_sent: "connection_closed",
        Play.error_sent: "rejected",
        Play.complete_sent: "completed",
        Play.stop: "client_completed",
        Play.refuse: "rejected",
        Play.close: "connection_closed",
    },
    SERVED: {
        Play.run: "connection_closed",
        Play.execute: "connection_closed",
        Play.result_sent: "connection_closed",
        Play.error_sent: "error",
        Play.complete_sent: "completed",
        Play.stop: "client_completed",
        Play.refuse: "connection_closed",
        Play.close: "connection_closed",
    },
    RUNNING: {
        Play.execute: "connection_closed",
        Play.result_sent: "connection_closed",
        Play.error_sent: "error",
        Play.complete_sent: "completed",
        Play.stop: "client_completed",
        Play.reuse: "connection_closed",
        Play.refuse: "connection_closed",
        Play.return_: "connection_closed",
        Play.raise_: "failed",
        Play.raise_closing: "connection_closed",
        Play.cancel: "connection_closed",
        Play.cancel_closing: "connection_closed",
        Play.close: "connection_closed",
    },
    COMPLETING: {
        Play.result_sent: "completed",
        Play.error_sent: "completed",
        Play.complete_sent: "completed",
        Play.stop: "completed",
        Play.reuse: "completed",
        Play.return_: "completed",
        Play.raise_: "failed",
        Play.raise_closing: "completed",
        Play.cancel: "connection_closed",
        Play.cancel_closing: "connection_closed",
        Play.close: "completed",
    },
    RETURNED: {
        Play.run: "connection_closed",
        Play.result_sent: "connection_closed",
        Play.error_sent: "error",
        Play.complete_sent: "completed",
        Play.stop: "client_completed",
        Play.close: "connection_closed",
    },
    CANCELLED: {
        Play.run: "connection_closed",
        Play.result_sent: "connection_closed",
        Play.error_sent: "error",
        Play.complete_sent: "completed",
        Play.stop: "failed",
        Play.go_on: "failed",
        Play.close: "connection_closed",
    },
    WINDING_DOWN: {
        Play.result_sent: "client_completed",
        Play.complete_sent: "client_completed",
        Play.return_: "client_completed",
        Play.raise_: "client_completed",
        Play.raise_closing: "client_completed",
        Play.cancel: "client_completed",
        Play.cancel_closing: "client_completed",
    },
    STOPPED_AHEAD: {
        Play.run: "client_completed",
    },
}
"""For each course of events, the end reason after one event more. The connection closes last."""

RESTARTED = (
    # A course of events, and the end reason after a `start` with the same id.
    (RECEIVED, "client_completed"),
    (HANDLED, "client_completed"),
    (SERVED, "client_completed"),
    (RUNNING, "client_completed"),
    (COMPLETING, "completed"),
    (RETURNED, "client_completed"),
    (CANCELLED, "failed"),
)


@asynccontextmanager
async def playing(telemetry: Telemetry, protocol: str) -> AsyncIterator[Play]:
    view: Any = instrumented(telemetry, PuppetView)(
        schema=make_schema(OTelExtension), keep_alive=False
    )
    async with hosting(view) as host:
        client = await host.acknowledged(protocol)
        play = Play(client, view.puppets[0], protocol)
        try:
            yield play
        finally:
            play.puppet.may_leave.set()
            if play.task is not None:
                play.task.cancel()


def reasons(telemetry: Telemetry) -> list[Any]:
    """The end reasons of all operations, in the order in which they were begun."""
    spans = [span for span in telemetry.spans() if "graphql.ws.operation.id" in attributes_of(span)]
    spans.sort(key=lambda span: span.start_time or 0)
    return [attributes_of(span)["graphql.ws.operation.end_reason"] for span in spans]


def named(happens: tuple[Happens, ...]) -> str:
    return ", ".join(each.__name__.strip("_") for each in happens)


@SINCE_STREAMS
@pytest.mark.parametrize(
    ("course", "reason"),
    [
        pytest.param((*course, event), reason, id=named((*course, event)))
        for course, events in COURSES.items()
        for event, reason in events.items()
    ],
)
async def test_an_operation_ends_for_one_reason_whatever_happens_to_it(
    course: tuple[Happens, ...], reason: str, telemetry: Telemetry
) -> None:
    async with playing(telemetry, TRANSPORT) as play:
        for happens in course:
            await happens(play)
        if course[-1] is not Play.close:
            await play.close()
        if play.task is not None and not play.task.done():
            await play.return_()
        operations = play.puppet.connection._operations
        left = (operations.open, operations._by_id, operations.winding_down, operations.waiting)
    again = ["rejected" if reason == "connection_closed" else "connection_closed"]
    assert reasons(telemetry) == [reason] + again * (course[-1] is Play.reuse)
    assert left == ({}, {}, {}, {})
    assert telemetry.total(DURATION) == len(reasons(telemetry))


@SINCE_STREAMS
@pytest.mark.parametrize(
    ("course", "reason"), [pytest.param(*each, id=named(each[0])) for each in RESTARTED]
)
async def test_a_legacy_start_with_its_id_ends_an_operation_that_is_open(
    course: tuple[Happens, ...], reason: str, telemetry: Telemetry
) -> None:
    async with playing(telemetry, LEGACY) as play:
        for happens in (*course, Play.restart):
            await happens(play)
        if play.task is not None and not play.task.done():
            await play.return_()
        await play.close()
    assert reasons(telemetry) == [reason, "connection_closed"]
    assert telemetry.total(DURATION) == 2
