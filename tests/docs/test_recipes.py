"""The recipes do what their pages say: each page's own code is served, and talked to."""

import json
import logging
import os
import subprocess
import sys
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import strawberry
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan
from strawberry.aiohttp.views import GraphQLView
from strawberry.extensions.tracing import OpenTelemetryExtension

from strawberry_ws_otel import OpenConnection, OpenOperation, OTelConfig, OTelExtension
from tests.support import documented, snippets
from tests.support.expected import CONNECTION, INIT
from tests.support.hosting import hosting, part
from tests.support.loopback import on_loopback
from tests.support.pages import ROOT, Page
from tests.support.raw_client import Client
from tests.support.scenarios.steps import subscribe
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import config

FOREVER = "subscription Forever { forever }"
COUNT = "subscription Count { count }"


def module_of(recipe: str) -> ModuleType:
    return snippets.run(Page(f"docs/recipes/{recipe}.md"))


def recorded(view: type, telemetry: Telemetry, schema: Any = documented.schema) -> Any:
    """A view of this class with the options that it has, in the telemetry of the test."""
    options = {
        name: getattr(view.otel_config, name)  # type: ignore[attr-defined]  # it has the mixin
        for name in OTelConfig.__dataclass_fields__
        if not name.endswith("_provider")
    }
    derived = type(view.__name__, (view,), {"otel_config": config(telemetry, **options)})
    return derived(schema=schema)


async def counted(client: Client) -> None:
    """Subscribe to the end, and leave."""
    client.json(subscribe(client, "a", COUNT))
    await client.message("complete")
    await part(client)


def operations(telemetry: Telemetry) -> list[ReadableSpan]:
    return telemetry.spans("subscription", "query")


def connection(telemetry: Telemetry) -> dict[str, Any]:
    [span] = telemetry.spans(CONNECTION)
    return attributes_of(span)


# --- Who is connected ------------------------------------------------------------------------


async def test_the_user_and_the_tenant_are_on_the_connection_and_its_operations(
    telemetry: Telemetry,
) -> None:
    view = recorded(module_of("auth").LoggedInView, telemetry)
    async with hosting(view) as host:
        await counted(await host.acknowledged(payload={"user": "ada"}))
    for attributes in (connection(telemetry), *map(attributes_of, operations(telemetry))):
        assert (attributes["user.id"], attributes["tenant.id"]) == ("ada", "tenant of ada")


@pytest.mark.parametrize("payload", [{}, {"user": 5}], ids=str)
async def test_a_client_that_is_rejected_is_forbidden(
    payload: dict[str, Any], telemetry: Telemetry
) -> None:
    view = recorded(module_of("auth").LoggedInView, telemetry)
    async with hosting(view) as host:
        client = await host.connect()
        client.json({"type": "connection_init", "payload": payload})
        await client.until_end()
    assert connection(telemetry)["websocket.close.outcome"] == "forbidden"


# --- Sockets ---------------------------------------------------------------------------------


async def test_the_heartbeat_detects_a_client_that_does_not_answer(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_of("heartbeat")
    heartbeats = []

    class Hasty(web.WebSocketResponse):
        def __init__(self, *, heartbeat: float | None = None, **options: Any) -> None:
            heartbeats.append(heartbeat)
            super().__init__(heartbeat=heartbeat and 0.1, **options)

    monkeypatch.setattr(module.web, "WebSocketResponse", Hasty)
    async with hosting(recorded(module.BeatingView, telemetry)) as host:
        client = await host.acknowledged()
        await client.until_end()
    assert 20 in heartbeats
    assert connection(telemetry)["websocket.close.outcome"] == "heartbeat_timeout"


# --- What is open now ------------------------------------------------------------------------


async def test_only_operators_see_what_is_open(telemetry: Telemetry) -> None:
    module = module_of("open-connections")
    view = recorded(documented.View, telemetry)
    async with hosting(view) as host, on_loopback(module.app) as runner:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next")
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/internal/connections"
        async with host.session.get(url) as refused:
            assert refused.status == 403
        operator = {"Authorization": "Bearer of-an-operator"}
        async with host.session.get(url, headers=operator) as answer:
            [shown] = await answer.json()
        await part(client)
    assert shown["id"] == connection(telemetry)["websocket.connection.id"]
    assert [(each["type"], each["results"]) for each in shown["operations"]] == [
        ("subscription", 1)
    ]


def test_the_answer_has_the_fields_that_the_page_shows() -> None:
    [answer] = Page("docs/recipes/open-connections.md").blocks("json")
    [shown] = json.loads(answer)
    assert list(shown) == list(OpenConnection.__dataclass_fields__)
    [operation] = shown["operations"]
    assert list(operation) == list(OpenOperation.__dataclass_fields__)


async def test_the_connections_of_a_tenant_are_picked_in_python(telemetry: Telemetry) -> None:
    module = module_of("open-connections")
    async with hosting(recorded(module_of("auth").LoggedInView, telemetry)) as host:
        for user in ("ada", "ada", "grace"):
            await host.acknowledged(payload={"user": user})
        counts = [await module.count_of_tenant(f"tenant of {user}") for user in ("ada", "grace")]
        for client in host.clients:
            await part(client)
    assert counts == [2, 1]


# --- Several views ---------------------------------------------------------------------------


async def test_each_of_several_views_has_its_own_options(telemetry: Telemetry) -> None:
    module = module_of("views")
    for view in module.PublicView, module.AdminView:
        async with hosting(recorded(view, telemetry)) as host:
            client = await host.acknowledged()
            client.json(subscribe(client, "a", FOREVER))
            await client.message("next")
            client.reset()
    public, admin = telemetry.spans(CONNECTION)
    assert attributes_of(public)["websocket.close.fault"] == "none"
    assert attributes_of(admin)["websocket.close.fault"] == "network"
    documents = [attributes_of(span).get("graphql.document") for span in operations(telemetry)]
    assert documents == [None, FOREVER]


async def test_views_are_told_apart_by_attributes_on_metrics(telemetry: Telemetry) -> None:
    module = module_of("views")
    admin, one = module.AdminView.otel_config, module.view.otel_config
    assert (admin.attributes, one.attributes) == (
        {"graphql.endpoint": "admin"},
        {"graphql.endpoint": "jobs"},
    )
    view = recorded(module.AdminView, telemetry)
    async with hosting(view) as host:
        await counted(await host.acknowledged())
    assert telemetry.total("websocket.server.closes", graphql__endpoint="admin") == 1


# --- Without code ----------------------------------------------------------------------------


async def test_an_application_without_the_library_is_recorded(telemetry: Telemetry) -> None:
    """The page `docs/recipes/without-code.md`."""
    module = module_of("without-code")
    instrumentor = module.StrawberryWebSocketInstrumentor()
    try:
        instrumentor.instrument(
            tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider
        )
        async with hosting(GraphQLView(schema=documented.bare_schema)) as host:
            await counted(await host.acknowledged())
    finally:
        instrumentor.uninstrument()
    assert connection(telemetry)["websocket.close.outcome"] == "normal"
    assert len(operations(telemetry)) == 1


# --- What is recorded ------------------------------------------------------------------------


async def test_metrics_are_recorded_without_spans(telemetry: Telemetry) -> None:
    module = module_of("metrics-only")
    provider = module.CountedView.otel_config.tracer_provider
    options = OTelConfig(tracer_provider=provider, meter_provider=telemetry.meter_provider)
    view = type("View", (module.CountedView,), {"otel_config": options})
    async with hosting(view(schema=documented.schema)) as host:
        await counted(await host.acknowledged())
    assert telemetry.spans() == []
    assert telemetry.total("websocket.server.closes") == 1


async def test_a_test_finds_its_spans() -> None:
    module = module_of("tests")
    async with hosting(module.TestedView(schema=documented.schema)) as host:
        await counted(await host.acknowledged())
    names = {span.name for span in module.exporter.get_finished_spans()}
    assert {CONNECTION, INIT, "subscription"} <= names


async def test_a_resolver_adds_to_the_span_of_its_operation(telemetry: Telemetry) -> None:
    module = module_of("own-spans")

    def cheapest() -> module.Cheapest:  # type: ignore[name-defined]  # the page's
        return module.Cheapest()

    query = type("Query", (), {"cheapest": strawberry.field(resolver=cheapest)})
    schema = strawberry.Schema(strawberry.type(query), extensions=[OTelExtension])
    async with hosting(recorded(documented.View, telemetry, schema)) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", '{ cheapest { price(symbol: "ACME") } }'))
        await client.message("complete")
        await part(client)
    [operation] = operations(telemetry)
    assert attributes_of(operation)["prices.symbol"] == "ACME"


async def test_the_log_can_be_turned_off(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("strawberry_ws_otel")
    level = logger.level
    try:
        snippets.run(Page("docs/reference/log.md"))
        async with hosting(recorded(documented.View, telemetry)) as host:
            (await host.acknowledged()).reset()
    finally:
        logger.setLevel(level)
    assert connection(telemetry)["websocket.close.outcome"] == "connection_lost"
    assert [record for record in caplog.records if record.name == logger.name] == []


# --- Health checks ---------------------------------------------------------------------------


async def test_the_sampler_drops_a_health_check_and_the_metrics_count_it() -> None:
    telemetry = Telemetry(sampler=module_of("health-checks").sampler)
    try:
        async with hosting(recorded(documented.View, telemetry)) as host:
            for agent in "kube-probe/1.30", "browser":
                client = await host.connect(headers={"User-Agent": agent})
                await part(client)
        assert connection(telemetry)["user_agent.original"] == "browser"
        assert telemetry.total("websocket.server.closes") == 2
    finally:
        telemetry.shutdown()


def test_the_health_check_has_a_path_of_its_own() -> None:
    module = module_of("health-checks")
    assert module.healthy in {route.handler for route in module.app.router.routes()}


# --- Migrating -------------------------------------------------------------------------------


def schema_with(*extensions: Any) -> Any:
    return strawberry.Schema(
        query=documented.Query, subscription=documented.Subscription, extensions=list(extensions)
    )


def parents(telemetry: Telemetry) -> list[tuple[str, str | None]]:
    """Each span of operations with its parent, both by name."""
    names = {span.context.span_id: span.name for span in telemetry.spans() if span.context}
    return [
        (span.name, names.get(span.parent.span_id) if span.parent else None)
        for span in telemetry.spans()
        if span.name not in {CONNECTION, INIT}
    ]


async def test_resolvers_have_spans_below_the_operation(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_of("migrating")
    monkeypatch.setattr(module, "tracer", telemetry.tracer_provider.get_tracer("resolvers"))
    view = recorded(module.MigratedView, telemetry, module.traced_schema)
    async with hosting(view) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", "{ hello }"))
        await client.message("complete")
        await part(client)
    assert ("GraphQL Resolving: hello", "query") in parents(telemetry)


async def test_strawberrys_extension_beside_ours_is_below_the_operation(
    telemetry: Telemetry,
) -> None:
    theirs = partial(OpenTelemetryExtension, tracer_provider=telemetry.tracer_provider)
    schema = schema_with(OTelExtension, theirs)
    view = type("View", (documented.View,), {"otel_config": OTelConfig(phase_spans=False)})
    async with hosting(recorded(view, telemetry, schema)) as host:
        await counted(await host.acknowledged())
    found = parents(telemetry)
    assert ("GraphQL Query: Count", "subscription") in found
    assert ("GraphQL Parsing", "GraphQL Query: Count") in found
    assert not telemetry.spans("GraphQL Document Parsing")


async def test_with_both_extensions_the_phases_of_a_query_have_two_spans(
    telemetry: Telemetry,
) -> None:
    theirs = partial(OpenTelemetryExtension, tracer_provider=telemetry.tracer_provider)
    schema = schema_with(OTelExtension, theirs)
    async with hosting(recorded(documented.View, telemetry, schema)) as host:
        await host.post({"query": "{ hello }"})
    assert telemetry.spans("GraphQL Parsing")
    assert telemetry.spans("GraphQL Document Parsing")


# --- Beside the instrumentation of aiohttp ---------------------------------------------------

EXCLUDED = "OTEL_PYTHON_AIOHTTP_SERVER_EXCLUDED_URLS"


def recorded_beside(environment: dict[str, str]) -> dict[str, Any]:
    """What is recorded of a socket and of a query under the instrumentation."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    done = subprocess.run(  # our own program
        [sys.executable, "-m", "tests.support.applications.instrumented_requests"],
        cwd=ROOT,
        env=ours | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_beside_the_instrumentation_a_socket_counts_as_a_request() -> None:
    found = recorded_beside({})
    [socket, *attributes], _ = found["requests"]
    assert found["parent"] == socket
    # Older versions name both by their path alone.
    assert socket in {"GET /graphql", "/graphql"}
    assert found["durations"] == 2, "the socket and the query"
    assert not [name for name in attributes if "close" in name]


def test_with_its_path_excluded_it_does_not() -> None:
    [command] = Page("docs/recipes/aiohttp-server.md").blocks("shell")
    name, _, value = command.strip().removeprefix("export ").partition("=")
    assert name == EXCLUDED
    found = recorded_beside({name: value.strip("'")})
    assert found == {"parent": None, "requests": [], "durations": 0}
