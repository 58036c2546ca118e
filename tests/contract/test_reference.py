"""The reference says what the code says: every name and number in its tables, both ways."""

import re
from dataclasses import fields
from importlib import import_module
from typing import Final

import pytest

import strawberry_ws_otel
from strawberry_ws_otel import OTelConfig, _protocol, _semconv
from strawberry_ws_otel._close import (
    _WITHOUT_FRAMES,
    FAULTS,
    CloseCode,
    CloseFrame,
    Facts,
    verdict,
)
from strawberry_ws_otel._environment import PREFIX, readers
from strawberry_ws_otel._fuse import RECORDS_PER_MINUTE
from strawberry_ws_otel._operation import _FAILURES, EndReason
from strawberry_ws_otel._recording import Telemetry as Recording
from tests.support.clock import Clock
from tests.support.fake_connection import FakeConnection
from tests.support.instruments import INSTRUMENTS
from tests.support.log import LogKeeper
from tests.support.pages import Page, codes
from tests.support.telemetry import Telemetry
from tests.support.views import config

TELEMETRY: Final = Page("docs/reference/telemetry.md")
CLOSES: Final = Page("docs/reference/closes.md")
END_REASONS: Final = Page("docs/reference/end-reasons.md")
LOG: Final = Page("docs/reference/log.md")
OPTIONS: Final = Page("docs/reference/options.md")
ENVIRONMENT: Final = Page("docs/reference/environment.md")
API: Final = Page("docs/reference/api.md")

OF_EXTRAS: Final = (
    "console.show",
    "console.ConversationExporter",
    "instrumentor.StrawberryWebSocketInstrumentor",
)
"""Public names of modules that need an extra."""

OPERATION_SPANS: Final = {"subscription", "query", "mutation"}
"""What a span is called when the type of its operation is known."""


def constants() -> dict[str, str]:
    return {key: value for key, value in vars(_semconv).items() if key.isupper()}


def values(prefix: str) -> set[str]:
    """The constants of `_semconv` whose own name starts so."""
    return {value for key, value in constants().items() if key.startswith(prefix)}


def is_attribute(constant: str) -> bool:
    return not constant.startswith(("SPAN_", "EVENT_", "METRIC_", "LOG_")) and constant not in {
        "SCOPE",
        "OTHER",
    }


# --- Names of telemetry ----------------------------------------------------------------------


def test_every_span_is_on_the_page_and_no_other() -> None:
    of_messages = {f"{_semconv.EVENT_MESSAGE_PREFIX}<type>"}
    spans = values("SPAN_") | OPERATION_SPANS | of_messages
    assert sorted(TELEMETRY.names("Spans")) == sorted(spans)


def test_every_event_is_on_the_page_and_no_other() -> None:
    prefix = _semconv.EVENT_MESSAGE_PREFIX
    events = {f"{prefix}<type>" if event == prefix else event for event in values("EVENT_")}
    assert sorted(TELEMETRY.names("Span events")) == sorted(events)


def test_every_metric_is_on_the_page_and_no_other() -> None:
    assert sorted(TELEMETRY.names("Metrics")) == sorted(values("METRIC_"))


def test_every_attribute_is_on_the_page_and_no_other() -> None:
    recorded = {
        *TELEMETRY.names("Span attributes"),
        *TELEMETRY.names("Span events", 3),
        *TELEMETRY.names("Metrics", 3),
    }
    assert recorded == {value for key, value in constants().items() if is_attribute(key)}


def test_no_attribute_is_explained_twice() -> None:
    names = TELEMETRY.names("Span attributes")
    assert len(set(names)) == len(names)


def test_every_message_type_is_on_the_page_and_no_other() -> None:
    words = {"in": "receive", "out": "transmit"}
    protocols = [codes(cell)[0] for cell in TELEMETRY.head("Message types")[1:]]
    recorded = {
        (protocol, words[word], name)
        for (cell, *directions) in TELEMETRY.rows("Message types")
        for name in codes(cell)
        for protocol, directed in zip(protocols, directions, strict=True)
        for word in filter(None, directed.split(", "))
    }
    known = {
        (protocol, message_type.direction, message_type.name)
        for protocol in (_protocol.GRAPHQL_TRANSPORT_WS, _protocol.GRAPHQL_WS)
        for types in (_protocol.vocabulary(protocol).received, _protocol.vocabulary(protocol).sent)
        for message_type in types.values()
    }
    assert recorded == known


def test_every_metric_has_the_instrument_and_the_unit_that_the_page_says() -> None:
    words = {
        "observable_up_down_counter": "up-down counter",
        "observable_counter": "counter",
        "histogram": "histogram",
    }
    recorded = {
        codes(name)[0]: (instrument, codes(unit)[0])
        for name, instrument, unit, _ in TELEMETRY.rows("Metrics")
    }
    assert recorded == {name: (words[kind], unit) for name, (kind, unit, _) in INSTRUMENTS.items()}


def test_every_field_of_the_log_record_of_a_close_is_on_the_page_and_no_other(
    telemetry: Telemetry, clock: Clock, library_log: LogKeeper
) -> None:
    recording = Recording(config(telemetry))
    client = {_semconv.CLIENT_ADDRESS: "192.0.2.1", _semconv.USER_AGENT: "ticker/2.1"}

    def connection() -> FakeConnection:
        return FakeConnection(recording.config, recording=recording, handshake=client)

    connection().end(KeyError(), status=500)
    for _ in range(RECORDS_PER_MINUTE + 1):
        talk = connection()
        talk.accept(_protocol.GRAPHQL_WS)
        talk.initialize()
        talk.send_close(4400, "Unknown message type")
        talk.connection.close_received(CloseFrame(4400))
        talk.end()
    clock.passes(60)
    talk = connection()
    talk.accept(_protocol.GRAPHQL_WS)
    talk.close_by_server(4400)
    fields = {key for record in library_log.closes for key in vars(record) if "." in key}
    assert sorted(LOG.names("Closes")) == sorted(fields)


# --- Closes and operations -------------------------------------------------------------------


def test_every_outcome_is_on_the_page_with_its_fault_and_no_other() -> None:
    recorded = [
        (codes(outcome)[0], abnormal, codes(fault)[0])
        for outcome, abnormal, fault, *_ in CLOSES.rows("Verdicts")
    ]
    assert recorded == [
        (outcome.value, "no" if fault.value == "none" else "yes", fault.value)
        for outcome, fault in FAULTS.items()
    ]


def test_every_outcome_is_explained() -> None:
    assert all(when and meaning for _, _, _, when, meaning in CLOSES.rows("Verdicts"))


def judged(code: int) -> tuple[str, str]:
    """The verdicts over a first close frame with this code, from the server and the client."""
    ours, theirs = Facts(upgraded=True), Facts(upgraded=True)
    ours.frame_sent(CloseFrame(code))
    theirs.frame_received(CloseFrame(code))
    return verdict(ours).outcome.value, verdict(theirs).outcome.value


def test_every_close_code_is_on_the_page_with_its_verdicts_and_no_other() -> None:
    *named, (application, *by_range), (_, *by_default) = CLOSES.rows("Close codes")
    assert [(int(code), codes(name)[0]) for code, name, *_ in named] == [
        (code.value, code.name) for code in CloseCode
    ]
    for code, _, *outcomes in named:
        assert tuple(codes(cell)[0] for cell in outcomes) == judged(int(code))
    first, last = map(int, application.split("–"))  # noqa: RUF001  # as a reader expects a range
    for other, (_, *outcomes) in ((first, by_range), (last, by_range), (2999, by_default)):
        assert tuple(codes(cell)[0] for cell in outcomes) == judged(other)


def test_every_outcome_without_a_close_frame_is_on_the_page_and_no_other() -> None:
    title = "1006: there was no close frame"
    assert sorted(CLOSES.names(title)) == sorted(outcome.value for outcome in _WITHOUT_FRAMES)


def test_every_end_reason_is_on_the_page_with_its_status_and_no_other() -> None:
    statuses = {
        **dict.fromkeys(EndReason, "unset"),
        **dict.fromkeys(_FAILURES, "ERROR"),
        EndReason.CONNECTION_CLOSED: "ERROR if abnormal",
    }
    recorded = {codes(reason)[0]: status for reason, status, _ in END_REASONS.rows("End reasons")}
    assert recorded == {reason.value: status for reason, status in statuses.items()}


# --- Options ---------------------------------------------------------------------------------


def test_every_option_is_on_the_page_with_its_default_and_no_other() -> None:
    default = OTelConfig()
    recorded = {codes(name)[0]: codes(value)[0] for name, value, _ in OPTIONS.rows("Every option")}
    assert recorded == {
        field.name: repr(getattr(default, field.name)).replace("'", '"')
        for field in fields(OTelConfig)
    }


def test_every_option_has_its_environment_variable_and_the_values_that_it_takes() -> None:
    rows = ENVIRONMENT.rows("Environment variables")
    documented = {codes(variable)[0]: values_ for variable, values_ in rows}
    assert documented == {name: reader.allowed for name, reader in readers().items()}
    providers = {"tracer_provider", "meter_provider"}
    options = {f"{PREFIX}{field.name.upper()}" for field in fields(OTelConfig)}
    assert documented.keys() == options - {f"{PREFIX}{each.upper()}" for each in providers}


@pytest.mark.parametrize("option", ["trace_shape", "remote_context", "error_messages"])
def test_every_choice_that_the_page_offers_is_one(option: str) -> None:
    [meaning] = [row[2] for row in OPTIONS.rows("Every option") if codes(row[0]) == [option]]
    choices = re.findall(r'`"(\w+)"`', meaning)
    assert len(choices) > 1
    for choice in choices:
        OTelConfig(**{option: choice})


def test_other_pages_count_as_many_outcomes_and_metrics() -> None:
    readme, migrating = Page("README.md"), Page("docs/recipes/migrating.md")
    assert f"[{len(FAULTS)} outcomes]" in readme.text
    assert len(values("METRIC_")) == 14
    assert all("[fourteen](" in page.text for page in (readme, migrating))


# --- API -------------------------------------------------------------------------------------


def test_every_public_name_is_on_the_page_and_no_other() -> None:
    assert sorted(API.names("API")) == sorted([*strawberry_ws_otel.__all__, *OF_EXTRAS])


@pytest.mark.parametrize("name", OF_EXTRAS)
def test_a_name_of_an_extra_is_where_the_page_says(name: str) -> None:
    module, _, member = name.partition(".")
    assert callable(getattr(import_module(f"strawberry_ws_otel.{module}"), member))
    assert f"::: strawberry_ws_otel.{name}\n" in API.text


def test_the_docstring_of_every_public_object_is_on_the_page() -> None:
    documented = re.findall(r"^::: strawberry_ws_otel\.(\w+)$", API.text, re.MULTILINE)
    assert sorted(documented) == sorted(set(strawberry_ws_otel.__all__) - {"__version__"})
