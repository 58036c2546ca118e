"""The options from environment variables."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

import pytest
from opentelemetry.trace import TracerProvider

from strawberry_ws_otel import OTelConfig, _environment
from strawberry_ws_otel._environment import PREFIX, config_from, reader_of, readers
from tests.support.log import LogKeeper

PROVIDERS = {"tracer_provider", "meter_provider"}


def warnings(log: LogKeeper) -> list[str]:
    assert {record.levelno for record in log.records} <= {logging.WARNING}
    return [record.getMessage() for record in log.records]


def test_every_option_but_the_providers_has_a_variable() -> None:
    options = {field.name for field in fields(OTelConfig)} - PROVIDERS
    assert set(readers()) == {f"{PREFIX}{option.upper()}" for option in options}


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("message_events", "0", 0),
        ("message_events", " 16 ", 16),
        ("phase_spans", "false", False),
        ("phase_spans", "FALSE", False),
        ("message_spans", "true", True),
        ("capture_document", "True", True),
        ("name_spans_after_operation", "true", True),
        ("trace_shape", "nested", "nested"),
        ("trace_shape", "Nested", "nested"),
        ("remote_context", "ignore", "ignore"),
        ("error_messages", "none", "none"),
        ("normal_outcomes", "connection_lost", {"connection_lost"}),
        ("normal_outcomes", "connection_lost, 4100 ,", {"connection_lost", 4100}),
    ],
)
def test_a_value_is_read(option: str, text: str, value: object, library_log: LogKeeper) -> None:
    assert getattr(config_from({f"{PREFIX}{option.upper()}": text}), option) == value
    assert warnings(library_log) == []


def test_several_options_are_read_and_other_variables_are_not(library_log: LogKeeper) -> None:
    environ = {
        f"{PREFIX}TRACE_SHAPE": "nested",
        f"{PREFIX}MESSAGE_EVENTS": "2",
        f"{PREFIX}CAPTURE_DOCUMENT": "",
        "OTEL_SERVICE_NAME": "prices",
    }
    assert config_from(environ) == OTelConfig(trace_shape="nested", message_events=2)
    assert config_from({}) == OTelConfig()
    assert warnings(library_log) == []


@pytest.mark.parametrize(
    ("option", "text", "default", "reason"),
    [
        ("MESSAGE_EVENTS", "many", "8", "it must be a whole number"),
        ("MESSAGE_EVENTS", "1.5", "8", "it must be a whole number"),
        (
            "MESSAGE_EVENTS",
            "-1",
            "8",
            "message_events must be 0 or more, not -1; 0 turns message events off",
        ),
        ("PHASE_SPANS", "0", "true", "it must be true or false"),
        ("TRACE_SHAPE", "nest", "linked", "it must be linked or nested"),
        ("REMOTE_CONTEXT", "5", "parent", "it must be parent or link or ignore"),
        (
            "NORMAL_OUTCOMES",
            "connection_last",
            "unset",
            (
                "normal_outcomes knows the close codes 1000 to 4999 and normal, {};"
                " 'connection_last' is neither"
            ),
        ),
    ],
)
def test_a_wrong_value_is_one_warning_and_the_default(
    option: str, text: str, default: str, reason: str, library_log: LogKeeper
) -> None:
    environ = {f"{PREFIX}{option}": text, f"{PREFIX}ERROR_MESSAGES": "all"}
    assert config_from(environ) == OTelConfig(error_messages="all")
    [warning] = warnings(library_log)
    start, _, end = reason.partition("{}")
    beginning = f"{PREFIX}{option}={text} is ignored, and the default is used ({default}): {start}"
    assert warning.startswith(beginning)
    assert warning.endswith(end)


def test_a_long_value_is_truncated_in_the_log(library_log: LogKeeper) -> None:
    assert config_from({f"{PREFIX}TRACE_SHAPE": "x" * 100_000}) == OTelConfig()
    assert len(warnings(library_log)[0]) < 500


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TRACE_SHAP", "did you mean OTEL_PYTHON_STRAWBERRY_WS_OTEL_TRACE_SHAPE?"),
        ("phase_spans", "there are MESSAGE_EVENTS, PHASE_SPANS, "),
        ("TRACER_PROVIDER", ""),
        ("ZZZ", "there are MESSAGE_EVENTS, PHASE_SPANS, "),
    ],
)
def test_a_name_that_is_no_option_is_one_warning(
    name: str, meant: str, library_log: LogKeeper
) -> None:
    assert config_from({f"{PREFIX}{name}": "nested"}) == OTelConfig()
    [warning] = warnings(library_log)
    assert warning.startswith(f"{PREFIX}{name} is ignored: there is no such option; {meant}")


# --- Types that an option may have one day ---------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (float, "0.5", 0.5),
        (float | None, "300", 300.0),
        (float | None, "None", None),
        (str, "anything", "anything"),
        (str | None, "none", None),
        (Collection[str] | None, "none", None),
        (Collection[str] | None, "a", ("a",)),
        (str | int, "4100", 4100),
        (int | str, "lost", "lost"),
        (Literal[1, 2], "2", 2),
        (Sequence[int], "1,2", (1, 2)),
        (Collection[str], "", ()),
        (Mapping[str, str], "a=b, c = d=e ", {"a": "b", "c": "d=e"}),
        (Mapping[str, str], "list=a%2Cb", {"list": "a,b"}),
        (
            Mapping[str, str | bool | int | float],
            "endpoint=admin,beta=true,shard=7,share=0.5",
            {"endpoint": "admin", "beta": True, "shard": 7, "share": 0.5},
        ),
        (
            Mapping[str, str | bool | int | float],
            "version=1.10,store=0042,commit=12e34567,x=Infinity,y=nan,n=99999999999999999999",
            {
                "version": "1.10",
                "store": "0042",
                "commit": "12e34567",
                "x": "Infinity",
                "y": "nan",
                "n": "99999999999999999999",
            },
        ),
        (dict[str, int] | None, "none", None),
    ],
)
def test_the_type_of_an_option_says_how_it_is_read(hint: Any, text: str, value: object) -> None:
    reader = reader_of(hint)
    assert reader is not None
    read = reader.read(text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("hint", "text", "allowed"),
    [
        (float, "x", "a number"),
        (float | None, "x", "a number or none"),
        (Literal["a", "b"], "c", "a or b"),
        (Collection[int], "1,x", "a comma-separated list, each item a whole number"),
        (Mapping[str, int], "a", "comma-separated key=value pairs, each value a whole number"),
        (Mapping[str, int], "a=b", "comma-separated key=value pairs, each value a whole number"),
    ],
)
def test_what_is_allowed_is_said(hint: Any, text: str, allowed: str) -> None:
    reader = reader_of(hint)
    assert reader is not None
    assert reader.allowed == allowed
    with pytest.raises(ValueError):  # noqa: PT011  # that it raises is enough
        reader.read(text)


@pytest.mark.parametrize(
    "hint",
    [
        TracerProvider,
        TracerProvider | None,
        Callable[[str], bool],
        Collection[TracerProvider],
        Mapping[str, TracerProvider],
    ],
)
def test_what_cannot_be_written_as_text_has_no_variable(hint: Any) -> None:
    assert reader_of(hint) is None


@pytest.mark.parametrize(("default", "text"), [(None, "none"), (0.5, "0.5"), ({}, "unset")])
def test_a_default_is_written_as_in_a_variable(default: object, text: str) -> None:
    assert _environment._text_of(default) == text
