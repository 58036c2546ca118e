"""The example's log: each record says to which trace and connection it belongs."""

import binascii
import logging
import re
from collections.abc import Iterator
from io import StringIO
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from typing import Any, Final

import pytest

from examples.deployment.log import with_ids
from strawberry_ws_otel import OTelExtension
from strawberry_ws_otel._fuse import RECORDS_PER_MINUTE
from tests.support.assertions import connection_span
from tests.support.clock import Clock
from tests.support.hosting import hosting
from tests.support.schema import AppError, make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import View, instrumented

LINE: Final = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) (\w+) trace=(\S+) connection=(\S+) (\S+): (.*)$",
    re.MULTILINE,
)
NOWHERE: Final = ("-", "-")

log = logging.getLogger("app")


class Broken(View):
    async def on_ws_connect(self, context: Any) -> Any:
        log.warning("looking for the user")
        raise AppError("no database")


@pytest.fixture
def written() -> Iterator[StringIO]:
    """What a handler with ids has written."""
    stream, root = StringIO(), logging.getLogger()
    handler = with_ids(logging.StreamHandler(stream))
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)


def lines(written: StringIO) -> list[tuple[str, str, tuple[str, str]]]:
    """The logger, the level, and the ids of each record."""
    found = LINE.findall(written.getvalue())
    return [(name, level, (trace, connection)) for _, level, trace, connection, name, _ in found]


async def breaks(telemetry: Telemetry, times: int = 1) -> None:
    async with hosting(instrumented(telemetry, Broken)(schema=make_schema(OTelExtension))) as host:
        for _ in range(times):
            client = await host.connect()
            client.json({"type": "connection_init"})
            await client.until_end()


def ids(telemetry: Telemetry, name: str) -> tuple[str, str]:
    """The trace of a span, and the connection."""
    [span] = telemetry.spans(name)
    assert span.context is not None
    connection = attributes_of(connection_span(telemetry))["websocket.connection.id"]
    return f"{span.context.trace_id:032x}", connection


async def test_the_traceback_has_the_ids_of_the_close_beside_it(
    telemetry: Telemetry, written: StringIO
) -> None:
    await breaks(telemetry)
    of_connection = ids(telemetry, "GraphQL WebSocket Connection")
    assert lines(written) == [
        ("app", "WARNING", ids(telemetry, "GraphQL WebSocket Connection Init")),
        ("strawberry_ws_otel", "ERROR", of_connection),
        ("aiohttp.server", "ERROR", of_connection),
    ]
    assert "tests.support.schema.AppError: no database" in written.getvalue()


async def test_behind_the_message_of_a_close_is_who_the_client_was(
    telemetry: Telemetry, written: StringIO
) -> None:
    await breaks(telemetry)
    [message] = re.findall(r"GraphQL WebSocket .*", written.getvalue())
    assert message.endswith(
        "AppError: no database error.type='tests.support.schema.AppError'"
        " client.address='127.0.0.1' user_agent.original='wire/1.0'"
    )


def test_what_a_client_says_of_itself_begins_no_line(written: StringIO) -> None:
    agent = "x' connection=688ab1507049031d\n2026-01-01 \x1b[2J"
    log.error("closed", extra={"websocket.connection.id": "1", "user_agent.original": agent})
    [line] = written.getvalue().splitlines()
    assert line.isprintable()
    assert line.endswith(f"closed user_agent.original={agent!r}")


async def test_a_traceback_of_a_close_that_is_not_logged_has_no_ids(
    telemetry: Telemetry, clock: Clock, written: StringIO
) -> None:
    await breaks(telemetry, RECORDS_PER_MINUTE + 1)
    tracebacks = [who for name, _, who in lines(written) if name == "aiohttp.server"]
    assert len(set(tracebacks[:-1])) == RECORDS_PER_MINUTE
    assert tracebacks[-1] == NOWHERE


def test_a_record_of_no_connection_says_so(written: StringIO) -> None:
    log.warning("no client")
    assert lines(written) == [("app", "WARNING", NOWHERE)]


def test_a_traceback_of_another_exception_is_not_that_of_the_close(written: StringIO) -> None:
    close = {"websocket.connection.id": "688ab1507049031d", "error.type": "KeyError"}
    log.error("closed", extra=close)
    log.error("another", exc_info=ValueError())
    log.error("no exception")
    log.error("the same", exc_info=KeyError())
    assert lines(written) == [
        ("app", "ERROR", ("-", "688ab1507049031d")),
        ("app", "ERROR", NOWHERE),
        ("app", "ERROR", NOWHERE),
        ("app", "ERROR", ("-", "688ab1507049031d")),
    ]


class Error(Exception):
    """One whose name ends that of others."""


class ConnectionError(OSError):  # noqa: A001  # that is what it is about
    """One that has the name of another."""


@pytest.mark.parametrize(
    ("error_type", "raised"),
    [
        ("ConnectionError", binascii.Error),
        ("ConnectionError", Error),
        ("ConnectionError", ConnectionError),
        ("binascii.Error", Error),
        (None, KeyError),
        (["KeyError"], KeyError),
    ],
    ids=repr,
)
def test_a_class_is_that_of_the_close_only_if_its_whole_name_is(
    error_type: object, raised: type[Exception], written: StringIO
) -> None:
    log.error("closed", extra={"websocket.connection.id": "1", "error.type": error_type})
    log.error("another", exc_info=raised())
    assert lines(written) == [("app", "ERROR", ("-", "1")), ("app", "ERROR", NOWHERE)]


def test_other_handlers_get_what_the_application_has_logged() -> None:
    stream = StringIO()
    extra = {"details": {"order": 7}, "trace_id": "mine", "connection_id": "mine"}
    record = log.makeRecord("app", logging.WARNING, "", 0, "paid", (), None, extra=extra)
    before = dict(vars(record))
    with_ids(logging.StreamHandler(stream)).handle(record)
    [(_, _, trace_id, connection_id, _, message)] = LINE.findall(stream.getvalue())
    assert (trace_id, connection_id, message) == ("-", "-", "paid")
    # Every formatter sets these two.
    formatted = {"message": "paid", "asctime": vars(record)["asctime"]}
    assert vars(record) == {**before, **formatted}


async def test_a_handler_with_a_queue_writes_the_ids_of_the_task_that_logs(
    telemetry: Telemetry,
) -> None:
    stream, root, queue = StringIO(), logging.getLogger(), SimpleQueue[logging.LogRecord]()
    handler = with_ids(QueueHandler(queue))
    listener = QueueListener(queue, logging.StreamHandler(stream))
    listener.start()
    root.addHandler(handler)
    await breaks(telemetry)
    root.removeHandler(handler)
    listener.stop()
    assert lines(stream) == [
        ("app", "WARNING", ids(telemetry, "GraphQL WebSocket Connection Init")),
        ("strawberry_ws_otel", "ERROR", ids(telemetry, "GraphQL WebSocket Connection")),
        ("aiohttp.server", "ERROR", ids(telemetry, "GraphQL WebSocket Connection")),
    ]
