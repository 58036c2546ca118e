"""However often the library itself fails, its log stays short and reports each kind of failure."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, NoReturn

import pytest
from opentelemetry import metrics, trace
from strawberry.aiohttp.views import GraphQLView

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from strawberry_ws_otel._fuse import RECORDS_PER_MINUTE, FailureLog, Fuse
from strawberry_ws_otel._strawberry import extension as _extension
from tests.support.broken_api import PIPES, Pipe, PipeError
from tests.support.clock import Clock
from tests.support.hosting import hosting, part
from tests.support.log import LogKeeper, is_internal
from tests.support.schema import HELLO, make_schema
from tests.support.views import Fixed

pytestmark = pytest.mark.internal_error

MANY: Final = RECORDS_PER_MINUTE + 5
"""Connections or requests, more than records in a minute."""


class OneError(Exception):
    pass


class OtherError(Exception):
    pass


def blow(failures: FailureLog, error: type[Exception], times: int = 1) -> None:
    """As many recorders fail."""
    for _ in range(times):
        with Fuse(failures):
            raise error


def kinds(log: LogKeeper) -> list[Any]:
    assert all(map(is_internal, log.records))
    return [record.exc_info and record.exc_info[0] for record in log.records]


def endings(log: LogKeeper) -> list[str]:
    """What the records say beyond that telemetry is off."""
    said = "the conversation goes on untouched"
    return [record.getMessage().partition(said)[2] for record in log.records]


def reasons(log: LogKeeper) -> set[str]:
    """The messages of the exceptions."""
    return {str(record.exc_info[1]) for record in log.records if record.exc_info}


def test_a_flood_of_failures_is_ten_records_a_minute(clock: Clock, library_log: LogKeeper) -> None:
    blow(FailureLog(), OneError, 1000)
    assert kinds(library_log) == [OneError] * 10


def test_the_first_record_after_a_flood_says_how_many_were_left_out(
    clock: Clock, library_log: LogKeeper
) -> None:
    failures = FailureLog()
    blow(failures, OneError, 1000)
    clock.passes(60.0)
    blow(failures, OneError, 2)
    assert endings(library_log) == [
        *[""] * 10,
        "; 990 more failures like it were not logged",
        "",
    ]
    assert {record.levelno for record in library_log.records} == {logging.ERROR}


def test_no_flood_of_one_kind_hides_another(clock: Clock, library_log: LogKeeper) -> None:
    failures = FailureLog()
    blow(failures, OneError, 1000)
    blow(failures, OtherError)
    assert kinds(library_log) == [*[OneError] * 10, OtherError]


def test_classes_that_are_made_by_the_thousand_are_no_way_around_the_bound(
    clock: Clock, library_log: LogKeeper
) -> None:
    failures = FailureLog()
    for number in range(1000):
        blow(failures, type(f"Error{number}", (Exception,), {}))
    assert len(library_log.records) == 100 + 10


def test_a_log_that_raises_counts_and_raises_no_further(
    clock: Clock, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_record: logging.LogRecord) -> NoReturn:
        raise OSError

    failures = FailureLog()
    with monkeypatch.context() as patched:
        patched.setattr(library_log, "emit", fail)
        blow(failures, OneError, 1000)
    blow(failures, OneError)
    assert library_log.records == []


# --- Over real sockets -----------------------------------------------------------------------

View = GraphQLView[Any, Any]


def broken(pipe: Pipe) -> OTelConfig:
    return OTelConfig(tracer_provider=pipe.tracer_provider, meter_provider=pipe.meter_provider)


def recorded_into(config: OTelConfig, base: type[View] = View) -> View:
    """A view under the mixin; its schema has no extension."""

    class Recorded(OTelViewMixin, base):  # type: ignore[valid-type,misc]  # whichever it is
        otel_config = replace(config, setup_warnings=False)

    return Recorded(schema=make_schema())


async def visit(view: View, times: int = MANY) -> None:
    """So many clients log in, and leave."""
    async with hosting(view) as host:
        for _ in range(times):
            await part(await host.acknowledged())


async def test_a_broken_sdk_does_not_flood_the_log_of_a_server(
    clock: Clock, library_log: LogKeeper
) -> None:
    view = recorded_into(broken(PIPES["no spans"]()))
    await visit(view)
    assert kinds(library_log) == [PipeError] * 10
    clock.passes(60.0)
    await visit(view, 1)
    assert endings(library_log) == [
        *[""] * 10,
        f"; {MANY - 10} more failures like it were not logged",
    ]


async def test_view_classes_have_their_own_bounds(clock: Clock, library_log: LogKeeper) -> None:
    for _ in range(2):
        await visit(recorded_into(broken(PIPES["no spans"]())))
    assert kinds(library_log) == [PipeError] * 20


async def ask(extension: Any) -> None:
    """Send requests over HTTP to a view that is not recorded."""
    async with hosting(View(schema=make_schema(extension))) as host:
        for _ in range(MANY):
            assert await host.post({"query": HELLO}) == (200, {"data": {"hello": "world"}})


def extended(config: OTelConfig) -> Any:
    class Extension(OTelExtension):
        otel_config = config

    return Extension


async def test_a_broken_sdk_does_not_flood_the_log_by_way_of_the_extension(
    clock: Clock, library_log: LogKeeper
) -> None:
    for _ in range(2):
        await ask(extended(broken(PIPES["no spans"]())))
    assert kinds(library_log) == [PipeError] * 20, "each has its own bound"


def raising(error: type[Exception]) -> Callable[..., NoReturn]:
    def function(*_arguments: object, **_keywords: object) -> NoReturn:
        raise error

    return function


async def test_an_extension_that_does_not_know_what_it_needs_says_so_briefly(
    clock: Clock, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_extension, "current_connection", raising(OneError))
    await ask(extended(OTelConfig()))
    assert kinds(library_log) == [OneError] * 10


async def test_global_providers_that_cannot_be_loaded_do_not_flood_the_log(
    clock: Clock, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "get_meter_provider", raising(OneError))
    monkeypatch.setattr(trace, "get_tracer", raising(OtherError))
    await visit(recorded_into(OTelConfig()))
    await ask(extended(OTelConfig()))
    # The tracer is asked for once by each, the provider of meters again for every request.
    assert kinds(library_log) == [OneError, OtherError, *[OneError] * 9] * 2


async def test_adapters_that_cannot_be_recorded_do_not_flood_the_log(
    clock: Clock, library_log: LogKeeper
) -> None:
    maker = staticmethod(partial(Fixed))
    own: Any = type("Own", (GraphQLView,), {"websocket_adapter_class": maker})
    await visit(recorded_into(OTelConfig(), own))
    assert kinds(library_log) == [TypeError] * 10


async def test_the_log_names_a_configuration_of_another_type_that_a_view_was_given_later(
    library_log: LogKeeper,
) -> None:
    class Later(OTelViewMixin, GraphQLView[Any, Any]):
        pass

    wrong: Any = {}
    Later.otel_config = wrong
    async with hosting(Later(schema=make_schema())) as host:
        await part(await host.acknowledged())
    said = f"{Later.__qualname__}.otel_config must be an OTelConfig, not {{}}"
    assert reasons(library_log) == {said}


async def test_the_log_names_a_configuration_of_another_type_that_an_extension_was_given_later(
    library_log: LogKeeper,
) -> None:
    class Later(OTelExtension):
        pass

    wrong: Any = {}
    Later.otel_config = wrong
    assert (await make_schema(Later).execute(HELLO)).data == {"hello": "world"}
    said = f"{Later.__qualname__}.otel_config must be an OTelConfig, not {{}}"
    assert reasons(library_log) == {said}
