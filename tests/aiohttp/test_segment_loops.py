"""The timer that ends segments is its event loop's, ends with it, and keeps nothing alive."""

import asyncio
import gc
import logging
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.event_loop import Run
from tests.support.expected import CONNECTION
from tests.support.garbage import living
from tests.support.hosting import Host, hosting, part
from tests.support.scenarios.steps import subscribe
from tests.support.schema import FOREVER, make_schema
from tests.support.segments import joined
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import Ends, View, extension, instrumented


def asyncio_loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def uvloop_loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


def view(telemetry: Telemetry, duration: float) -> View:
    """A view with the extension, both with segments of that length."""
    recorded = instrumented(telemetry, segment_duration=duration)
    schema = make_schema(extension(telemetry, segment_duration=duration))
    return recorded(schema=schema, keep_alive=False)


async def live(host: Host) -> Any:
    """A client with a subscription that has sent a result."""
    client = await host.acknowledged()
    client.json(subscribe(client, "a", FOREVER))
    await client.message("next")
    return client


def timers() -> list[asyncio.TimerHandle]:
    """The library's timers that wait in the running loop."""
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]  # there is no other way
    return [each for each in scheduled if not each.cancelled() and "Rotation" in repr(each)]


async def test_a_loop_has_one_timer_while_connections_are_open(telemetry: Telemetry) -> None:
    async with hosting(view(telemetry, 300)) as host:
        assert timers() == []
        clients = [await live(host) for _ in range(3)]
        assert len(timers()) == 1
        for client in clients:
            await part(client)
        await host.served()
        assert timers() == []


async def test_many_connections_end_their_segments_in_turns(telemetry: Telemetry) -> None:
    ends = Ends(telemetry)
    async with hosting(view(telemetry, 0.02)) as host:
        clients = [await live(host) for _ in range(20)]
        await ends.of(CONNECTION, 40)
        for client in clients:
            await part(client)

    assert len(joined(telemetry.spans(CONNECTION))) == 20
    assert len(joined(telemetry.spans("subscription", "GraphQL Operation"))) == 20
    assert telemetry.span_counter.started == telemetry.span_counter.ended


@pytest.mark.parametrize("run", ["asyncio", "uvloop"], indirect=True)
def test_loops_in_threads_each_end_their_own_segments(run: Run[Any], telemetry: Telemetry) -> None:
    async def converse() -> None:
        ends = Ends(telemetry)
        async with hosting(view(telemetry, 0.002)) as host:
            client = await live(host)
            await ends.of(CONNECTION, 1)
            await part(client)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, [converse() for _ in range(4)]))

    connections = joined(telemetry.spans(CONNECTION))
    assert len(connections) == 4
    assert len({attributes_of(each)["websocket.connection.id"] for each in connections}) == 4


@pytest.fixture
def _silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is kept of the host's complaints would keep the tasks that they are about."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# The loop is left behind with its tasks and sockets, as an application may do it.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.usefixtures("_silent")
@pytest.mark.parametrize(
    ("make", "closes"),
    # One of uvloop's that is not closed is never collected, with or without the library.
    [(asyncio_loop, False), (asyncio_loop, True), (uvloop_loop, True)],
)
def test_a_loop_that_is_left_with_an_open_connection_is_collected(
    make: Callable[[], asyncio.AbstractEventLoop], telemetry: Telemetry, *, closes: bool
) -> None:
    before = living()["Connection"]

    async def begin() -> AsyncExitStack:
        stack = AsyncExitStack()
        await live(await stack.enter_async_context(hosting(view(telemetry, 300))))
        return stack

    loop = make()
    stack = loop.run_until_complete(begin())
    assert living()["Connection"] == before + 1
    if closes:
        loop.close()
    gone = weakref.ref(loop)
    del loop, stack
    # What the collector finds in tasks and generators is closed first, and goes the next time.
    for _ in range(5):
        gc.collect()
    assert living()["Connection"] == before
    assert gone() is None
