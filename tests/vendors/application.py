"""The server of the conversations: a schema whose resolver and source make spans of their own."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import strawberry
from aiohttp import web
from opentelemetry import trace
from strawberry.aiohttp.views import GraphQLView
from strawberry.exceptions import ConnectionRejectionError

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin, connection_span

PATH = "/graphql"


def make_schema() -> strawberry.Schema:
    """Make it after the vendor has set the tracer provider."""
    tracer = trace.get_tracer("application")

    @strawberry.type
    class Query:
        @strawberry.field
        async def price(self) -> int:
            trace.get_current_span().set_attribute("application.resolver", "price")
            with tracer.start_as_current_span("db"):
                await asyncio.sleep(0)
                return 1

    @strawberry.type
    class Subscription:
        @strawberry.subscription
        async def ticks(self) -> AsyncGenerator[int, None]:
            for number in range(3):
                with tracer.start_as_current_span("poll"):
                    await asyncio.sleep(0)
                yield number

        @strawberry.subscription
        async def live(self) -> AsyncGenerator[int, None]:
            with tracer.start_as_current_span("poll"):
                await asyncio.sleep(0)
            yield 1
            await asyncio.Event().wait()

    return strawberry.Schema(query=Query, subscription=Subscription, extensions=[OTelExtension])


class View(OTelViewMixin, GraphQLView[Any, None]):
    """Names each connection after its conversation, and rejects one."""

    async def on_ws_connect(self, context: Any) -> Any:
        conversation = context["connection_params"]["conversation"]
        connection_span().set_attribute("application.conversation", conversation)
        if conversation == "legacy rejected":
            raise ConnectionRejectionError({"reason": "rejected"})
        return await super().on_ws_connect(context)


class Served:
    """The requests that the view serves, and when it is done with them."""

    def __init__(self, view: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        self._view = view
        self._done: list[asyncio.Event] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        done = asyncio.Event()
        self._done.append(done)
        try:
            return await self._view(request)
        finally:
            done.set()

    async def all(self) -> None:
        async with asyncio.timeout(20):
            for done in self._done:
                await done.wait()


async def serve(
    config: OTelConfig,
    instrument: Callable[[web.Application], object],
    carrier: Mapping[str, str],
) -> dict[str, list[str]]:
    """Serve the clients until they have left; return what each of them heard."""
    view = type("ConfiguredView", (View,), {"otel_config": config})
    served = Served(view(schema=make_schema()))
    app = web.Application()
    instrument(app)
    app.router.add_route("*", PATH, served)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        heard = await _clients(f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}", carrier)
        await served.all()
    finally:
        await runner.cleanup()
    return heard


async def _clients(url: str, carrier: Mapping[str, str]) -> dict[str, list[str]]:
    command = sys.executable, "-m", "tests.vendors.conversations", url, json.dumps(dict(carrier))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the clients ended with {process.returncode}")
    heard: dict[str, list[str]] = json.loads(printed)
    return heard
