"""The extension has the hooks that an operation needs, and records what only the host knows."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, ClassVar

import pytest
from graphql import GraphQLError
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from strawberry.aiohttp.views import GraphQLView
from strawberry.extensions import MaskErrors, SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError

from strawberry_ws_otel import OTelExtension, OTelViewMixin
from strawberry_ws_otel._connection import Request
from strawberry_ws_otel._current import Activation, Current, current
from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._operation import Operation
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS
from strawberry_ws_otel._recording import Telemetry as Recording
from tests.support.broken_api import PipeError
from tests.support.fake_connection import FakeConnection, Place, operation_in
from tests.support.log import LogKeeper, RaisingHandler, handling
from tests.support.schema import (
    BROKEN,
    FAILING,
    FOREVER,
    HELLO,
    INVALID,
    PARTIAL,
    RENAME,
    TICKS,
    UNPARSABLE,
    make_schema,
)
from tests.support.telemetry import Telemetry, attributes_of, events_of
from tests.support.views import config, extension

PHASES = ["GraphQL Document Parsing", "GraphQL Document Validation", "GraphQL Operation Execution"]
OPERATION = "GraphQL Operation"
TWO = {"to": 2}
FRAGMENT_FIRST = "fragment Greeting on Query { hello } query Hello { ...Greeting }"
SUBSCRIPTION_LAST = "fragment Ticking on Subscription { ticks(to: 2) } subscription { ...Ticking }"


def names(telemetry: Telemetry) -> list[str]:
    return [span.name for span in telemetry.spans()]


def error_type_of(telemetry: Telemetry, name: str) -> Any:
    [span] = telemetry.spans(name)
    return attributes_of(span).get("error.type")


# --- Operations that nobody recorded before ------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "spans", "error_type"),
    [
        (HELLO, ["query", *PHASES], None),
        (RENAME, ["mutation", *PHASES], None),
        (BROKEN, ["query", *PHASES], "tests.support.schema.AppError"),
        (INVALID.replace("subscription", "query"), ["query", *PHASES[:2]], "GraphQLError"),
        ("{ hello", [OPERATION, *PHASES[:1]], "GraphQLSyntaxError"),
        (UNPARSABLE, [OPERATION], "GraphQLSyntaxError"),
        (FRAGMENT_FIRST, ["query", *PHASES], None),
        (f"fragment {UNPARSABLE}", [OPERATION, *PHASES[:1]], "GraphQLSyntaxError"),
    ],
    ids=[
        *("query", "mutation", "broken", "invalid", "unparsable", "unparsable subscription"),
        *("fragment first", "unparsable fragment"),
    ],
)
@pytest.mark.parametrize("is_sync", [True, False])
async def test_an_operation_is_recorded_with_its_phases_and_errors(
    document: str, spans: list[str], error_type: str | None, telemetry: Telemetry, *, is_sync: bool
) -> None:
    schema = make_schema(extension(telemetry))
    if is_sync and document not in {HELLO, FRAGMENT_FIRST}:
        schema.execute_sync(document)
    else:
        await schema.execute(document)
    assert names(telemetry) == spans
    found = error_type_of(telemetry, spans[0])
    assert (found and found.rpartition(".")[2]) == (error_type and error_type.rpartition(".")[2])
    assert current() == Current()


async def test_an_operation_that_the_host_refuses_is_recorded_with_the_class_of_that(
    telemetry: Telemetry,
) -> None:
    schema = make_schema(extension(telemetry))
    with pytest.raises(CannotGetOperationTypeError):
        await schema.execute(HELLO, operation_name="Other")
    assert error_type_of(telemetry, OPERATION).endswith(".CannotGetOperationTypeError")


async def test_an_operation_of_a_request_has_its_route_from_the_start(telemetry: Telemetry) -> None:
    request = Request(Recording(config(telemetry)), route="/graphql")
    place = Place()
    place.run(Activation, Current(request), Fuse())
    execution = make_schema(extension(telemetry)).execute(HELLO)
    await place.run(asyncio.ensure_future, execution)
    [query] = telemetry.spans("query")
    assert attributes_of(query)["http.route"] == "/graphql"


async def test_an_operation_without_phases_has_one_span(telemetry: Telemetry) -> None:
    await make_schema(extension(telemetry, phase_spans=False)).execute(HELLO)
    assert names(telemetry) == ["query"]


@pytest.mark.parametrize("document", [HELLO, FRAGMENT_FIRST])
async def test_the_phases_follow_each_other_whenever_the_type_is_known(
    document: str, telemetry: Telemetry
) -> None:
    await make_schema(extension(telemetry)).execute(document)
    times = [(span.start_time or 0, span.end_time or 0) for span in telemetry.spans()]
    (started, ended), *phases = times
    assert all(start < end for start, end in times)
    moments = [moment for phase in phases for moment in phase]
    assert moments == sorted(moments)
    assert started <= moments[0] <= moments[-1] <= ended


async def test_the_operation_is_current_while_it_is_executed(telemetry: Telemetry) -> None:
    seen: list[Any] = []

    class Looking(SchemaExtension):
        def on_execute(self) -> Iterator[None]:
            seen.append((current().operation, trace.get_current_span()))
            yield

    await make_schema(extension(telemetry), Looking).execute(HELLO)
    [(operation, span)] = seen
    assert isinstance(operation, Operation)
    assert span is operation.span.span


async def stream(telemetry: Telemetry, document: str, **variables: Any) -> AsyncIterator[Any]:
    schema = make_schema(extension(telemetry))
    results: Any = await schema.subscribe(document, variables)
    return results  # type: ignore[no-any-return]  # an iterator of results


@pytest.mark.parametrize("document", [TICKS, SUBSCRIPTION_LAST])
async def test_a_subscription_is_recorded_to_its_end_and_its_phases_are_not(
    document: str, telemetry: Telemetry
) -> None:
    results = [result.data async for result in await stream(telemetry, document, to=2)]
    assert results == [{"ticks": 0}, {"ticks": 1}]
    assert names(telemetry) == ["subscription"]
    assert error_type_of(telemetry, "subscription") is None
    assert telemetry.total("graphql.server.subscription.event_count") == 2


async def test_the_errors_of_a_subscription_are_recorded(telemetry: Telemetry) -> None:
    results = [result async for result in await stream(telemetry, FAILING)]
    assert [result.errors is None for result in results] == [True, False]
    assert error_type_of(telemetry, "subscription").endswith("AppError")


async def test_a_subscription_that_its_reader_leaves_has_not_failed(telemetry: Telemetry) -> None:
    results: Any = await stream(telemetry, FOREVER)
    assert (await anext(results)).data == {"forever": 0}
    await results.aclose()
    assert error_type_of(telemetry, "subscription") is None


async def test_a_subscription_that_is_cancelled_has_not_failed_and_a_query_has(
    telemetry: Telemetry,
) -> None:
    async def read() -> None:
        async for _ in await stream(telemetry, FOREVER):
            started.set()

    class Waiting(SchemaExtension):
        async def on_execute(self) -> AsyncIterator[None]:
            started.set()
            await asyncio.Event().wait()
            yield

    query = make_schema(extension(telemetry), Waiting).execute(HELLO)
    for coroutine in (read(), query):
        started = asyncio.Event()
        task = asyncio.ensure_future(coroutine)
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    gc.collect()
    assert error_type_of(telemetry, "subscription") is None
    assert error_type_of(telemetry, "query") == "asyncio.exceptions.CancelledError"


async def test_an_error_is_recorded_before_another_extension_masks_it(
    telemetry: Telemetry,
) -> None:
    for extensions in ((MaskErrors, extension(telemetry)), (extension(telemetry), MaskErrors)):
        result = await make_schema(*extensions).execute(BROKEN)
        assert [error.message for error in result.errors or ()] == ["Unexpected error."]
    for span in telemetry.spans("query"):
        assert attributes_of(span)["error.type"] == "tests.support.schema.AppError"
        assert len(events_of(span, "graphql.error")) == 1


class Failing(SchemaExtension):
    """Fails an operation before or after the extensions that come later."""

    def on_operation(self) -> Iterator[None]:
        raise PipeError("before")
        yield


class FailingParser(SchemaExtension):
    def on_parse(self) -> Iterator[None]:
        raise GraphQLError("it may not be parsed")
        yield


@pytest.mark.parametrize("other", [Failing, FailingParser])
@pytest.mark.parametrize("is_first", [True, False])
async def test_what_another_extension_raises_is_an_error_of_the_operation(
    other: Any, telemetry: Telemetry, *, is_first: bool
) -> None:
    own = extension(telemetry)
    result = await make_schema(*((other, own) if is_first else (own, other))).execute(HELLO)
    assert len(result.errors or ()) == 1
    assert error_type_of(telemetry, OPERATION)
    assert current() == Current()


# --- Operations of a connection ------------------------------------------------------------------

HOOKS = ("on_operation", "on_parse", "on_validate", "on_execute")
ONE_TICK = "subscription Tick { ticks(to: 1) }"


def connected(telemetry: Telemetry, **options: Any) -> FakeConnection:
    talk = FakeConnection(config(telemetry, **options))
    talk.accept(GRAPHQL_TRANSPORT_WS)
    return talk


async def drain(schema: Any, document: str) -> list[Any]:
    return [result async for result in await schema.stream(document)]


async def execute(place: Place, *extensions: Any, document: str) -> list[Any]:
    """The results that the host streams there."""
    streaming = drain(make_schema(*extensions), document)
    return await place.run(asyncio.ensure_future, streaming)


@pytest.mark.parametrize(
    ("document", "is_sampled", "phase_spans", "hooks"),
    [
        (HELLO, False, True, set()),
        (ONE_TICK, False, True, set()),
        (FRAGMENT_FIRST, False, True, {"on_validate"}),
        (HELLO, True, False, set()),
        (FRAGMENT_FIRST, True, False, {"on_validate"}),
        (ONE_TICK, True, True, set()),
        (HELLO, True, True, {"on_parse", "on_validate", "on_execute"}),
        (FRAGMENT_FIRST, True, True, {"on_parse", "on_validate", "on_execute"}),
    ],
)
async def test_an_operation_of_a_connection_has_the_hooks_that_it_needs(
    document: str, hooks: set[str], *, is_sampled: bool, phase_spans: bool
) -> None:
    telemetry = Telemetry() if is_sampled else Telemetry(sampler=ALWAYS_OFF)
    instances: list[SchemaExtension] = []

    class Hooked(OTelExtension):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            instances.append(self)

    talk = connected(telemetry, phase_spans=phase_spans)
    task = talk.start_operation(query=document)
    operation = operation_in(task)
    [result] = await execute(task, Hooked, document=document)
    assert result.errors is None
    assert operation.executions == 1
    word = "subscription" if document is ONE_TICK else "query"
    assert operation.type == word
    [instance] = instances
    own = {name: getattr(type(instance), name) for name in HOOKS}
    assert {n for n, hook in own.items() if hook is not getattr(SchemaExtension, n)} == hooks
    talk.close_by_client()
    telemetry.shutdown()


async def test_an_execution_besides_is_below_the_operation_and_names_its_connection(
    telemetry: Telemetry,
) -> None:
    talk = connected(telemetry)
    task = talk.start_operation()
    await execute(task, OTelExtension, document="query Beside { hello }")
    talk.close_by_client()
    spans = {span["name"]: span for span in telemetry.snapshots()}
    assert spans["query"]["parent"] == spans[OPERATION]["id"]
    id_ = spans[OPERATION]["attributes"]["websocket.connection.id"]
    assert spans["query"]["attributes"]["websocket.connection.id"] == id_


async def test_a_stream_of_an_equal_document_in_another_task_is_the_operations(
    telemetry: Telemetry,
) -> None:
    talk = connected(telemetry)
    operation = operation_in(talk.start_operation(query=HELLO))
    await execute(talk.reader, OTelExtension, document=f"{HELLO} "[:-1])
    assert operation.type == "query"
    talk.close_by_client()


async def test_a_stream_of_another_document_is_the_applications_unless_the_host_serves(
    telemetry: Telemetry,
) -> None:
    talk = connected(telemetry)
    task = talk.start_operation(query="query Sent { hello }")
    await execute(task, OTelExtension, document=HELLO)
    assert operation_in(task).executions == 0
    talk.close_by_client()


async def test_in_a_task_that_knows_nothing_the_very_document_leads_to_the_operation(
    telemetry: Telemetry,
) -> None:
    talk = connected(telemetry)
    document = f"{HELLO} "
    operation = operation_in(talk.begin_operation(query=document))
    talk.end_handling()
    await execute(Place(), OTelExtension, document=document)
    assert operation.executions == 1
    talk.close_by_client()


@pytest.mark.parametrize("is_sampled", [True, False])
async def test_the_errors_of_a_connections_operation_come_with_its_result(
    *, is_sampled: bool
) -> None:
    telemetry = Telemetry() if is_sampled else Telemetry(sampler=ALWAYS_OFF)
    talk = connected(telemetry)
    task = talk.start_operation(query=FAILING)
    results = await execute(task, OTelExtension, document=FAILING)
    for result in results:
        errors = [{"message": error.message} for error in result.errors or ()]
        talk.send("next", id="a", payload={"errors": errors}, within=task)
    talk.close_by_client()
    name = "graphql.server.subscription.event_count"
    assert telemetry.total(name) == 2
    assert telemetry.total(name, error__type="tests.support.schema.AppError") == 1
    telemetry.shutdown()


class FailingExecution(SchemaExtension):
    def on_execute(self) -> Iterator[None]:
        raise PipeError("before its source")
        yield


@pytest.mark.parametrize(
    ("document", "extensions", "exception"),
    [
        (PARTIAL, (), "tests.support.schema.AppError"),
        (ONE_TICK, (FailingExecution,), "tests.support.broken_api.PipeError"),
        (INVALID, (), None),
        (UNPARSABLE, (), None),
        (HELLO, (), None),
    ],
    ids=["of a resolver", "around resolvers", "invalid", "unparsable", "refused by the host"],
)
async def test_without_hooks_the_first_errors_show_whether_they_are_of_the_execution(
    document: str, extensions: tuple[Any, ...], exception: str | None, telemetry: Telemetry
) -> None:
    talk = connected(telemetry, phase_spans=False)
    task = talk.start_operation(query=document)
    schema = make_schema(OTelExtension, *extensions)

    async def subscribe() -> list[Any]:
        results: Any = await schema.subscribe(document)
        return [result async for result in results]

    [result] = await task.run(asyncio.ensure_future, subscribe())
    assert len(result.errors) == 1
    talk.close_by_client()
    [span] = telemetry.spans("subscription", "query", OPERATION)
    [event] = events_of(span, "graphql.error")
    assert event.get("exception.type") == exception
    assert event.get("graphql.error.message") == (result.errors[0].message if exception else None)


async def test_a_document_without_the_operation_has_no_type(telemetry: Telemetry) -> None:
    talk = connected(telemetry)
    task = talk.start_operation(query=UNPARSABLE)
    [result] = await execute(task, OTelExtension, document=UNPARSABLE)
    assert len(result.errors) == 1
    assert operation_in(task).type is None
    talk.close_by_client()


async def test_a_subclass_reads_what_the_host_knows_of_the_operation(telemetry: Telemetry) -> None:
    documents: list[str | None] = []

    class Reading(extension(telemetry)):  # type: ignore[misc]  # whichever it is
        def get_results(self) -> dict[str, Any]:
            documents.append(self.execution_context.query)
            results: dict[str, Any] = super().get_results()
            return results

    await make_schema(Reading).execute(HELLO)
    assert documents == [HELLO]
    assert len(telemetry.spans("query")) == 1


# --- What an application may get wrong -----------------------------------------------------------


@pytest.mark.internal_error
@pytest.mark.parametrize("document", [HELLO, BROKEN])
async def test_an_instance_serves_one_operation_and_says_so_once(
    document: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    instance: Any = extension(telemetry)()
    with pytest.warns(DeprecationWarning, match="extension instance"):
        schema = make_schema(instance)
    for _ in range(3):
        await schema.execute(document)
    [record] = library_log.records
    assert "give the class to the schema" in record.getMessage()
    assert len(telemetry.spans("query")) == 1


async def test_an_instance_of_which_a_view_has_warned_says_no_more(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    instance = extension(telemetry)()
    instance._is_reported = True
    schema = make_schema(lambda: instance)
    for _ in range(3):
        assert (await schema.execute(HELLO)).data == {"hello": "world"}
    assert library_log.records == []
    assert len(telemetry.spans("query")) == 1


# --- Likely mistakes -----------------------------------------------------------------------------


class Handler:
    """Serves an operation over a WebSocket, as the host's handlers do."""

    def __init__(self, view: object) -> None:
        self.view = view

    async def run_operation(self, schema: Any) -> None:
        assert (await schema.execute(HELLO)).data == {"hello": "world"}

    async def handle_async_results(self, schema: Any) -> None:
        await self.run_operation(schema)


class Bare(GraphQLView[Any, Any]):
    pass


class Mixed(OTelViewMixin, Bare):
    pass


WITHOUT_MIXIN = (
    "Bare serves WebSockets without OTelViewMixin: its connections and closes are not recorded; put"
    " it before the view, class Bare(OTelViewMixin, GraphQLView)"
)


async def serve(serving: Callable[[Any], Coroutine[Any, Any, None]], schema: Any) -> None:
    """Serve three operations, each in a task of its own."""
    for _ in range(3):
        await asyncio.create_task(serving(schema))


@pytest.mark.parametrize("method", ["run_operation", "handle_async_results"])
async def test_a_view_without_the_mixin_is_one_warning_at_the_first_operation_over_a_websocket(
    method: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    for times in (1, 2):
        schema = make_schema(extension(telemetry))
        await schema.execute(HELLO)
        assert len(library_log.records) == times - 1, "that was none"
        await serve(getattr(Handler(Bare(schema=schema)), method), schema)
        said = [(record.levelname, record.getMessage()) for record in library_log.records]
        assert said == [("WARNING", WITHOUT_MIXIN)] * times


@pytest.mark.internal_error
async def test_an_operation_is_recorded_though_the_warning_cannot_be_logged(
    telemetry: Telemetry,
) -> None:
    schema = make_schema(extension(telemetry))
    with handling(RaisingHandler()):
        await serve(Handler(Bare(schema=schema)).run_operation, schema)
    assert len(telemetry.spans("query")) == 3


@pytest.mark.parametrize("serving", [Handler(Mixed(schema=make_schema(OTelExtension))), Handler(0)])
async def test_a_view_with_the_mixin_or_of_another_server_is_no_warning(
    serving: Handler, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    own = extension(telemetry)
    schema = make_schema(own)
    await serve(serving.run_operation, schema)
    # It has been looked at once, and is not any more.
    await serve(Handler(Bare(schema=schema)).run_operation, schema)
    assert library_log.records == []


async def test_a_view_without_the_mixin_is_no_warning_for_who_wants_it_so(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    schema = make_schema(extension(telemetry, setup_warnings=False))
    await serve(Handler(Bare(schema=schema)).run_operation, schema)
    assert library_log.records == []


@pytest.mark.parametrize("warns", [True, False])
def test_an_attribute_that_was_to_be_the_configuration_is_a_warning(
    telemetry: Telemetry, library_log: LogKeeper, *, warns: bool
) -> None:
    class Own(extension(telemetry, setup_warnings=warns)):  # type: ignore[misc]  # whichever it is
        otel_confg = config(telemetry)

    message = (
        f"{Own.__qualname__}.otel_confg is not read, and its options have no effect; did you mean"
        " otel_config? Then rename it"
    )
    assert [record.getMessage() for record in library_log.records] == [message] * warns


@pytest.mark.internal_error
async def test_a_configuration_that_is_broken_later_on_harms_no_operation(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    broken = extension(telemetry)
    broken.otel_config = {}
    result = await make_schema(broken).execute(HELLO)
    assert result.data == {"hello": "world"}
    assert telemetry.spans() == []
    [record] = library_log.records
    assert "must be an OTelConfig" in record.getMessage()


def test_a_configuration_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.otel_config must be an OTelConfig, not \{\}"):

        class Wrong(OTelExtension):
            otel_config: ClassVar[Any] = {}


class Unreadable(dict[str, Any]):
    """Extensions that nobody can look anything up in."""

    def get(self, *_: object) -> Any:
        raise PipeError


class Refusing(SchemaExtension):
    """Refuses every document, with an error that cannot be read."""

    def on_parse(self) -> Iterator[None]:
        yield
        self.execution_context.pre_execution_errors = [
            GraphQLError("bad", extensions=Unreadable(code="BAD"))
        ]


@pytest.mark.internal_error
async def test_an_error_that_cannot_be_read_harms_no_answer(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    result = await make_schema(extension(telemetry), Refusing).execute(HELLO)
    assert [error.message for error in result.errors or ()] == ["bad"]
    assert len(library_log.records) == 1
    assert len(telemetry.spans("query", OPERATION)) == 1


async def test_a_provider_is_asked_once_for_each_configuration_of_a_class(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    get_tracer = telemetry.tracer_provider.get_tracer

    def ask(name: str, *arguments: Any, **keywords: Any) -> Any:
        asked.append(name)
        return get_tracer(name, *arguments, **keywords)

    monkeypatch.setattr(telemetry.tracer_provider, "get_tracer", ask)
    own = extension(telemetry)
    for _ in range(2):
        await make_schema(own).execute(HELLO)
    assert asked == ["strawberry_ws_otel"]
    own.otel_config = config(telemetry, phase_spans=False)
    await make_schema(own).execute(HELLO)
    assert asked == ["strawberry_ws_otel"] * 2
    assert names(telemetry) == ["query", *PHASES, "query", *PHASES, "query"]
