"""A close that bypasses the observed methods is recorded, and the conversation is the same."""

from typing import Any

import pytest

from tests.support.assertions import assert_case
from tests.support.cases import (
    BARE,
    CASES,
    Case,
    converse,
    few_or_one_each,
    is_first_of_few,
    is_representative,
    on,
    traced,
)
from tests.support.event_loop import Run
from tests.support.faults.bypassing_sockets import ALL_METHODS, METHODS, PASSING, ByName, Wrapped
from tests.support.log import LogKeeper
from tests.support.scenarios.model import Scenario, by_client
from tests.support.scenarios.steps import TRANSPORT, closes, live, steps
from tests.support.server import Server, Setup
from tests.support.telemetry import Telemetry
from tests.support.transcripts import play

pytestmark = pytest.mark.usefixtures("frozen_garbage")


@pytest.mark.parametrize(
    ("passing", "case"),
    [
        pytest.param(
            passing,
            case,
            id=f"{passing}-{case}",
            # How a class goes past the methods does not depend on who closes.
            marks=[]
            if is_first_of_few(case) or (passing == ALL_METHODS and is_representative(case))
            else pytest.mark.matrix,
        )
        for passing in PASSING
        for case in CASES
        if case.is_first
    ],
)
def test_every_close_is_recorded_as_it_happened(
    passing: str, case: Case, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    client = run(converse(on(PASSING[passing], case), arm)).client
    assert_case(case, client, telemetry, library_log)


@few_or_one_each
@pytest.mark.parametrize("passing", PASSING)
def test_the_conversation_is_the_same_with_and_without_the_library(  # fixtures
    passing: str,
    cases: list[Case],
    run: Run[Any],
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    cases = [on(PASSING[passing], case) for case in cases]
    recorded = {str(case): play(case, arm, run, caplog) for case in cases}
    assert recorded == {str(case): play(case, BARE, run, caplog) for case in cases}


def test_a_socket_has_the_attributes_of_the_application_back_in_the_end(
    run: Run[Any], telemetry: Telemetry
) -> None:
    found: list[tuple[Wrapped, dict[str, Any]]] = []

    async def look(server: Server) -> None:
        socket = server.socket
        assert isinstance(socket, Wrapped)
        found.append((socket, {name: vars(socket)[name] for name in METHODS}))

    case = Case(
        Scenario(
            name="attributes",
            talk=steps(live, closes(1000)),
            verdict=by_client("normal", 1000),
            setup=Setup(socket_class=Wrapped, context=look),
        ),
        TRANSPORT,
        handler_cancellation=False,
    )
    run(converse(case, traced(telemetry.tracer_provider, telemetry.meter_provider)))
    [(socket, during)] = found
    own = {name: value.func for name in METHODS if (value := vars(socket)[name])}
    assert own == {name: getattr(ByName, name) for name in METHODS}
    assert all(during[name] is not vars(socket)[name] for name in METHODS)
    assert not [name for name in vars(socket) if "otel" in name]
