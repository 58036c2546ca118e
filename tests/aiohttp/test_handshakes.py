"""Handshakes that are odd, and the making of a view."""

import asyncio
import socket
from typing import Any, Self

import pytest

from strawberry_ws_otel import OTelViewMixin
from strawberry_ws_otel import _semconv as name
from tests.support.assertions import (
    IDENTITY,
    assert_metrics,
    assert_whole,
    connection_span,
    play_and_assert,
)
from tests.support.cases import BARE, Arm, Case, Played, converse, traced
from tests.support.event_loop import Run
from tests.support.log import LogKeeper
from tests.support.raw_client import HOST, Client
from tests.support.scenarios.model import Scenario, by_client, by_server, refused
from tests.support.scenarios.steps import TRANSPORT, handshake
from tests.support.schema import make_schema
from tests.support.server import Setup, serving
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import View, config

FOREIGN_KEY = {"Sec-WebSocket-Key": "d\xe9hIHNhbXBsZSBub25jZQ=="}


def answer(played: Played) -> tuple[int | None, bytes, list[tuple[int, bytes]]]:
    """What the host answered: status, body and closes."""
    client = played.client
    return (
        client.status,
        client.body,
        [close for closes in played.server.closes for close in closes],
    )


def foreign_key(status: int | None) -> Case:
    scenario = Scenario(
        name="a key that is no ASCII",
        talk=handshake,
        verdict=refused("handshake_rejected", status, "ValueError"),
        headers=FOREIGN_KEY,
    )
    return Case(scenario, TRANSPORT, handler_cancellation=False)


def test_a_key_that_is_no_ascii_is_a_handshake_rejected_once(
    run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    bare = run(converse(foreign_key(None)))
    play_and_assert(foreign_key(bare.client.status), run, telemetry, library_log)
    assert not library_log.records


def test_a_key_that_is_no_ascii_is_answered_as_without_the_library(
    run: Run[Any], telemetry: Telemetry
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    assert answer(run(converse(foreign_key(None), arm))) == answer(run(converse(foreign_key(None))))


@pytest.mark.parametrize("offered", ["chat", "chat, superchat"])
def test_aiohttp_says_of_unknown_subprotocols_what_it_says_without_the_library(
    offered: str, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    scenario = Scenario(
        name="unknown subprotocols",
        talk=handshake,
        verdict=by_server("subprotocol_rejected", 4406, "Subprotocol not acceptable"),
        headers={"Sec-WebSocket-Protocol": offered},
    )
    case = Case(scenario, TRANSPORT, handler_cancellation=False)
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    said: list[list[str]] = []
    for each in (BARE, arm):
        caplog.clear()
        run(converse(case, each))
        said.append([one.message for one in caplog.records if one.name == "aiohttp.websocket"])
    bare, ours = said
    # The host asks twice, and aiohttp once more as it upgrades.
    assert [message.partition(": ")[2] for message in ours] == [
        message.partition(": ")[2] for message in bare
    ]
    assert bare


class HostlessClient(Client):
    """A client that does not say whom it asks, which only HTTP/1.0 allows."""

    def write(self, data: bytes) -> None:
        headless = data.replace(f"Host: {HOST}\r\n".encode(), b"")
        super().write(headless.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"))


async def shake_without_host(arm: Arm) -> int | None:
    """Come without a Host header, and leave normally."""
    async with asyncio.timeout(20), serving(Setup(), arm.view_class, arm.extensions) as server:
        client = await HostlessClient.connect(server.port, protocol=TRANSPORT)
        server.clients.append(client)
        await client.shake_hands()
        client.close(1000)
        await client.until_end()
        await server.ended.wait()
        return client.status


def test_without_a_host_header_no_name_is_recorded_and_none_is_looked_up(
    run: Run[Any], telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def getfqdn(host: str = "") -> str:
        asked.append(host)
        return "asked.example"

    monkeypatch.setattr(socket, "getfqdn", getfqdn)
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    assert run(shake_without_host(BARE)) == run(shake_without_host(arm)) == 101
    assert not asked

    identity = {name.SERVER_ADDRESS, name.SERVER_PORT}
    attributes = attributes_of(connection_span(telemetry))
    assert not identity & attributes.keys()
    assert {key: attributes[key] for key in IDENTITY.keys() - identity} == {
        key: value for key, value in IDENTITY.items() if key not in identity
    }
    scenario = Scenario(name="no Host", talk=handshake, verdict=by_client("normal", 1000))
    assert_metrics(telemetry, Case(scenario, TRANSPORT, handler_cancellation=False))
    assert_whole(telemetry)


class Demanding(View):
    """A view that wants its arguments as early as it is made."""

    given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        view = super().__new__(cls)
        view.given = args, kwargs
        return view


def test_a_base_class_that_makes_its_own_instances_gets_their_arguments(
    telemetry: Telemetry,
) -> None:
    class Recorded(OTelViewMixin, Demanding):
        otel_config = config(telemetry)

    schema = make_schema()
    view = Recorded(schema, keep_alive=False)
    assert view.given == ((schema,), {"keep_alive": False})
    assert (view.schema, view.keep_alive) == (schema, False)
    assert telemetry.metrics()[name.METRIC_CLOSES]


def test_a_view_without_such_a_base_class_is_made_as_any_object(telemetry: Telemetry) -> None:
    class Recorded(OTelViewMixin, View):
        otel_config = config(telemetry)

    schema = make_schema()
    assert Recorded(schema, keep_alive=False).schema is schema
