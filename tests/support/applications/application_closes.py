"""Applications that close the socket themselves, and what is expected to be recorded."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import strawberry
from aiohttp import web

from tests.support.applications.side_by_side import alike, assert_ended, subscribing
from tests.support.expected import (
    GREETING,
    SpanDict,
    connection,
    init,
    operation,
    recorded,
    results_of,
)
from tests.support.hosting import Host
from tests.support.log import LogKeeper
from tests.support.raw_client import Client
from tests.support.scenarios.model import Verdict
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.telemetry import Telemetry
from tests.support.views import View

Close = Callable[[Any], Awaitable[Any]]
Meanwhile = Callable[[Client], Awaitable[None]]

KICK = "subscription Kick { kick }"
SOURCE, CONNECTING = "a subscription's source", "on_ws_connect"
"""Where an application closes: while another task reads, and in the one that does."""


def closing(*args: Any, **kwargs: Any) -> Close:
    """Closes with these arguments."""
    return lambda ws: ws.close(*args, **kwargs)


def twice(first: Close, second: Close) -> Close:
    """Closes, and where that raises or does nothing, closes again."""

    async def close(ws: Any) -> list[str]:
        return [await outcome(first, ws), await outcome(second, ws)]

    return close


async def outcome(close: Close, ws: Any) -> str:
    """What a close returns or raises; what does not fit raises where it is called."""
    try:
        called = close(ws)
    except Exception as error:  # noqa: BLE001  # whatever it is
        return f"{type(error).__name__} at once"
    try:
        return repr(await called)
    except Exception as error:  # noqa: BLE001  # whatever it is
        return type(error).__name__


async def kick(self: Any, info: strawberry.Info) -> AsyncGenerator[str, None]:
    """Closes the socket while another task reads it; says what came of it, if it still can."""
    ws = info.context["response"]
    came = await outcome(info.context["close"], ws)
    info.context["came"].append(came)
    if not ws.closed:
        yield came
    await asyncio.Event().wait()


def kicking(close: Close, place: str, came: list[str], base: type[View] = View) -> type[View]:
    """A view whose application closes there, and keeps what came of it."""

    class Kicking(base):  # type: ignore[valid-type,misc]  # whichever it is
        async def get_context(self, request: web.Request, response: Any) -> Any:
            context: Any = await super().get_context(request, response)
            return {**context, "close": close, "came": came}

        async def on_ws_connect(self, context: Any) -> Any:
            if place == CONNECTING:
                came.append(await outcome(close, context["response"]))
            return await super().on_ws_connect(context)

    return Kicking


async def nothing(client: Client) -> None:
    """Only listen, and answer a close."""


def talking(protocol: str, place: str, meanwhile: Meanwhile) -> Callable[[Host], Awaitable[None]]:
    async def talk(host: Host) -> None:
        if place == CONNECTING:
            client = await host.connect(protocol)
            client.json({"type": "connection_init"})
        else:
            client = await host.acknowledged(protocol)
            client.json(subscribe(client, "a", KICK))
        await meanwhile(client)

    return talk


def kicked(protocol: str, verdict: Verdict, results: int = 0) -> list[SpanDict]:
    """What is recorded of a connection that dies while the subscription that closed it is alive."""
    return [
        connection(
            protocol,
            verdict,
            messages=(2, 1 + results),
            operations=["subscription"],
            interrupted=1,
        ),
        init(),
        operation(
            KICK,
            "connection_closed",
            protocol=protocol,
            name="Kick",
            results=results,
            events=results_of(protocol, *range(1, results + 1)),
            verdict=verdict,
            error=verdict.outcome if verdict.abnormal else None,
            description=f"interrupted by an abnormal close: {verdict.outcome}"
            if verdict.abnormal
            else None,
        ),
    ]


def unacknowledged(protocol: str, verdict: Verdict) -> list[SpanDict]:
    """What is recorded of a connection that was closed instead of being acknowledged."""
    return [
        connection(
            protocol,
            verdict,
            messages=(1, 0),
            acknowledged=False,
            events=GREETING[:1],
        ),
        init(error=verdict.error_type),
    ]


async def closes(  # noqa: PLR0913, PLR0917  # all that a close is made of
    telemetry: Telemetry,
    log: LogKeeper,
    close: Close,
    verdict: Verdict,
    came: str,
    place: str = SOURCE,
    protocol: str = TRANSPORT,
    base: type[View] = View,
    meanwhile: Meanwhile = nothing,
    results: int = 0,
) -> None:
    """Close so with and without the library, and compare all that is recorded."""
    all_came: list[str] = []
    view = kicking(close, place, all_came, base)
    schema = subscribing(kick)
    await alike(telemetry, view, talking(protocol, place, meanwhile), schema=schema)
    if came:
        assert all_came == [came] * 2
    else:
        # Older hosts let an operation go on that has closed, and it learns what came of it.
        assert all_came == all_came[: len(all_came) // 2] * 2
    if place == CONNECTING:
        assert recorded(telemetry) == unacknowledged(protocol, verdict)
    else:
        assert recorded(telemetry) == kicked(protocol, verdict, results)
    assert_ended(telemetry, log, verdict)
