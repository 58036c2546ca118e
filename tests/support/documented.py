"""What the pages take for given: an application with a schema and a recorded view.

Pages show what is to be added to it, and name these things without importing them.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, NamedTuple

import strawberry
from aiohttp import web
from strawberry.aiohttp.views import GraphQLView

from strawberry_ws_otel import OTelExtension, OTelViewMixin


@strawberry.type
class Query:
    @strawberry.field
    async def hello(self) -> str:
        await asyncio.sleep(0)
        return "world"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int = 2) -> AsyncGenerator[int, None]:
        for number in range(to):
            await asyncio.sleep(0)
            yield number

    @strawberry.subscription
    async def forever(self) -> AsyncGenerator[int, None]:
        yield 0
        await asyncio.Event().wait()


schema = strawberry.Schema(query=Query, subscription=Subscription, extensions=[OTelExtension])


bare_schema = strawberry.Schema(query=Query, subscription=Subscription)


class View(OTelViewMixin, GraphQLView):
    """The view of the application."""


if TYPE_CHECKING:
    app: web.Application
else:

    def __getattr__(name: str) -> Any:
        """A new application for each page: pages add routes to theirs."""
        if name != "app":
            raise AttributeError(name)
        return web.Application()


class User(NamedTuple):
    """Whom the server identified."""

    id: str
    tenant: str


async def user_of(params: object) -> User | None:
    """Identify the user: whoever names one."""
    match params:
        case {"user": str(name)}:
            return User(name, f"tenant of {name}")
    return None


def is_operator(request: web.Request) -> bool:
    """Whether the request is one of an operator."""
    return request.headers.get("Authorization") == "Bearer of-an-operator"
