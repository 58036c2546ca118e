"""An application that is served twice, without the library and with it: both are heard alike."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NamedTuple

import strawberry
from strawberry.extensions import SchemaExtension

from tests.support.assertions import assert_closes, assert_log, assert_whole
from tests.support.frames import RAW, Frame
from tests.support.hosting import Host, hosting
from tests.support.log import LogKeeper
from tests.support.raw_client import Client
from tests.support.scenarios.model import Verdict
from tests.support.schema import make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View, extension, instrumented

HANDLER: Any = View.graphql_transport_ws_handler_class  # type: ignore[misc]  # it is generic
HANDLER_LEGACY: Any = View.graphql_ws_handler_class  # type: ignore[misc]  # it is generic

Talk = Callable[[Host], Awaitable[Any]]
MakeSchema = Callable[..., strawberry.Schema]
Above = Callable[[type[View]], type[View]]
"""What the application derives from its view."""


class Heard(NamedTuple):
    """All that a client heard: what answered its handshake, then frames."""

    status: int | None
    body: bytes
    frames: list[Frame]


class Sides(NamedTuple):
    """What was heard and said without the library, and with it."""

    bare: Any
    ours: Any


async def serve(view: View, talk: Talk, *middlewares: Any, **host: Any) -> tuple[list[Heard], Any]:
    """What the clients of one server heard, and what `talk` returns."""
    async with hosting(view, *middlewares, **host) as server:
        said = await talk(server)
        for client in server.clients:
            await client.until_end()
        await server.served()
        return [heard(client) for client in server.clients], said


def heard(client: Client) -> Heard:
    return Heard(client.status, client.body, list(map(dateless, client.frames)))


def dateless(frame: Frame) -> Frame:
    """The frame, where it is none but an answer over HTTP without its date."""
    if frame.opcode != RAW:
        return frame
    lines = frame.payload.split(b"\r\n")
    return frame._replace(
        payload=b"\r\n".join(each for each in lines if not each.startswith(b"Date:"))
    )


async def alike(  # noqa: PLR0913  # all that an application is made of
    telemetry: Telemetry,
    base: type[View],
    talk: Talk,
    *middlewares: Any,
    schema: MakeSchema = make_schema,
    above: Above = lambda view: view,
    handler_cancellation: bool = False,
    **options: Any,
) -> Sides:
    """Serve the view class both ways, assert that nobody hears the difference.

    Args:
        telemetry: where the recorded one records.
        base: the application's view.
        talk: what is said to it; each client listens until its connection ends.
        middlewares: those of the application, above the view.
        schema: makes the schema with extensions.
        above: what the application derives from its view, be that recorded or not.
        handler_cancellation: aiohttp's setting.
        options: of the view.

    Returns:
        What `talk` returned on each side.
    """
    views = (
        above(base)(schema=schema(), keep_alive=False, **options),
        above(instrumented(telemetry, base))(
            schema=schema(extension(telemetry)), keep_alive=False, **options
        ),
    )
    (heard_bare, said_bare), (heard_ours, said_ours) = [
        await serve(view, talk, *middlewares, handler_cancellation=handler_cancellation)
        for view in views
    ]
    assert heard_ours == heard_bare
    return Sides(said_bare, said_ours)


def assert_ended(telemetry: Telemetry, log: LogKeeper, *verdicts: Verdict) -> None:
    """Each close is counted and logged as its verdict says, and nothing is alive."""
    assert_closes(telemetry, *verdicts)
    assert_log(log, *verdicts)
    assert_whole(telemetry)


def subscribing(source: Callable[..., AsyncGenerator[Any, None]]) -> MakeSchema:
    """Makes a schema whose only subscription, `Kick`, has this source."""

    @strawberry.type
    class Query:
        hello: str = "world"

    @strawberry.type
    class Subscription:
        kick = strawberry.subscription(resolver=source)

    def make(*extensions: type[SchemaExtension]) -> strawberry.Schema:
        return strawberry.Schema(
            query=Query, subscription=Subscription, extensions=list(extensions)
        )

    return make
