"""An application that changes its context in one place, and says in every operation what it sees.

Resolvers and sources answer with the baggage, a value of the context, and the trace that they run
in, so that the frames of two servers are equal only if the application sees the same on both.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextvars import Token
from typing import Any

import strawberry
from aiohttp import web
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context, attach, detach, get_value, set_value
from strawberry.extensions import SchemaExtension

from strawberry_ws_otel import OTelExtension, connection_span
from tests.support.expected import (
    CONNECTION,
    EXECUTION,
    PARSING,
    VALIDATION,
    SpanDict,
    connection,
    init,
    operation,
    phases,
    results_of,
    sent,
)
from tests.support.frames import Frame
from tests.support.hosting import Handler, Host, hosting, part
from tests.support.scenarios.steps import LEGACY, TRANSPORT, subscribe
from tests.support.telemetry import Telemetry
from tests.support.views import View, instrumented

TRACE = f"{0xD:032x}"
REMOTE = f"{TRACE}-{0xD1:016x}"
"""The span that the application's own carrier names."""
CARRIER = {"traceparent": f"00-{REMOTE}-01", "baggage": "tenant=acme"}
"""A carrier that only the application can read: from a cookie, a database, a nested payload."""

QUERY = "query Seen { seen }"
SUBSCRIPTION = "subscription Seen { seen }"
DOCUMENTS = {TRANSPORT: (QUERY, SUBSCRIPTION, QUERY), LEGACY: (SUBSCRIPTION, SUBSCRIPTION)}
"""What the client asks for, one after the other."""
PROTOCOLS = [TRANSPORT, LEGACY, "multipart-subscription"]
MULTIPART = {"Accept": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"}
"""What a client says that wants a stream over HTTP."""

Act = Callable[[], object]


def extracted() -> Token[Context]:
    """OpenTelemetry's recipe for propagation by hand, which starts from an empty context."""
    return attach(propagate.extract(CARRIER))


def fresh() -> Token[Context]:
    """A context in which nothing of anybody's is."""
    return attach(Context())


def added() -> Token[Context]:
    return attach(baggage.set_baggage("tenant", "acme"))


ACTS: dict[str, Act] = {"extracted": extracted, "fresh": fresh, "added": added}


MARK: dict[str, Any] = {"app.seen": "here"}
"""What it leaves on the span of its connection."""


def seen() -> str:
    """What the caller sees of the application's: baggage, a value, whose trace it is in."""
    connection_span().set_attributes(MARK)
    trace_id = trace.get_current_span().get_span_context().trace_id
    return json.dumps(
        [dict(baggage.get_all()), get_value("application"), f"{trace_id:032x}" == TRACE]
    )


@strawberry.type
class Query:
    @strawberry.field
    async def seen(self, info: strawberry.Info) -> str:
        info.root_value.reached("resolver")
        return seen()


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def seen(self, info: strawberry.Info) -> AsyncGenerator[str, None]:
        yield seen()
        info.root_value.reached("source")
        yield seen()

    @strawberry.subscription
    async def waiting(self, info: strawberry.Info) -> AsyncGenerator[str, None]:
        """One result, and none after it."""
        info.root_value.reached("source")
        yield seen()
        await asyncio.Event().wait()


def reaching(place: str) -> type[SchemaExtension]:
    """An extension of the application's that is such a place."""

    class Reaching(SchemaExtension):
        def on_operation(self) -> Iterator[None]:
            view: Any = self.execution_context.root_value
            view.reached(place)
            yield

    return Reaching


def schema(*ours: Any) -> strawberry.Schema:
    return strawberry.Schema(
        query=Query,
        subscription=Subscription,
        extensions=[reaching("first extension"), *ours, reaching("last extension")],
    )


Transport: Any = View.graphql_transport_ws_handler_class  # type: ignore[misc]  # it is generic
Legacy: Any = View.graphql_ws_handler_class  # type: ignore[misc]  # it is generic


class ReachingTransport(Transport):  # type: ignore[misc]  # a class in a variable
    async def handle_message(self, message: Any) -> None:
        self.view.reached("handler")
        await super().handle_message(message)

    async def run_operation(self, operation: Any) -> None:
        self.view.reached("task")
        await super().run_operation(operation)


class ReachingLegacy(Legacy):  # type: ignore[misc]  # a class in a variable
    async def handle_message(self, message: Any) -> None:
        self.view.reached("handler")
        await super().handle_message(message)

    async def handle_async_results(self, *arguments: Any, **keywords: Any) -> None:
        self.view.reached("task")
        await super().handle_async_results(*arguments, **keywords)


class Placed(View):
    """A view that does something when a place is reached for the first time."""

    acts: Mapping[str, Act] = {}
    graphql_transport_ws_handler_class = ReachingTransport
    graphql_ws_handler_class = ReachingLegacy

    def reached(self, place: str) -> None:
        self.acts, left = dict(self.acts), self.acts
        if place in left:
            self.acts = {key: act for key, act in left.items() if key != place}
            left[place]()

    async def get_root_value(self, _request: web.Request) -> Any:
        self.reached("get_root_value")
        return self

    async def create_websocket_response(
        self, request: web.Request, subprotocol: str | None
    ) -> web.WebSocketResponse:
        self.reached("create_websocket_response")
        return await super().create_websocket_response(request, subprotocol)

    async def get_context(self, *arguments: Any, **keywords: Any) -> Any:
        self.reached("get_context")
        return await super().get_context(*arguments, **keywords)

    async def on_ws_connect(self, context: Any) -> Any:
        self.reached("on_ws_connect")
        return await super().on_ws_connect(context)

    def decode_json(self, data: str | bytes) -> object:
        self.reached("decode_json")
        if b"seen" in (data.encode() if isinstance(data, str) else data):
            self.reached("decode_json of an operation")
        return super().decode_json(data)


def doing(acts: Mapping[str, Act]) -> type[View]:
    """A view class that does so where it is reached."""

    class Doing(Placed):
        pass

    Doing.acts = acts
    return Doing


@web.middleware
async def bring_value(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Put a value into the context, which a fresh one does not have."""
    token = attach(set_value("application", "value"))
    try:
        return await handler(request)
    finally:
        detach(token)


class After:
    """A middleware that keeps what is in the context when the view is done."""

    def __init__(self) -> None:
        self.saw: list[tuple[Any, ...]] = []

    @property
    def middleware(self) -> Any:
        @web.middleware
        async def compare(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            finally:
                span = trace.get_current_span().get_span_context()
                self.saw.append(
                    (dict(baggage.get_all()), get_value("application"), span.trace_id, span.span_id)
                )

        return compare


async def conversation(host: Host, protocol: str, **payload: Any) -> list[Frame]:
    """One client that asks for one operation after the other, and leaves."""
    client = await host.acknowledged(protocol, **({"payload": payload} if payload else {}))
    for id_, document in zip("abc", DOCUMENTS[protocol], strict=False):
        client.json(subscribe(client, id_, document))
        await client.message("complete")
    await part(client)
    return client.frames


Outcome = tuple[list[Frame], list[tuple[Any, ...]]]
"""The frames that the client heard, and the contexts after the view."""


async def over_websocket(
    base: type[View], telemetry: Telemetry | None, protocol: str, *middlewares: Any, **options: Any
) -> Outcome:
    """The conversation with a view of this class, recorded where there is telemetry."""
    after = After()
    async with hosting(made(base, telemetry, **options), after.middleware, *middlewares) as host:
        frames = await conversation(host, protocol)
    return frames, after.saw


def made(base: type[View], telemetry: Telemetry | None, **options: Any) -> View:
    """A view of this class, bare where there is no telemetry."""
    arguments: Any = {"keep_alive": False, "subscription_protocols": PROTOCOLS}
    if telemetry is None:
        return base(schema=schema(), **arguments)
    return instrumented(telemetry, base, **options)(schema=schema(OTelExtension), **arguments)


def counted(telemetry: Telemetry) -> dict[str, Any]:
    """What each instrument says, except for the bytes, which what is seen makes more or fewer."""
    metrics = telemetry.metrics()
    metrics.pop("websocket.server.io", None)
    return metrics


def expected_spans(
    protocol: str, *, init_: str | None = None, operations: str | None = None
) -> Any:
    """All spans of the conversation, with these parents of the init and of the operations."""
    return [
        expected_connection(protocol),
        init(parent=init_),
        *expected_operations(protocol, operations),
    ]


def expected_operations(
    protocol: str, parent: str | None = None, *, first: str | None = None, nested: bool = False
) -> list[SpanDict]:
    """The spans of the operations, of which the first may have another parent."""
    recorded_ = []
    for number, (id_, document) in enumerate(zip("abc", DOCUMENTS[protocol], strict=False)):
        name = document.partition(" ")[0]
        ordinal = DOCUMENTS[protocol][:number].count(document) + 1
        label = name if ordinal == 1 else f"{name} {ordinal}"
        is_query = document == QUERY
        results = 1 if is_query else 2
        events = [*results_of(protocol, *range(1, results + 1)), sent("complete")]
        recorded_ += [
            operation(
                document,
                "completed",
                protocol=protocol,
                id_=id_,
                name="Seen",
                results=results,
                events=events,
                parent=first if number == 0 and first else parent,
                links=[] if nested else [CONNECTION],
            ),
            *phases(label, *((PARSING, VALIDATION, EXECUTION) if is_query else ())),
        ]
    return recorded_


def expected_connection(protocol: str, **others: Any) -> SpanDict:
    documents = DOCUMENTS[protocol]
    return connection(
        protocol,
        messages=(4, 8) if protocol == TRANSPORT else (3, 7),
        operations=["query", "subscription", "query 2"]
        if len(documents) == 3
        else ["subscription", "subscription 2"],
        **{**MARK, **others},
    )
