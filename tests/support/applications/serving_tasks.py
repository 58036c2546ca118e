"""Schemas and handlers of an application that serve operations in tasks and ways of their own.

Each schema of `STREAMS` overrides `stream`, which both protocols and HTTP streams come to.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from itertools import count
from typing import Any

import strawberry
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.types import Info

from tests.support.applications.conversations import elsewhere
from tests.support.schema import Mutation, Query
from tests.support.schema import Subscription as Subscriptions

UNSTEADY = "subscription Unsteady { unsteady }"
AT_ONCE = "subscription AtOnce { atOnce }"


@strawberry.type
class Subscription(Subscriptions):
    @strawberry.subscription
    async def unsteady(self, info: Info[Any, Any]) -> AsyncGenerator[int, None]:
        """Hangs the first time that its connection asks for it."""
        context = info.context
        if next(context.setdefault("attempts", count())) == 0:
            context.setdefault("hangs", asyncio.Event()).set()
            await asyncio.Event().wait()
        yield 0
        yield 1

    @strawberry.subscription
    async def at_once(self) -> AsyncGenerator[int, None]:
        """Never waits."""
        yield 0
        yield 1


class Schema(strawberry.Schema):
    """The host's, whose parent's `stream` is at hand in tasks of any class."""

    async def host_stream(self, *args: Any, **kwargs: Any) -> Any:
        return await strawberry.Schema.stream(self, *args, **kwargs)


def schemas(cls: type[strawberry.Schema]) -> Callable[..., strawberry.Schema]:
    """What makes schemas of this class."""

    def make(*extensions: Any) -> strawberry.Schema:
        return cls(
            query=Query, mutation=Mutation, subscription=Subscription, extensions=list(extensions)
        )

    return make


async def chained(first: Any, results: Any) -> AsyncGenerator[Any, None]:
    """The results after the first one, which was pulled before."""
    async with aclosing(results):
        yield first
        async for result in results:
            yield result


async def pulled(results: Any) -> Any:
    """The next result, pulled in a task of its own."""
    return await asyncio.ensure_future(anext(results))


class InATask(Schema):
    """Has a stream made in a task that ends when it is."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.create_task(self.host_stream(*args, **kwargs))


class InAGroup(Schema):
    """Has a stream made in a task of a group, beside another."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
            task = group.create_task(self.host_stream(*args, **kwargs))
        return task.result()


class Limited(Schema):
    """Gives each stream a time in which to be made."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.wait_for(self.host_stream(*args, **kwargs), 5)


class Prefetched(Schema):
    """Pulls the first result in a task that ends with it."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        results = await self.host_stream(*args, **kwargs)
        return chained(await pulled(results), results)


class EachInATask(Schema):
    """Pulls each result in a task of its own, so as to give each one a time."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        async def timed() -> AsyncGenerator[Any, None]:
            async with aclosing(await self.host_stream(*args, **kwargs)) as results:
                try:
                    while True:
                        yield await pulled(results)
                except StopAsyncIteration:
                    return

        return timed()


class Pumped(Schema):
    """Has a task run ahead, which makes the stream and fills a queue."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def pump() -> None:
            async with aclosing(await self.host_stream(*args, **kwargs)) as results:
                async for result in results:
                    queue.put_nowait(result)
            queue.put_nowait(None)

        async def drained() -> AsyncGenerator[Any, None]:
            task = asyncio.create_task(pump())
            try:
                while (result := await queue.get()) is not None:
                    yield result
            finally:
                task.cancel()
                await asyncio.wait([task])

        return drained()


STREAMS = (InATask, InAGroup, Limited, Prefetched, EachInATask, Pumped)
"""Each executes an operation once."""


class Raced(Schema):
    """Makes two streams of each operation, and takes the one whose first result comes first."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        rivals = [await self.host_stream(*args, **kwargs) for _ in range(2)]
        tasks = [asyncio.ensure_future(anext(rival)) for rival in rivals]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = next(number for number, task in enumerate(tasks) if task in done)
        loser = tasks[1 - winner]
        loser.cancel()
        await asyncio.wait([loser])
        await rivals[1 - winner].aclose()
        return chained(await tasks[winner], rivals[winner])


class Hedged(Schema):
    """Makes a second stream if the first one hangs, and gives that up."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        hangs = kwargs["context_value"].setdefault("hangs", asyncio.Event())
        results = await self.host_stream(*args, **kwargs)
        first = asyncio.ensure_future(anext(results))
        await hangs.wait()
        second = await self.host_stream(*args, **kwargs)
        value = await pulled(second)
        first.cancel()
        await asyncio.wait([first])
        await results.aclose()
        return chained(value, second)


class Retried(Schema):
    """Gives up a stream that hangs, and then makes another, while the cancellation is handled."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        hangs = kwargs["context_value"].setdefault("hangs", asyncio.Event())
        results = await self.host_stream(*args, **kwargs)
        first = asyncio.ensure_future(anext(results))
        await hangs.wait()
        first.cancel()
        try:
            return chained(await first, results)
        except asyncio.CancelledError:
            await results.aclose()
            return await self.host_stream(*args, **kwargs)


class Abandoned(Schema):
    """Makes a stream in a task that dies before anybody runs it, and then another."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        async def cached() -> Any:
            results = await self.host_stream(*args, **kwargs)
            await results.aclose()
            raise LookupError

        try:
            return await asyncio.create_task(cached())
        except LookupError:
            return await self.host_stream(*args, **kwargs)


class Repeated(Schema):
    """Runs each operation twice, one after the other, as if its source had been reconnected."""

    async def stream(self, *args: Any, **kwargs: Any) -> Any:
        async def repeated() -> AsyncGenerator[Any, None]:
            for _ in range(2):
                async with aclosing(await self.host_stream(*args, **kwargs)) as results:
                    async for result in results:
                        yield result

        return repeated()


# --- Handlers --------------------------------------------------------------------------------


def look_up() -> None:
    """Look into a cache that is empty."""
    raise LookupError


class Task:
    """Has each operation run in a task that its own one waits for."""

    async def run_operation(self, operation: Any) -> None:
        await asyncio.create_task(super().run_operation(operation))  # type: ignore[misc]  # the host's

    async def handle_async_results(self, *args: Any) -> None:
        await asyncio.create_task(super().handle_async_results(*args))  # type: ignore[misc]  # the host's


class Worker:
    """Has each operation run in a task that knows nothing of the connection."""

    async def run_operation(self, operation: Any) -> None:
        await elsewhere(super().run_operation(operation))  # type: ignore[misc]  # the host's

    async def handle_async_results(self, *args: Any) -> None:
        await elsewhere(super().handle_async_results(*args))  # type: ignore[misc]  # the host's


class InExcept:
    """Has each operation run while an exception is handled, say that of a cache."""

    async def run_operation(self, operation: Any) -> None:
        try:
            look_up()
        except LookupError:
            await super().run_operation(operation)  # type: ignore[misc]  # the host's

    async def handle_async_results(self, *args: Any) -> None:
        try:
            look_up()
        except LookupError:
            await super().handle_async_results(*args)  # type: ignore[misc]  # the host's


class HandledInExcept:
    """Has each operation begun while an exception is handled."""

    async def handle_subscribe(self, message: Any) -> None:
        try:
            look_up()
        except LookupError:
            await super().handle_subscribe(message)  # type: ignore[misc]  # the host's

    async def handle_start(self, message: Any) -> None:
        try:
            look_up()
        except LookupError:
            await super().handle_start(message)  # type: ignore[misc]  # the host's


class Sender:
    """Has each message sent in a task that it waits for."""

    async def send_message(self, message: Any) -> None:
        await asyncio.create_task(super().send_message(message))  # type: ignore[misc]  # the host's


class Writer:
    """Has all messages sent by one task, which knows nothing of the connection, from a queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unsent: asyncio.Queue[Any] = asyncio.Queue()

    async def handle(self) -> None:
        writer = elsewhere(self.write())
        try:
            await super().handle()  # type: ignore[misc]  # the host's
        finally:
            self.unsent.put_nowait(None)
            await writer

    async def send_message(self, message: Any) -> None:
        self.unsent.put_nowait(message)

    async def write(self) -> None:
        while (message := await self.unsent.get()) is not None:
            with suppress(WebSocketDisconnected):
                await super().send_message(message)  # type: ignore[misc]  # the host's


class Own:
    """Serves operations by itself, and has nothing of the host's own way to run them.

    It speaks `next` and `data`, whichever its client understands.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.served: dict[str, asyncio.Task[None]] = {}

    async def handle_subscribe(self, message: Any) -> None:
        self.begin_serving(message, "next")

    async def handle_start(self, message: Any) -> None:
        self.begin_serving(message, "data")

    def begin_serving(self, message: Any, result_type: str) -> None:
        task = asyncio.create_task(self.serve(message, result_type))
        self.served[message["id"]] = task

    async def serve(self, message: Any, result_type: str) -> None:
        handler: Any = self
        payload, id_ = message["payload"], message["id"]
        results = await handler.schema.stream(
            payload["query"],
            variable_values=payload.get("variables"),
            operation_name=payload.get("operationName"),
            context_value=handler.context,
        )
        async with aclosing(results):
            async for result in results:
                said = {"type": result_type, "id": id_, "payload": {"data": result.data}}
                await handler.send_message(said)
        await handler.send_message({"type": "complete", "id": id_})

    async def handle_complete(self, message: Any) -> None:
        await self.give_up(message["id"])

    async def handle_stop(self, message: Any) -> None:
        await self.give_up(message["id"])

    async def give_up(self, id_: str) -> None:
        task = self.served.pop(id_)
        task.cancel()
        await asyncio.wait([task])

    async def shutdown(self) -> None:
        await self.give_up_all()
        await super().shutdown()  # type: ignore[misc]  # the host's

    async def cleanup(self) -> None:
        await self.give_up_all()
        await super().cleanup()  # type: ignore[misc]  # the host's

    async def give_up_all(self) -> None:
        for id_ in list(self.served):
            await self.give_up(id_)


class OwnElsewhere(Own):
    """Serves them so in tasks that know nothing of the connection."""

    def begin_serving(self, message: Any, result_type: str) -> None:
        self.served[message["id"]] = elsewhere(self.serve(message, result_type))


class OwnLatestFirst(Own):
    """Serves first what was asked for last, in a task that knows nothing of the connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked: list[tuple[Any, str]] = []

    def begin_serving(self, message: Any, result_type: str) -> None:
        self.asked.append((message, result_type))
        if len(self.asked) == 2:
            self.served["worker"] = elsewhere(self.work())

    async def work(self) -> None:
        while self.asked:
            await self.serve(*self.asked.pop())
