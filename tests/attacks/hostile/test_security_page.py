"""The bounds that the security page promises are those of the code."""

import re
from pathlib import Path
from typing import Final

import pytest

from strawberry_ws_otel import (
    OTelConfig,
    _attributes,
    _connection,
    _counts,
    _fuse,
    _limits,
    _metrics,
    _operation,
    _operations,
    _propagation,
    _semconv,
)
from tests.attacks.hostile import bounds

PAGE: Final = Path(__file__).parents[3] / "SECURITY.md"
TEXT: Final = PAGE.read_text()
ROWS: Final = dict(
    re.findall(r"^\| (.+) \| (.+) \|$", TEXT.split("## What an attacker")[1], re.MULTILINE)
)
CONFIG: Final = OTelConfig()
WORDS: Final = " ".join(TEXT.split())

PROMISES: Final = {
    "ids of operations": f"{_limits.ID} characters",
    "names, user agent, path, host, addresses, error paths, codes and classes": (
        f"{_limits.NAME} characters"
    ),
    "messages of errors": f"{_limits.MESSAGE} characters",
    "close reasons": f"{_limits.REASON} bytes",
    "events for errors on one span": f"{_operation.MAX_ERROR_EVENTS}",
    "message events of one type and direction, and links, on one span": (
        f"the first {CONFIG.message_events}, then powers of two"
    ),
    "attributes that the application gives one connection with `connection_attributes()`": (
        f"{_attributes.MAX_ATTRIBUTES}"
    ),
    "their names and strings": f"{_limits.NAME} characters",
    "results with errors of one operation that wait to be sent": f"{_operation._MAX_UNSENT}",
    "operations of one connection that wait to be handled and are kept with their first message": (
        f"{_operations._MAX_WAITING}"
    ),
    "messages without a document that wait to be handled": f"{_connection._MAX_WITHOUT_DOCUMENT}",
    "entries of a carrier of trace context that are read": f"{_propagation._MAX_ENTRIES}",
    "an entry of a carrier, key and value": f"{_propagation._MAX_ENTRY} characters",
    "distinct values of `error.type` on metrics": (
        f"{_counts._MAX_ERROR_TYPES}, then `{_semconv.OTHER}`"
    ),
    "sets of `OTelConfig.attributes` on metrics in a process": (
        f"{_metrics._MAX_SETS}, then `{_semconv.OTHER}`"
    ),
    "log records of one outcome, for each view class": f"{_fuse.RECORDS_PER_MINUTE} a minute",
    "log records of failed telemetry with one class of exception, for each view class and"
    " extension class": f"{_fuse.RECORDS_PER_MINUTE} a minute",
    "classes of exceptions that have a limit of their own there": f"{_fuse.MAX_KINDS}",
}


def test_every_bound_on_the_page_is_that_of_the_code() -> None:
    assert {"what": "at most", **PROMISES} == ROWS


@pytest.mark.parametrize(
    ("attributes", "limit"),
    [
        (("OPERATION_ID",), _limits.ID),
        (("OPERATION_NAME", "USER_AGENT", "URL_PATH", "SERVER_ADDRESS"), _limits.NAME),
        (("CLIENT_ADDRESS", "ERROR_PATH", "ERROR_CODE", "ERROR_TYPE"), _limits.NAME),
        (("ERROR_MESSAGE", "EXCEPTION_MESSAGE"), _limits.MESSAGE),
        (("CLOSE_REASON",), _limits.REASON),
    ],
)
def test_the_fuzzers_hold_the_same_bounds(attributes: tuple[str, ...], limit: int) -> None:
    assert {bounds.TEXTS[getattr(_semconv, name)] for name in attributes} == {limit}


@pytest.mark.parametrize(
    "says",
    [
        f"one line of at most {bounds.LINE} characters",
        f"`{_semconv.LOG_LEFT_OUT}`",
        f"`{_semconv.METRIC_CLOSES}` counts them all",
        f'(`remote_context="{CONFIG.remote_context}"`)',
        "`capture_document=True`",
        '`error_messages="none"`',
    ],
)
def test_what_the_page_names_is_what_there_is(says: str) -> None:
    assert says in WORDS


def test_what_the_page_says_of_options_is_the_default() -> None:
    assert not CONFIG.capture_document
    assert CONFIG.error_messages == "execution"
    assert len(TEXT.splitlines()) <= 120
