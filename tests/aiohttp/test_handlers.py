"""The layer over the handlers of the host: what it does not see is recorded nowhere."""

import asyncio
import gc
from typing import Any, NoReturn

import pytest

from tests.support.applications.side_by_side import HANDLER_LEGACY, alike, assert_ended
from tests.support.broken_api import PipeError
from tests.support.cases import STRAWBERRY
from tests.support.clock import stop_clock
from tests.support.expected import (
    GREETING,
    NORMAL,
    connection,
    init,
    operation,
    received,
    recorded,
)
from tests.support.hosting import Host, part
from tests.support.log import LogKeeper
from tests.support.scenarios.model import by_server
from tests.support.scenarios.steps import LEGACY, subscribe
from tests.support.schema import FOREVER, TICKS
from tests.support.telemetry import Telemetry
from tests.support.transcripts import mask
from tests.support.views import View

pytestmark = pytest.mark.usefixtures("frozen_garbage")

NAME = "BaseGraphQLWSHandler.handle_async_results()"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


class Dying(HANDLER_LEGACY):  # type: ignore[misc]  # a class in a variable
    """The task of an operation fails, and nobody asks it how it ended."""

    async def send_data_message(self, *args: Any) -> NoReturn:
        raise PipeError("no pipe")


class Mortal(View):
    graphql_ws_handler_class = Dying


def unretrieved(log: pytest.LogCaptureFixture) -> list[bytes]:
    """What asyncio has logged of tasks that died."""
    said = [each.getMessage() for each in log.records if each.name == "asyncio"]
    return [mask(each.encode()) for each in said if "never retrieved" in each]


@pytest.mark.skipif(STRAWBERRY < (0, 341), reason="older hosts keep it until the connection ends")
async def test_a_legacy_task_that_dies_is_logged_in_the_very_words_of_the_bare_host(
    telemetry: Telemetry, library_log: LogKeeper, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(host: Host) -> None:
        before = len(unretrieved(caplog))
        client = await host.acknowledged(LEGACY)
        client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
        async with asyncio.timeout(10):
            while len(unretrieved(caplog)) == before:
                gc.collect()
                await asyncio.sleep(0)
        await part(client)

    await alike(telemetry, Mortal, talk)
    [bare, ours] = unretrieved(caplog)
    assert ours == bare
    assert f"<Task finished name='...' coro=<{NAME} done, defined at ".encode() in bare
    assert recorded(telemetry) == [
        connection(LEGACY, messages=(2, 1), operations=["subscription"]),
        init(),
        operation(
            TICKS,
            "failed",
            protocol=LEGACY,
            name="Ticks",
            error="tests.support.broken_api.PipeError",
        ),
    ]
    assert_ended(telemetry, library_log, NORMAL)


async def test_a_legacy_task_that_waits_looks_as_in_the_bare_host(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def talk(host: Host) -> list[bytes]:
        client = await host.acknowledged(LEGACY)
        client.json(subscribe(client, "a", FOREVER))
        await client.message("data")
        looks = [repr(task) for task in asyncio.all_tasks() if NAME in repr(task)]
        await part(client)
        return [mask(each.encode()) for each in looks]

    sides = await alike(telemetry, View, talk)
    assert sides.ours == sides.bare
    [look] = sides.bare
    assert f" coro=<{NAME} running at ".encode() in look
    assert_ended(telemetry, library_log, NORMAL)


async def test_a_legacy_task_that_is_stopped_before_it_begins_leaves_nothing(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    # A coroutine that was never awaited is a warning, which fails the test.
    async def talk(host: Host) -> None:
        client = await host.acknowledged(LEGACY)
        # In one segment: the host reads on before the task has had its turn.
        client.json(subscribe(client, "a", TICKS, variables={"to": 2}), {"type": "stop", "id": "a"})
        client.json({"type": "connection_terminate"})

    await alike(telemetry, View, talk)
    gc.collect()
    verdict = by_server("normal", 1000, echo=1000)
    assert recorded(telemetry) == [
        connection(
            LEGACY,
            verdict,
            messages=(4, 1),
            # Nobody has read its document.
            operations=["GraphQL Operation"],
            events=[*GREETING, received("connection_terminate")],
        ),
        init(),
        operation(
            TICKS,
            "client_completed",
            protocol=LEGACY,
            known=False,
            events=[received("stop")],
        ),
    ]
    assert_ended(telemetry, library_log, verdict)
