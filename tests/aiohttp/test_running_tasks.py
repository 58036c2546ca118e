"""Operations that an application's handlers run in tasks of their own are recorded as always.

An operation ends when the client has received its end, whatever has become of its task by then.
"""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from tests.support.applications.conversations import (
    ACTIVE,
    DURATION,
    EVENTS,
    REQUESTS,
    all_ends,
    both,
    expected_spans,
    forever,
    layers,
    one_subscription,
    operations,
    served_by,
    stopped_and_left,
    stops_and_leaves,
    streams,
    ticks,
)
from tests.support.applications.serving_tasks import (
    AT_ONCE,
    HandledInExcept,
    InExcept,
    Own,
    OwnElsewhere,
    OwnLatestFirst,
    Pumped,
    Schema,
    Sender,
    Task,
    Worker,
    Writer,
    schemas,
)
from tests.support.clock import stop_clock
from tests.support.expected import (
    OPERATION,
    connection,
    init,
    operation,
    recorded,
    results_of,
    sent,
)
from tests.support.hosting import part
from tests.support.raw_client import Client
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import LEGACY, TRANSPORT, subscribe
from tests.support.schema import FOREVER, HELLO, TICKS
from tests.support.telemetry import Telemetry
from tests.support.views import View

protocols = pytest.mark.parametrize("protocol", BOTH)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


@layers(Task, Worker, InExcept, HandledInExcept, Sender)
@protocols
async def test_all_ends_are_recorded_whoever_runs_the_operation(
    telemetry: Telemetry, layer: type, protocol: str
) -> None:
    await both(telemetry, served_by(layer), all_ends, protocol)
    assert recorded(telemetry) == expected_spans(protocol)


@layers(Task, Worker, Own)
@protocols
async def test_the_mixin_alone_records_an_operation_whoever_runs_it(
    telemetry: Telemetry, layer: type, protocol: str
) -> None:
    await both(telemetry, served_by(layer), one_subscription, protocol, extensions=())
    events = [*results_of(protocol, 1, 2), sent("complete")]
    assert recorded(telemetry) == [
        connection(protocol, messages=(2, 4), operations=[OPERATION]),
        init(),
        operation(TICKS, "completed", protocol=protocol, known=False, results=2, events=events),
    ]


class Broken(Schema):
    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError


class BrokenLater(Schema):
    """Breaks when it has made a stream, in a task that it gives up."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        made = asyncio.Event()

        async def hanging() -> None:
            async with aclosing(await self.host_stream(*args, **kwargs)):
                made.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hanging())
        await made.wait()
        task.cancel()
        await asyncio.wait([task])
        raise ZeroDivisionError


async def breaks(client: Client) -> None:
    client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
    if client.protocol == TRANSPORT:
        await client.message("complete")
    else:
        # The host of the other one says nothing: it has the time of two answers.
        for _ in range(2):
            client.json({"type": "connection_init"})
            await client.message("connection_ack")
    await part(client)


@pytest.mark.parametrize(
    ("layer", "schema"),
    [(layer, Broken) for layer in (object, Task, Worker, InExcept, Sender)]
    + [(object, BrokenLater)],
)
@protocols
async def test_an_operation_that_breaks_has_failed_whoever_runs_it(
    telemetry: Telemetry, layer: type, schema: type[Schema], protocol: str
) -> None:
    view = View if layer is object else served_by(layer)
    await both(telemetry, view, breaks, protocol, schema=schemas(schema))
    assert operations(telemetry) == [
        operation(
            TICKS,
            "failed",
            protocol=protocol,
            known=False,
            events=[sent("complete")] * (protocol == TRANSPORT),
            error="ZeroDivisionError",
        )
    ]


async def test_an_operation_that_breaks_has_failed_if_its_messages_are_sent_later(
    telemetry: Telemetry,
) -> None:
    await both(telemetry, served_by(Writer), breaks, schema=schemas(Broken))
    [each] = operations(telemetry)
    assert each["attributes"]["graphql.ws.operation.end_reason"] == "failed"
    assert each["attributes"]["error.type"] == "ZeroDivisionError"
    assert each["status"] == "ERROR"


@layers(Own, OwnElsewhere, Writer)
@protocols
async def test_an_operation_is_recorded_if_the_handler_serves_or_sends_by_itself(
    telemetry: Telemetry, layer: type, protocol: str
) -> None:
    await both(telemetry, served_by(layer), stops_and_leaves, protocol)
    assert operations(telemetry) == stopped_and_left(protocol)
    assert telemetry.total(ACTIVE) == 0
    assert telemetry.total(EVENTS) == 4


@protocols
async def test_operations_are_kept_apart_by_their_documents(
    telemetry: Telemetry, protocol: str
) -> None:
    async def talk(client: Client) -> None:
        client.json(
            subscribe(client, "a", TICKS, variables={"to": 3}),
            subscribe(client, "b", AT_ONCE),
        )
        await client.message("complete")
        await client.message("complete")
        await part(client)

    await both(telemetry, served_by(OwnLatestFirst), talk, protocol, schema=schemas(Schema))
    events = [*results_of(protocol, 1, 2), sent("complete")]
    assert operations(telemetry) == [
        ticks(protocol, 3),
        operation(
            AT_ONCE,
            "completed",
            protocol=protocol,
            id_="b",
            name="AtOnce",
            results=2,
            events=events,
        ),
    ]


class InAnotherTask:
    """Gives each operation up when it has sent a result, by cancelling the task it runs in."""

    last = "error"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.said = asyncio.Event()

    async def run_operation(self, operation: Any) -> None:
        task = asyncio.ensure_future(super().run_operation(operation))  # type: ignore[misc]  # the host's
        await self.said.wait()
        task.cancel()
        await asyncio.wait([task])
        await self.say(operation)

    async def say(self, operation: Any) -> None:
        errors = {"payload": [{"message": "too long"}]} if self.last == "error" else {}
        message = {"id": operation.id, "type": self.last, **errors}
        await operation.send_operation_message(message)

    async def send_message(self, message: Any) -> None:
        await super().send_message(message)  # type: ignore[misc]  # the host's
        if message["type"] == "next":
            self.said.set()


class InAnotherTaskAndCompletes(InAnotherTask):
    last = "complete"


class InItsOwnTask(InAnotherTask):
    """Gives it up by a limit of time, which cancels what the task of the operation waits for."""

    async def run_operation(self, operation: Any) -> None:
        try:
            async with asyncio.timeout(None) as self.limit:
                await super(InAnotherTask, self).run_operation(operation)  # type: ignore[misc]  # the host's
        except TimeoutError:
            await self.say(operation)

    async def send_message(self, message: Any) -> None:
        await super().send_message(message)
        if message["type"] == "next":
            self.limit.reschedule(0)


@layers(InAnotherTask, InAnotherTaskAndCompletes, InItsOwnTask)
async def test_an_operation_whose_time_is_up_ends_as_the_client_was_informed(
    telemetry: Telemetry, layer: type[InAnotherTask]
) -> None:
    """What ran it was cancelled by then, and that is not what ended it."""

    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", FOREVER))
        await client.message("complete", "error")
        await part(client)

    await both(telemetry, served_by(layer), talk)
    reason, error = ("error", "error") if layer.last == "error" else ("completed", None)
    events = [*results_of(TRANSPORT, 1), sent(layer.last)]
    assert operations(telemetry) == [forever(TRANSPORT, "a", reason, events=events, error=error)]
    assert telemetry.total(ACTIVE) == 0


@layers(object, Task, Worker)
@streams(Schema, Pumped)
async def test_a_legacy_start_with_the_id_of_a_live_operation_ends_that_one(
    telemetry: Telemetry, layer: type, schema: type[Schema]
) -> None:
    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", FOREVER))
        await client.message("data")
        client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
        await client.message("complete")
        await client.message("complete")
        await part(client)

    view = View if layer is object else served_by(layer)
    await both(telemetry, view, talk, LEGACY, schema=schemas(schema))
    assert operations(telemetry) == [
        forever(LEGACY, "a", "client_completed"),
        ticks(LEGACY),
    ]
    assert telemetry.total(EVENTS) == 3


# --- Tasks that outlive the connection -------------------------------------------------------


@protocols
async def test_an_operation_that_outlives_its_connection_has_ended_with_it(
    telemetry: Telemetry, protocol: str
) -> None:
    """What the application does in its name later changes nothing of that."""
    over, tasks = asyncio.Event(), []

    class Outliving(Own):
        def begin_serving(self, message: Any, result_type: str) -> None:
            super().begin_serving(message, result_type)
            tasks.append(asyncio.create_task(self.look_back()))

        async def look_back(self) -> None:
            await over.wait()
            handler: Any = self
            await handler.schema.execute(HELLO, context_value=handler.context)

        async def give_up_all(self) -> None:
            tasks.extend(self.served.values())

    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next", "data")
        await part(client)

    await both(telemetry, served_by(Outliving), talk, protocol)
    telemetry.exporter.clear()
    assert telemetry.total(ACTIVE) == 0
    over.set()
    for task in tasks[1::2]:
        task.cancel()
    await asyncio.wait(tasks)
    [query] = recorded(telemetry, "query")
    assert query["attributes"]["graphql.operation.name"] == "Hello"
    assert not {name for name in query["attributes"] if name.startswith("graphql.ws.")}
    assert telemetry.total(DURATION) == 1
    assert telemetry.total(REQUESTS) == 1
    assert telemetry.total(EVENTS) == 1
