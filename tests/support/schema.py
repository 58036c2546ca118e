"""The schema that the servers of the tests serve."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import cache

import strawberry
from strawberry.extensions import SchemaExtension
from strawberry.scalars import JSON

TICKS = "subscription Ticks($to: Int!) { ticks(to: $to) }"
FOREVER = "subscription Forever { forever }"
FLOOD = "subscription Flood { flood }"
FAILING = "subscription Failing { failing }"
PARTIAL = "subscription Partial { partial { value broken } }"
STRANGE = "subscription Strange { strange }"
HELLO = "query Hello { hello }"
ECHO = "query Echo($text: String!) { echo(text: $text) }"
BROKEN = "query Broken { broken }"
RENAME = 'mutation Rename { rename(name: "new") }'
INVALID = "subscription { missing }"
UNPARSABLE = "subscription { forever"


class AppError(Exception):
    """What the application under test raises."""


@strawberry.type
class Reading:
    value: int

    @strawberry.field
    def broken(self) -> int | None:
        raise AppError("broken field")


@strawberry.type
class Query:
    @strawberry.field
    async def hello(self) -> str:
        await asyncio.sleep(0)
        return "world"

    @strawberry.field
    def echo(self, text: str) -> str:
        return text

    @strawberry.field
    def broken(self) -> int | None:
        raise AppError("broken field")


@strawberry.type
class Mutation:
    @strawberry.mutation
    def rename(self, name: str) -> str:
        return name


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self, to: int) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number
            await asyncio.sleep(0)

    @strawberry.subscription
    async def forever(self) -> AsyncGenerator[int, None]:
        yield 0
        await asyncio.Event().wait()

    @strawberry.subscription
    async def flood(self) -> AsyncGenerator[str, None]:
        while True:
            yield "x" * 65_536

    @strawberry.subscription
    async def failing(self) -> AsyncGenerator[int, None]:
        yield 1
        raise AppError("the source is dry")

    @strawberry.subscription
    async def strange(self) -> AsyncGenerator[JSON, None]:
        """A value that JSON cannot say."""
        yield JSON({1})

    @strawberry.subscription
    async def partial(self) -> AsyncGenerator[Reading, None]:
        yield Reading(value=1)


@cache
def make_schema(*extensions: Callable[[], SchemaExtension]) -> strawberry.Schema:
    return strawberry.Schema(
        query=Query, mutation=Mutation, subscription=Subscription, extensions=list(extensions)
    )
