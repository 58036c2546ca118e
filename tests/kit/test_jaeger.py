"""The demo in Jaeger: found by the searches of its menu, and shown as it was."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from examples.demo.scenarios import SCENARIOS, Scenario, Verdict
from examples.operations import searches, servers
from examples.operations.jaeger import Jaeger, Span
from examples.operations.ports import Ports, url
from strawberry_ws_otel import _semconv
from tests.support.kit.exporting import until
from tests.support.kit.searches import OF_WHAT_IS_OPEN
from tests.support.kit.servers import Start

pytestmark = pytest.mark.operations

ROOT = Path(__file__).parents[2]
CONNECTION = _semconv.SPAN_CONNECTION

FOUND_BY = {
    "All connections": {scenario.key for scenario in SCENARIOS},
    "Abnormal closes": {
        "rejected-login",
        "no-init",
        "foreign-origin",
        "vanished",
        "oversized",
        "heartbeat",
        "exception",
        "compression",
    },
    "Server errors": {"exception"},
    "Interrupted subscriptions": {"vanished", "oversized", "heartbeat"},
    "Lost heartbeats": {"heartbeat"},
    "Refused handshakes": {"foreign-origin"},
    "Inits that never came": {"no-init"},
    "Slow consumers": {"slow-reader"},
    "Slow inits": set(),
    "GraphQL errors": {"validation-error", "resolver-error", "heartbeat"},
}
"""Every search of the menu, and whose traces it finds of the demo's scenarios."""

LOGGED_IN = ["graphql.ws.connection_init", "graphql.ws.connection_ack"]

USUAL_EVENTS = [*LOGGED_IN, "websocket.close"]

EVENTS = {
    "subscription": [*LOGGED_IN, "graphql.ws.ping", "graphql.ws.pong", "websocket.close"],
    "legacy": [
        *LOGGED_IN,
        "graphql.ws.ka",
        "graphql.ws.complete",  # answers the "stop" that ended the operation
        "graphql.ws.connection_terminate",
        "websocket.close",
    ],
    "rejected-login": ["graphql.ws.connection_init", "websocket.close"],
    "no-init": ["websocket.close"],
    "foreign-origin": [],
    "oversized": [*LOGGED_IN, "websocket.error", "websocket.close"],
    "heartbeat": [*LOGGED_IN, "websocket.error", "websocket.close"],
    "compression": [*LOGGED_IN, "websocket.error", "websocket.close"],
    "exception": ["graphql.ws.connection_init", "exception", "websocket.close"],
}
"""The events of those connections that have others than the usual ones."""


def one(spans: tuple[Span, ...], name: str) -> Span:
    (span,) = (span for span in spans if span.name == name)
    return span


def roots(traces: dict[str, tuple[Span, ...]]) -> list[Span]:
    """The first span of each trace."""
    return [span for spans in traces.values() for span in spans if span.parent is None]


@pytest.fixture(scope="module")
def jaeger(start: Start, ports: Ports) -> Jaeger:
    """A Jaeger that has received the whole demo from a Collector that keeps everything."""
    start(servers.jaeger(ports))
    start(servers.collector(ports, environment={"DECISION_WAIT": "1s", "KEPT_PERCENTAGE": "100"}))
    subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": url(ports.collector_otlp)},
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    return Jaeger(url(ports.jaeger_query))


@pytest.fixture
async def ids(jaeger: Jaeger) -> dict[str, str]:
    """The connection id of each scenario."""
    found = await until(
        lambda: jaeger.search(searches.saved()["All connections"]),
        lambda traces: len(traces) >= len(SCENARIOS),
    )
    return {
        str(span.attributes[_semconv.USER_AGENT]).removeprefix("demo/"): str(
            span.attributes[_semconv.CONNECTION_ID]
        )
        for span in roots(found)
    }


def test_the_menu_has_the_searches_that_are_tested() -> None:
    assert searches.saved().keys() == FOUND_BY.keys() | set(OF_WHAT_IS_OPEN)


@pytest.mark.parametrize("label", FOUND_BY)
async def test_a_saved_search_finds_what_its_name_says(
    jaeger: Jaeger, ids: dict[str, str], label: str
) -> None:
    keys = {id_: key for key, id_ in ids.items()}
    traces = await jaeger.search(searches.saved()[label])
    assert {keys[str(span.attributes[_semconv.CONNECTION_ID])] for span in roots(traces)} == (
        FOUND_BY[label]
    )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.key)
class TestEachScenario:
    @pytest.fixture
    async def conversation(
        self, jaeger: Jaeger, ids: dict[str, str], scenario: Scenario
    ) -> dict[str, tuple[Span, ...]]:
        """What the link beside the connection's id leads to."""
        search = searches.linked(_semconv.CONNECTION_ID, ids[scenario.key])
        return await jaeger.search(search)

    @pytest.fixture
    def connection(self, conversation: dict[str, tuple[Span, ...]]) -> Span:
        (span,) = (span for span in roots(conversation) if span.name == CONNECTION)
        return span

    def test_one_search_finds_the_whole_conversation(
        self, conversation: dict[str, tuple[Span, ...]], scenario: Scenario
    ) -> None:
        kinds = Counter(
            "operation" if _semconv.END_REASON in span.attributes else span.name
            for span in roots(conversation)
        )
        said_hello = scenario.key not in {"no-init", "foreign-origin"}
        assert kinds == Counter(
            {
                CONNECTION: 1,
                _semconv.SPAN_CONNECTION_INIT: int(said_hello),
                "operation": len(scenario.expected.end_reasons),
            }
        )

    def test_the_verdict_is_the_deserved_one(
        self, conversation: dict[str, tuple[Span, ...]], connection: Span, scenario: Scenario
    ) -> None:
        endings = [
            (span.start, str(span.attributes[_semconv.END_REASON]))
            for span in roots(conversation)
            if _semconv.END_REASON in span.attributes
        ]
        code = connection.attributes.get(_semconv.CLOSE_CODE)
        assert scenario.expected == Verdict(
            outcome=str(connection.attributes[_semconv.CLOSE_OUTCOME]),
            code=code if isinstance(code, int) else None,
            initiator=str(connection.attributes[_semconv.CLOSE_INITIATOR]),
            end_reasons=tuple(ending for _, ending in sorted(endings)),
            sends_waited=_semconv.SEND_BLOCKED_TIME in connection.attributes,
        )

    def test_an_abnormal_close_is_an_error_that_names_itself(
        self, connection: Span, scenario: Scenario
    ) -> None:
        status = {
            name: connection.attributes.get(name)
            for name in ("error", "otel.status_code", "otel.status_description")
        }
        if scenario.key in FOUND_BY["Abnormal closes"]:
            described = f"closed abnormally: {scenario.expected.outcome}"
            assert list(status.values()) == [True, "ERROR", described]
        else:
            assert list(status.values()) == [None, None, None]

    def test_its_events_are_there_in_order(self, connection: Span, scenario: Scenario) -> None:
        names = [event.name for event in connection.events]
        assert names == EVENTS.get(scenario.key, USUAL_EVENTS)

    def test_its_close_event_says_the_same(self, connection: Span, scenario: Scenario) -> None:
        closes = [
            event.attributes for event in connection.events if event.name == "websocket.close"
        ]
        expected = scenario.expected
        if expected.code is None:
            assert closes == []
        else:
            (close,) = closes
            assert close[_semconv.CLOSE_OUTCOME] == expected.outcome
            assert close[_semconv.CLOSE_CODE] == expected.code
            assert close[_semconv.CLOSE_INITIATOR] == expected.initiator

    def test_its_traces_link_to_each_other(
        self, conversation: dict[str, tuple[Span, ...]], connection: Span
    ) -> None:
        others = [span for span in roots(conversation) if span is not connection]
        assert connection.links == {span.trace_id for span in others}
        assert [span.links for span in others] == [{connection.trace_id}] * len(others)


async def test_an_interrupted_subscription_says_what_interrupted_it(jaeger: Jaeger) -> None:
    traces = await jaeger.search(searches.saved()["Interrupted subscriptions"])
    assert Counter(
        str(one(spans, "subscription").attributes["otel.status_description"])
        for spans in traces.values()
    ) == Counter(
        {
            "interrupted by an abnormal close: connection_lost": 1,
            "interrupted by an abnormal close: invalid_frame": 1,
            "interrupted by an abnormal close: heartbeat_timeout": 1,
        }
    )


async def test_what_a_resolver_does_is_inside_its_operation(
    jaeger: Jaeger, ids: dict[str, str]
) -> None:
    search = searches.linked(_semconv.CONNECTION_ID, ids["query-and-mutation"])
    trees = {
        root.name: Counter(span.name for span in spans)
        for spans in (await jaeger.search(search)).values()
        for root in spans
        if root.parent is None
    }
    phases = [
        "GraphQL Document Parsing",
        "GraphQL Document Validation",
        "GraphQL Operation Execution",
    ]
    assert trees["query"] == Counter(["query", *phases, "SELECT quotes"])
    assert trees["mutation"] == Counter(["mutation", *phases, "INSERT orders"])
