"""What a view or an extension class records into: one configuration, and the providers of now."""

from typing import Any, NoReturn

import pytest
from opentelemetry import metrics, trace

from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel._fuse import FailureLog
from strawberry_ws_otel._log import CloseLog
from strawberry_ws_otel._recording import Telemetry as Recording
from tests.support.broken_api import PipeError
from tests.support.log import LogKeeper, RaisingHandler, handling
from tests.support.telemetry import Telemetry, labels
from tests.support.views import config

SPANS = "the spans of opentelemetry.sdk.trace.TracerProvider"
METRICS = "the metrics of opentelemetry.sdk.metrics._internal.MeterProvider"


def test_it_is_current_as_long_as_its_configuration_is(telemetry: Telemetry) -> None:
    own = config(telemetry)
    recording = Recording(own)
    assert recording.is_current(own)
    assert not recording.is_current(config(telemetry)), "another one that is equal"


GLOBAL_ONES: dict[str, tuple[dict[str, bool], bool, bool]] = {
    # which providers are named, and whether it is current when the other global ones are replaced:
    # that of spans, that of metrics
    "none is named": ({}, False, False),
    "that of spans is named": ({"tracer_provider": True}, True, False),
    "that of metrics is named": ({"meter_provider": True}, False, True),
    "both are named": ({"tracer_provider": True, "meter_provider": True}, True, True),
}


@pytest.mark.parametrize("what", GLOBAL_ONES)
def test_it_is_current_as_long_as_the_global_providers_it_asked_for_are(
    what: str, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, without_tracers, without_meters = GLOBAL_ONES[what]
    both: dict[str, Any] = {
        "tracer_provider": telemetry.tracer_provider,
        "meter_provider": telemetry.meter_provider,
    }
    own = OTelConfig(**{name: both[name] for name in named})
    recording = Recording(own)
    assert recording.is_current(own)
    with monkeypatch.context() as replaced:
        replaced.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
        assert recording.is_current(own) == without_tracers
    with monkeypatch.context() as replaced:
        replaced.setattr(metrics, "get_meter_provider", metrics.NoOpMeterProvider)
        assert recording.is_current(own) == without_meters
    assert recording.is_current(own)


def fail() -> NoReturn:
    raise PipeError


@pytest.mark.internal_error
@pytest.mark.parametrize(
    ("api", "name"), [(trace, "get_tracer_provider"), (metrics, "get_meter_provider")]
)
def test_it_goes_on_with_the_providers_it_has_if_nobody_knows_which_are_the_global_ones(
    api: Any, name: str, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = OTelConfig()
    recording = Recording(own, FailureLog())
    monkeypatch.setattr(api, name, fail)
    assert recording.is_current(own)
    (record,) = library_log.records
    assert record.getMessage().startswith("Telemetry failed in the global providers: ")


# --- Where nothing goes by mistake ---------------------------------------------------------------

NO_SPANS = (
    "no tracer provider is set: spans go nowhere; call opentelemetry.trace.set_tracer_provider(),"
    " or set OTelConfig(tracer_provider=NoOpTracerProvider()) if you want no spans"
)
NO_METRICS = (
    "no meter provider is set: metrics go nowhere; call opentelemetry.metrics.set_meter_provider(),"
    " or set OTelConfig(meter_provider=NoOpMeterProvider()) if you want no metrics"
)


def connect(log: LogKeeper, **options: Any) -> list[str]:
    """What is logged as clients connect to two views of one class."""
    failures = FailureLog()
    for _ in range(2):
        recording = Recording(OTelConfig(**options), failures)
        recording.connecting()
        recording.connecting()
    return [record.getMessage() for record in log.records]


def test_it_warns_once_of_each_provider_that_is_missing(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    assert connect(library_log) == [NO_SPANS, NO_METRICS]
    assert {record.levelname for record in library_log.records} == {"WARNING"}
    library_log.records.clear()
    assert connect(library_log, meter_provider=telemetry.meter_provider) == [NO_SPANS]
    library_log.records.clear()
    assert connect(library_log, tracer_provider=trace.NoOpTracerProvider()) == [NO_METRICS]


def test_it_does_not_warn_of_spans_without_metrics(
    telemetry: Telemetry, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connect(library_log, tracer_provider=telemetry.tracer_provider) == []
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: telemetry.tracer_provider)
    assert connect(library_log) == []


@pytest.mark.parametrize("value", ["", "false", "1"])
def test_it_warns_unless_the_sdk_is_disabled(
    value: str, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    assert connect(library_log) == [NO_SPANS, NO_METRICS]


@pytest.mark.parametrize("value", ["true", " True "])
def test_it_does_not_warn_if_the_sdk_is_disabled(
    value: str, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    assert connect(library_log) == []


NO_OPS: dict[str, Any] = {
    "tracer_provider": trace.NoOpTracerProvider(),
    "meter_provider": metrics.NoOpMeterProvider(),
}


def test_it_does_not_warn_of_what_was_chosen(
    telemetry: Telemetry, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connect(library_log, **NO_OPS) == []
    assert connect(library_log, setup_warnings=False) == []
    for providers in (telemetry.tracer_provider, telemetry.meter_provider), NO_OPS.values():
        for api, name, provider in zip(
            (trace, metrics), ("tracer", "meter"), providers, strict=True
        ):
            monkeypatch.setattr(api, f"get_{name}_provider", lambda provider=provider: provider)
        assert connect(library_log) == []


@pytest.mark.internal_error
def test_each_connection_has_fuses_of_its_own_and_a_log_that_it_shares(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    recording = Recording(config(telemetry), FailureLog())
    one, other = recording.fuses(), recording.fuses()
    for fuse in (one.library, one.spans, one.metrics, one.log):
        with fuse:
            raise PipeError
    assert not any(fuse.blown for fuse in (other.library, other.spans, other.metrics, other.log))
    said = [record.getMessage().partition(":")[0] for record in library_log.records]
    assert said == [
        f"Telemetry failed in {signal}"
        for signal in ("the library", SPANS, METRICS, "the log of closes")
    ]
    for _ in range(20):
        with recording.fuses().spans:
            raise PipeError
    assert len(library_log.records) == 10


def test_the_log_of_closes_is_that_of_its_class_if_it_has_one(telemetry: Telemetry) -> None:
    log = CloseLog()
    assert Recording(config(telemetry), None, log).log is log
    assert Recording(config(telemetry)).log is not log


def test_outcomes_that_are_declared_normal_are_counted_from_nothing_on(
    telemetry: Telemetry,
) -> None:
    Recording(config(telemetry, normal_outcomes={"connection_lost", 4499}))
    names = ("websocket.close.outcome", "websocket.close.fault")
    closes = telemetry.metrics()["websocket.server.closes"]
    declared = {
        labels(dict(zip(names, (outcome, "none"), strict=True)))
        for outcome in ("connection_lost", "client_terminated")
    }
    assert declared <= closes.keys()
    assert set(closes.values()) == {0}


@pytest.mark.parametrize("failures", [None, FailureLog()], ids=["for itself", "for its class"])
def test_a_warning_is_logged_though_a_log_handler_raises(
    failures: FailureLog | None, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    recording = Recording(config(telemetry), failures)
    recording.warn_once("%s cannot be watched", "one")
    with handling(RaisingHandler()):
        recording.warn_once("%s cannot be heard", "one")
    assert [record.getMessage() for record in library_log.records] == [
        "one cannot be watched",
        "one cannot be heard",
    ]
