"""Whose cancellation it is that ends a handler: the server's, a lost peer's, the application's."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.assertions import play_and_assert
from tests.support.cases import Case
from tests.support.event_loop import Run
from tests.support.log import LogKeeper
from tests.support.scenarios.application import STOPPED, shuts_down
from tests.support.scenarios.model import BOTH, Scenario, Verdict, without_frames
from tests.support.scenarios.network import LOST
from tests.support.scenarios.steps import INIT, Step, handshake, meets, reset, steps
from tests.support.server import Hook, Server, Setup
from tests.support.telemetry import Telemetry


async def forever() -> None:
    await asyncio.Event().wait()


WAITS: dict[str, Callable[[], Awaitable[Any]]] = {
    "gather": lambda: asyncio.gather(forever(), forever()),
    "a child task": lambda: asyncio.create_task(forever()),
    "wait_for": lambda: asyncio.wait_for(forever(), 60),
    "a shielded task": lambda: asyncio.shield(forever()),
    "itself": forever,
}


def waiting(wait: Callable[[], Awaitable[Any]]) -> Hook:
    async def hook(server: Server) -> None:
        server.gate.reached.set()
        await wait()

    return hook


async def grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(forever())


WAITS["a task group"] = grouped


def login(then: Step, verdict: Verdict, hook: Hook, protocol: str, *, cancellation: bool) -> Case:
    """A connection that ends while `on_ws_connect` is at work."""
    scenario = Scenario(
        name="while on_ws_connect is at work",
        talk=steps(handshake, INIT, then),
        verdict=verdict,
        setup=Setup(connect=hook),
    )
    return Case(scenario, protocol, cancellation)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("name", WAITS)
def test_a_shutdown_is_no_fault_whatever_on_ws_connect_awaits(
    name: str, protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    then, hook = steps(meets, shuts_down), waiting(WAITS[name])
    case = login(then, STOPPED, hook, protocol, cancellation=False)
    play_and_assert(case, run, telemetry, library_log)
    assert not library_log.records


async def outlives_a_timeout() -> None:
    try:
        async with asyncio.timeout(0):
            await forever()
    except TimeoutError:
        pass


async def survives_a_timeout(server: Server) -> None:
    await outlives_a_timeout()
    server.gate.reached.set()
    await forever()


@pytest.mark.parametrize("protocol", BOTH)
def test_a_peer_lost_after_a_timeout_of_on_ws_connect_is_lost(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    case = login(steps(meets, reset), LOST, survives_a_timeout, protocol, cancellation=True)
    play_and_assert(case, run, telemetry, library_log)


@pytest.mark.parametrize("protocol", BOTH)
def test_a_shutdown_after_a_timeout_of_on_ws_connect_is_no_fault(
    protocol: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    then = steps(meets, shuts_down)
    case = login(then, STOPPED, survives_a_timeout, protocol, cancellation=True)
    play_and_assert(case, run, telemetry, library_log)


async def awaits_what_is_cancelled(_server: Server) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def outlives_a_timeout_and_awaits_what_is_cancelled(server: Server) -> None:
    await outlives_a_timeout()
    await awaits_what_is_cancelled(server)


async def awaits_a_task_that_is_cancelled(_server: Server) -> None:
    task = asyncio.create_task(forever())
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("cancellation", [False, True])
@pytest.mark.parametrize(
    "hook",
    [
        awaits_what_is_cancelled,
        awaits_a_task_that_is_cancelled,
        outlives_a_timeout_and_awaits_what_is_cancelled,
    ],
)
def test_a_cancellation_of_the_applications_own_is_the_servers_fault(  # noqa: PLR0913, PLR0917  # fixtures
    hook: Hook,
    cancellation: bool,  # noqa: FBT001  # a parameter
    protocol: str,
    run: Run[Any],
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    verdict = without_frames("server_error", "asyncio.exceptions.CancelledError")
    case = login(steps(), verdict, hook, protocol, cancellation=cancellation)
    play_and_assert(case, run, telemetry, library_log)
