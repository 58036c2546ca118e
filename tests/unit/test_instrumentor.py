"""The instrumentor, without a server: what it replaces, and puts back."""

import runpy
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points, requires
from pathlib import Path
from typing import Any

import pytest
import strawberry
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from packaging.requirements import Requirement
from strawberry.aiohttp.views import GraphQLView
from strawberry.extensions.tracing import OpenTelemetryExtension

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin, instrumentor
from strawberry_ws_otel import _semconv as name
from strawberry_ws_otel._environment import PREFIX
from strawberry_ws_otel.instrumentor import StrawberryWebSocketInstrumentor
from tests.support.log import LogKeeper, is_internal
from tests.support.schema import Query, make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.zero_code import instrumented

View = GraphQLView[Any, Any]
RECORDED = ("run", "create_websocket_response", "websocket_adapter_class")


@pytest.fixture(autouse=True)
def _end() -> Iterator[None]:
    """End what a test has begun, and has left."""
    yield
    if (left := StrawberryWebSocketInstrumentor()).is_instrumented_by_opentelemetry:
        left.uninstrument()


async def ask(view: View) -> Any:
    """Ask over HTTP, as aiohttp does."""
    response = await view.run(make_mocked_request("GET", "/graphql?query=query Hello { hello }"))
    assert isinstance(response, web.Response)
    return response.text


def hosts() -> tuple[dict[str, Any], ...]:
    return tuple(
        {key: value for key, value in vars(host).items() if not key.startswith("_abc_")}
        for host in (*GraphQLView.__mro__, strawberry.Schema)
    )


# --- Where it is found -----------------------------------------------------------------------


def test_it_is_an_entry_point() -> None:
    [found] = entry_points(group="opentelemetry_instrumentor", name="strawberry_ws_otel")
    assert found.load() is StrawberryWebSocketInstrumentor


def test_it_depends_on_what_the_library_depends_on() -> None:
    depended = {
        (requirement.name, str(requirement.specifier))
        for requirement in map(
            Requirement, StrawberryWebSocketInstrumentor().instrumentation_dependencies()
        )
    }
    declared = {
        (requirement.name, str(requirement.specifier))
        for requirement in map(Requirement, requires("strawberry-ws-otel") or ())
    }
    assert depended == {each for each in declared if each[0] in {"strawberry-graphql", "aiohttp"}}
    assert (
        get_dependency_conflicts(StrawberryWebSocketInstrumentor().instrumentation_dependencies())
        is None
    )


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.instrumentor", None)
    with pytest.raises(ImportError, match=r'pip install "strawberry-ws-otel\[instrument\]"'):
        runpy.run_path(str(Path(instrumentor.__file__)))


# --- Configuration ---------------------------------------------------------------------------


def recorded_with(**keywords: Any) -> OTelConfig:
    """The configuration that a view is recorded with."""
    StrawberryWebSocketInstrumentor().instrument(**keywords)
    found: OTelConfig = vars(GraphQLView)["_otel_recorded"].telemetry().config
    return found


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}TRACE_SHAPE", "nested")
    assert recorded_with() == OTelConfig(trace_shape="nested")


def test_code_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, library_log: LogKeeper
) -> None:
    monkeypatch.setenv(f"{PREFIX}TRACE_SHAPE", "nested")
    monkeypatch.setenv(f"{PREFIX}MESSAGE_EVENTS", "wrong")
    assert recorded_with(config=OTelConfig()) == OTelConfig()
    assert library_log.records == []


def test_code_wins_over_what_opentelemetry_instrument_began_with(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(f"{PREFIX}TRACE_SHAPE", "nested")
    StrawberryWebSocketInstrumentor().instrument(skip_dep_check=True)
    assert recorded_with(config=OTelConfig(message_events=0)) == OTelConfig(message_events=0)
    assert caplog.records == []


def test_to_instrument_again_without_a_keyword_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert recorded_with(config=OTelConfig(message_events=0)) == OTelConfig(message_events=0)
    assert recorded_with() == OTelConfig(message_events=0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_wrong_variable_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, library_log: LogKeeper
) -> None:
    monkeypatch.setenv(f"{PREFIX}TRACE_SHAPE", "wrong")
    assert recorded_with() == OTelConfig()
    assert len(library_log.records) == 1


def test_to_instrument_again_reads_the_environment_once_more_only(
    monkeypatch: pytest.MonkeyPatch, library_log: LogKeeper, telemetry: Telemetry
) -> None:
    StrawberryWebSocketInstrumentor().instrument(skip_dep_check=True)
    monkeypatch.setenv(f"{PREFIX}TRACE_SHAPE", "wrong")
    provider = telemetry.tracer_provider
    assert recorded_with(tracer_provider=provider) == OTelConfig(tracer_provider=provider)
    assert len(library_log.records) == 1


def test_a_provider_is_a_keyword_or_in_the_configuration(telemetry: Telemetry) -> None:
    others = Telemetry()
    keywords: dict[str, Any] = {
        "tracer_provider": telemetry.tracer_provider,
        "meter_provider": telemetry.meter_provider,
    }
    assert recorded_with(**keywords) == OTelConfig(**keywords)
    StrawberryWebSocketInstrumentor().uninstrument()
    config = OTelConfig(
        tracer_provider=others.tracer_provider, meter_provider=others.meter_provider
    )
    assert recorded_with(config=config, **keywords) == config
    others.shutdown()


@pytest.mark.parametrize("keywords", [{"config": "nested"}, {"tracer_provider": "none"}])
def test_a_wrong_keyword_raises_and_replaces_nothing(keywords: dict[str, Any]) -> None:
    before = hosts()
    with pytest.raises(TypeError):
        StrawberryWebSocketInstrumentor().instrument(**keywords)
    assert hosts() == before
    assert not StrawberryWebSocketInstrumentor().is_instrumented_by_opentelemetry
    StrawberryWebSocketInstrumentor()._uninstrument()


def test_a_wrong_keyword_leaves_what_was_instrumented_before(telemetry: Telemetry) -> None:
    with instrumented(telemetry):
        before = hosts()
        with pytest.raises(TypeError):
            StrawberryWebSocketInstrumentor().instrument(config="nested")
        assert hosts() == before
        assert StrawberryWebSocketInstrumentor().is_instrumented_by_opentelemetry


# --- What it replaces ------------------------------------------------------------------------


async def test_a_request_is_recorded_between_its_begin_and_its_end(telemetry: Telemetry) -> None:
    view = View(schema=make_schema())
    assert "world" in await ask(view)
    before = hosts()
    with instrumented(telemetry):
        assert "world" in await ask(view)
    assert hosts() == before
    assert "world" in await ask(view)
    assert [span.name for span in telemetry.spans("query")] == ["query"]


async def test_each_class_is_changed_and_the_outermost_records(telemetry: Telemetry) -> None:
    class Base(View):
        async def run(self, *arguments: Any, **options: Any) -> Any:
            return await super().run(*arguments, **options)

    class Derived(Base):
        async def run(self, *arguments: Any, **options: Any) -> Any:
            return await super().run(*arguments, **options)

    with instrumented(telemetry):
        for class_ in (GraphQLView, Base, Derived):
            assert set(RECORDED[:2]) <= vars(class_).keys()
        assert "world" in await ask(Derived(schema=make_schema()))
    assert len(telemetry.spans("query")) == 1


async def test_a_class_of_later_is_changed_with_its_first_view(telemetry: Telemetry) -> None:
    with instrumented(telemetry):

        class Later(View):
            pass

        before = dict(vars(Later))
        view = Later(schema=make_schema())
        changed = dict(vars(Later))
        assert "world" in await ask(view)
        assert vars(Later) == changed
    assert changed != before
    assert dict(vars(Later)) == before


async def test_a_run_that_is_no_function_is_bound_as_python_binds_it(telemetry: Telemetry) -> None:
    class Served:
        async def __call__(self, request: web.Request) -> Any:
            return await served.run(request)

    class Odd(View):
        run = Served()  # type: ignore[assignment]  # on purpose

    served = View(schema=make_schema())
    with instrumented(telemetry):
        assert "world" in await ask(Odd(schema=make_schema()))
    assert len(telemetry.spans("query")) == 1


async def test_a_socket_is_handed_back_as_it_was_made(telemetry: Telemetry) -> None:
    made = web.WebSocketResponse()

    class Base(View):
        async def create_websocket_response(self, *_arguments: Any) -> Any:
            return made

    class Derived(Base):
        pass

    view: Any = Derived(schema=make_schema())
    with instrumented(telemetry):
        assert await view.create_websocket_response(make_mocked_request("GET", "/"), None) is made


async def test_what_makes_no_adapters_is_left_to_the_host(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Without(View):
        websocket_adapter_class = None  # type: ignore[assignment]  # it serves HTTP only

    with instrumented(telemetry):
        view = Without(schema=make_schema())
        assert Without.websocket_adapter_class is None
        assert "world" in await ask(view)
        assert "world" in await ask(Without(schema=make_schema()))
    assert len(telemetry.spans("query")) == 2
    [record] = library_log.records
    assert record.levelname == "WARNING"
    assert "Without is recorded without messages" in record.getMessage()
    assert "websocket_adapter_class must be a subclass" in record.getMessage()


async def test_what_the_application_has_by_hand_stays(telemetry: Telemetry) -> None:
    class ByHand(OTelViewMixin, View):
        otel_config = OTelConfig(tracer_provider=telemetry.tracer_provider)

    schema = strawberry.Schema(query=Query, extensions=[OTelExtension])
    before = dict(vars(ByHand))
    with instrumented(Telemetry()):
        assert dict(vars(ByHand)) == before
        assert "world" in await ask(ByHand(schema=schema))
    assert len(telemetry.spans("query")) == 1


async def test_the_configuration_of_a_class_wins(telemetry: Telemetry) -> None:
    class Configured(View):
        otel_config = OTelConfig(tracer_provider=telemetry.tracer_provider, capture_document=True)

    with instrumented(Telemetry()):
        await ask(Configured(schema=make_schema()))
    [span] = telemetry.spans("query")
    assert name.DOCUMENT in attributes_of(span)


async def test_a_class_without_providers_writes_to_those_of_the_instrumentor(
    telemetry: Telemetry,
) -> None:
    class Configured(View):
        otel_config = OTelConfig(capture_document=True)

    with instrumented(telemetry):
        await ask(Configured(schema=make_schema()))
    [span] = telemetry.spans("query")
    assert name.DOCUMENT in attributes_of(span)


async def test_mistakes_in_the_set_up_are_reported_as_with_the_mixin(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Mistaken(View):
        otel_confg = OTelConfig(phase_spans=False)

    schema = make_schema(OpenTelemetryExtension)
    with instrumented(telemetry):
        for _ in range(2):
            Mistaken(schema=schema)
        View(schema=make_schema())
    confused, doubled = [record.getMessage() for record in library_log.records]
    assert "Mistaken.otel_confg is not read" in confused
    assert "Mistaken has OpenTelemetryExtension beside OTelExtension" in doubled


# --- What cannot be replaced or put back -----------------------------------------------------


@pytest.mark.internal_error
async def test_if_something_cannot_be_replaced_nothing_is(
    monkeypatch: pytest.MonkeyPatch, library_log: LogKeeper, telemetry: Telemetry
) -> None:
    class Broken:
        attribute = "websocket_adapter_class"

        def over(self, value: object) -> object:
            raise RuntimeError("another host")

    before = hosts()
    monkeypatch.setattr(instrumentor, "ADAPTER_LAYER", Broken())
    StrawberryWebSocketInstrumentor().instrument()
    assert hosts() == before
    [record] = filter(is_internal, library_log.records)
    assert "the instrumentation" in record.getMessage()
    assert "world" in await ask(View(schema=make_schema()))


def test_a_view_that_is_made_in_another_thread_as_it_ends_is_left_alone(
    telemetry: Telemetry,
) -> None:
    class Late(View):
        pass

    before = dict(vars(Late))
    with instrumented(telemetry) as running:
        instrumentation = running._instrumentation
        assert instrumentation is not None
    assert instrumentation._view_class(Late) is None
    assert dict(vars(Late)) == before


async def test_what_others_have_wrapped_since_stays_and_ours_hands_on(
    telemetry: Telemetry,
) -> None:
    class Wrapped(View):
        pass

    with instrumented(telemetry):
        view = Wrapped(schema=make_schema())
        ours = Wrapped.run

        def theirs(self: Any, *arguments: Any) -> Any:
            return ours(self, *arguments)

        Wrapped.run = theirs  # type: ignore[assignment,method-assign]  # as others patch
        host_init = GraphQLView.__init__
    assert vars(Wrapped)["run"] is theirs
    assert "world" in await ask(view)
    host_init(view, schema=make_schema())
    assert telemetry.spans() == []
