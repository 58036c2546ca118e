"""One line of code, or one variable of the environment, and conversations are drawn."""

import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from io import StringIO
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from strawberry_ws_otel.console import _show
from strawberry_ws_otel.console._exporter import ConversationExporter
from strawberry_ws_otel.console._show import DELAY, SHOWN, ConfiguredExporter, show
from tests.support.drawn import ASKED_BY_RICH, LOST, closed, connection
from tests.support.log import LogKeeper
from tests.support.telemetry import RESOURCE


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ASKED_BY_RICH:
        monkeypatch.delenv(name, raising=False)


class Providers:
    """The API's global provider, as long as a test lasts."""

    def __init__(self) -> None:
        self.current: Any = trace.ProxyTracerProvider()
        self.set: list[Any] = []

    def get(self) -> Any:
        return self.current

    def put(self, provider: Any) -> None:
        self.set.append(provider)
        self.current = provider


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Providers]:
    providers = Providers()
    monkeypatch.setattr(trace, "get_tracer_provider", providers.get)
    monkeypatch.setattr(trace, "set_tracer_provider", providers.put)
    yield providers
    for provider in {id(each): each for each in (*providers.set, providers.current)}.values():
        SHOWN.pop(id(provider), None)
        getattr(provider, "shutdown", list)()


@pytest.fixture
def sdk(providers: Providers) -> TracerProvider:
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    providers.current = provider
    return provider


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "stdout", "stderr":
        monkeypatch.setattr(sys, name, StringIO())


def end_one(provider: TracerProvider, *, verdict: Any = None) -> None:
    """Let the processors of a provider see the end of a connection, and export it."""
    span = closed(connection(), verdict=verdict) if verdict else closed(connection())
    provider._active_span_processor.on_end(span)
    assert provider.force_flush()


def test_it_adds_an_exporter_to_the_provider_that_there_is(
    providers: Providers, sdk: TracerProvider
) -> None:
    file = StringIO()
    show(file=file)
    end_one(sdk)
    assert file.getvalue().count("╭─") == 1
    assert providers.set == []


def test_it_sets_up_a_provider_where_there_is_none(providers: Providers) -> None:
    file = StringIO()
    show(file=file)
    [provider] = providers.set
    assert isinstance(provider, TracerProvider)
    end_one(provider)
    assert file.getvalue().count("╭─") == 1


def test_it_draws_soon(sdk: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float | None] = []

    class Watched(BatchSpanProcessor):
        def __init__(self, exporter: Any, **options: Any) -> None:
            delays.append(options["schedule_delay_millis"])
            super().__init__(exporter, **options)

    monkeypatch.setattr(_show, "BatchSpanProcessor", Watched)
    show(file=StringIO())
    assert delays == [DELAY]
    assert DELAY < 500


def test_a_second_call_does_not_draw_twice_and_chooses_anew(sdk: TracerProvider) -> None:
    first, second = StringIO(), StringIO()
    show(file=first)
    show(file=second, only="abnormal")
    end_one(sdk)
    end_one(sdk, verdict=LOST)
    assert not first.getvalue()
    assert second.getvalue().count("╭─") == 1


@pytest.mark.usefixtures("nowhere")
def test_where_there_is_no_terminal_it_does_nothing(providers: Providers) -> None:
    show()
    assert providers.set == []


@pytest.mark.parametrize("provider", [trace.NoOpTracerProvider(), object()])
def test_a_provider_of_another_kind_is_said_plainly(
    providers: Providers, library_log: LogKeeper, provider: Any
) -> None:
    providers.current = provider
    show(file=StringIO())
    [record] = library_log.records
    assert record.getMessage() == (
        f"No conversations are drawn: the global tracer provider, {type(provider).__qualname__},"
        " is not of the OpenTelemetry SDK and takes no span processor"
    )


def test_a_provider_that_wraps_the_sdk_s_is_taken(providers: Providers) -> None:
    class Wrapper:
        __hash__ = None  # type: ignore[assignment]  # as Logfire's

        def __init__(self) -> None:
            self.processors: list[SpanProcessor] = []

        def add_span_processor(self, processor: SpanProcessor) -> None:
            self.processors.append(processor)

        def shutdown(self) -> None:
            for processor in self.processors:
                processor.shutdown()

    providers.current = wrapper = Wrapper()
    show(file=StringIO())
    show(file=StringIO())
    assert len(wrapper.processors) == 1


def test_a_wrong_choice_is_said_even_where_nothing_is_drawn(
    providers: Providers, nowhere: None
) -> None:
    wrong: Any = "errors"
    with pytest.raises(ValueError, match=r"^only must be one of 'all', 'abnormal', not 'errors'$"):
        show(only=wrong)


class TestTheExporterOfTheEnvironment:
    def test_it_is_the_one_of_that_name(self) -> None:
        [entry] = entry_points(group="opentelemetry_traces_exporter", name="graphql_ws")
        assert entry.load() is ConfiguredExporter

    def test_it_gets_a_processor_of_its_own(self, sdk: TracerProvider) -> None:
        file = StringIO()
        exporter = ConfiguredExporter(file=file)
        end_one(sdk)
        assert file.getvalue().count("╭─") == 1
        # What the SDK gives it late is drawn already.
        assert exporter.export([closed(connection())]) is SpanExportResult.SUCCESS
        assert file.getvalue().count("╭─") == 1

    def test_without_a_provider_to_add_it_to_it_draws_what_it_is_given(
        self, providers: Providers
    ) -> None:
        file = StringIO()
        exporter = ConfiguredExporter(file=file)
        assert exporter.export([closed(connection())]) is SpanExportResult.SUCCESS
        assert file.getvalue().count("╭─") == 1

    def test_code_beside_it_does_not_draw_twice(self, sdk: TracerProvider) -> None:
        file = StringIO()
        ConfiguredExporter(file=file)
        show(file=file, only="abnormal")
        end_one(sdk)
        end_one(sdk, verdict=LOST)
        assert file.getvalue().count("╭─") == 1

    @pytest.mark.usefixtures("nowhere")
    def test_where_there_is_no_terminal_it_adds_nothing(self, sdk: TracerProvider) -> None:
        exporter = ConfiguredExporter()
        assert id(sdk) not in SHOWN
        assert exporter.export([closed(connection())]) is SpanExportResult.SUCCESS
        assert isinstance(exporter, ConversationExporter)
