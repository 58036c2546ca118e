"""An application for tests that does not know the library: `python unaware_app.py`.

PORT is where it listens. BY_HAND may name halves of the library that it uses all the same: `mixin`,
`extension`. With INSTRUMENT=1 it instruments itself, after all of its views are made.
"""

import asyncio
import functools
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import strawberry
from aiohttp import web
from strawberry.aiohttp.views import GraphQLView
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)

BY_HAND = os.environ.get("BY_HAND", "").split()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def world() -> str:
    return "world"


@strawberry.type
class Query:
    @strawberry.field
    async def hello(self) -> str:
        logging.getLogger("application").warning("resolving hello")
        return await asyncio.create_task(world())


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number
            await asyncio.sleep(0)

    @strawberry.subscription
    async def forever(self) -> AsyncGenerator[int, None]:
        yield 0
        await asyncio.Event().wait()


class Handling(BaseGraphQLTransportWSHandler[Any, Any]):
    """A handler of its own."""


bases: tuple[type, ...] = (GraphQLView,)
extensions: list[Any] = []
if "mixin" in BY_HAND:
    from strawberry_ws_otel import OTelViewMixin

    bases = (OTelViewMixin, GraphQLView)
if "extension" in BY_HAND:
    from strawberry_ws_otel import OTelExtension

    extensions = [OTelExtension]
View: Any = type("View", bases, {})
schema = strawberry.Schema(query=Query, subscription=Subscription, extensions=extensions)


class Titled(View):  # type: ignore[misc]  # whichever it is
    graphql_transport_ws_handler_class = Handling

    def __init__(self, title: str) -> None:
        self.title = title
        super().__init__(schema=schema, graphql_ide=None)


def guarded(handler: Handler) -> Handler:
    @functools.wraps(handler)
    async def wrapper(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    return wrapper


@guarded
async def fresh(request: web.Request) -> web.StreamResponse:
    """Serve by a view of its own for every request."""
    response: web.StreamResponse = await View(schema=schema)(request)
    return response


def main() -> None:
    app = web.Application()
    app.router.add_route("*", "/plain", View(schema=schema))
    app.router.add_route("*", "/titled", Titled("prices"))
    app.router.add_route("*", "/fresh", fresh)
    if os.environ.get("INSTRUMENT"):
        from strawberry_ws_otel.instrumentor import (  # noqa: PLC0415  # an application that does not know
            StrawberryWebSocketInstrumentor,
        )

        StrawberryWebSocketInstrumentor().instrument()
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]))


if __name__ == "__main__":
    main()
