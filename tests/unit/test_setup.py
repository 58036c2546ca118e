"""Each likely mistake in the set-up of a view is one WARNING for its class, and nothing else is."""

import logging
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import strawberry
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider
from strawberry.aiohttp.views import GraphQLView
from strawberry.extensions import MaskErrors, SchemaExtension
from strawberry.extensions.tracing import OpenTelemetryExtension, OpenTelemetryExtensionSync

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from strawberry_ws_otel._fuse import FailureLog
from strawberry_ws_otel._strawberry.setup import SetupCheck
from tests.support.log import LogKeeper, RaisingHandler, handling
from tests.support.schema import Query, Subscription

pytestmark = pytest.mark.filterwarnings("ignore:Passing an extension instance:DeprecationWarning")

Schema = strawberry.Schema


class Derived(OTelExtension):
    pass


class Both(Schema):
    """A schema that chooses its extensions by itself."""

    def get_extensions(self, sync: bool = False) -> list[SchemaExtension]:  # noqa: FBT001, FBT002  # the host's
        return [OTelExtension(), *super().get_extensions(sync)]


def schema(*extensions: Any, cls: type[Schema] = Schema) -> Schema:
    return cls(Query, subscription=Subscription, extensions=list(extensions))


def config(**options: Any) -> OTelConfig:
    providers: dict[str, Any] = {
        "tracer_provider": NoOpTracerProvider(),
        "meter_provider": NoOpMeterProvider(),
    }
    return OTelConfig(**providers, **options)


def view_class(**attributes: Any) -> Any:
    base: Any = GraphQLView
    return type("View", (OTelViewMixin, base), {"otel_config": config(), **attributes})


def messages(log: LogKeeper) -> list[str]:
    assert {(record.name, record.levelno) for record in log.records} <= {
        ("strawberry_ws_otel", logging.WARNING)
    }
    return [record.getMessage() for record in log.records]


def shared() -> Callable[[], OTelExtension]:
    """A factory that always gives the same instance."""
    instance = OTelExtension()
    return lambda: instance


NO_EXTENSION = (
    "the schema of View has no OTelExtension: its operations are recorded without type, phases and"
    " errors; add it, Schema(..., extensions=[OTelExtension]), or set"
    " OTelConfig(setup_warnings=False) if you want the mixin alone"
)
BESIDE = (
    "the schema of View has OpenTelemetryExtension beside OTelExtension: each operation gets the"
    " spans of both; take OpenTelemetryExtension out, or set OTelConfig(phase_spans=False) to keep"
    " it for its spans of resolvers"
)


def instance_of(cls: type) -> str:
    name = cls.__qualname__
    return (
        f"the schema of View has an instance of {name}: only its first operation is recorded with"
        f" type, phases and errors; give it the class, extensions=[{name}]"
    )


def raises() -> SchemaExtension:
    raise LookupError("no request")


MISTAKES: dict[str, tuple[Callable[[], list[Any]], str]] = {
    "no extension": (list, NO_EXTENSION),
    "others": (lambda: [MaskErrors], NO_EXTENSION),
    "a factory of another": (lambda: [lambda: MaskErrors()], NO_EXTENSION),  # noqa: PLW0108  # a factory
    "an instance of another": (lambda: [MaskErrors()], NO_EXTENSION),
    "Strawberry's alone": (lambda: [OpenTelemetryExtension], NO_EXTENSION),
    "an instance": (lambda: [OTelExtension()], instance_of(OTelExtension)),
    "an instance beside a factory": (
        lambda: [OTelExtension(), lambda: MaskErrors()],  # noqa: PLW0108  # a factory
        instance_of(OTelExtension),
    ),
    "an instance of a derived class": (lambda: [Derived()], instance_of(Derived)),
    "both": (lambda: [OTelExtension, OpenTelemetryExtension], BESIDE),
    "both, the other way round": (lambda: [OpenTelemetryExtension, Derived], BESIDE),
    "both, synchronous": (lambda: [OTelExtension, OpenTelemetryExtensionSync], BESIDE),
    "both, by factories": (
        lambda: [lambda: OpenTelemetryExtension(), lambda: OTelExtension()],  # noqa: PLW0108  # factories
        BESIDE,
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_schema_is_one_warning_for_each_view_class(
    mistake: str, library_log: LogKeeper
) -> None:
    extensions, message = MISTAKES[mistake]
    for times in (1, 2):
        made = view_class()
        one = schema(*extensions())
        for each in (one, one, schema(*extensions())):
            made(schema=each)
        assert messages(library_log) == [message] * times


@pytest.mark.parametrize("mistake", MISTAKES)
def test_who_wants_it_so_is_not_warned(mistake: str, library_log: LogKeeper) -> None:
    extensions, _ = MISTAKES[mistake]
    view_class(otel_config=config(setup_warnings=False))(schema=schema(*extensions()))
    assert messages(library_log) == []


RIGHT: dict[str, Callable[[], Schema]] = {
    "the class": lambda: schema(OTelExtension),
    "a derived class": lambda: schema(MaskErrors, Derived),
    "a factory": lambda: schema(lambda: OTelExtension()),  # noqa: PLW0108  # a factory
    "the class beside a factory": lambda: schema(OTelExtension, lambda: MaskErrors()),  # noqa: PLW0108  # a factory
    "a factory of one instance": lambda: schema(shared()),
    "a schema that adds it": lambda: schema(cls=Both),
    "a factory that needs a request": lambda: schema(raises),
}


@pytest.mark.parametrize("right", RIGHT)
def test_a_right_schema_is_no_warning(right: str, library_log: LogKeeper) -> None:
    view_class()(schema=RIGHT[right]())
    assert messages(library_log) == []


def test_what_an_instrumentor_adds_to_every_schema_is_no_warning(
    library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Schema, "get_extensions", lambda *_: [OTelExtension()])
    view_class()(schema=schema())
    assert messages(library_log) == []


def test_strawberry_s_extension_may_stand_beside_ours_without_phases(
    library_log: LogKeeper,
) -> None:
    view = view_class(otel_config=config(phase_spans=False))
    view(schema=schema(OTelExtension, OpenTelemetryExtension))
    assert messages(library_log) == []


def test_a_right_schema_s_classes_are_not_called(library_log: LogKeeper) -> None:
    class Costly(SchemaExtension):
        def __init__(self) -> None:
            raise AssertionError

    view_class()(schema=schema(OTelExtension, Costly))
    assert messages(library_log) == []


def test_the_factories_of_a_schema_are_called_once_however_many_views_are_made() -> None:
    calls = []

    def factory() -> SchemaExtension:
        calls.append(1)
        return MaskErrors()

    made, one = view_class(), schema(OTelExtension, factory)
    for _ in range(3):
        made(schema=one)
    assert calls == [1]


# --- Schemas that cannot be looked at ------------------------------------------------------------


class StandIn:
    extensions = ()


def test_a_schema_that_is_set_later_is_no_warning(library_log: LogKeeper) -> None:
    class Later(OTelViewMixin, GraphQLView[Any, Any]):
        otel_config = config()

        def __init__(self) -> None:
            self.made = True

    assert Later().made
    assert messages(library_log) == []


@pytest.mark.parametrize("stands_in", [None, StandIn(), object(), "a schema"])
def test_what_stands_in_for_a_schema_is_no_warning(stands_in: Any, library_log: LogKeeper) -> None:
    view_class()(schema=stands_in)
    assert messages(library_log) == []


def test_a_schema_that_needs_a_request_is_no_warning(library_log: LogKeeper) -> None:
    class Asking:
        otel_config = config()

        @property
        def schema(self) -> Schema:
            raise LookupError("no request")

    SetupCheck(FailureLog()).view_made(Asking())
    assert messages(library_log) == []


@pytest.mark.internal_error
def test_a_broken_schema_hurts_nobody(library_log: LogKeeper) -> None:
    broken = schema(OTelExtension)
    del broken.extensions
    view = view_class()(schema=broken)
    assert isinstance(view, GraphQLView)
    [record] = library_log.records
    assert record.getMessage().startswith(
        "Telemetry failed in the check of the set-up: AttributeError: "
    )


@pytest.mark.internal_error
def test_a_log_that_raises_hurts_nobody() -> None:
    with handling(RaisingHandler()):
        assert isinstance(view_class()(schema=schema()), GraphQLView)


# --- What resembles `otel_config` ----------------------------------------------------------------


def misspelt(name: str) -> str:
    return (
        f"View.{name} is not read, and its options have no effect; did you mean otel_config? Then"
        " rename it"
    )


def view_class_with(**attributes: object) -> Any:
    base: Any = GraphQLView
    return type("View", (OTelViewMixin, base), attributes)


@pytest.mark.parametrize("name", ["otel_confg", "otelconfig", "otelConfig", "OTEL_CONFIG"])
def test_an_attribute_with_a_similar_name_is_one_warning_for_each_view_class(
    name: str, library_log: LogKeeper
) -> None:
    for times in (1, 2):
        made = view_class_with(**{name: config()})
        for _ in range(2):
            made(schema=schema(OTelExtension))
        assert messages(library_log) == [misspelt(name)] * times


def test_two_mistakes_are_two_warnings(library_log: LogKeeper) -> None:
    view_class_with(otel_confg=config())(schema=schema())
    assert messages(library_log) == [misspelt("otel_confg"), NO_EXTENSION]


@pytest.mark.parametrize(
    "attributes",
    [
        {"otel_config": config(), "otel_config_of_tests": config()},
        {"hotel_config": "a hotel's"},
        {"pool": config()},
    ],
    ids=["beside the right one", "of another kind", "of another name"],
)
def test_any_other_attribute_is_no_warning(
    attributes: dict[str, object], library_log: LogKeeper
) -> None:
    view_class_with(**attributes)(schema=schema(OTelExtension))
    assert messages(library_log) == []


def test_a_configuration_of_another_type_is_not_checked(library_log: LogKeeper) -> None:
    class Later:
        otel_config: ClassVar[object] = {}
        schema: ClassVar[object] = schema()

    SetupCheck(FailureLog()).view_made(Later())
    assert messages(library_log) == []
