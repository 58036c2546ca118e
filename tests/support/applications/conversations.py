"""One conversation twice: with an application as it is, and with the library over it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context
from types import new_class
from typing import Any

import pytest
import strawberry
from strawberry.extensions import SchemaExtension

from strawberry_ws_otel import OTelExtension
from tests.support.expected import (
    CONNECTION,
    INIT,
    Event,
    SpanDict,
    connection,
    init,
    operation,
    received,
    recorded,
    results_of,
    sent,
    stopped,
)
from tests.support.frames import Frame
from tests.support.hosting import hosting, part
from tests.support.log import keeping_log
from tests.support.raw_client import Client
from tests.support.scenarios.model import by_client
from tests.support.scenarios.steps import COMPLETE, LEGACY, TRANSPORT, subscribe
from tests.support.schema import FAILING, FOREVER, INVALID, TICKS, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View, instrumented

Talk = Callable[[Client], Awaitable[None]]
MakeSchema = Callable[..., strawberry.Schema]
Extensions = Iterable[Callable[[], SchemaExtension]]

APP_ERROR = "tests.support.schema.AppError"
GRAPHQL_ERROR = "graphql.error.graphql_error.GraphQLError"
ACTIVE = "graphql.server.subscription.active"
EVENTS = "graphql.server.subscription.event_count"
DURATION = "graphql.ws.operation.duration"
REQUESTS = "graphql.server.request.duration"
QUERY = {"graphql.operation.type": "query"}


def served_by(*layers: type, base: type[View] = View) -> type[View]:
    """A view whose handlers, of both protocols, are the host's with these classes over them."""

    class Served(base):  # type: ignore[valid-type,misc]  # whichever it is
        graphql_transport_ws_handler_class = new_class(
            "Handler", (*layers, base.graphql_transport_ws_handler_class)
        )
        graphql_ws_handler_class = new_class("Handler", (*layers, base.graphql_ws_handler_class))

    return Served


def begin(handler: Any) -> None:
    """Do what a handler's `handle` does before it asks for messages."""
    if hasattr(handler, "on_request_accepted"):
        handler.on_request_accepted()


async def finish(handler: Any) -> None:
    """Do what it does when no message is left."""
    await (handler.shutdown() if hasattr(handler, "shutdown") else handler.cleanup())


def elsewhere(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task that knows nothing of its caller, as one of a pool that was there before."""
    return asyncio.get_running_loop().create_task(coroutine, context=Context())


async def play(
    view: type[View],
    schema: strawberry.Schema,
    talk: Talk,
    protocol: str = TRANSPORT,
    *,
    greets: bool = True,
    **options: Any,
) -> tuple[list[Frame], str | None]:
    """What a client is sent while it talks, acknowledged or not, and how the stream ended."""
    async with hosting(view(schema=schema, keep_alive=False, **options)) as host:
        client = await (host.acknowledged if greets else host.connect)(protocol)
        await talk(client)
        await client.until_end()
        await host.served()
        return client.frames, client.end


@contextmanager
def logging_closes(count: int) -> Iterator[None]:
    """So many abnormal closes, and nothing else, are logged as long as this lasts."""
    with keeping_log() as keeper:
        yield
    assert [record.getMessage() for record in keeper.records if record not in keeper.closes] == []
    assert len(keeper.closes) == count


async def both(  # noqa: PLR0913  # all that an application can choose
    telemetry: Telemetry,
    view: type[View],
    talk: Talk,
    protocol: str = TRANSPORT,
    *,
    schema: MakeSchema = make_schema,
    extensions: Extensions = (OTelExtension,),
    abnormal: int = 0,
    **options: Any,
) -> list[Frame]:
    """Hold the conversation with the library against the one without it; return its frames.

    Args:
        telemetry: where it is recorded.
        view: class of the view, without the mixin.
        talk: what the client does when it is acknowledged; then it listens until the end.
        protocol: the subprotocol.
        schema: makes the schema from its extensions.
        extensions: those of the recorded view; the other one has all but the library's.
        abnormal: how many abnormal closes are logged.
        options: of the view; with `greets=False` the client is not acknowledged.
    """
    own = [each for each in extensions if each is not OTelExtension]
    bare = await play(view, schema(*own), talk, protocol, **options)
    telemetry.exporter.clear()
    with logging_closes(abnormal):
        recording = instrumented(telemetry, view, setup_warnings=bool(extensions))
        frames = await play(recording, schema(*extensions), talk, protocol, **options)
    assert frames == bare
    return frames[0]


async def one_subscription(client: Client) -> None:
    """Subscribe to two ticks, hear them, and leave."""
    client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
    await client.message("complete")
    await part(client)


def ticks(protocol: str, to: int = 2, **more: Any) -> SpanDict:
    """What is recorded of a subscription to ticks that came to its end."""
    events = [*results_of(protocol, *range(1, to + 1)), sent("complete")]
    attributes: dict[str, Any] = {"name": "Ticks", "results": to, "events": events} | more
    return operation(TICKS, "completed", protocol=protocol, **attributes)


def rejected(protocol: str) -> SpanDict:
    """What is recorded of one that the application refused by an error."""
    return operation(
        TICKS,
        "rejected",
        protocol=protocol,
        known=False,
        events=[sent("error")],
        error="rejected",
    )


def failing(protocol: str, **more: Any) -> SpanDict:
    """What is recorded of a subscription whose source fails after its first result."""
    message = "the source is dry"
    error: Event = (
        "graphql.error",
        {
            "graphql.error.message": message,
            "exception.type": APP_ERROR,
            "exception.message": message,
        },
    )
    first, second = results_of(protocol, 1, 2)
    events = [first, error, second, sent("complete")]
    attributes: dict[str, Any] = {
        "name": "Failing",
        "results": 2,
        "errors": 1,
        "error": APP_ERROR,
    } | more
    return operation(FAILING, "completed", protocol=protocol, events=events, **attributes)


def operations(telemetry: Telemetry) -> list[SpanDict]:
    """The spans that are neither the connection's nor its init's nor those of a phase."""
    return [
        each
        for each in recorded(telemetry)
        if each["kind"] == "SERVER" and each["name"] not in {CONNECTION, INIT}
    ]


def clients(telemetry: Telemetry) -> list[SpanDict]:
    """The operations that a client asked for over a WebSocket."""
    return [
        each for each in operations(telemetry) if "graphql.ws.operation.id" in each["attributes"]
    ]


def others(telemetry: Telemetry) -> list[SpanDict]:
    """The other operations."""
    asked = clients(telemetry)
    return [each for each in operations(telemetry) if each not in asked]


async def all_ends(client: Client) -> None:
    """Five operations that end differently, one after the other; the last with the connection."""
    client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
    await client.message("complete")
    client.json(subscribe(client, "b", FAILING))
    await client.message("complete")
    client.json(subscribe(client, "c", INVALID))
    await client.message("error")
    client.json(subscribe(client, "d", FOREVER))
    await client.message("next", "data")
    client.json({"id": "d", "type": COMPLETE[str(client.protocol)]})
    if client.protocol == LEGACY:
        await client.message("complete")
    client.json(subscribe(client, "e", FOREVER))
    await client.message("next", "data")
    await part(client)


def forever(protocol: str, id_: str, reason: str, **more: Any) -> SpanDict:
    attributes: dict[str, Any] = {
        "name": "Forever",
        "results": 1,
        "events": results_of(protocol, 1),
    } | more
    return operation(FOREVER, reason, protocol=protocol, id_=id_, **attributes)


def expected_spans(protocol: str) -> list[SpanDict]:
    """The spans of it, in the order of their start."""
    is_legacy = protocol == LEGACY
    names = ["subscription", *(f"subscription {number}" for number in (2, 3, 4, 5))]
    at = [("graphql.error", {"graphql.error.locations": "1:16"})]
    first = results_of(protocol, 1)
    # A legacy host confirms a stop, when the operation has ended by then.
    confirmed = [sent("complete")] * is_legacy
    return [
        connection(
            protocol,
            messages=(7, 10 + is_legacy),
            operations=names,
            interrupted=1,
            events=[received("connection_init"), sent("connection_ack"), *confirmed],
        ),
        init(),
        ticks(protocol),
        failing(protocol, id_="b"),
        operation(
            INVALID,
            "error",
            protocol=protocol,
            id_="c",
            errors=1,
            error=GRAPHQL_ERROR,
            events=[*at, sent("error")],
        ),
        forever(protocol, "d", "client_completed", events=[*first, stopped(protocol)]),
        forever(protocol, "e", "connection_closed", verdict=by_client("normal", 1000)),
    ]


def streams(*classes: type[strawberry.Schema]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("schema", classes, ids=[each.__name__ for each in classes])


def layers(*classes: type) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("layer", classes, ids=[each.__name__ for each in classes])


async def stops_and_leaves(client: Client) -> None:
    """One operation that comes to its end, one that the client stops, and one that it leaves."""
    client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
    await client.message("complete")
    client.json(subscribe(client, "b", FOREVER))
    await client.message("next", "data")
    client.json({"id": "b", "type": COMPLETE[str(client.protocol)]})
    client.json(subscribe(client, "c", FOREVER))
    await client.message("next", "data")
    await part(client)


def stopped_and_left(protocol: str) -> list[SpanDict]:
    """The operations of it."""
    events = [*results_of(protocol, 1), stopped(protocol)]
    verdict = by_client("normal", 1000)
    return [
        ticks(protocol),
        forever(protocol, "b", "client_completed", events=events),
        forever(protocol, "c", "connection_closed", verdict=verdict),
    ]
