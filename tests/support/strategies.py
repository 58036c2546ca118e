"""What Hypothesis draws: whatever an untrusted client can put into a frame."""

from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st

PROPERTY: Final = settings(derandomize=True, deadline=None)
"""How a property is examined: the same examples on every run, however slow the machine.

`tests/conftest.py` says how many.
"""

any_text = st.text(st.characters())
"""Text as JSON can carry it: with lone surrogates."""

any_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
"""Any JSON value, and those that only Python takes for JSON (`NaN`, `Infinity`)."""

MESSAGE_TYPES: Final = (
    "connection_init",
    "connection_ack",
    "connection_error",
    "connection_terminate",
    "ka",
    "ping",
    "pong",
    "subscribe",
    "start",
    "next",
    "data",
    "error",
    "complete",
    "stop",
    "_OTHER",
)

ids = st.sampled_from(["1", "2"]) | st.integers(0, 1) | any_json
"""Ids that often meet again."""

payloads = (
    st.fixed_dictionaries(
        {},
        optional={
            "query": st.just("subscription { n }") | any_json,
            "operationName": st.just("N") | any_json,
            "variables": any_json,
            "extensions": any_json,
            "traceparent": st.just(f"00-{'a' * 32}-{'b' * 16}-01") | any_json,
        },
    )
    | any_json
)

messages = (
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(MESSAGE_TYPES) | any_json,
            "id": ids,
            "payload": payloads,
        },
    )
    | any_json
)
"""JSON values that are often a message, or nearly one."""
