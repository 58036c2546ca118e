"""What lives long is recorded in segments, each a whole span that is exported as it ends."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import opentelemetry.context
import pytest
import strawberry
from graphql import version_info
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import StatusCode
from strawberry.extensions import SchemaExtension

from strawberry_ws_otel import OTelExtension, connection_attributes, connection_span
from strawberry_ws_otel._connection import Connection, current_connection
from strawberry_ws_otel._current import current
from tests.support.applications.runtime_contexts import ALL_RUNTIMES
from tests.support.clock import Clock
from tests.support.event_loop import Run
from tests.support.expected import (
    CONNECTION,
    GREETING,
    INIT,
    OPERATION,
    connection,
    executed,
    init,
    operation,
    received,
    recorded,
    results_of,
    segment,
    sent,
    span,
)
from tests.support.hosting import Host, hosting, part
from tests.support.raw_client import Client
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import SUBSCRIBE, TRANSPORT, subscribe
from tests.support.segments import end_due_segments
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import Ends, View, instrumented

WORK: Final = "subscription Work { work }"
MULTIPART: Final = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"

LENGTHS: Final = (300, 600)
"""Seconds that the first two segments of an operation last. Those of its connection are shorter."""

OF_THE_LAST: Final[dict[str, Any]] = {
    "graphql.ws.segment.number": 2,
    "graphql.ws.duration": float(sum(LENGTHS)),
}

Job = Callable[[], object]

IN_ONE_CONTEXT = pytest.mark.skipif(
    version_info < (3, 3),
    reason="older versions of graphql-core make each result in a task with a context of its own",
)


@dataclass
class Application:
    """A subscription that does what a test asks for, and then sends a result."""

    jobs: asyncio.Queue[Job | None] = field(default_factory=asyncio.Queue)
    connecting: Job = field(default=lambda: None)
    connection: Connection | None = None

    began: asyncio.Event = field(default_factory=asyncio.Event)

    def schema(self, *extensions: type[SchemaExtension]) -> strawberry.Schema:
        application = self

        @strawberry.type
        class Query:
            hello: str = "world"

        @strawberry.type
        class Subscription:
            @strawberry.subscription
            async def work(self) -> AsyncGenerator[str, None]:
                application.began.set()
                while (job := await application.jobs.get()) is not None:
                    job()
                    yield "done"

        return strawberry.Schema(
            Query, subscription=Subscription, extensions=[OTelExtension, *extensions]
        )

    def view(self) -> type[View]:
        application = self

        class Working(View):
            async def on_ws_connect(self, context: Any) -> Any:
                application.connection = current_connection()
                application.connecting()
                return await super().on_ws_connect(context)

        return Working


@dataclass
class Talk:
    """A client with one subscription, whose time the test tells."""

    application: Application
    client: Client
    clock: Clock

    async def result(self, job: Job = lambda: None) -> None:
        """Let the subscription do something and send a result."""
        self.application.jobs.put_nowait(job)
        await self.client.message("next", "data")

    def passes(self, seconds: float) -> None:
        """Let time pass, and the segments end that are due, as the timer ends them."""
        connection = self.application.connection
        assert connection is not None
        self.clock.passes(seconds)
        end_due_segments(connection, self.clock.now)


@asynccontextmanager
async def talking(  # noqa: PLR0913  # what a conversation differs in
    telemetry: Telemetry,
    clock: Clock,
    protocol: str = TRANSPORT,
    *,
    connecting: Job = lambda: None,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[Talk]:
    """A conversation whose subscription is over, and whose connection is closed, at the end."""
    application = Application(connecting=connecting)
    view = instrumented(telemetry, application.view(), **options)
    async with hosting(view(schema=application.schema(), keep_alive=False)) as host:
        client = await host.acknowledged(protocol, headers)
        carrier = {"extensions": dict(extensions)} if extensions else {}
        client.json(subscribe(client, "a", WORK, **carrier))
        yield Talk(application, client, clock)
        application.jobs.put_nowait(None)
        await client.message("complete")
        await part(client)


async def three_segments(talk: Talk, *jobs: Job) -> None:
    """Send a result in each of three segments, after one of the jobs where there is one."""
    lengths = iter(LENGTHS)
    for job in (*jobs, *[lambda: None] * 3)[:3]:
        await talk.result(job)
        if (length := next(lengths, None)) is not None:
            talk.passes(length)


def tracer_of(telemetry: Telemetry) -> trace.Tracer:
    return telemetry.tracer_provider.get_tracer("application")


def children(telemetry: Telemetry) -> list[Job]:
    """Three jobs that each make a span below whatever is current."""

    def child() -> None:
        tracer_of(telemetry).start_span("child").end()

    return [child] * 3


# --- Whole spans -----------------------------------------------------------------------------


def connections(protocol: str, *, first: list[str]) -> list[dict[str, Any]]:
    """The three segments of a connection, the first of which has these links."""
    last = connection(
        protocol,
        messages=(2, 5),
        operations=["subscription"],
        links=[f"{CONNECTION} 2"],
        events=[],
        idle=900.0,
        **OF_THE_LAST,
    )

    def totals(messages: int, received_before: float, sent_before: float) -> dict[str, Any]:
        return {
            "graphql.ws.messages.sent": messages,
            "graphql.ws.receive_idle_time": received_before,
            "graphql.ws.send_idle_time": sent_before,
        }

    return [
        segment(last, 0, links=first, events=GREETING, attributes=totals(2, 300.0, 300.0)),
        segment(last, 1, links=[CONNECTION], attributes=totals(3, 900.0, 600.0)),
        last,
    ]


def operations(protocol: str, links: list[str], parents: list[str | None]) -> list[dict[str, Any]]:
    """The three segments of a subscription, the first of which has these links."""
    last = operation(
        WORK,
        "completed",
        protocol=protocol,
        name="Work",
        results=3,
        parent=parents[2],
        links=["subscription 2"],
        **OF_THE_LAST,
    )
    last["events"] = [*results_of(protocol, 3), sent("complete")]
    return [
        segment(
            last,
            0,
            parent=parents[0],
            links=links,
            events=[received(SUBSCRIBE[protocol]), *results_of(protocol, 1)],
            attributes={"graphql.ws.results": 1},
        ),
        segment(
            last,
            1,
            parent=parents[1],
            links=["subscription"],
            events=results_of(protocol, 2),
            attributes={"graphql.ws.results": 2},
        ),
        last,
    ]


CHILDREN = [
    span("child", kind="INTERNAL", parent=each)
    for each in ("subscription", "subscription 2", "subscription 3")
]


def by_segment(*columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The spans of several columns, one segment of each after the other, in the order of start."""
    return [each for row in zip(*columns, strict=True) for each in row]


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_connection_and_a_subscription_of_three_segments(
    protocol: str, telemetry: Telemetry, clock: Clock
) -> None:
    async with talking(telemetry, clock, protocol) as talk:
        await three_segments(talk, *children(telemetry))

    spans = by_segment(
        connections(protocol, first=[INIT, "subscription"]),
        operations(protocol, [CONNECTION], [None, None, None]),
        CHILDREN,
    )
    assert recorded(telemetry) == [spans[0], init(), *spans[1:]]


@pytest.mark.parametrize("protocol", BOTH)
async def test_nested_segments_of_a_subscription_are_below_those_of_the_connection(
    protocol: str, telemetry: Telemetry, clock: Clock
) -> None:
    async with talking(telemetry, clock, protocol, trace_shape="nested") as talk:
        await three_segments(talk, *children(telemetry))

    parents: list[str | None] = [CONNECTION, f"{CONNECTION} 2", f"{CONNECTION} 3"]
    spans = by_segment(connections(protocol, first=[]), operations(protocol, [], parents), CHILDREN)
    nested_init = init(parent=CONNECTION, links=[])
    assert recorded(telemetry) == [spans[0], nested_init, *spans[1:]]


async def test_without_segments_each_is_one_span(telemetry: Telemetry, clock: Clock) -> None:
    async with talking(telemetry, clock, segment_duration=None) as talk:
        await talk.result()
        clock.passes(86_400)

    attributes: dict[str, Any] = {
        "graphql.ws.segment.number": None,
        "graphql.ws.duration": 86_400.0,
    }
    whole = operation(WORK, "completed", name="Work", results=1, **attributes)
    whole["events"] += [*results_of(TRANSPORT, 1), sent("complete")]
    alone = connection(messages=(2, 3), operations=["subscription"], idle=86_400.0, **attributes)
    assert recorded(telemetry) == [alone, init(), whole]


# --- Parents and links -----------------------------------------------------------------------


def carrier(digit: str) -> dict[str, str]:
    return {"traceparent": f"00-{digit * 32}-{digit * 16}-01"}


def remote(digit: str) -> str:
    """How a span elsewhere is called."""
    return f"{digit * 32}-{digit * 16}"


HEADERS, OWN = carrier("a"), carrier("b")

Places = list[tuple[str | None, list[str]]]
"""The parent and the links of some spans."""

REMOTE: Final[tuple[Places, Places]] = (
    [(None, [CONNECTION, remote("a")]), (None, [f"{CONNECTION} 2", remote("a")])],
    [(None, ["subscription", remote("b")]), (None, ["subscription 2", remote("b")])],
)
LATER: Final[Mapping[tuple[str, str], tuple[Places, Places]]] = {
    ("linked", "parent"): REMOTE,
    ("linked", "link"): REMOTE,
    ("nested", "parent"): REMOTE,
    ("linked", "ignore"): (
        [(None, [CONNECTION]), (None, [f"{CONNECTION} 2"])],
        [(None, ["subscription"]), (None, ["subscription 2"])],
    ),
    ("nested", "link"): (
        [(None, [CONNECTION, remote("a")]), (None, [f"{CONNECTION} 2", remote("a")])],
        [
            (f"{CONNECTION} 2", ["subscription", remote("b")]),
            (f"{CONNECTION} 3", ["subscription 2", remote("b")]),
        ],
    ),
    ("nested", "ignore"): (
        [(None, [CONNECTION]), (None, [f"{CONNECTION} 2"])],
        [(f"{CONNECTION} 2", ["subscription"]), (f"{CONNECTION} 3", ["subscription 2"])],
    ),
}


@pytest.mark.parametrize(("shape", "remote_context"), LATER)
async def test_later_segments_link_to_the_client_that_the_first_one_came_from(
    shape: str, remote_context: str, telemetry: Telemetry, clock: Clock
) -> None:
    options: dict[str, Any] = {"trace_shape": shape, "remote_context": remote_context}
    async with talking(telemetry, clock, headers=HEADERS, extensions=OWN, **options) as talk:
        await three_segments(talk)

    of_connection, of_operation = LATER[shape, remote_context]
    assert places(telemetry, CONNECTION)[1:] == of_connection
    assert places(telemetry, "subscription")[1:] == of_operation


def places(telemetry: Telemetry, name: str) -> Places:
    """The parents and links of the spans of that name."""
    return [(each["parent"], each["links"]) for each in recorded(telemetry, name)]


async def test_a_nested_subscription_of_a_connection_with_a_parent_has_no_remote_link(
    telemetry: Telemetry, clock: Clock
) -> None:
    async with talking(telemetry, clock, headers=HEADERS, trace_shape="nested") as talk:
        await three_segments(talk)

    assert places(telemetry, CONNECTION) == [
        (remote("a"), []),
        (None, [CONNECTION, remote("a")]),
        (None, [f"{CONNECTION} 2", remote("a")]),
    ]
    assert places(telemetry, "subscription") == [
        (CONNECTION, []),
        (f"{CONNECTION} 2", ["subscription"]),
        (f"{CONNECTION} 3", ["subscription 2"]),
    ]


async def test_a_later_segment_is_no_child_of_the_applications_span(
    telemetry: Telemetry, clock: Clock
) -> None:
    opened = []

    def connecting() -> None:
        opened.append(tracer_of(telemetry).start_span("session"))
        attach(trace.set_span_in_context(opened[0]))

    async with talking(telemetry, clock, connecting=connecting) as talk:
        await three_segments(talk, *children(telemetry))
        opened[0].end()

    assert [each["parent"] for each in recorded(telemetry, "subscription", "child")] == [
        "session",
        "subscription",
        None,
        "subscription 2",
        None,
        "subscription 3",
    ]


# --- What the application does ---------------------------------------------------------------


async def test_what_the_application_sets_is_on_all_later_segments(
    telemetry: Telemetry, clock: Clock
) -> None:
    def connecting() -> None:
        connection_span().set_attribute("tenant", "acme")
        connection_span().update_name("my connection")
        connection_span().set_status(StatusCode.OK)

    def first() -> None:
        current_span = trace.get_current_span()
        current_span.set_attributes({"room": 1, "seat": "a"})
        current_span.update_name("my subscription")
        current_span.set_status(StatusCode.ERROR, "sold out")

    def second() -> None:
        trace.get_current_span().set_attribute("room", 2)

    async with talking(telemetry, clock, connecting=connecting) as talk:
        await three_segments(talk, first, second)

    assert said(telemetry, "my connection", "tenant") == [(("acme",), "OK", None)] * 3
    assert said(telemetry, "my subscription", "room", "seat") == [
        ((1, "a"), "ERROR", "sold out"),
        ((2, "a"), "ERROR", "sold out"),
        ((2, "a"), "ERROR", "sold out"),
    ]
    assert {each.name for each in telemetry.spans()} == {"my connection", "my subscription", INIT}


def said(telemetry: Telemetry, name: str, *keys: str) -> list[tuple[Any, ...]]:
    """These attributes, the status and its description of the spans of that name."""
    return [
        (
            tuple(attributes_of(each).get(key) for key in keys),
            each.status.status_code.name,
            each.status.description,
        )
        for each in telemetry.spans(name)
    ]


async def test_attributes_of_the_connection_are_on_its_later_segments(
    telemetry: Telemetry, clock: Clock
) -> None:
    def describes(**attributes: str) -> Job:
        return lambda: connection_attributes(attributes)

    async with talking(telemetry, clock, connecting=describes(tenant="acme")) as talk:
        await three_segments(talk, describes(role="guest"), describes(role="owner"))

    keys = "tenant", "role"
    assert [each[0] for each in said(telemetry, CONNECTION, *keys)] == [
        ("acme", "guest"),
        ("acme", "owner"),
        ("acme", "owner"),
    ]
    assert [each[0] for each in said(telemetry, "subscription", *keys)] == [("acme", None)] * 3


@IN_ONE_CONTEXT
async def test_a_span_that_the_application_holds_open_stays_where_it_began(
    telemetry: Telemetry, clock: Clock
) -> None:
    [child, *_] = children(telemetry)
    loop = tracer_of(telemetry).start_as_current_span("loop")
    async with talking(telemetry, clock) as talk:
        await three_segments(talk, loop.__enter__, child, lambda: loop.__exit__(None, None, None))
        await talk.result(child)

    assert [each["parent"] for each in recorded(telemetry, "loop", "child")] == [
        "subscription",
        "loop",
        "subscription 3",
    ]


@IN_ONE_CONTEXT
@pytest.mark.parametrize("shape", ["linked", "nested"])
@pytest.mark.parametrize("runtime", ALL_RUNTIMES)
async def test_a_runtime_context_that_keeps_ended_spans_gets_the_new_segment_with_a_result(
    runtime: str,
    shape: str,
    telemetry: Telemetry,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = ALL_RUNTIMES[runtime](telemetry)
    monkeypatch.setattr(opentelemetry.context, "_RUNTIME_CONTEXT", context)
    [child, *_] = children(telemetry)
    loop = tracer_of(telemetry).start_as_current_span("loop")
    async with talking(telemetry, clock, trace_shape=shape) as talk:
        await three_segments(talk)
        await talk.result(child)
        await talk.result(loop.__enter__)
        talk.passes(1200)
        await talk.result()
        await talk.result(child)
        await talk.result(lambda: loop.__exit__(None, None, None))

    assert [each["parent"] for each in recorded(telemetry, "child", "loop")] == [
        "subscription 3",
        "subscription 3",
        "loop",
    ]


async def test_baggage_stays(telemetry: Telemetry, clock: Clock) -> None:
    seen: list[object] = []

    def look() -> None:
        seen.append(baggage.get_baggage("tenant"))

    headers = {**HEADERS, "baggage": "tenant=acme"}
    async with talking(telemetry, clock, headers=headers, trace_shape="nested") as talk:
        await three_segments(talk, look, look, look)

    assert seen == ["acme"] * 3


# --- Samplers and processors -----------------------------------------------------------------


class Later(Sampler):
    """Samples no first segment."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        *others: Any,
    ) -> SamplingResult:
        is_first = not attributes or not attributes.get("graphql.ws.segment.number")
        chosen = ALWAYS_OFF if is_first else ALWAYS_ON
        return chosen.should_sample(parent_context, trace_id, name, kind, attributes, *others)

    def get_description(self) -> str:
        return "later"


@pytest.mark.parametrize(
    ("options", "name"),
    [({}, "subscription"), ({"name_spans_after_operation": True}, "subscription Work")],
    ids=["", "named"],
)
async def test_each_segment_is_sampled_by_itself(
    options: dict[str, Any], name: str, clock: Clock
) -> None:
    telemetry = Telemetry(sampler=Later())
    async with talking(telemetry, clock, **options) as talk:
        await talk.result()
        talk.client.json({"type": "ping"})
        await talk.client.message("pong")
        talk.passes(300)
        talk.client.json({"type": "ping"})
        await talk.client.message("pong")
        await talk.result()

    first, second = telemetry.spans()
    assert (first.name, second.name) == (CONNECTION, name)
    assert [(each.name, dict(each.attributes or {})) for each in first.events[:2]] == [
        received("ping", 2),
        sent("pong", 2),
    ]
    assert [(each.name, dict(each.attributes or {})) for each in second.events] == [
        sent("next", 2),
        sent("complete"),
    ]
    expected = {
        "graphql.operation.type": "subscription",
        "graphql.operation.name": "Work",
        "graphql.ws.results": 2,
        "graphql.ws.time_to_first_result": 0.0,
        "graphql.ws.segment.number": 1,
    }
    assert expected.items() <= attributes_of(second).items()
    telemetry.shutdown()


class Failing(Sampler):
    """Fails for every later segment."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        *others: Any,
    ) -> SamplingResult:
        if attributes and attributes.get("graphql.ws.segment.number"):
            raise ValueError("out of order")
        return ALWAYS_ON.should_sample(parent_context, trace_id, name, kind, attributes, *others)

    def get_description(self) -> str:
        return "failing"


@pytest.mark.internal_error
async def test_a_span_whose_next_segment_cannot_start_goes_on(clock: Clock) -> None:
    telemetry = Telemetry(sampler=Failing())
    async with talking(telemetry, clock) as talk:
        await three_segments(talk)

    first, second = telemetry.spans(CONNECTION, "subscription")
    ends = {"graphql.ws.segment.number": 0, "graphql.ws.duration": 900.0}
    assert ends.items() <= attributes_of(first).items()
    assert ends.items() <= attributes_of(second).items()
    assert attributes_of(second)["graphql.ws.results"] == 3
    assert telemetry.span_counter.started == telemetry.span_counter.ended
    telemetry.shutdown()


async def test_the_span_of_a_message_is_below_the_segment_of_its_time(
    telemetry: Telemetry, clock: Clock
) -> None:
    async with talking(telemetry, clock, message_spans=True) as talk:
        for length in (*LENGTHS, 0):
            await talk.result()
            talk.client.json({"type": "ping"})
            await talk.client.message("pong")
            talk.passes(length)

    def below(span_name: str) -> list[str]:
        return [span_name, f"{span_name} 2", f"{span_name} 3"]

    for name, operation_ in (("graphql.ws.ping", CONNECTION), ("graphql.ws.next", "subscription")):
        parents = [each["parent"] for each in recorded(telemetry, name)]
        assert parents == below(operation_)


class Renaming(SpanProcessor):
    """Gives every span a prefix, and an attribute of the process."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        span.update_name(f"my {span.name}")
        span.set_attribute("process", 1)


async def test_a_processor_renames_every_segment(telemetry: Telemetry, clock: Clock) -> None:
    telemetry.tracer_provider.add_span_processor(Renaming())
    async with talking(telemetry, clock) as talk:
        await three_segments(talk)

    # The operation had no type yet as its first segment started.
    names = [each.name for each in telemetry.spans()]
    assert names == [
        f"my {CONNECTION}",
        f"my {INIT}",
        "my GraphQL Operation",
        f"my {CONNECTION}",
        "my subscription",
        f"my {CONNECTION}",
        "my subscription",
    ]
    assert all(attributes_of(each)["process"] == 1 for each in telemetry.spans())


async def test_metrics_know_no_segments(clock: Clock) -> None:
    metrics = []
    for duration in (300, None):
        telemetry = Telemetry()
        async with talking(telemetry, clock, segment_duration=duration) as talk:
            await talk.result()
            clock.passes(300)
            if duration is not None:
                talk.passes(0)
            await talk.result()
        metrics.append(telemetry.metrics())
        telemetry.shutdown()
    assert metrics[0] == metrics[1]


class Slow(SchemaExtension):
    """Lets every operation wait before its document is parsed."""

    gate: ClassVar[asyncio.Event]
    reached: ClassVar[asyncio.Event]

    async def on_operation(self) -> AsyncGenerator[None, None]:
        self.reached.set()
        await self.gate.wait()
        yield


async def test_a_type_that_is_learned_after_the_first_segment_is_recorded(
    telemetry: Telemetry, clock: Clock
) -> None:
    Slow.gate, Slow.reached = asyncio.Event(), asyncio.Event()
    application = Application()
    view = instrumented(telemetry, application.view())
    schema = application.schema(Slow)
    async with hosting(view(schema=schema, keep_alive=False)) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", WORK))
        await Slow.reached.wait()
        talk = Talk(application, client, clock)
        talk.passes(300)
        Slow.gate.set()
        await application.began.wait()
        client.json({"type": "complete", "id": "a"})
        await part(client)

    spans = telemetry.spans(OPERATION, "subscription")
    assert [each.name for each in spans] == ["subscription", "subscription"]
    assert attributes_of(spans[1])["graphql.operation.type"] == "subscription"


# --- HTTP ------------------------------------------------------------------------------------


@asynccontextmanager
async def streaming(
    telemetry: Telemetry, application: Application, **options: Any
) -> AsyncIterator[Host]:
    view = instrumented(telemetry, View, **options)
    stream = view(schema=application.schema(), subscription_protocols=["multipart-subscription"])
    async with hosting(stream) as host:
        yield host


async def test_a_stream_over_http_of_three_segments(telemetry: Telemetry, clock: Clock) -> None:
    application = Application()
    served: list[Any] = []

    [child, *_] = children(telemetry)

    def note() -> None:
        child()
        served.append(current().operation)
        heard.set()

    heard = asyncio.Event()
    async with streaming(telemetry, application) as host:
        asked = host.session.post(
            host.url, json={"query": WORK}, headers={"Accept": MULTIPART, **HEADERS}
        )
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(_text(asked))
            for length in LENGTHS:
                application.jobs.put_nowait(note)
                await heard.wait()
                heard.clear()
                clock.passes(length)
                served[-1].rotate()
            application.jobs.put_nowait(note)
            application.jobs.put_nowait(None)
        assert answer.result().count("done") == 3

    last = executed(
        WORK,
        name="Work",
        links=["subscription 2", remote("a")],
        **OF_THE_LAST,
    )
    assert recorded(telemetry) == by_segment(
        [
            segment(last, 0, parent=remote("a"), links=[]),
            segment(last, 1, links=["subscription", remote("a")]),
            last,
        ],
        CHILDREN,
    )


async def _text(asked: Any) -> str:
    async with asked as response:
        text: str = await response.text()
        return text


# --- The timer -------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["asyncio", "uvloop"], indirect=True)
def test_the_timer_of_the_loop_ends_what_is_due(run: Run[Any], telemetry: Telemetry) -> None:
    ends, application = Ends(telemetry), Application()

    async def converse() -> int:
        view = instrumented(telemetry, application.view(), segment_duration=0.005)
        async with hosting(view(schema=application.schema(), keep_alive=False)) as host:
            client = await host.acknowledged()
            client.json(subscribe(client, "a", WORK))
            for number in range(1, 4):
                application.jobs.put_nowait(lambda: None)
                await client.message("next")
                await ends.of(CONNECTION, number)
                await ends.of("subscription", number)
            application.jobs.put_nowait(None)
            await client.message("complete")
            await part(client)
        return len(asyncio.all_tasks())

    assert run(converse()) == 1
    for names in ([CONNECTION], [OPERATION, "subscription"]):
        spans = telemetry.spans(*names)
        numbers = [attributes_of(each)["graphql.ws.segment.number"] for each in spans]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 3
    assert telemetry.span_counter.started == telemetry.span_counter.ended


async def test_the_timer_ends_the_segments_of_a_stream_over_http(telemetry: Telemetry) -> None:
    ends, application = Ends(telemetry), Application()
    async with streaming(telemetry, application, segment_duration=0.005) as host:
        asked = host.session.post(host.url, json={"query": WORK}, headers={"Accept": MULTIPART})
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(_text(asked))
            application.jobs.put_nowait(lambda: None)
            await ends.of("subscription", 3)
            application.jobs.put_nowait(None)
        assert answer.result().count("done") == 1

    assert [
        attributes_of(each)["graphql.ws.segment.number"] for each in telemetry.spans("subscription")
    ][:4] == [0, 1, 2, 3]
