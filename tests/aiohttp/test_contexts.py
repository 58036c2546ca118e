"""Whatever the application does to OpenTelemetry's context, what is recorded stays the same.

The application attaches a context in one place, or attaches in one and detaches in another. Its
operations see the same as on the bare host, its caller too, and the connection, the operations and
the counts are those of a conversation in which it left its context alone.
"""

from collections.abc import Iterator, Mapping
from contextvars import Token
from typing import Any

import pytest
from aiohttp import web
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import set_span_in_context

from strawberry_ws_otel import connection_span
from tests.support.applications.context_changes import (
    ACTS,
    DOCUMENTS,
    QUERY,
    REMOTE,
    Act,
    bring_value,
    conversation,
    counted,
    doing,
    expected_connection,
    expected_operations,
    expected_spans,
    extracted,
    made,
    over_websocket,
)
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    INIT,
    init,
    recorded,
)
from tests.support.hosting import Handler, hosting, part
from tests.support.log import LogKeeper
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.telemetry import Telemetry

PAYLOAD = f"{0xB:032x}-{0xB1:016x}"

BEFORE_THE_INIT = [
    "get_root_value",
    "create_websocket_response",
    "get_context",
    "decode_json",
]
"""Places where what is attached is there for `on_ws_connect` and everything after it."""
BEFORE_THE_OPERATIONS = ["on_ws_connect", "handler"]
"""Places where it is there for the operations."""
WITHIN_AN_OPERATION = ["task", "first extension", "last extension", "resolver", "source"]
"""Places where one operation has begun."""


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


@pytest.fixture
def undisturbed() -> Iterator[Telemetry]:
    """The telemetry of an application that leaves its context alone."""
    telemetry = Telemetry()
    yield telemetry
    telemetry.shutdown()


async def both(
    acts: Mapping[str, Act],
    protocol: str,
    telemetry: Telemetry,
    undisturbed: Telemetry,
    *middlewares: Any,
) -> None:
    """The frames and the contexts are the bare host's, the counts an undisturbed application's."""
    base = doing(acts)
    bare = await over_websocket(base, None, protocol, *middlewares)
    assert await over_websocket(base, telemetry, protocol, *middlewares) == bare
    await over_websocket(doing({}), undisturbed, protocol)
    assert counted(telemetry) == counted(undisturbed)


def reached(protocol: str, place: str) -> bool:
    return protocol == TRANSPORT or place != "resolver"


# --- One place -------------------------------------------------------------------------------

ROWS = [
    pytest.param(
        protocol,
        act,
        place,
        # The places of the other handler need one context, and this one has all there can be.
        marks=[] if protocol == TRANSPORT or act == "extracted" else pytest.mark.matrix,
    )
    for protocol in BOTH
    for act in ACTS
    for place in (*BEFORE_THE_INIT, *BEFORE_THE_OPERATIONS, *WITHIN_AN_OPERATION)
    if reached(protocol, place)
]


@pytest.mark.parametrize(("protocol", "act", "place"), ROWS)
async def test_a_context_that_is_attached_anywhere_changes_only_what_the_application_sees(  # noqa: PLR0913, PLR0917  # a row of a table
    protocol: str,
    act: str,
    place: str,
    telemetry: Telemetry,
    undisturbed: Telemetry,
    library_log: LogKeeper,
) -> None:
    await both({place: ACTS[act]}, protocol, telemetry, undisturbed, bring_value)

    joins = REMOTE if act == "extracted" else None
    assert recorded(telemetry) == expected_spans(
        protocol,
        init_=joins if place in BEFORE_THE_INIT else None,
        operations=joins if place not in WITHIN_AN_OPERATION else None,
    )
    assert library_log.records == []


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("remote", ["link", "ignore"])
@pytest.mark.parametrize("place", ["get_context", "on_ws_connect"])
async def test_remote_context_is_about_clients_and_not_about_what_the_application_attaches(
    place: str, remote: str, protocol: str, telemetry: Telemetry
) -> None:
    base = doing({place: extracted})
    bare = await over_websocket(base, None, protocol)
    assert await over_websocket(base, telemetry, protocol, remote_context=remote) == bare
    before_init = place == "get_context"
    assert recorded(telemetry) == expected_spans(
        protocol, init_=REMOTE if before_init else None, operations=REMOTE
    )


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("act", ACTS)
async def test_a_nested_operation_is_below_what_the_application_attached_or_else_the_connection(
    act: str, protocol: str, telemetry: Telemetry
) -> None:
    base = doing({"on_ws_connect": ACTS[act]})
    bare = await over_websocket(base, None, protocol)
    assert await over_websocket(base, telemetry, protocol, trace_shape="nested") == bare
    operations = ["query", "subscription", "query 2"]
    operations = operations if protocol == TRANSPORT else ["subscription", "subscription 2"]
    joins = act == "extracted"
    assert recorded(telemetry) == [
        expected_connection(protocol, links=operations if joins else []),
        init(parent=CONNECTION, links=[]),
        *expected_operations(protocol, REMOTE if joins else CONNECTION, nested=not joins),
    ]


# --- A span of the application's own ---------------------------------------------------------


class Login:
    """Makes a span and leaves it current; it ends with the test."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._tracer = telemetry.tracer_provider.get_tracer("application")
        self.spans: list[trace.Span] = []

    def __call__(self) -> None:
        self.spans.append(self._tracer.start_span("login"))
        attach(set_span_in_context(self.spans[-1]))

    def end(self) -> None:
        for span in self.spans:
            span.end()


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(
    ("carried", "options"),
    [
        ({}, {}),
        ({"traceparent": f"00-{PAYLOAD}-01"}, {}),
        ({"traceparent": f"00-{PAYLOAD}-01"}, {"remote_context": "link"}),
        ({}, {"trace_shape": "nested"}),
    ],
    ids=["alone", "before the payload", "beside a link", "nested"],
)
async def test_a_span_that_is_left_current_on_connect_is_the_parent_of_the_operations(
    carried: dict[str, str], options: dict[str, Any], protocol: str, telemetry: Telemetry
) -> None:
    login = Login(telemetry)
    view = made(doing({"on_ws_connect": login}), telemetry, **options)
    async with hosting(view) as host:
        await conversation(host, protocol, **carried)
    login.end()

    spans = {each["name"]: each for each in recorded(telemetry)}
    assert spans["login"]["parent"] == INIT
    operations = recorded(telemetry, "query", "subscription")
    assert [each["parent"] for each in operations] == ["login"] * len(DOCUMENTS[protocol])
    if "trace_shape" not in options:
        assert [each["links"][:1] for each in operations] == [[CONNECTION]] * len(operations)


async def test_the_carrier_of_an_operation_comes_before_a_span_that_was_left_current(
    telemetry: Telemetry,
) -> None:
    login = Login(telemetry)
    async with hosting(made(doing({"on_ws_connect": login}), telemetry)) as host:
        client = await host.acknowledged()
        carrier = {"traceparent": f"00-{PAYLOAD}-01"}
        client.json(subscribe(client, "a", QUERY, extensions=carrier))
        await client.message("complete")
        client.json(subscribe(client, "b", QUERY))
        await client.message("complete")
        await part(client)
    login.end()

    assert [each["parent"] for each in recorded(telemetry, "query")] == [PAYLOAD, "login"]


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("place", ["get_context", "on_ws_connect", "decode_json of an operation"])
async def test_the_span_of_the_connection_left_current_is_no_span_of_the_application(
    place: str, protocol: str, telemetry: Telemetry, undisturbed: Telemetry
) -> None:
    def attach_ours() -> None:
        attach(set_span_in_context(connection_span()))

    await both({place: attach_ours}, protocol, telemetry, undisturbed)
    assert recorded(telemetry) == expected_spans(protocol)


# --- Attached here, detached there -----------------------------------------------------------


class Pair:
    """Attaches in one place, and detaches in another."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self._token: Any = None

    def attach(self) -> None:
        self._token = self._act()

    def detach(self) -> None:
        token: Token[Context] = self._token
        detach(token)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("act", ["extracted", "added"])
@pytest.mark.parametrize(
    ("here", "there", "init_joins"),
    [
        ("get_root_value", "get_context", False),
        ("get_root_value", "on_ws_connect", True),
        ("get_context", "on_ws_connect", True),
        ("get_context", "decode_json of an operation", True),
        ("decode_json", "on_ws_connect", True),
        ("on_ws_connect", "decode_json of an operation", False),
        ("handler", "decode_json of an operation", False),
    ],
)
async def test_what_is_detached_elsewhere_is_gone_as_on_the_bare_host(  # noqa: PLR0913, PLR0917  # a row of a table
    here: str,
    there: str,
    init_joins: bool,  # noqa: FBT001  # a row of a table
    act: str,
    protocol: str,
    telemetry: Telemetry,
    undisturbed: Telemetry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair = Pair(ACTS[act])
    acts = {here: pair.attach, there: pair.detach}
    await both(acts, protocol, telemetry, undisturbed, bring_value)

    joins = REMOTE if act == "extracted" and init_joins else None
    assert recorded(telemetry) == expected_spans(protocol, init_=joins)
    assert [record for record in caplog.records if record.name == "opentelemetry.context"] == []


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_context_for_each_message_is_the_context_of_its_operation(
    protocol: str, telemetry: Telemetry
) -> None:
    """The application attaches before the host handles a message, and detaches before the next."""

    def base() -> Any:
        class EachMessage(doing({})):  # type: ignore[misc]  # a class from a call
            token: Token[Context] | None = None

            def decode_json(self, data: str | bytes) -> object:
                if self.token is not None:
                    detach(self.token)
                    self.token = None
                if '"id": "b"' in str(data) or '"id":"b"' in str(data):
                    self.token = extracted()
                return super().decode_json(data)

        return EachMessage

    bare = await over_websocket(base(), None, protocol)
    assert await over_websocket(base(), telemetry, protocol) == bare
    parents = [each["parent"] for each in recorded(telemetry, "query", "subscription")]
    assert parents == [None, REMOTE, None][: len(parents)]


# --- Contexts of somebody else's -------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("act", ["extracted", "added"])
@pytest.mark.parametrize("there", [None, "get_root_value", "get_context", "on_ws_connect"])
async def test_what_a_middleware_attached_is_there_until_it_is_detached(
    there: str | None, act: str, protocol: str, telemetry: Telemetry
) -> None:
    """Its span is the parent of the connection, as that of the server, and of nothing else."""
    found: list[dict[str, object]] = []
    tokens: list[Any] = []

    @web.middleware
    async def attaching(request: web.Request, handler: Handler) -> web.StreamResponse:
        tokens.append(ACTS[act]())
        return await handler(request)

    acts: dict[str, Act] = {"source": lambda: found.append(dict(baggage.get_all()))}
    if there is not None:
        acts[there] = lambda: detach(tokens[-1])
    contexts = []
    for each in (None, telemetry):
        _, after = await over_websocket(doing(acts), each, protocol, attaching)
        contexts.append(after)
    assert contexts[0] == contexts[1]

    joins = REMOTE if act == "extracted" else None
    assert recorded(telemetry) == [
        expected_connection(protocol, parent=joins),
        *expected_spans(protocol)[1:],
    ]
    assert found == [{"tenant": "acme"} if there is None else {}] * 2


class Keeping:
    """Keeps the context of an operation, and attaches it where another message is read."""

    def __init__(self) -> None:
        self._kept: Context | None = None

    def keep(self) -> None:
        self._kept = get_current()

    def attach(self) -> None:
        if self._kept is not None:
            attach(self._kept)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("shape", ["linked", "nested"])
async def test_the_context_of_an_operation_that_comes_back_is_no_parent_of_another(
    shape: str, protocol: str, telemetry: Telemetry
) -> None:
    """Its span is the library's own, whether or not it has ended, and on whatever connection."""
    keeping = Keeping()
    view = made(doing({"source": keeping.keep}), telemetry, trace_shape=shape)
    async with hosting(view) as host:
        await conversation(host, protocol)
    again = made(doing({"decode_json": keeping.attach}), telemetry, trace_shape=shape)
    async with hosting(again) as host:
        await conversation(host, protocol)

    nested = shape == "nested"
    second = recorded(telemetry)[len(recorded(telemetry)) // 2 :]
    assert [each["name"] for each in second[:2]] == [CONNECTION, INIT]
    ours = [each for each in second if each["kind"] == "SERVER"][1:]
    expected = f"{CONNECTION} 2" if nested else None
    assert [each["parent"] for each in ours] == [expected] * len(ours)
    links = [] if nested else [f"{CONNECTION} 2"]
    assert [each["links"] for each in ours] == [links] * len(ours)
    assert {each["attributes"]["websocket.connection.id"] for each in ours} == {"c2"}
