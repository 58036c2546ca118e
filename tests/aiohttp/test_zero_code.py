"""The instrumentor on views and schemas of every kind, made before it and after it, and its end."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import strawberry
from aiohttp import web
from strawberry.aiohttp.views import GraphQLView
from strawberry.extensions import SchemaExtension

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from strawberry_ws_otel import _semconv as name
from strawberry_ws_otel.instrumentor import StrawberryWebSocketInstrumentor
from tests.support.applications.unaware_views import KINDS, View
from tests.support.hosting import Host, hosting, part
from tests.support.scenarios.steps import subscribe
from tests.support.schema import FOREVER, HELLO, TICKS, Query, Subscription, make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import config
from tests.support.zero_code import instrumented

ONCE = {
    name.SPAN_CONNECTION: 1,
    name.SPAN_CONNECTION_INIT: 1,
    "subscription": 1,
    "query": 1,
}
"""The spans of one visit, each once."""


async def visit(host: Host) -> None:
    """Subscribe over a WebSocket, and ask over HTTP."""
    client = await host.acknowledged()
    client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
    await client.message("complete")
    await part(client)
    status, answer = await host.post({"query": HELLO})
    assert (status, answer["data"]) == (200, {"hello": "world"})


async def visited(handler: Any) -> None:
    async with hosting(handler) as host:
        await visit(host)


def recorded(telemetry: Telemetry) -> dict[str, int]:
    """How often each span of a visit was recorded."""
    names = [span.name for span in telemetry.spans(*ONCE)]
    return {each: names.count(each) for each in dict.fromkeys(names)}


def assert_recorded(telemetry: Telemetry) -> None:
    """One visit was recorded, whole and once."""
    assert recorded(telemetry) == ONCE
    [connection] = telemetry.spans(name.SPAN_CONNECTION)
    attributes = attributes_of(connection)
    assert attributes[name.CLOSE_OUTCOME] == "normal"
    assert attributes[name.CLOSE_RECEIVED_CODE] == 1000
    assert (attributes[name.MESSAGES_RECEIVED], attributes[name.MESSAGES_SENT]) == (2, 4)
    [subscription] = telemetry.spans("subscription")
    assert attributes_of(subscription)[name.END_REASON] == "completed"
    assert telemetry.total(name.METRIC_CLOSES) == 1


# --- What is recorded ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_classes_and_views_of_later_are_recorded(kind: str, telemetry: Telemetry) -> None:
    with instrumented(telemetry):
        await visited(KINDS[kind]()())
    assert_recorded(telemetry)


@pytest.mark.parametrize("kind", KINDS)
async def test_views_of_classes_of_before_are_recorded(kind: str, telemetry: Telemetry) -> None:
    make = KINDS[kind]()
    with instrumented(telemetry):
        await visited(make())
    assert_recorded(telemetry)


@pytest.mark.parametrize("kind", KINDS)
async def test_views_of_before_are_recorded(kind: str, telemetry: Telemetry) -> None:
    view = KINDS[kind]()()
    with instrumented(telemetry):
        await visited(view)
    assert_recorded(telemetry)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_view_is_recorded_once_for_each_time_it_is_instrumented(
    kind: str, telemetry: Telemetry
) -> None:
    view = KINDS[kind]()()
    for _ in range(2):
        with instrumented(Telemetry()):
            await visited(view)
        await visited(view)
    with instrumented(telemetry):
        await visited(view)
    assert_recorded(telemetry)


async def test_the_gauges_exist_before_the_first_request(telemetry: Telemetry) -> None:
    with instrumented(telemetry):
        assert name.METRIC_CLOSES not in telemetry.metrics()
        view = View(schema=make_schema())
        assert telemetry.total(name.METRIC_CLOSES) == 0
        assert name.METRIC_CLOSES in telemetry.metrics()
    assert view is not None


async def test_a_run_that_replaces_ours_is_recorded(telemetry: Telemetry) -> None:
    class Patched(View):
        pass

    async def run(self: Any, request: Any, *arguments: Any, **options: Any) -> Any:
        return await View.run(self, request, *arguments, **options)

    view = Patched(schema=make_schema())
    with instrumented(telemetry):
        Patched.run = run  # type: ignore[method-assign]  # as others patch
        await visited(view)
    assert Patched.run is run
    assert_recorded(telemetry)


@pytest.mark.parametrize("is_early", [True, False], ids=["before", "after"])
async def test_a_schema_is_recorded_by_every_way_that_executes(
    telemetry: Telemetry, *, is_early: bool
) -> None:
    def make() -> strawberry.Schema:
        return strawberry.Schema(query=Query, subscription=Subscription)

    early = make()
    with instrumented(telemetry):
        schema = early if is_early else make()
        await schema.execute(HELLO)
        schema.execute_sync("query Typename { __typename }")
        stream = await schema.subscribe(TICKS, variable_values={"to": 1})
        async for _ in stream:
            pass
    names = [span.name for span in telemetry.spans("query", "subscription")]
    assert names == ["query", "query", "subscription"]


async def test_the_extension_stands_before_those_of_the_application(telemetry: Telemetry) -> None:
    class Own(SchemaExtension):
        pass

    schema = strawberry.Schema(query=Query, extensions=[Own])
    with instrumented(telemetry):
        found = schema.get_extensions()
    assert [isinstance(each, OTelExtension) for each in found] == [True, False]
    assert [type(each) for each in schema.get_extensions()] == [Own]


# --- An application that uses the library already --------------------------------------------


def by_hand(telemetry: Telemetry, *, mixin: bool, extension: bool) -> View:
    class Recorded(OTelViewMixin, View):
        otel_config = config(telemetry, capture_document=True)

    class Extension(OTelExtension):
        otel_config = config(telemetry)

    schema = strawberry.Schema(
        query=Query, subscription=Subscription, extensions=[Extension] if extension else []
    )
    return (Recorded if mixin else View)(schema=schema)


@pytest.mark.parametrize("is_early", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    ("mixin", "extension"), [(True, True), (True, False), (False, True), (False, False)]
)
async def test_what_the_application_has_by_hand_is_not_recorded_twice(
    telemetry: Telemetry, *, mixin: bool, extension: bool, is_early: bool
) -> None:
    early = by_hand(telemetry, mixin=mixin, extension=extension)
    with instrumented(telemetry):
        await visited(early if is_early else by_hand(telemetry, mixin=mixin, extension=extension))
    assert_recorded(telemetry)
    [subscription] = telemetry.spans("subscription")
    assert (name.DOCUMENT in attributes_of(subscription)) is mixin


async def test_the_configuration_of_a_class_wins(telemetry: Telemetry) -> None:
    class Configured(View):
        otel_config = OTelConfig(
            tracer_provider=telemetry.tracer_provider,
            meter_provider=telemetry.meter_provider,
            capture_document=True,
        )

    class Another(View):
        otel_config = "the application's own"

    with instrumented(Telemetry()):
        await visited(Configured(schema=make_schema()))
    with instrumented(telemetry, OTelConfig(message_events=0)):
        await visited(Another(schema=make_schema()))
    documents = [name.DOCUMENT in attributes_of(span) for span in telemetry.spans("subscription")]
    assert documents == [True, False]


# --- The end ---------------------------------------------------------------------------------


def classes_below(class_: type) -> Iterator[type]:
    yield class_
    derived: list[type] = type.__subclasses__(class_)
    for each in derived:
        yield from classes_below(each)


def state_of_the_hosts() -> dict[int, dict[str, Any]]:
    """Every attribute of every class of views, and of the schema's."""
    hosts = (
        *classes_below(GraphQLView),
        *GraphQLView.__mro__[1:-1],
        *classes_below(strawberry.Schema),
    )
    return {
        id(each): {key: value for key, value in vars(each).items() if not key.startswith("_abc_")}
        for each in hosts
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_the_end_restores_the_hosts_the_classes_and_the_views(
    kind: str, telemetry: Telemetry
) -> None:
    view = KINDS[kind]()()
    await visited(view)  # The host keeps what it has looked up.
    gc.collect()
    own = dict(vars(view)) if hasattr(view, "__dict__") else {}
    before = state_of_the_hosts()
    with instrumented(telemetry):
        await visited(view)
        assert state_of_the_hosts() != before
    after = state_of_the_hosts()
    assert {key: after[key] for key in before} == before
    assert all(after[key].keys() == before[key].keys() for key in before)
    assert not own or dict(vars(view)) == own
    await visited(view)
    assert_recorded(telemetry)


async def test_a_view_made_in_between_is_as_if_it_had_never_been_recorded(
    telemetry: Telemetry,
) -> None:
    class Between(View):
        pass

    before = dict(vars(Between))
    with instrumented(telemetry):
        view = Between(schema=make_schema())
        assert dict(vars(Between)) != before
    assert dict(vars(Between)) == before
    assert vars(view).keys() == vars(Between(schema=make_schema())).keys()


async def test_a_connection_that_lives_on_is_recorded_until_it_ends(telemetry: Telemetry) -> None:
    view = View(schema=make_schema())
    with instrumented(telemetry):
        context = hosting(view)
        host = await context.__aenter__()
        client = await host.acknowledged()
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next")
    client.json(subscribe(client, "b", TICKS, variables={"to": 1}))
    await client.message("complete")
    await part(client)
    later = await host.acknowledged()
    await part(later)
    await context.__aexit__(None, None, None)
    [connection] = telemetry.spans(name.SPAN_CONNECTION)
    attributes = attributes_of(connection)
    assert attributes[name.CLOSE_OUTCOME] == "normal"
    assert attributes[name.OPERATION_COUNT] == 2
    ends = {
        span.name: attributes_of(span)[name.END_REASON]
        for span in telemetry.spans("subscription", name.SPAN_OPERATION)
    }
    # Without the extension nobody knows the type of an operation that began later.
    assert ends == {"subscription": "connection_closed", name.SPAN_OPERATION: "completed"}
    assert telemetry.total(name.METRIC_ACTIVE_CONNECTIONS) == 0


async def test_a_view_for_every_request_leaves_nothing_for_the_collector(
    telemetry: Telemetry,
) -> None:
    made: list[weakref.ref[View]] = []

    class Fresh(View):
        pass

    async def endpoint(request: web.Request) -> web.StreamResponse:
        view = Fresh(schema=make_schema())
        made.append(weakref.ref(view))
        return await view(request)

    gc.collect()
    with instrumented(telemetry):
        async with hosting(endpoint) as host:
            gc.disable()
            try:
                await host.post({"query": HELLO})
                await host.served()
                await asyncio.sleep(0)
                assert [each() for each in made] == [None]
            finally:
                gc.enable()


def test_a_class_that_is_gone_is_not_kept(telemetry: Telemetry) -> None:
    def make() -> weakref.ref[type]:
        class Passing(View):
            async def run(self, request: Any, *arguments: Any, **options: Any) -> Any:
                return await super().run(request, *arguments, **options)

        Passing(schema=make_schema())
        return weakref.ref(Passing)

    with instrumented(telemetry):
        gone = make()
        gc.collect()
        assert gone() is None


def test_what_others_have_wrapped_since_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrapped(View):
        pass

    with instrumented(Telemetry()):
        view = Wrapped(schema=make_schema())
        ours = Wrapped.run
        theirs = partial(ours)
        monkeypatch.setattr(Wrapped, "run", theirs)
    assert vars(Wrapped)["run"] is theirs
    assert view is not None


async def test_a_run_that_was_bound_in_between_serves_on(telemetry: Telemetry) -> None:
    view = View(schema=make_schema())
    with instrumented(telemetry):
        run = view.run
    await visited(run)
    assert not telemetry.spans()


def test_it_can_be_instrumented_again(telemetry: Telemetry) -> None:
    instrumentor = StrawberryWebSocketInstrumentor()
    for _ in range(2):
        with instrumented(telemetry) as same:
            assert same is instrumentor
            assert instrumentor.is_instrumented_by_opentelemetry
        assert not instrumentor.is_instrumented_by_opentelemetry
