"""Under a runtime context that keeps only the span and the baggage everything is recorded.

The spans and metrics of a conversation are those under OpenTelemetry's own runtime context, and the
application sees what it sees on the bare host under the same one.
"""

from collections.abc import Callable
from typing import Any

import opentelemetry.context
import pytest
from aiohttp import web
from opentelemetry import baggage, trace
from opentelemetry.context import attach
from opentelemetry.trace import set_span_in_context

from tests.support.applications.context_changes import (
    ACTS,
    DOCUMENTS,
    MARK,
    MULTIPART,
    QUERY,
    REMOTE,
    SUBSCRIPTION,
    Act,
    After,
    conversation,
    counted,
    doing,
    expected_spans,
    made,
    over_websocket,
)
from tests.support.applications.runtime_contexts import ALL_RUNTIMES, RUNTIMES, Failing
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    EXECUTION,
    INIT,
    PARSING,
    VALIDATION,
    connection,
    executed,
    operation,
    phases,
    recorded,
    results_of,
)
from tests.support.hosting import Handler, hosting, part
from tests.support.log import LogKeeper
from tests.support.scenarios.model import BOTH, without_frames
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.telemetry import Telemetry

WAITING = "subscription Waiting { waiting }"

Use = Callable[[str], None]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


@pytest.fixture(params=ALL_RUNTIMES)
def _foreign(
    request: pytest.FixtureRequest, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = ALL_RUNTIMES[request.param](telemetry)
    monkeypatch.setattr(opentelemetry.context, "_RUNTIME_CONTEXT", runtime)


def application(telemetry: Telemetry) -> trace.Tracer:
    return telemetry.tracer_provider.get_tracer("application")


def serving(telemetry: Telemetry) -> Any:
    """The span of the server's instrumentation, around the view."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        with application(telemetry).start_as_current_span("GET"):
            return await handler(request)

    return middleware


@pytest.mark.usefixtures("_foreign")
@pytest.mark.parametrize("protocol", BOTH)
async def test_a_conversation_is_recorded_whole(
    protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    bare = await over_websocket(doing({}), None, protocol)
    assert await over_websocket(doing({}), telemetry, protocol) == bare
    assert recorded(telemetry) == expected_spans(protocol)
    assert library_log.records == []


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("runtime", ALL_RUNTIMES)
async def test_a_conversation_is_counted_as_under_the_usual_one(
    runtime: str, protocol: str, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Telemetry()
    await over_websocket(doing({}), usual, protocol)
    with monkeypatch.context() as patched:
        foreign = ALL_RUNTIMES[runtime](telemetry)
        patched.setattr(opentelemetry.context, "_RUNTIME_CONTEXT", foreign)
        await over_websocket(doing({}), telemetry, protocol)
    assert counted(telemetry) == counted(usual)
    usual.shutdown()


@pytest.mark.usefixtures("_foreign")
@pytest.mark.parametrize("_foreign", RUNTIMES, indirect=True)
@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("place", ["get_context", "on_ws_connect", "source"])
async def test_what_the_application_attaches_is_there_as_on_the_bare_host(
    place: str, act: str, protocol: str, telemetry: Telemetry
) -> None:
    base = doing({place: ACTS[act]})
    bare = await over_websocket(base, None, protocol)
    assert await over_websocket(base, telemetry, protocol) == bare

    joins = REMOTE if act == "extracted" else None
    assert recorded(telemetry) == expected_spans(
        protocol,
        init_=joins if place == "get_context" else None,
        operations=None if place == "source" else joins,
    )


@pytest.mark.usefixtures("_foreign")
@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("shape", ["linked", "nested"])
async def test_spans_of_the_application_are_below_the_operation_that_they_belong_to(
    shape: str, protocol: str, telemetry: Telemetry
) -> None:
    def work() -> None:
        with application(telemetry).start_as_current_span("db"):
            application(telemetry).start_span("row").end()
        application(telemetry).start_span("log").end()

    acts: dict[str, Act] = {"on_ws_connect": work, "resolver": work, "source": work}
    after = After()
    view = made(doing(acts), telemetry, trace_shape=shape)
    async with hosting(view, serving(telemetry), after.middleware) as host:
        await conversation(host, protocol)

    parents = [(each["name"], each["parent"]) for each in recorded(telemetry, "db", "row", "log")]
    places = [INIT, "query", "subscription"] if protocol == TRANSPORT else [INIT, "subscription"]
    labels = ["db", *(f"db {number}" for number in range(2, len(places) + 1))]
    assert parents == [
        family
        for place, label in zip(places, labels, strict=True)
        for family in (("db", place), ("row", label), ("log", place))
    ]
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["parent"] == "GET"
    [server] = telemetry.spans("GET")
    assert server.context is not None
    [(_, _, *current)] = after.saw
    assert current == [server.context.trace_id, server.context.span_id]


@pytest.mark.usefixtures("_foreign")
@pytest.mark.parametrize("protocol", BOTH)
async def test_a_span_that_is_left_current_on_connect_is_the_parent_of_the_operations(
    protocol: str, telemetry: Telemetry
) -> None:
    spans: list[trace.Span] = []

    def login() -> None:
        spans.append(application(telemetry).start_span("login"))
        attach(set_span_in_context(spans[-1]))

    async with hosting(made(doing({"on_ws_connect": login}), telemetry)) as host:
        await conversation(host, protocol)
    spans[0].end()

    operations = recorded(telemetry, "query", "subscription")
    assert [each["parent"] for each in operations] == ["login"] * len(DOCUMENTS[protocol])
    [found] = recorded(telemetry, "login")
    assert found["parent"] == INIT


@pytest.mark.usefixtures("_foreign")
@pytest.mark.parametrize("protocol", BOTH)
async def test_an_operation_that_begins_while_another_lives_is_not_below_it(
    protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(made(doing({}), telemetry)) as host:
        client = await host.acknowledged(protocol)
        for id_ in "ab":
            client.json(subscribe(client, id_, WAITING))
            await client.message("next", "data")
        client.json(subscribe(client, "c", SUBSCRIPTION))
        await client.message("complete")
        await part(client)

    operations = recorded(telemetry, "subscription")
    assert [each["parent"] for each in operations] == [None] * 3
    assert [each["links"] for each in operations] == [[CONNECTION]] * 3
    reasons = [each["attributes"]["graphql.ws.operation.end_reason"] for each in operations]
    assert reasons == ["connection_closed", "connection_closed", "completed"]


@pytest.mark.usefixtures("_foreign")
@pytest.mark.parametrize("protocol", BOTH)
async def test_an_abnormal_close_is_judged_and_logged(
    protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async with hosting(made(doing({}), telemetry)) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", WAITING))
        await client.message("next", "data")
        client.reset()
        await host.served()

    verdict = without_frames("connection_lost")
    [lost] = recorded(telemetry, CONNECTION)
    assert lost == connection(
        protocol,
        verdict,
        messages=(2, 2),
        operations=["subscription"],
        interrupted=1,
        events=lost["events"][:-1],
        **MARK,
    )
    assert recorded(telemetry, "subscription") == [
        operation(
            WAITING,
            "connection_closed",
            protocol=protocol,
            name="Waiting",
            results=1,
            events=results_of(protocol, 1),
            verdict=verdict,
            error="connection_lost",
            description="interrupted by an abnormal close: connection_lost",
        )
    ]
    assert [record.levelname for record in library_log.records] == ["WARNING"]
    assert telemetry.total("websocket.server.active_connections") == 0
    assert telemetry.total("graphql.server.subscription.active") == 0


@pytest.mark.usefixtures("_foreign")
@pytest.mark.parametrize("served", [False, True], ids=["alone", "below a server's span"])
async def test_requests_over_http_are_recorded(
    served: bool,  # noqa: FBT001  # a row of a table
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    after = After()
    middlewares = [serving(telemetry), after.middleware] if served else [after.middleware]
    async with hosting(made(doing({}), telemetry), *middlewares) as host:
        status, _ = await host.post({"query": QUERY})

    assert status == 200
    parent = "GET" if served else None
    [query, *others] = recorded(telemetry, "query", PARSING, VALIDATION, EXECUTION)
    assert query == executed(QUERY, name="Seen", parent=parent)
    assert others == phases("query", PARSING, VALIDATION, EXECUTION)
    [(_, _, trace_id, span_id)] = after.saw
    current = [each.context for each in telemetry.spans("GET") if each.context]
    assert (trace_id, span_id) == ((current[0].trace_id, current[0].span_id) if served else (0, 0))
    assert library_log.records == []


@pytest.mark.usefixtures("_foreign")
async def test_a_stream_over_http_is_recorded(telemetry: Telemetry) -> None:
    view = made(doing({}), telemetry)
    body = {"query": SUBSCRIPTION}
    async with (
        hosting(view) as host,
        host.session.post(host.url, json=body, headers=MULTIPART) as response,
    ):
        assert (await response.text()).count('"seen":') == 2

    assert recorded(telemetry) == [
        executed(SUBSCRIPTION, name="Seen"),
    ]
    assert telemetry.total("graphql.server.subscription.event_count") == 2


@pytest.mark.usefixtures("_foreign")
@pytest.mark.parametrize("protocol", BOTH)
async def test_baggage_of_a_client_is_there(protocol: str, telemetry: Telemetry) -> None:
    """As under the usual runtime context: that of the payload stays below its span."""
    found: list[dict[str, object]] = []
    acts: dict[str, Act] = {"source": lambda: found.append(dict(baggage.get_all()))}
    carrier = {"traceparent": f"00-{REMOTE}-01", "baggage": "whose=payload"}
    async with hosting(made(doing(acts), telemetry)) as host:
        await conversation(host, protocol, **carrier)

    assert found == [{"whose": "payload"}]
    operations = recorded(telemetry, "query", "subscription")
    assert {each["parent"] for each in operations} == {REMOTE}


@pytest.mark.internal_error
@pytest.mark.parametrize("protocol", BOTH)
async def test_a_runtime_context_that_takes_nothing_spoils_no_verdict_and_no_count(
    protocol: str, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Telemetry()
    bare = await over_websocket(doing({}), usual, protocol)
    foreign = Failing(telemetry)
    monkeypatch.setattr(opentelemetry.context, "_RUNTIME_CONTEXT", foreign)
    assert await over_websocket(doing({}), telemetry, protocol) == bare
    assert counted(telemetry) == counted(usual)
    usual.shutdown()
