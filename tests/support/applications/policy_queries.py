"""Queries that an application asks its own schema: in which way, and where it does so."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any

import strawberry
from strawberry.types import Info

from tests.support.schema import Mutation
from tests.support.schema import Query as Queries
from tests.support.schema import Subscription as Subscriptions

ALLOWED = 'query Allowed { echo(text: "yes") }'

Ask = Callable[[Any, Any], Any]


# --- Ways to ask -----------------------------------------------------------------------------


async def execute(schema: Any, context: Any) -> None:
    result = await schema.execute(ALLOWED, context_value=context)
    assert result.data == {"echo": "yes"}


async def execute_sync(schema: Any, context: Any) -> None:
    assert schema.execute_sync(ALLOWED, context_value=context).data == {"echo": "yes"}


async def stream(schema: Any, context: Any) -> None:
    async with aclosing(await schema.stream(ALLOWED, context_value=context)) as results:
        assert [result.data async for result in results] == [{"echo": "yes"}]


async def in_a_task(schema: Any, context: Any) -> None:
    await asyncio.create_task(execute(schema, context))


async def in_a_thread(schema: Any, context: Any) -> None:
    assert (await asyncio.to_thread(schema.execute_sync, ALLOWED)).data == {"echo": "yes"}


WAYS = (execute, execute_sync, stream, in_a_task, in_a_thread)


# --- Places to ask in ------------------------------------------------------------------------


def as_a_message_is_handled(ask: Ask) -> type:
    class Asking:
        async def handle_message(self, message: Any) -> None:
            handler: Any = self
            if message["type"] in {"subscribe", "start"}:
                await ask(handler.schema, handler.context)
            await super().handle_message(message)  # type: ignore[misc]  # the host's

    return Asking


def before_it_is_begun(ask: Ask) -> type:
    class Asking:
        async def handle_subscribe(self, message: Any) -> None:
            handler: Any = self
            await ask(handler.schema, handler.context)
            await super().handle_subscribe(message)  # type: ignore[misc]  # the host's

        async def handle_start(self, message: Any) -> None:
            handler: Any = self
            await ask(handler.schema, handler.context)
            await super().handle_start(message)  # type: ignore[misc]  # the host's

    return Asking


def before_it_is_run(ask: Ask) -> type:
    class Asking:
        async def run_operation(self, operation: Any) -> None:
            handler: Any = self
            await ask(handler.schema, handler.context)
            await super().run_operation(operation)  # type: ignore[misc]  # the host's

        async def handle_async_results(self, *args: Any) -> None:
            handler: Any = self
            await ask(handler.schema, handler.context)
            await super().handle_async_results(*args)  # type: ignore[misc]  # the host's

    return Asking


def after_it_was_run(ask: Ask) -> type:
    class Asking:
        async def run_operation(self, operation: Any) -> None:
            handler: Any = self
            await super().run_operation(operation)  # type: ignore[misc]  # the host's
            await ask(handler.schema, handler.context)

        async def handle_async_results(self, *args: Any) -> None:
            handler: Any = self
            await super().handle_async_results(*args)  # type: ignore[misc]  # the host's
            await ask(handler.schema, handler.context)

    return Asking


def meanwhile(ask: Ask) -> type:
    """In a task that is begun before the operation, and that nobody waits for until the end."""

    async def later(schema: Any, context: Any) -> None:
        tasks.append(asyncio.create_task(ask(schema, context)))

    tasks: list[asyncio.Task[None]] = []

    class Waiting(before_it_is_begun(later)):  # type: ignore[misc]  # a class from a call
        async def handle(self) -> None:
            await super().handle()
            await asyncio.gather(*tasks)

    return Waiting


PLACES = (
    *(as_a_message_is_handled, before_it_is_begun, before_it_is_run, after_it_was_run),
    meanwhile,
)


# --- Resolvers that ask ----------------------------------------------------------------------


def guarded_schema(ask: Ask) -> Callable[..., strawberry.Schema]:
    """Makes schemas whose resolvers ask something."""

    @strawberry.type
    class Query(Queries):
        @strawberry.field
        async def guarded(self, info: Info[Any, Any]) -> str:
            await ask(info.schema, info.context)
            return "done"

    @strawberry.type
    class Subscription(Subscriptions):
        @strawberry.subscription
        async def guarded(self, info: Info[Any, Any]) -> AsyncGenerator[int, None]:
            await ask(info.schema, info.context)
            yield 0

        @strawberry.subscription
        async def cleaned(self, info: Info[Any, Any]) -> AsyncGenerator[int, None]:
            try:
                yield 0
                await asyncio.Event().wait()
            finally:
                with suppress(asyncio.CancelledError):
                    await ask(info.schema, info.context)

    def make(*extensions: Any) -> strawberry.Schema:
        return strawberry.Schema(
            query=Query, mutation=Mutation, subscription=Subscription, extensions=list(extensions)
        )

    return make
