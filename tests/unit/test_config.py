"""Every option has a default, and a wrong value says what would be right."""

import copy
import dataclasses
import inspect
import pickle
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import metrics, trace

from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel._close import Outcome
from strawberry_ws_otel._config import checked, misspelt

DEFAULTS: dict[str, object] = {
    "tracer_provider": None,
    "meter_provider": None,
    "message_events": 8,
    "phase_spans": True,
    "message_spans": False,
    "trace_shape": "linked",
    "remote_context": "parent",
    "segment_duration": 300,
    "normal_outcomes": frozenset(),
    "capture_document": False,
    "error_messages": "execution",
    "name_spans_after_operation": False,
    "setup_warnings": True,
    "attributes": {},
}
FLAGS = [
    "phase_spans",
    "message_spans",
    "capture_document",
    "name_spans_after_operation",
    "setup_warnings",
]
CHOICES = {
    "trace_shape": ["linked", "nested"],
    "remote_context": ["parent", "link", "ignore"],
    "error_messages": ["execution", "all", "none"],
}
PROVIDERS = {"tracer_provider": "TracerProvider", "meter_provider": "MeterProvider"}


def config(**options: Any) -> OTelConfig:
    return OTelConfig(**options)


def message_of(error: type[Exception], **options: Any) -> str:
    with pytest.raises(error) as raised:
        config(**options)
    assert type(raised.value) is error
    return str(raised.value)


def test_every_option_has_its_default() -> None:
    assert dataclasses.asdict(config()) == DEFAULTS


def test_options_go_by_keyword_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        OTelConfig(None)  # type: ignore[call-arg]


MEANT = {
    "trace_shap": "trace_shape",
    "traceshape": "trace_shape",
    "phase_span": "phase_spans",
    "normal_outcome": "normal_outcomes",
    "warnings": "setup_warnings",
}


@pytest.mark.parametrize("name", MEANT)
def test_a_misspelt_option_is_refused_with_the_one_that_was_meant(name: str) -> None:
    message = f"OTelConfig has no option {name!r}; did you mean {MEANT[name]!r}?"
    assert message_of(TypeError, **{name: "nested"}) == message
    changes: Any = {name: "nested"}
    with pytest.raises(TypeError) as raised:
        dataclasses.replace(config(), **changes)
    assert str(raised.value) == message


def test_an_unknown_option_is_refused_with_those_that_there_are() -> None:
    message = message_of(TypeError, segments=5)
    assert message == f"OTelConfig has no option 'segments'; there are {', '.join(DEFAULTS)}"


def test_a_configuration_is_a_dataclass_like_any_other() -> None:
    made = config(message_events=3)
    assert list(inspect.signature(OTelConfig).parameters) == list(DEFAULTS)
    assert dataclasses.replace(made, message_events=8) == config()
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301  # our own
    assert copy.deepcopy(made) == made
    assert not hasattr(made, "__dict__")


def test_a_derived_configuration_has_the_options_of_its_base_too() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Own(OTelConfig):
        tenant: str = ""

    made: Any = Own
    assert made(tenant="a", message_events=3).message_events == 3
    with pytest.raises(TypeError):
        made(tenants="a")


@pytest.mark.parametrize("name", ["otel_confg", "otelconfig", "OTEL_CONFIG", "config"])
def test_an_attribute_that_was_to_be_the_configuration_is_found_by_its_name(name: str) -> None:
    used = config()
    base = type("Base", (), {"otel_config": used})
    assert misspelt(type("Own", (base,), {name: config()}), used) == name
    assert misspelt(type("Own", (base,), {name: used}), used) is None, "it is the one that is used"
    assert misspelt(type("Own", (base,), {name: {}}), used) is None, "it is none"
    both = {name: config(), "otel_config": used}
    assert misspelt(type("Own", (base,), both), used) is None, "it is beside the right one"
    assert misspelt(type("Own", (base,), {"other": config()}), used) is None
    assert misspelt(type("Own", (), {"other": config()}), used) is None, "nobody has it"


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_option_cannot_be_changed(name: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config(), name, None)


def test_equal_options_make_equal_configurations() -> None:
    one, other = config(normal_outcomes=["other"]), config(normal_outcomes={"other"})
    assert one == other
    assert hash(one) == hash(other)


def test_providers_are_taken_as_they_are() -> None:
    tracers, meters = trace.NoOpTracerProvider(), metrics.NoOpMeterProvider()
    made = config(tracer_provider=tracers, meter_provider=meters)
    assert made.tracer_provider is tracers
    assert made.meter_provider is meters


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("value", ["global", 5, object(), trace.NoOpTracer(), dict])
def test_what_is_no_provider_is_refused(name: str, value: object) -> None:
    assert (
        message_of(TypeError, **{name: value})
        == f"{name} must be a {PROVIDERS[name]} or None for the global one, not {value!r}"
    )


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("tracer_provider", metrics.NoOpMeterProvider()),
        ("meter_provider", trace.NoOpTracerProvider()),
    ],
)
def test_one_kind_of_provider_is_not_taken_for_the_other(name: str, provider: object) -> None:
    assert message_of(TypeError, **{name: provider}).startswith(f"{name} must be a")


@pytest.mark.parametrize("count", [0, 1, 8, 10**9])
def test_a_count_is_0_or_more(count: int) -> None:
    assert config(message_events=count).message_events == count


@pytest.mark.parametrize("value", [None, "8", 8.0, True, False, [8]])
def test_a_count_that_is_no_whole_number_is_refused(value: object) -> None:
    assert (
        message_of(TypeError, message_events=value)
        == f"message_events must be a whole number, not {value!r}"
    )


def test_a_negative_count_is_refused_and_0_is_explained() -> None:
    assert (
        message_of(ValueError, message_events=-1)
        == "message_events must be 0 or more, not -1; 0 turns message events off"
    )


@pytest.mark.parametrize("seconds", [1, 300, 0.05, 1e-9, 1e9, float("inf"), None])
def test_a_duration_is_any_positive_number_or_none(seconds: float | None) -> None:
    assert config(segment_duration=seconds).segment_duration == seconds


@pytest.mark.parametrize("value", ["300", True, False, [300], timedelta(seconds=300)])
def test_a_duration_that_is_no_number_is_refused(value: object) -> None:
    assert (
        message_of(TypeError, segment_duration=value)
        == f"segment_duration must be a number of seconds or None, not {value!r}"
    )


@pytest.mark.parametrize("value", [0, -1, -0.0, float("-inf"), float("nan")])
def test_a_duration_that_is_not_positive_is_refused_and_none_is_explained(value: float) -> None:
    assert (
        message_of(ValueError, segment_duration=value)
        == f"segment_duration must be more than 0 seconds, not {value}; None turns it off"
    )


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", [True, False])
def test_a_flag_is_true_or_false(name: str, *, value: bool) -> None:
    assert getattr(config(**{name: value}), name) is value


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", [None, 0, 1, "yes", []])
def test_a_flag_that_is_neither_is_refused(name: str, value: object) -> None:
    assert message_of(TypeError, **{name: value}) == f"{name} must be True or False, not {value!r}"


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in CHOICES for value in CHOICES[name]]
)
def test_each_choice_is_taken(name: str, value: str) -> None:
    assert getattr(config(**{name: value}), name) == value


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", ["", "Linked", "nest", "yes"])
def test_an_unknown_choice_is_refused_with_the_known_ones(name: str, value: str) -> None:
    known = ", ".join(map(repr, CHOICES[name]))
    assert (
        message_of(ValueError, **{name: value}) == f"{name} must be one of {known}, not {value!r}"
    )


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", [None, 5, True, ["linked"], {}])
def test_a_choice_of_the_wrong_type_is_refused_with_the_known_ones(
    name: str, value: object
) -> None:
    known = ", ".join(map(repr, CHOICES[name]))
    assert message_of(TypeError, **{name: value}) == f"{name} must be one of {known}, not {value!r}"


@pytest.mark.parametrize(
    "value",
    [
        (),
        {"connection_lost", 4100},
        {Outcome.CONNECTION_LOST, 4100},
        ["connection_lost", 4100],
        (1000, 4999, "server_error"),
        frozenset(Outcome),
        set(map(str, Outcome)),
        {Outcome.OTHER: "a mapping is a collection of its keys"},
    ],
)
def test_outcomes_and_codes_may_be_ordinary_in_any_collection(value: Any) -> None:
    assert config(normal_outcomes=value).normal_outcomes == frozenset(value)


def test_an_outcome_and_its_name_are_the_same_ordinary() -> None:
    assert "other" in config(normal_outcomes={Outcome.OTHER}).normal_outcomes
    assert Outcome.OTHER in config(normal_outcomes={"other"}).normal_outcomes


@pytest.mark.parametrize("value", [None, 4100, "connection_lost", iter([4100]), True, object()])
def test_what_is_no_collection_of_outcomes_is_refused_with_an_example(value: object) -> None:
    assert message_of(TypeError, normal_outcomes=value) == (
        "normal_outcomes must be a set of outcomes and close codes, such as"
        f" {{'connection_lost', 4100}}, not {value!r}"
    )


@pytest.mark.parametrize(
    "item", ["lost", "", "4100", 999, 5000, -1, 0, True, 4100.0, None, ("other",), [4100]]
)
def test_an_unknown_outcome_is_refused_with_the_known_ones(item: object) -> None:
    message = message_of(ValueError, normal_outcomes=["other", item])
    assert message.endswith(f"; {item!r} is neither")
    assert "1000 to 4999" in message
    assert all(outcome in message for outcome in Outcome)


def test_attributes_are_copied_and_cannot_be_changed() -> None:
    given: dict[str, Any] = {"graphql.endpoint": "admin", "tier": 1, "beta": True, "share": 0.5}
    made = config(attributes=given)
    given["tier"] = 2
    assert made.attributes == {"graphql.endpoint": "admin", "tier": 1, "beta": True, "share": 0.5}
    attributes: Any = made.attributes
    with pytest.raises(TypeError):
        attributes["tier"] = 2


@pytest.mark.parametrize("attributes", [{}, {"graphql.endpoint": "admin", "tier": 1}])
def test_a_configuration_can_be_hashed_copied_and_pickled(attributes: dict[str, Any]) -> None:
    made = config(attributes=attributes, normal_outcomes={4100})
    assert hash(made) == hash(config(attributes=dict(attributes), normal_outcomes=[4100]))
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):  # noqa: S301  # our own
        assert again == made


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (
            "tier=1",
            TypeError,
            "attributes must be a mapping of names to values, such as {'tenant': 'acme'}, not str",
        ),
        ({5: "x"}, TypeError, "attributes must have strings for names, not int"),
        (
            {"tier": None},
            TypeError,
            "attributes must have a str, bool, int or float in 'tier', not None",
        ),
        (
            {"http.route": "/admin"},
            ValueError,
            "attributes must not have 'http.route', which is a name of the library",
        ),
    ],
)
def test_wrong_attributes_are_refused(value: object, error: type[Exception], message: str) -> None:
    assert message_of(error, attributes=value) == message


def test_the_configuration_of_a_class_is_checked_and_returned() -> None:
    own = config()
    assert checked(OTelConfig, own) is own


@pytest.mark.parametrize("value", [None, {}, OTelConfig], ids=repr)
def test_a_class_whose_configuration_is_none_is_named(value: object) -> None:
    class View:
        pass

    with pytest.raises(TypeError) as raised:
        checked(View, value)
    assert str(raised.value).endswith(f"View.otel_config must be an OTelConfig, not {value!r}")
