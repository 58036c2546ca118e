"""However a connection ends, it is judged as if the application had left its context alone."""

import asyncio
from typing import Any

import pytest
from opentelemetry.context import Context, attach

from tests.support.applications.context_changes import (
    ACTS,
    MARK,
    REMOTE,
    doing,
    made,
)
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    INIT,
    connection,
    operation,
    recorded,
    results_of,
)
from tests.support.hosting import hosting
from tests.support.log import LogKeeper
from tests.support.scenarios.model import BOTH, by_server, without_frames
from tests.support.scenarios.steps import subscribe
from tests.support.telemetry import Telemetry


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("act", ["extracted", "fresh"])
@pytest.mark.parametrize("place", ["get_context", "on_ws_connect", "source"])
async def test_an_abnormal_close_is_judged_as_without_it(
    place: str, act: str, protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    """The client vanishes while its subscription lives."""
    view = made(doing({place: ACTS[act]}), telemetry)
    async with hosting(view) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", "subscription Waiting { waiting }"))
        await client.message("next", "data")
        client.reset()
        await host.served()

    [lost] = recorded(telemetry, CONNECTION)
    verdict = without_frames("connection_lost")
    joins = act == "extracted" and place != "source"
    assert lost == connection(
        protocol,
        verdict,
        messages=(2, 2),
        operations=["subscription"],
        interrupted=1,
        events=lost["events"][:-1],
        **MARK,
    )
    [subscription] = recorded(telemetry, "subscription")
    assert subscription == operation(
        "subscription Waiting { waiting }",
        "connection_closed",
        protocol=protocol,
        name="Waiting",
        results=1,
        events=results_of(protocol, 1),
        verdict=verdict,
        error="connection_lost",
        description="interrupted by an abnormal close: connection_lost",
        parent=REMOTE if joins else None,
    )
    assert telemetry.total("graphql.server.subscription.active") == 0
    assert [record.levelname for record in library_log.closes] == ["WARNING"]


@pytest.mark.parametrize("act", ["extracted", "fresh"])
@pytest.mark.parametrize("place", ["get_root_value", "get_context", "on_ws_connect"])
async def test_an_exception_that_leaves_the_view_is_judged_as_without_it(
    place: str, act: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    def act_and_fail() -> None:
        ACTS[act]()
        raise LookupError

    acts = {place: ACTS[act], "on_ws_connect": act_and_fail}
    view = made(doing(acts), telemetry)
    async with hosting(view) as host:
        client = await host.connect()
        client.json({"type": "connection_init"})
        await client.until_end()

    # Strawberry lets it pass, so nobody sends a close frame.
    [failed] = recorded(telemetry, CONNECTION)
    verdict = without_frames("server_error", "LookupError")
    events = failed["events"][:-2]
    assert failed == connection(
        verdict=verdict, messages=(1, 0), acknowledged=False, links=[INIT], events=events
    )
    assert telemetry.total("websocket.server.closes", websocket__close__outcome="server_error") == 1
    assert [record.levelname for record in library_log.closes] == ["ERROR"]


@pytest.mark.parametrize("act", ["extracted", "fresh"])
async def test_a_close_by_the_application_in_another_context_is_the_servers(
    act: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    """A task of the application's own closes the socket, in a context that it attached."""

    class Closing(doing({"get_context": ACTS[act]})):  # type: ignore[misc]  # a class from a call
        async def on_ws_connect(self, context: Any) -> Any:
            async def close() -> None:
                attach(Context())
                await context["response"].close(code=4123, message=b"enough")

            self.task = asyncio.ensure_future(close())
            return await super().on_ws_connect(context)

    async with hosting(made(Closing, telemetry)) as host:
        client = await host.connect()
        client.json({"type": "connection_init"})
        await client.until_end()

    [closed] = recorded(telemetry, CONNECTION)
    attributes = closed["attributes"]
    expected = by_server("application_code", 4123, "enough")
    assert {
        name: attributes[f"websocket.close.{name}"]
        for name in ("outcome", "code", "reason", "initiator")
    } == {
        "outcome": expected.outcome,
        "code": expected.code,
        "reason": expected.reason,
        "initiator": expected.initiator,
    }
    assert [record.levelname for record in library_log.closes] == ["WARNING"]
