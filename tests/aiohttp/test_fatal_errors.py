"""What ends an operation without a word, or after its first answer, is a failure of that operation.

graphql-core and Strawberry make an error of every `Exception`. What is none goes through them, and
through aiohttp, which drops the connection: the client gets no answer.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any

import aiohttp
import pytest
import strawberry
from graphql import version_info
from strawberry import subscriptions
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig

from tests.support.applications.side_by_side import alike, assert_ended, serve
from tests.support.clock import Clock
from tests.support.expected import (
    EXECUTION,
    NORMAL,
    PARSING,
    VALIDATION,
    SpanDict,
    connection,
    executed,
    init,
    operation,
    phases,
    recorded,
    results_of,
)
from tests.support.hosting import Host
from tests.support.log import LogKeeper
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.schema import AppError
from tests.support.telemetry import Attributes, Telemetry, labels
from tests.support.views import View, extension

HERE = "tests.aiohttp.test_fatal_errors"
FATAL = f"{HERE}.Fatal"
GROUP = "BaseExceptionGroup"
APP_ERROR = "tests.support.schema.AppError"
REQUESTS = "graphql.server.request.duration"
SSE: Any = getattr(subscriptions, "GRAPHQL_SSE_PROTOCOL", None)
MULTIPART: Any = getattr(subscriptions, "MULTIPART_SUBSCRIPTION_PROTOCOL", None)
SINCE_SSE = pytest.mark.skipif(SSE is None, reason="older hosts stream in another way")
STREAMS = {
    "multipart": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json",
    "sse": "text/event-stream",
}


died = asyncio.Event()
"""The source has raised."""

tasks: list[asyncio.Task[Any]] = []
"""Those of the operations."""


class KeepsTasks(SchemaExtension):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)


class Fatal(BaseException):
    """Something that nobody is to catch, as a library for signals has it."""


async def dies() -> None:
    raise Fatal


async def errs() -> None:
    raise AppError("no")


@strawberry.type
class Query:
    @strawberry.field
    def at_once(self) -> str:
        raise Fatal

    @strawberry.field
    async def later(self) -> str:
        await asyncio.sleep(0)
        raise Fatal

    @strawberry.field
    async def in_a_group(self) -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(dies())
            group.create_task(errs())
        return "done"

    @strawberry.field
    async def in_a_group_of_errors(self) -> str | None:
        async with asyncio.TaskGroup() as group:
            group.create_task(errs())
        return "done"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def change(self) -> str:
        raise Fatal


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def source(self) -> AsyncGenerator[int, None]:
        yield 1
        died.set()
        raise Fatal

    @strawberry.subscription
    async def group(self) -> AsyncGenerator[int, None]:
        yield 1
        died.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(dies())


def make_schema(*extensions: Any) -> strawberry.Schema:
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=[*extensions, KeepsTasks],
    )


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{HERE}.died", asyncio.Event())
    tasks.clear()


def request(type_: str, error: str | None) -> Attributes:
    attributes = {"graphql.operation.type": type_, "error.type": error}
    return labels({key: value for key, value in attributes.items() if value})


async def posts(host: Host, document: str) -> Any:
    """The answer, or that there is none."""
    try:
        return await host.post({"query": document})
    except aiohttp.ClientError as error:
        return type(error).__name__


# --- Over HTTP -------------------------------------------------------------------------------

NO_ANSWER = "ServerDisconnectedError"
LOST = {
    "query AtOnce { atOnce }": FATAL,
    "query Later { later }": FATAL,
    "query Both { later second: later }": FATAL,
    "query Group { inAGroup }": GROUP,
    "mutation Change { change }": FATAL,
}


def lost(document: str, error: str, route: str | None = "/graphql") -> list[SpanDict]:
    """What is recorded of an operation that nobody answered."""
    type_, name = document.split()[:2]
    return [
        executed(document, name=name, error=error, route=route),
        *phases(type_, PARSING, VALIDATION, EXECUTION),
    ]


@pytest.mark.parametrize(("document", "error"), LOST.items(), ids=LOST)
async def test_a_request_that_got_no_answer_has_failed(
    document: str, error: str, clock: Clock, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    talk = partial(posts, document=document)
    said = await alike(telemetry, View, talk, schema=make_schema)
    assert said == (NO_ANSWER, NO_ANSWER)
    assert recorded(telemetry) == lost(document, error)
    assert telemetry.metrics()[REQUESTS] == {request(document.split(maxsplit=1)[0], error): 1}
    assert_ended(telemetry, library_log)


async def test_a_request_that_got_no_answer_has_failed_without_the_mixin_too(
    clock: Clock, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    document = "query Group { inAGroup }"
    view = View(schema=make_schema(extension(telemetry)))
    _, said = await serve(view, partial(posts, document=document))
    assert said == NO_ANSWER
    assert recorded(telemetry) == lost(document, GROUP, route=None)
    assert telemetry.metrics()[REQUESTS] == {request("query", GROUP): 1}
    assert not library_log.records


async def test_a_group_of_errors_is_an_error_like_any_other(
    clock: Clock, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    document = "query Group { inAGroupOfErrors }"
    message = "unhandled errors in a TaskGroup"
    talk = partial(posts, document=document)
    (status, body), _ = await alike(telemetry, View, talk, schema=make_schema)
    assert (status, body["data"]) == (200, {"inAGroupOfErrors": None})
    error = {
        "graphql.error.message": message,
        "graphql.error.path": "inAGroupOfErrors",
        "graphql.error.locations": "1:15",
        "exception.type": "ExceptionGroup",
        "exception.message": f"{message} (1 sub-exception)",
    }
    assert recorded(telemetry) == [
        executed(
            document,
            name="Group",
            errors=1,
            error="ExceptionGroup",
            events=[("graphql.error", error)],
        ),
        *phases("query", PARSING, VALIDATION, EXECUTION),
    ]
    assert telemetry.metrics()[REQUESTS] == {request("query", "ExceptionGroup"): 1}
    assert_ended(telemetry, library_log)


# --- Over streams and sockets ----------------------------------------------------------------


async def ended() -> None:
    """Wait until the task of the operation has ended, and all who wait for that know."""
    await asyncio.wait(tasks)
    tasks.clear()
    await asyncio.sleep(0)


SOURCES = {
    "subscription Source { source }": FATAL,
    "subscription Group { group }": GROUP,
}


@SINCE_SSE
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(("document", "error"), SOURCES.items(), ids=SOURCES)
async def test_a_stream_whose_source_died_has_failed(  # noqa: PLR0913, PLR0917
    document: str,
    error: str,
    stream: str,
    clock: Clock,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    async def talk(host: Host) -> int:
        headers = {"Accept": STREAMS[stream]}
        async with host.session.post(
            host.url, json={"query": document}, headers=headers
        ) as response:
            # The host says nothing more, except for heartbeats, until the client goes.
            await died.wait()
            died.clear()
            return response.status

    said = await alike(
        telemetry,
        View,
        talk,
        schema=make_schema,
        handler_cancellation=True,
        subscription_protocols=(SSE, MULTIPART),
    )
    assert said == (200, 200)
    assert recorded(telemetry) == [
        executed(document, name=document.split()[1], error=error),
    ]
    assert_ended(telemetry, library_log)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(("document", "error"), SOURCES.items(), ids=SOURCES)
async def test_a_subscription_whose_source_died_has_failed_and_says_of_what(  # noqa: PLR0913, PLR0917
    document: str,
    error: str,
    protocol: str,
    clock: Clock,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    async def talk(host: Host) -> None:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", document))
        await died.wait()
        died.clear()
        await ended()
        client.close(1000)

    await alike(telemetry, View, talk, schema=make_schema)
    assert recorded(telemetry) == [
        connection(protocol, messages=(2, 2), operations=["subscription"]),
        init(),
        operation(
            document,
            "failed",
            protocol=protocol,
            name=document.split()[1],
            results=1,
            events=results_of(protocol, 1),
            error=error,
        ),
    ]
    assert_ended(telemetry, library_log, NORMAL)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ("query AtOnce { atOnce }", FATAL),
        ("query Group { inAGroup }", GROUP),
        ("mutation Change { change }", FATAL),
    ],
)
async def test_a_query_over_a_socket_that_got_no_answer_has_failed(
    document: str, error: str, clock: Clock, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def talk(host: Host) -> None:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", document), {"type": "ping"})
        await client.message("pong")
        await ended()
        client.close(1000)

    await alike(telemetry, View, talk, schema=make_schema)
    type_, name = document.split()[:2]
    assert recorded(telemetry, type_) == [operation(document, "failed", name=name, error=error)]
    [whole] = recorded(telemetry, "GraphQL WebSocket Connection")
    assert whole["attributes"]["graphql.ws.operation.interrupted_count"] == 0
    assert telemetry.metrics()[REQUESTS] == {request(type_, error): 1}
    assert_ended(telemetry, library_log, NORMAL)


# --- Deferred parts --------------------------------------------------------------------------

RESOLVES: list[Callable[[], None]] = []
"""What is to happen when a deferred field is resolved."""


@strawberry.type
class Slow:
    @strawberry.field
    async def may(self) -> int | None:
        await asyncio.sleep(0)
        for happens in RESOLVES:
            happens()
        raise AppError("late")

    @strawberry.field
    async def must(self) -> int:
        await asyncio.sleep(0)
        for happens in RESOLVES:
            happens()
        raise AppError("late")

    @strawberry.field
    async def well(self) -> int:
        await asyncio.sleep(0)
        for happens in RESOLVES:
            happens()
        return 1


@strawberry.type
class Deferring:
    @strawberry.field
    def slow(self) -> Slow:
        return Slow()


def deferring(*extensions: Any) -> strawberry.Schema:
    config = StrawberryConfig(enable_experimental_incremental_execution=True)
    return strawberry.Schema(query=Deferring, extensions=list(extensions), config=config)


def deferred(field: str) -> str:
    return f"query Q {{ slow {{ ... on Slow @defer {{ {field} }} }} }}"


DEFERRED = pytest.mark.skipif(
    SSE is None or version_info < (3, 3), reason="older hosts have no incremental delivery"
)
ANSWERS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "a request": ({}, {}),
    "a stream": (
        {"Accept": STREAMS["sse"]},
        {"subscription_protocols": (SSE,)},
    ),
}


async def hears_all(host: Host, document: str, headers: dict[str, str]) -> str:
    async with host.session.post(host.url, json={"query": document}, headers=headers) as response:
        return await response.text()


@DEFERRED
@pytest.mark.parametrize(
    ("headers", "options", "seconds"),
    [(*ANSWERS["a request"], 0.0), (*ANSWERS["a stream"], 5.0)],
    ids=ANSWERS,
)
@pytest.mark.parametrize("field", ["may", "must", "well"])
async def test_what_is_recorded_of_a_request_with_deferred_parts_is_its_first_part(  # noqa: PLR0913, PLR0917
    field: str,
    headers: dict[str, str],
    options: dict[str, Any],
    seconds: float,
    clock: Clock,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    """The host hands the later ones to nobody. A stream of the host's lasts until the last one."""
    RESOLVES[:] = [partial(clock.passes, 5.0)]
    document = deferred(field)
    talk: Callable[[Host], Awaitable[Any]] = partial(hears_all, document=document, headers=headers)
    said, _ = await alike(telemetry, View, talk, schema=deferring, **options)
    assert ("late" in said) == (field != "well")
    assert recorded(telemetry) == [
        executed(document, name="Q"),
        *phases("query", PARSING, VALIDATION, EXECUTION),
    ]
    assert durations(telemetry) == {request("query", None): seconds}
    assert_ended(telemetry, library_log)


def durations(telemetry: Telemetry) -> dict[Attributes, float]:
    """How long requests took, by their labels."""
    return {labels(dict(point.attributes)): point.sum for point in telemetry.points(REQUESTS)}


@DEFERRED
async def test_a_deferred_part_over_a_socket_is_refused_by_the_host(
    clock: Clock, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def talk(host: Host) -> None:
        client = await host.acknowledged(TRANSPORT)
        client.json(subscribe(client, "a", deferred("must")))
        await client.message("error")
        client.close(1000)

    await alike(telemetry, View, talk, schema=deferring)
    [one] = recorded(telemetry, "query")
    assert one["status"] == "ERROR"
    assert one["attributes"]["graphql.ws.operation.end_reason"] == "error"
    assert_ended(telemetry, library_log, NORMAL)
