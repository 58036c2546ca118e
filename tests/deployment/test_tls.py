"""Over wss:// everything is recorded, and everything is the same, as over ws://."""

from dataclasses import replace
from typing import Any

import pytest

from strawberry_ws_otel import _semconv as name
from tests.support.assertions import connection_span, play_and_assert
from tests.support.cases import (
    REPRESENTATIVE,
    Case,
    converse,
    is_first,
    is_first_of_few,
    rows,
    traced,
)
from tests.support.event_loop import Run
from tests.support.log import LogKeeper
from tests.support.raw_client import Client
from tests.support.scenarios.model import BOTH, LIVE, Scenario, by_client
from tests.support.scenarios.network import LOST
from tests.support.scenarios.steps import TRANSPORT, Step, closes, handshake, live, steps
from tests.support.server import Server, Setup
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.tls import TLS
from tests.support.transcripts import compare


@pytest.fixture(scope="module")
def tls() -> TLS:
    return TLS.make()


def over(tls: TLS, case: Case) -> Case:
    setup = replace(case.scenario.setup, tls=tls)
    return replace(case, scenario=replace(case.scenario, setup=setup))


@rows(REPRESENTATIVE, is_first)
def test_every_close_is_recorded_as_it_happened(
    case: Case, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper, tls: TLS
) -> None:
    play_and_assert(over(tls, case), run, telemetry, library_log)


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
@rows(REPRESENTATIVE, is_first_of_few)
def test_every_close_is_recorded_as_it_happened_on_uvloop(
    case: Case, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper, tls: TLS
) -> None:
    play_and_assert(over(tls, case), run, telemetry, library_log)


@pytest.mark.usefixtures("frozen_garbage")
@rows(REPRESENTATIVE, is_first_of_few)
def test_the_conversation_is_the_same(
    case: Case, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture, tls: TLS
) -> None:
    compare(over(tls, case), run, telemetry, caplog)


async def ends_in_good_order(client: Client, _server: Server) -> None:
    client.close_notify()


async def breaks(client: Client, _server: Server) -> None:
    client.write_beneath(b"GET / HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize("run", ["asyncio", "uvloop"], indirect=True)
@pytest.mark.parametrize("end", [ends_in_good_order, breaks])
@pytest.mark.parametrize("protocol", BOTH)
def test_the_end_of_tls_is_no_close_frame(  # noqa: PLR0913, PLR0917  # fixtures
    protocol: str,
    end: Step,
    run: Run[Any],
    telemetry: Telemetry,
    library_log: LogKeeper,
    tls: TLS,
) -> None:
    scenario = Scenario(
        name="the end of TLS",
        talk=steps(live, end),
        verdict=LOST,
        operations=LIVE,
        setup=Setup(tls=tls),
    )
    case = Case(scenario, protocol, handler_cancellation=False)
    play_and_assert(case, run, telemetry, library_log)


@pytest.mark.parametrize(("host", "port"), [("tests.local", 443), ("tests.local:8443", 8443)])
def test_the_port_is_what_the_client_asked_for(
    host: str, port: int, run: Run[Any], telemetry: Telemetry, tls: TLS
) -> None:
    scenario = Scenario(
        name="a port",
        talk=steps(handshake, closes(1000)),
        verdict=by_client("normal", 1000),
        setup=Setup(tls=tls),
        headers={"Host": host},
    )
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    run(converse(Case(scenario, TRANSPORT, handler_cancellation=False), arm))
    assert attributes_of(connection_span(telemetry))[name.SERVER_PORT] == port
