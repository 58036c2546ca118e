"""Another transport needs no change of the core: an edge in memory tells what aiohttp's tells."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from strawberry_ws_otel import _connection
from strawberry_ws_otel._close import HandlerEnd, Outcome
from strawberry_ws_otel._recording import Telemetry as Recording
from tests.support import in_memory_edge
from tests.support.cases import CASES, Case, converse, traced
from tests.support.clock import Clock, stop_clock
from tests.support.event_loop import Run
from tests.support.expected import (
    CONNECTION,
    NORMAL,
    SpanDict,
    connection,
    operation,
    recorded,
    results_of,
)
from tests.support.fake_connection import FakeConnection
from tests.support.in_memory_edge import FrameError
from tests.support.in_memory_server import MemoryClient, converse_in_memory
from tests.support.raw_client import Client
from tests.support.scenarios.application import STOPPED, app_closes, shuts_down
from tests.support.scenarios.frames import WEBSOCKET_ERROR
from tests.support.scenarios.model import BOTH, Scenario, Verdict, unwritable
from tests.support.scenarios.steps import (
    TRANSPORT,
    Step,
    acknowledged,
    asks,
    closes,
    fin,
    hears,
    live,
    silent,
    steps,
)
from tests.support.schema import FOREVER, TICKS
from tests.support.server import Server, Setup
from tests.support.telemetry import Attributes, Telemetry, attributes_of, labels
from tests.support.views import config

CONVERSATIONS: Final = (
    # Each outcome, with an init and an operation where it can have them.
    "client closes 1000",
    "server shuts down under a live subscription",
    "client sends FIN",
    "client misses the heartbeat",
    "client sends bad UTF-8",
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
    "client closes 4999",
    "client closes 1008",
    # The same outcome by another way.
    "a source that the client stops",
    "a query with a broken field",
    "legacy: a query with a broken field",
    "a result that JSON cannot say",
    "one id used again",
    "legacy: a source that the client asks for again",
    "operations of which one is alive at the end",
    "three operations at once",
    "client closes without a code",
    "client closes before it says anything",
    "client resets while on_ws_connect is still at work",
    "no JSON, and the client answers the close",
    "no JSON, and the client answers without a code",
    "client sends a binary message",
    "legacy: client sends a binary message",
    "legacy: an init payload that is no object",
    "legacy: connection_terminate",
    "client asks for more operations than the limit",
    "server shuts down and says goodbye",
    "application closes 4123 from another task",
    "application closes twice",
    "application closes in on_ws_connect and then rejects",
    "application cancels the handler",
    "view returns with an open socket",
    "get_root_value raises AppError()",
    "get_context raises",
    "on_ws_connect raises AppError()",
)
UNWRITABLE: Final = Scenario(
    name="application closes with a code that no frame holds",
    talk=steps(live, silent, app_closes(70_000)),
    verdict=unwritable("struct.error", 70_000),
)
PLAYED: Final = [
    *(
        each
        for each in CASES
        if each.scenario.name in CONVERSATIONS and not each.handler_cancellation
    ),
    *(Case(UNWRITABLE, protocol, handler_cancellation=False) for protocol in BOTH),
]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stop_clock(monkeypatch)


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


def normalized_span(span: SpanDict) -> SpanDict:
    return span | {
        "attributes": normalized(span["name"], span["attributes"]),
        "events": [(name, normalized(name, event)) for name, event in span["events"]],
    }


def spans(telemetry: Telemetry, *names: str) -> list[SpanDict]:
    return [normalized_span(span) for span in recorded(telemetry, *names)]


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


# --- The contract ------------------------------------------------------------------------------

CALLED_BY_STRAWBERRY_S_LAYERS: Final = {
    "message_received",
    "message_unreadable",
    "message_handling",
    "message_handled",
    "operation_running",
    "operation_ran",
    "send_begun",
    "send_ended",
    "message_sent",
    "message_failed",
}


def test_the_edge_in_memory_uses_the_whole_contract_and_nothing_else() -> None:
    head, _, _ = (_connection.__doc__ or "").partition("For what happens with every message")
    contract = set(re.findall(r"`(\w+)`", head))
    source = Path(in_memory_edge.__file__).read_text(encoding="utf-8")
    used = set(re.findall(r"\b_?connection\.(\w+)", source))
    assert used == contract - CALLED_BY_STRAWBERRY_S_LAYERS


def test_the_edge_in_memory_imports_neither_aiohttp_nor_its_edge() -> None:
    source = Path(in_memory_edge.__file__).read_text(encoding="utf-8")
    assert re.findall(r"^(?:from|import) \S*aiohttp.*", source, re.MULTILINE) == []


# --- What an edge cannot know ------------------------------------------------------------------

NOBODY_KNOWS: Final = Verdict(outcome="other", code=None, initiator="unknown")
QUIET: Final = Setup(view={"keep_alive": False})
BLIND: Final = replace(QUIET, socket={"knows_closes": False})


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("leaves", [closes(4499), fin], ids=["a close frame", "no close frame"])
def test_an_edge_that_does_not_know_who_closed_says_so(
    leaves: Step, protocol: str, run: Run[Any], telemetry: Telemetry
) -> None:
    scenario = Scenario(name="", talk=steps(live, leaves), verdict=NOBODY_KNOWS, setup=BLIND)
    case = Case(scenario, protocol, handler_cancellation=False)
    run(converse_in_memory(case, Recording(config(telemetry))))
    assert spans(telemetry, CONNECTION, "subscription") == [
        normalized_span(
            connection(
                protocol, NOBODY_KNOWS, messages=(2, 2), operations=["subscription"], interrupted=1
            )
        ),
        operation(
            FOREVER,
            "connection_closed",
            protocol=protocol,
            id_="live",
            name="Forever",
            results=1,
            events=results_of(protocol, 1),
            verdict=NOBODY_KNOWS,
            error="other",
            description="interrupted by an abnormal close: other",
        ),
    ]


async def stalls(client: Client, _server: Server) -> None:
    """From here on the client does not read, and whoever writes waits."""
    assert isinstance(client, MemoryClient)
    client.wire.flows.clear()


def test_a_result_counts_that_was_written_when_its_sender_was_cancelled(
    run: Run[Any], telemetry: Telemetry
) -> None:
    talk = steps(acknowledged, stalls, asks("a", FOREVER), hears("next"), shuts_down)
    scenario = Scenario(name="", talk=talk, verdict=STOPPED)
    case = Case(scenario, TRANSPORT, handler_cancellation=False)
    run(converse_in_memory(case, Recording(config(telemetry))))
    assert spans(telemetry, "subscription") == [
        operation(
            FOREVER,
            "connection_closed",
            name="Forever",
            results=1,
            events=results_of(TRANSPORT, 1),
            verdict=STOPPED,
        )
    ]


def test_the_time_for_which_a_client_does_not_read_is_that_of_its_connection_and_operation(
    run: Run[Any], telemetry: Telemetry, clock: Clock
) -> None:
    async def passes(_client: Client, _server: Server) -> None:
        clock.passes(30)

    async def flows(client: Client, _server: Server) -> None:
        assert isinstance(client, MemoryClient)
        client.wire.flows.set()

    asked = asks("a", TICKS, variables={"to": 1}), hears("next")
    talk = steps(acknowledged, stalls, *asked, passes, flows, hears("complete"), closes(1000))
    case = Case(Scenario(name="", talk=talk, verdict=NORMAL), TRANSPORT, handler_cancellation=False)
    run(converse_in_memory(case, Recording(config(telemetry))))
    for name in (CONNECTION, "subscription"):
        [span] = telemetry.spans(name)
        assert attributes_of(span)["graphql.ws.send_blocked_time"] == 30
    assert telemetry.total("websocket.server.send.blocked_time") == 30


def outcome_of(telemetry: Telemetry, end: HandlerEnd, *, knows_close: bool = True) -> str:
    """The outcome of a connection whose handler ends so under a live operation."""
    talk = FakeConnection(config(telemetry))
    talk.accept(TRANSPORT)
    talk.initialize()
    talk.start_operation()
    if not knows_close:
        talk.connection.close_unobserved()
    talk.connection.ended(end)
    [span] = telemetry.spans(CONNECTION)
    return str(attributes_of(span)["websocket.close.outcome"])


@pytest.mark.parametrize(
    ("transport_alive", "outcome"),
    [(True, "server_shutdown"), (False, "connection_lost"), (None, "server_shutdown")],
)
def test_a_cancelled_handler_is_a_shutdown_unless_the_transport_is_known_to_be_gone(
    telemetry: Telemetry, *, transport_alive: bool | None, outcome: str
) -> None:
    end = HandlerEnd(exception=asyncio.CancelledError(), transport_alive=transport_alive)
    assert outcome_of(telemetry, end) == outcome


@pytest.mark.parametrize(
    ("transport_alive", "outcome"),
    [(True, "server_error"), (False, "connection_lost"), (None, "server_error")],
)
def test_a_lost_connection_that_is_raised_is_the_client_s_if_the_transport_is_known_to_be_gone(
    telemetry: Telemetry, *, transport_alive: bool | None, outcome: str
) -> None:
    end = HandlerEnd(exception=ConnectionResetError(), transport_alive=transport_alive)
    assert outcome_of(telemetry, end) == outcome


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ConnectionResetError(), None])
def test_an_edge_may_leave_open_what_the_end_of_the_handler_means(
    error: BaseException | None, telemetry: Telemetry
) -> None:
    end = HandlerEnd(exception=error, transport_alive=None)
    assert outcome_of(telemetry, end, knows_close=False) == "other"
