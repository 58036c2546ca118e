"""Another transport needs no change of the core: an edge in memory tells what aiohttp's tells."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from strawberry_ws_otel._close import Outcome
from strawberry_ws_otel._recording import Telemetry as Recording
from tests.conftest import Run
from tests.support.cases import CASES, Case, converse, traced
from tests.support.clock import stop_clock
from tests.support.expected import CONNECTION, Told, told
from tests.support.in_memory_edge import FrameError
from tests.support.in_memory_server import converse_in_memory
from tests.support.scenarios.frames import WEBSOCKET_ERROR
from tests.support.telemetry import Attributes, Telemetry, labels
from tests.support.views import config

CONVERSATIONS: Final = (
    "client closes 1000",
    "server shuts down under a live subscription",
    "server shuts down and says goodbye",
    "client sends FIN",
    "client misses the heartbeat",
    "client sends bad UTF-8",
    "no JSON, and the client answers the close",
    "client sends a list",
    "no init in time",
    "an operation before the init",
    "a login that on_ws_connect rejects",
    "legacy: a login that on_ws_connect rejects",
    "no subprotocol, or one that the view does not speak",
    "an id that is alive already",
    "a second init",
    "get_root_value raises HTTPException(401, 'Who?')",
    "client closes 4499",
    "client closes 4004",
    "application closes 4500 from another task",
    "on_ws_connect raises AppError()",
    "client closes 4999",
    "client closes 1008",
)
PLAYED: Final = [
    case for case in CASES if case.scenario.name in CONVERSATIONS and not case.handler_cancellation
]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


ONLY_A_TRANSPORT_KNOWS: Final = {
    # Of whom the socket is, and what aiohttp reads in its request.
    CONNECTION: {"client.address", "server.address", "server.port", "user_agent.original"},
    # The words of its exceptions.
    "websocket.error": {"exception.message"},
}
"""The attributes of spans and events that are none of the core's."""

THEIR_OWN: Final = {WEBSOCKET_ERROR, f"{FrameError.__module__}.{FrameError.__qualname__}"}
"""The exception of each edge for a frame that is not well formed."""


def normalized(name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes without all that the edges may tell differently."""
    return {
        key: "an invalid frame" if value in THEIR_OWN else value
        for key, value in attributes.items()
        if key not in ONLY_A_TRANSPORT_KNOWS.get(name, ())
    }


def spans(telemetry: Telemetry) -> list[Told]:
    return [
        each
        | {
            "attributes": normalized(each["name"], each["attributes"]),
            "events": [(name, normalized(name, event)) for name, event in each["events"]],
        }
        for each in told(telemetry)
    ]


def metrics(telemetry: Telemetry) -> dict[str, dict[Attributes, float]]:
    return {
        name: {labels(normalized(name, dict(point))): value for point, value in points.items()}
        for name, points in telemetry.metrics().items()
    }


@pytest.mark.parametrize("case", PLAYED, ids=str)
def test_both_edges_tell_the_same(case: Case, run: Run[Any]) -> None:
    over_sockets, in_memory = Telemetry(), Telemetry()
    arm = traced(over_sockets.tracer_provider, over_sockets.meter_provider)
    run(converse(case, arm))
    run(converse_in_memory(case, Recording(config(in_memory))))
    assert spans(in_memory) == spans(over_sockets)
    assert metrics(in_memory) == metrics(over_sockets)


def test_the_conversations_end_with_every_outcome() -> None:
    assert {case.scenario.verdict.outcome for case in PLAYED} == set(Outcome)
