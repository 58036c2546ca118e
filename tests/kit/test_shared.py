"""Who is behind a search: the answer on conversations of many kinds, in a real Jaeger."""

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from examples.operations import servers
from examples.operations.connections import unbiased
from examples.operations.jaeger import Jaeger, Span, event_of
from examples.operations.live import MICROSECONDS, fixed
from examples.operations.ports import Ports, url
from examples.operations.shared import FAILED, NAMED, NOT_TOLD, ask, main, period, printable
from strawberry_ws_otel import _semconv
from tests.support.kit.recorded import SECOND, Attributes, Conversation, Service, timeless
from tests.support.kit.servers import Start

CONNECTION = quote(_semconv.SPAN_CONNECTION)
BOT = {_semconv.USER_AGENT: "feed-bot/1.2", _semconv.CLIENT_ADDRESS: "192.0.2.7"}


def of(outcome: str) -> str:
    tags = quote(f'{{"{_semconv.CLOSE_OUTCOME}":"{outcome}"}}')
    return f"operation={CONNECTION}&tags={tags}"


@pytest.fixture(scope="module")
def jaeger(start: Start, ports: Ports) -> Jaeger:
    start(servers.jaeger(ports))
    return Jaeger(url(ports.jaeger_query))


@pytest.fixture
async def service(
    request: pytest.FixtureRequest, jaeger: Jaeger, ports: Ports
) -> AsyncIterator[Service]:
    """A service of the test's own, with what is always there: fifty connections that are well."""
    name = re.sub(r"\W+", "-", request.node.name)
    service = Service(name, jaeger, url(ports.jaeger_otlp))
    for _ in range(50):
        service.record(Conversation())
    yield service
    await service.shut_down()


@pytest.mark.operations
class TestIncidents:
    async def test_one_bad_client_is_named_by_all_that_it_is(self, service: Service) -> None:
        for _ in range(10):
            attributes = {**BOT, "tenant.id": "acme", _semconv.ERROR_TYPE: "StoreDownError"}
            service.record(Conversation("server_error", attributes))
        service.record(Conversation("server_error", {_semconv.ERROR_TYPE: "StoreDownError"}))
        assert await service.answer(of("server_error")) == (
            NAMED,
            [
                "11 connections found, compared with 50 normal closes of the same time.",
                "What they share:",
                "10 of 11 found  0 of 50 normal  user_agent.original  feed-bot/1.2",
                "10 of 11 found  0 of 50 normal  client.address       192.0.2.7",
                "10 of 11 found  0 of 50 normal  tenant.id            acme",
                "How they ended:",
                "11 of 11 found  0 of 50 normal  error.type  StoreDownError",
            ],
        )

    async def test_one_bad_tenant_is_named(self, service: Service) -> None:
        for _ in range(20):
            service.record(Conversation("application_code", {"tenant.id": "acme"}))
        status, lines = await service.answer(of("application_code"))
        assert (status, lines[1:]) == (
            NAMED,
            ["What they share:", "20 of 20 found  0 of 50 normal  tenant.id  acme"],
        )

    async def test_one_bad_network_is_named(self, service: Service) -> None:
        for number in range(20):
            address = {_semconv.CLIENT_ADDRESS: f"203.0.113.{number}"}
            service.record(Conversation("connection_lost", address))
        status, lines = await service.answer(of("connection_lost"))
        assert (status, lines[1:]) == (
            NAMED,
            [
                "What they share:",
                "20 of 20 found  0 of 50 normal  client.address  in 203.0.113.0/24",
            ],
        )

    async def test_two_culprits_are_named_one_after_the_other(self, service: Service) -> None:
        other = {_semconv.USER_AGENT: "poller/3", _semconv.CLIENT_ADDRESS: "198.51.100.1"}
        for attributes in [BOT, other] * 10:
            service.record(Conversation("invalid_message", attributes))
        status, lines = await service.answer(of("invalid_message"))
        assert (status, sorted(lines[2:])) == (
            NAMED,
            [
                "10 of 20 found  0 of 50 normal  client.address       192.0.2.7",
                "10 of 20 found  0 of 50 normal  client.address       198.51.100.1",
                "10 of 20 found  0 of 50 normal  user_agent.original  feed-bot/1.2",
                "10 of 20 found  0 of 50 normal  user_agent.original  poller/3",
            ],
        )

    async def test_one_bad_process_is_named(self, service: Service) -> None:
        for _ in range(30):
            service.record(Conversation("heartbeat_timeout", instance="pod-1"))
        status, lines = await service.answer(of("heartbeat_timeout"))
        assert (status, lines[1:]) == (
            NAMED,
            [
                "What they share:",
                "30 of 30 found  17 of 50 normal  service.instance.id  pod-1",
                "30 of 30 found  17 of 50 normal  host.name            host-of-pod-1",
            ],
        )

    async def test_one_bad_operation_is_named(self, service: Service) -> None:
        for _ in range(20):
            service.record(Conversation("invalid_frame", operations={"Prices": {}, "Charts": {}}))
        status, lines = await service.answer(of("invalid_frame"))
        assert (status, lines[1:]) == (
            NAMED,
            [
                "What they share:",
                "20 of 20 found  0 of 50 normal  graphql.operation.name  Charts",
            ],
        )

    async def test_where_all_are_alike_it_says_so(self, service: Service) -> None:
        for _ in range(60):
            service.record(Conversation("server_error", {_semconv.ERROR_TYPE: "StoreDownError"}))
        assert await service.answer(of("server_error")) == (
            NOT_TOLD,
            [
                "60 connections found, compared with 50 normal closes of the same time.",
                "Nothing in common that the normal closes do not also have.",
                "How they ended:",
                "60 of 60 found  0 of 50 normal  error.type  StoreDownError",
            ],
        )

    async def test_an_operation_without_a_name_is_named_by_its_document(
        self, service: Service
    ) -> None:
        hash_ = {"graphql.document.hash": "sha256:12ab"}
        for _ in range(10):
            id_ = service.record(Conversation("client_terminated", operations={}))
            service.span("subscription", {**hash_, _semconv.CONNECTION_ID: id_}, "pod-1")
        _, lines = await service.answer(of("client_terminated"))
        assert "10 of 10 found  0 of 50 normal  graphql.document.hash  sha256:12ab" in [
            re.sub(" {2,}", "  ", line) for line in lines
        ]

    async def test_a_client_without_a_user_agent_is_named_as_such(self, service: Service) -> None:
        for _ in range(10):
            service.record(Conversation("init_timeout", {_semconv.USER_AGENT: ""}))
        _, lines = await service.answer(of("init_timeout"))
        assert lines[2] == "10 of 10 found  0 of 50 normal  user_agent.original  (none)"

    async def test_few_are_shown_one_by_one(self, service: Service) -> None:
        id_ = service.record(
            Conversation("server_error", {**BOT, "tenant.id": "acme"}, instance="pod-1")
        )
        assert await service.answer(of("server_error")) == (
            NOT_TOLD,
            [
                "1 connection found: too few to tell what they share.",
                "  ".join(
                    [
                        f"websocket.connection.id={id_}",
                        "user_agent.original=feed-bot/1.2",
                        "client.address=192.0.2.7",
                        "tenant.id=acme",
                        "http.route=/graphql",
                        "websocket.subprotocol=graphql-transport-ws",
                        "graphql.operation.name=Prices",
                        "service.instance.id=pod-1",
                        "service.version=1",
                        "host.name=host-of-pod-1",
                    ]
                ),
            ],
        )

    async def test_a_search_that_finds_nothing_says_so(self, service: Service) -> None:
        assert await service.answer(of("server_error")) == (
            NOT_TOLD,
            ["The search finds no WebSocket: check its service and its time."],
        )

    async def test_a_search_that_finds_operations_over_http_says_so(self, service: Service) -> None:
        service.span("query", {_semconv.ERROR_TYPE: "FeedError"})
        status, [line] = await service.answer("operation=query")
        assert status == NOT_TOLD
        assert line == (
            "The search finds no WebSocket:"
            " what it finds (1 trace) are operations over HTTP or others."
        )

    async def test_a_search_that_stops_at_its_limit_says_so(self, service: Service) -> None:
        for _ in range(20):
            service.record(Conversation("forbidden", BOT))
        _, lines = await service.answer(f"{of('forbidden')}&limit=15")
        assert re.match(r"(1[5-9]|20) connections found, compared with 50 normal closes", lines[0])
        assert lines[-1] == (
            "The search stops at limit=15: these are the newest, there may be more."
        )


@pytest.mark.operations
class TestSearches:
    async def test_a_reconnect_storm_is_compared_with_connections_that_stay(
        self, service: Service
    ) -> None:
        for _ in range(30):
            service.record(Conversation(seconds=100))
        # One that stays has a short last segment.
        id_ = service.record(Conversation(None, seconds=100))
        end: Attributes = {_semconv.SEGMENT_NUMBER: 1, _semconv.DURATION: 101.0}
        verdict = {**end, _semconv.CONNECTION_ID: id_, _semconv.CLOSE_OUTCOME: "normal"}
        service.span(_semconv.SPAN_CONNECTION, verdict, time_=(100, 1))
        # In the last minute.
        service.began += 540 * SECOND
        for _ in range(120):
            service.record(Conversation(attributes=BOT, seconds=3.0))
        status, lines = await service.answer(f"operation={CONNECTION}&maxDuration=1m&limit=100")
        assert status == NAMED
        assert lines[0].endswith("compared with 31 others of all the time that is searched.")
        found, of = map(int, re.findall(r"\d+", lines[2])[:2])
        assert (
            lines[2] == f"{found} of {of} found  0 of 31 other  user_agent.original  feed-bot/1.2"
        )
        # The others are shorter, and earlier.
        assert 100 <= found <= of < 200

    async def test_the_inits_of_a_search_lead_to_their_connections(self, service: Service) -> None:
        ids = [service.record(Conversation(attributes=BOT)) for _ in range(6)]
        ids += [service.record(Conversation(None, BOT, is_recorded=False)) for _ in range(4)]
        for id_ in ids:
            attributes = {_semconv.CONNECTION_ID: id_}
            service.span(_semconv.SPAN_CONNECTION_INIT, attributes, "pod-1", (0, 1.5))
        name = quote(_semconv.SPAN_CONNECTION_INIT)
        status, lines = await service.answer(f"operation={name}&minDuration=1s")
        assert (status, lines[0]) == (
            NAMED,
            "10 connections found, compared with 50 normal closes of the same time.",
        )
        assert "6 of 10 found  0 of 50 normal  user_agent.original  feed-bot/1.2" in [
            re.sub(" {2,}", "  ", line.strip()) for line in lines
        ]
        assert lines[-1] == (
            "4 connections of these have no span in Jaeger: they are open, or were not sampled."
            " Their clients are not known."
        )

    async def test_one_connection_with_most_of_the_operations_is_named(
        self, service: Service
    ) -> None:
        error = {_semconv.ERROR_TYPE: "FeedError"}
        many = {f"Feed{number}": error for number in range(12)}
        id_ = service.record(Conversation(attributes=BOT, operations=many))
        for _ in range(6):
            service.record(Conversation(operations={"Prices": error}))
        _, lines = await service.answer("operation=subscription&tags=" + quote('{"error":"true"}'))
        assert lines[0].startswith("7 connections found, compared with 50 normal closes")
        assert "7 of 7 found  0 of 50 normal  error.type  FeedError" in lines
        assert lines[-2] == "One connection has 12 of the 18 operations:"
        assert lines[-1].startswith(f"12 operations  websocket.connection.id={id_}  user_agent")

    async def test_a_hoarder_is_shown_with_its_operations(self, service: Service) -> None:
        hoard = {f"Feed{number}": {"graphql.ws.segment.continued": True} for number in range(9)}
        service.record(Conversation(None, BOT, operations=hoard))
        _, lines = await service.answer(
            "operation=subscription&tags=" + quote('{"graphql.ws.segment.continued":"true"}')
        )
        assert lines[0] == "1 connection found: too few to tell what they share."
        assert lines[1].startswith("9 operations  websocket.connection.id=")
        assert "user_agent.original=feed-bot/1.2" in lines[1]

    async def test_a_connection_with_segments_counts_once(self, service: Service) -> None:
        for _ in range(5):
            service.record(Conversation("connection_lost", BOT, segments=4))
        status, lines = await service.answer(f"operation={CONNECTION}&tags=" + quote('{"x":"y"}'))
        assert (status, lines) == (
            NOT_TOLD,
            ["The search finds no WebSocket: check its service and its time."],
        )
        status, lines = await service.answer(
            f"operation={CONNECTION}&tags=" + quote(f'{{"{_semconv.CLIENT_ADDRESS}":"192.0.2.7"}}')
        )
        assert lines[:2] == [
            "5 connections found, compared with 50 normal closes of the same time.",
            "What they share:",
        ]
        assert "5 of 5 found  0 of 50 normal  user_agent.original  feed-bot/1.2" in lines
        # The last segment has the verdict.
        assert any(line.endswith("websocket.close.outcome  connection_lost") for line in lines)

    async def test_an_older_link_has_a_tag_for_each(self, service: Service) -> None:
        for _ in range(6):
            service.record(Conversation("forbidden", BOT))
        tags = "&tag=error:true&tag=websocket.close.outcome:forbidden"
        status, lines = await service.answer(f"operation={CONNECTION}{tags}")
        assert (status, lines[0]) == (
            NAMED,
            "6 connections found, compared with 50 normal closes of the same time.",
        )

    async def test_a_client_whose_trace_has_several_connections_counts_for_those_that_match(
        self, service: Service
    ) -> None:
        ids = [service.record(Conversation(attributes=BOT, is_recorded=False)) for _ in range(12)]
        outcomes = ["forbidden", "normal"] * 6
        verdicts: list[Attributes] = [
            {**BOT, _semconv.CONNECTION_ID: id_, _semconv.CLOSE_OUTCOME: outcome}
            for id_, outcome in zip(ids, outcomes, strict=True)
        ]
        service.trace(_semconv.SPAN_CONNECTION, verdicts)
        _, lines = await service.answer(of("forbidden"))
        assert lines[0].startswith("6 connections found, compared with 56 normal closes")

    async def test_a_list_of_traces_is_a_search_too(self, service: Service) -> None:
        for _ in range(6):
            service.record(Conversation("forbidden", BOT))
        await service.stored()
        traces = await service.jaeger.search(service.url(of("forbidden")))
        ids = "&".join(f"traceID={trace}" for trace in traces)
        status, lines = await ask(f"{service.jaeger.url}/search?{ids}")
        assert (status, timeless(lines)[0]) == (
            NAMED,
            "6 connections found, compared with 50 normal closes of the same time.",
        )

    async def test_a_search_that_leaves_nothing_out_has_nothing_to_compare_with(
        self, service: Service
    ) -> None:
        status, lines = await service.answer(f"operation={CONNECTION}")
        assert status == NOT_TOLD
        assert lines[0] == (
            "50 connections found. Nothing to compare with: the search leaves nothing out."
            " Add a tag to it, such as error=true."
        )

    async def test_only_closes_of_the_same_time_are_compared(self, service: Service) -> None:
        for _ in range(8):
            service.record(Conversation("forbidden", BOT))
        service.began -= 3600 * SECOND
        for _ in range(20):
            service.record(Conversation(attributes=BOT))
        await service.stored()
        now = time.time_ns() // 1000
        window = f"lookback=custom&start={now - 1800 * 1_000_000}&end={now}&limit=100#top"
        _, lines = await ask(
            f"{service.jaeger.url}/search?service={service.name}&{of('forbidden')}&{window}"
        )
        assert timeless(lines)[0] == (
            "8 connections found, compared with 50 normal closes of the same time."
        )

    async def test_what_came_after_the_incident_is_no_normal_close_of_the_same_time(
        self, service: Service
    ) -> None:
        for _ in range(30):
            service.record(Conversation("forbidden"))
        # A harmless deployment, and everybody reconnects.
        service.began += 300 * SECOND
        for _ in range(300):
            service.record(Conversation(instance="pod-of-the-next-release"))
        status, lines = await service.answer(of("forbidden"))
        assert (status, lines[:2]) == (
            NOT_TOLD,
            [
                "30 connections found, compared with 50 normal closes of the same time.",
                "Nothing in common that the normal closes do not also have.",
            ],
        )

    async def test_where_few_closed_normally_in_the_same_time_others_are_compared(
        self, service: Service
    ) -> None:
        service.began += 300 * SECOND
        for _ in range(8):
            service.record(Conversation("forbidden", BOT))
        status, lines = await service.answer(of("forbidden"))
        assert (status, lines[0]) == (
            NAMED,
            "8 connections found, compared with 50 normal closes of all the time that is searched.",
        )

    async def test_where_nobody_stays_a_storm_is_compared_with_the_time_before(
        self, service: Service
    ) -> None:
        # It has lasted for longer than the search shows.
        service.began += 300 * SECOND
        for second in range(300):
            attributes = BOT if second % 10 else {}
            service.record(Conversation(attributes=attributes, seconds=3.0))
            service.began += SECOND
        status, lines = await service.answer(f"operation={CONNECTION}&maxDuration=1m&limit=20")
        assert status == NAMED
        assert re.fullmatch(r"\d+ connections found, compared with 50 earlier ones\.", lines[0])
        assert re.fullmatch(
            r"\d+ of \d+ found +\d+ of 50 earlier  user_agent.original  .+", lines[2]
        )
        assert lines[2].endswith("feed-bot/1.2")

    async def test_what_most_others_have_too_is_no_name(self, service: Service) -> None:
        for _ in range(40):
            service.record(Conversation(attributes={_semconv.SUBPROTOCOL: ""}, operations={}))
        for _ in range(110):
            service.record(Conversation(operations={}))
        for _ in range(60):
            service.record(Conversation("forbidden", operations={}))
        status, lines = await service.answer(of("forbidden"))
        assert (status, lines[1], lines[-2]) == (
            NOT_TOLD,
            "Nothing in common that the normal closes do not also have.",
            "More frequent than among the others, most of which have it, too:",
        )
        assert lines[-1].endswith("normal  websocket.subprotocol  graphql-transport-ws")

    async def test_an_earlier_trouble_can_be_left_out(self, service: Service) -> None:
        for _ in range(20):
            service.record(Conversation("forbidden", {"tenant.id": "earlier"}))
        service.began += 500 * SECOND
        for _ in range(20):
            service.record(Conversation("forbidden", BOT))
        await service.stored()
        search = service.url(of("forbidden"))
        assert timeless((await ask(search))[1])[0].startswith("40 connections found, ")
        _, lines = await ask(search, "5m")
        assert timeless(lines)[0].startswith("20 connections found, ")
        assert not [line for line in lines if "earlier" in line]
        assert await ask(search, "1s") == (
            NOT_TOLD,
            ["The search finds no WebSocket: nothing that it finds ended in the time of --last."],
        )

    async def test_what_a_client_chose_cannot_change_the_terminal(self, service: Service) -> None:
        for _ in range(6):
            reason = {"websocket.close.reason": "\x1b[2J\u202eevil"}
            service.record(Conversation("client_terminated", {**BOT, **reason}))
        _, lines = await service.answer(of("client_terminated"))
        assert any(line.endswith("websocket.close.reason  \ufffd[2J\ufffdevil") for line in lines)


@pytest.mark.operations
async def test_a_jaeger_below_a_path_is_found_there(start: Start, tmp_path: Path) -> None:
    ports, overlay = Ports.free(), tmp_path / "overlay.yaml"
    overlay.write_text("extensions: {jaeger_query: {base_path: /tracing}}", encoding="utf-8")
    start(servers.jaeger(ports, overlay, name="Jaeger below a path"))
    jaeger = Jaeger(f"{url(ports.jaeger_query)}/tracing")
    service = Service("app", jaeger, url(ports.jaeger_otlp))
    for outcome in ["forbidden"] * 5 + ["normal"] * 9:
        service.record(Conversation(outcome))
    _, lines = await service.answer(of("forbidden"))
    assert timeless(lines)[0] == (
        "5 connections found, compared with 9 normal closes of the same time."
    )
    await service.shut_down()


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("http://127.0.0.1:16686/trace/1234", "This is the page of one trace. Give the address"),
        ("http://127.0.0.1:16686/jaeger/trace/1234?uiFind=a", "This is the page of one trace."),
        ("http://127.0.0.1:9090/graph?g0.expr=up", "is no search in Jaeger's UI. Give"),
        ("/search?service=app", "is no search in Jaeger's UI. Give"),
        ("WebSocketServerFailing", "is no search in Jaeger's UI. Give"),
        ("http://127.0.0.1:16686/search", "The search names no service. Give"),
        ("http://127.0.0.1/search?service=app&lookback=soon", "lookback=soon is no time"),
        ("http://127.0.0.1/search?service=app&maxDuration=long", "long is no duration such as"),
        ("http://127.0.0.1/search?service=app&tags=%7B", "Jaeger's UI does not make such a search"),
        ("http://127.0.0.1/search?service=app&tags=[]", "tags=[] is no JSON object"),
        ("http://127.0.0.1/search?service=app&tags=%22a%22", 'tags="a" is no JSON object'),
        ("http://127.0.0.1/search?service=app&limit=many", "does not make such a search"),
    ],
)
def test_what_is_no_search_is_refused_with_what_to_give(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    address: str,
    complaint: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["shared", address])
    assert main() == FAILED
    assert complaint in capsys.readouterr().err


def test_a_jaeger_that_is_not_there_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["shared", "http://127.0.0.1:9/search?service=app"])
    assert main() == FAILED
    assert capsys.readouterr().err.startswith("Jaeger does not answer: ")


@pytest.mark.parametrize(
    ("last", "complaint"),
    [("soon", "--last: soon is no duration such as"), ("15", "--last: 15 is no duration such as")],
)
def test_a_duration_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], last: str, complaint: str
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["shared", "http://127.0.0.1:9/search?service=a", "--last", last]
    )
    assert main() == FAILED
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        ((0, 999_999), "1970-01-01 00:00:00 UTC"),
        ((0, 62_000_000), "1970-01-01 00:00:00 to 00:01:02 UTC"),
        ((0, 86_400_000_000), "1970-01-01 00:00:00 to 1970-01-02 00:00:00 UTC"),
    ],
)
def test_a_period_is_in_utc(ended: tuple[int, int], expected: str) -> None:
    assert period(ended) == expected


def span(id_: str, *, number: int = 0, outcome: str = "normal") -> Span:
    return Span(
        trace_id=id_,
        span_id=id_,
        name=_semconv.SPAN_CONNECTION,
        start=0,
        duration=1,
        service="app",
        process={},
        attributes={_semconv.SEGMENT_NUMBER: number, _semconv.CLOSE_OUTCOME: outcome},
        events=(),
        parent=None,
        links=frozenset(),
    )


IDS = [f"{number:02x}" for number in range(256)]


def test_without_sampling_all_normal_closes_are_compared() -> None:
    assert unbiased({id_: [span(id_, number=int(id_, 16) % 2)] for id_ in IDS}) == IDS


def test_of_what_sampling_keeps_those_are_compared_that_it_chose_by_their_ids() -> None:
    long = {id_: [span(id_, number=3)] for id_ in IDS[::2]}
    short = {id_: [span(id_)] for id_ in IDS[1::2] if id_ < "20" or int(id_, 16) % 20 == 1}
    assert unbiased(long | short) == [id_ for id_ in IDS if id_ < "20"]


def test_where_those_are_too_few_all_are_compared() -> None:
    long = {id_: [span(id_, number=3)] for id_ in IDS[28:]}
    assert unbiased(long) == IDS[28:]


def test_a_long_value_is_truncated() -> None:
    assert printable("x" * 101) == "x" * 99 + "…"


@pytest.mark.parametrize(
    ("lookback", "microseconds"),
    [("30s", 30), ("5m", 300), ("2h", 7200), ("2d", 172_800), ("4w", 2_419_200)],
)
def test_a_lookback_becomes_a_start(lookback: str, microseconds: int) -> None:
    now = 10**16
    query = [("service", "app"), ("lookback", lookback), ("tag", "a:1"), ("tag", "b:2")]
    start = now - microseconds * MICROSECONDS["s"]
    assert fixed(query, now) == [
        ("service", "app"),
        ("tag", "a:1"),
        ("tag", "b:2"),
        ("start", str(start)),
    ]


@pytest.mark.parametrize("lookback", ["custom", "1h"])
def test_the_start_that_the_ui_writes_beside_the_lookback_stays(lookback: str) -> None:
    assert fixed([("lookback", lookback), ("start", "5")], 10**16) == [("start", "5")]


def test_a_log_of_another_tracer_needs_no_name() -> None:
    event = event_of({"message": "done"})
    assert (event.name, event.attributes) == ("", {"message": "done"})
