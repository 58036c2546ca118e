"""A server that dies of what is nobody's to stop: a program for tests.

`python -m tests.support.faults.program ARM ERROR PROTOCOL` serves a client for each place in which
a server can die, and prints as JSON how it ended: what left the loop, what the server wrote, what
the interpreter and the log said besides, and what the telemetry knows.
"""

import asyncio
import gc
import json
import logging
import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import strawberry
from aiohttp import web
from strawberry.aiohttp.views import GraphQLView

import strawberry_ws_otel
from strawberry_ws_otel import OTelViewMixin, open_connections
from strawberry_ws_otel import _semconv as name
from tests.support.log import LogKeeper, is_internal
from tests.support.raw_client import Client
from tests.support.scenarios.steps import subscribe
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.transcripts import mask
from tests.support.views import config, extension

STATUS = 3
PLACES = ("get_context", "on_ws_connect", "a source", "a resolver", "a send")
PACKAGE = Path(strawberry_ws_otel.__file__).parent
ERRORS: dict[str, type[BaseException]] = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
}


class Death:
    """Where the server dies, and of what: an exception, or a loop that is stopped."""

    place: str
    error: type[BaseException] | None

    def __call__(self, place: str) -> None:
        if place != self.place:
            return
        if self.error is None:
            asyncio.get_running_loop().stop()
        else:
            raise self.error(STATUS)


death = Death()


@strawberry.type
class Reading:
    @strawberry.field
    def value(self) -> int:
        death("a resolver")
        return 1


@strawberry.type
class Query:
    @strawberry.field
    def reading(self) -> Reading:
        return Reading()


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def readings(self) -> AsyncGenerator[Reading, None]:
        yield Reading()
        death("a source")
        await asyncio.Event().wait()


class Socket(web.WebSocketResponse):
    """A socket that may die in the middle of a send."""

    async def send_str(self, *args: Any, **kwargs: Any) -> None:
        if "connection_ack" not in args[0]:
            death("a send")
        await super().send_str(*args, **kwargs)


class PlainView(GraphQLView[Any, Any]):
    async def create_websocket_response(
        self, request: web.Request, subprotocol: str | None
    ) -> web.WebSocketResponse:
        ws = Socket(protocols=[subprotocol] if subprotocol else [])
        await ws.prepare(request)
        return ws

    async def get_context(self, request: Any, response: Any) -> Any:
        death("get_context")
        return {}

    async def on_ws_connect(self, context: Any) -> Any:
        death("on_ws_connect")
        return await super().on_ws_connect(context)


def bare(_telemetry: Telemetry) -> PlainView:
    return PlainView(schema=strawberry.Schema(Query, subscription=Subscription))


def traced(telemetry: Telemetry) -> PlainView:
    class TracedView(OTelViewMixin, PlainView):
        otel_config = config(telemetry)

    schema = strawberry.Schema(Query, subscription=Subscription, extensions=[extension(telemetry)])
    return TracedView(schema=schema)


ARMS: dict[str, Callable[[Telemetry], PlainView]] = {"bare": bare, "traced": traced}


async def converse(view: PlainView, protocol: str, clients: list[Client]) -> None:
    """Serve one client, that follows readings, until the server dies."""
    app = web.Application()
    app.router.add_route("*", "/graphql", view)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = await Client.connect(runner.addresses[0][1], protocol=protocol)
    clients.append(client)
    await client.shake_hands()
    client.json({"type": "connection_init"})
    client.json(subscribe(client, "a", "subscription { readings { value } }"))
    await client.until_end()


def run_to_its_end(conversation: Coroutine[Any, Any, None]) -> str:
    """Run a conversation as programs do, and say what left it."""
    try:
        asyncio.run(conversation)
    except BaseException as error:  # noqa: BLE001  # the very thing
        return repr(error)
    return "nothing"


def run_until_stopped(conversation: Coroutine[Any, Any, None]) -> str:
    """Run a loop until it is stopped, and close it under all that lives."""
    loop = asyncio.new_event_loop()
    main = loop.create_task(conversation)
    loop.run_forever()
    loop.close()
    return "nothing" if main.done() else "a loop that was closed"


def wire(clients: list[Client]) -> str:
    """The bytes that the server has written and nobody has read."""
    data = b""
    for client in clients:
        data += client.head + b"".join(frame.payload for frame in client.frames)
        with suppress(BlockingIOError):
            while chunk := client._sock.recv(65_536):
                data += chunk
    return mask(data).decode("latin-1")


def culprit(error: BaseException) -> str:
    """The package that raised an exception, and what it is."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = bool(frames) and Path(frames[-1].filename).parent == PACKAGE
    return f"{'ours' if ours else 'theirs'}: {error!r}"


def die(arm: str, place: str, error: str, protocol: str) -> dict[str, Any]:
    """Let a server die in one place, and report."""
    death.place, death.error = place, ERRORS.get(error)
    log, unraisable = LogKeeper(), list[str]()
    logging.getLogger().addHandler(log)
    sys.unraisablehook = lambda args: unraisable.append(culprit(args.exc_value or Exception()))
    telemetry, clients = Telemetry(), list[Client]()
    run = run_until_stopped if death.error is None else run_to_its_end
    left = run(converse(ARMS[arm](telemetry), protocol, clients))
    written = wire(clients)
    clients.clear()
    gc.collect()
    logging.getLogger().removeHandler(log)
    spans = telemetry.spans(name.SPAN_CONNECTION)
    return {
        "left": left,
        "wire": written,
        # How often the interpreter says so is up to the order in which it destroys things.
        "unraisable": sorted(set(unraisable)),
        "log": sorted(
            {
                record.getMessage().partition("\n")[0]
                for record in log.records
                if record.name != name.SCOPE
            }
        ),
        "internal": sum(map(is_internal, log.records)),
        "outcomes": [attributes_of(span)[name.CLOSE_OUTCOME] for span in spans],
        "whole": telemetry.span_counter.started == telemetry.span_counter.ended,
        "active": telemetry.total(name.METRIC_ACTIVE_CONNECTIONS),
        "open": len(open_connections()),
    }


def main(arm: str, error: str, protocol: str) -> None:
    reports = {place: die(arm, place, error, protocol) for place in PLACES}
    sys.stdout.write(json.dumps(reports))


if __name__ == "__main__":
    main(*sys.argv[1:])
