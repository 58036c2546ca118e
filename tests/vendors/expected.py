"""What has to be recorded of the conversations, whoever the vendor is."""

from collections.abc import Iterator, Mapping
from typing import Final

from tests.vendors.words import (
    CLIENT_ID,
    CODE,
    CONNECTION,
    CONVERSATION,
    END_REASON,
    EXECUTION,
    FAULT,
    INIT,
    INITIATOR,
    NAME,
    OUTCOME,
    PARSING,
    RESOLVER,
    RESULTS,
    SUBSCRIPTION_ID,
    THE_CLIENT,
    TYPE,
    VALIDATION,
    Recorded,
)

HEARD: Final = {
    "polite": ["connection_ack", "next", "complete", *["next"] * 3, "complete"],
    "vanishes": ["connection_ack", "next"],
    "nonsense": ["connection_ack", "next", "close 4400"],
    "carried": ["connection_ack", *["next"] * 3, "complete"],
    "legacy polite": ["connection_ack", "error", *["data"] * 3, "complete"],
    "legacy vanishes": ["connection_ack", "data"],
    "legacy rejected": ["connection_error", "close 1011"],
    "over HTTP": ['200 {"data": {"price": 1}}'],
}
"""What the clients hear, with the library or without."""

ABNORMAL: Final = {
    "vanishes": "connection_lost",
    "nonsense": "invalid_message",
    "legacy vanishes": "connection_lost",
    "legacy rejected": "forbidden",
}
"""The conversations that are logged."""

METRICS: Final = {
    "websocket.server.active_connections": {"graphql-transport-ws": 0, "graphql-ws": 0},
    "websocket.server.closes": {
        "normal": 3,
        "connection_lost": 2,
        "invalid_message": 1,
        "forbidden": 1,
    },
    "websocket.server.messages": {
        "connection_init": 7,
        "connection_ack": 6,
        "connection_error": 1,
        "subscribe": 5,
        "start": 3,
        "next": 9,
        "data": 4,
        "complete": 4,
        "error": 1,
        "_OTHER": 1,
    },
    "graphql.ws.operation.duration": {"completed": 4, "connection_closed": 3, "error": 1},
}


INSTRUMENTS: Final = frozenset(
    {
        *METRICS,
        "websocket.server.connection.duration",
        "websocket.server.io",
        "websocket.server.send.blocked",
        "websocket.server.send.blocked_time",
        "graphql.ws.connection_init.duration",
        "graphql.ws.time_to_first_result",
        "graphql.server.request.duration",
        "graphql.server.subscription.active",
        "graphql.server.subscription.event_count",
    }
)
"""The metrics that have something to say: there was no ERROR frame to count."""


def _text(attributes: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, str(value)) for key, value in attributes.items()))


def _events(messages: str) -> tuple[str, ...]:
    return tuple(f"graphql.ws.{each}" for each in messages.split())


def _connection(
    conversation: str, verdict: str, messages: str, *operations: str
) -> Iterator[Recorded]:
    """A connection and its init; the verdict is outcome, code, initiator and fault."""
    outcome, code, initiator, fault = verdict.split()
    yield Recorded(
        conversation,
        CONNECTION,
        attributes=_text(
            {
                CONVERSATION: conversation,
                OUTCOME: outcome,
                CODE: code,
                INITIATOR: initiator,
                FAULT: fault,
            }
        ),
        failed=outcome != "normal",
        events=(*_events(messages), "websocket.close"),
        links=(INIT, *operations),
    )
    yield Recorded(
        conversation,
        INIT,
        below=_parent(conversation),
        failed=outcome == "forbidden",
        links=(CONNECTION,),
    )


def _parent(conversation: str) -> str:
    return THE_CLIENT if conversation == "carried" else ""


def _operation(
    conversation: str, attributes: Mapping[str, object], events: tuple[str, ...]
) -> Recorded:
    return Recorded(
        conversation,
        str(attributes[TYPE]),
        below=_parent(conversation),
        attributes=_text(attributes),
        failed=attributes[END_REASON] != "completed",
        events=events,
        links=(CONNECTION,),
    )


def _below(conversation: str, operation: str, *names: str) -> Iterator[Recorded]:
    return (Recorded(conversation, name, below=operation) for name in names)


def _query(conversation: str, messages: str) -> Iterator[Recorded]:
    attributes = {
        TYPE: "query",
        NAME: "Price",
        CLIENT_ID: "query",
        END_REASON: "completed",
        RESULTS: 1,
        RESOLVER: "price",
    }
    yield _operation(conversation, attributes, _events(messages))
    yield from _below(conversation, "query", PARSING, VALIDATION, EXECUTION, "db")


def _refused_query(conversation: str) -> Iterator[Recorded]:
    """A query over graphql-ws, which is for subscriptions only."""
    attributes = {
        TYPE: "query",
        NAME: "Price",
        CLIENT_ID: "query",
        END_REASON: "error",
        RESULTS: 0,
    }
    events = "graphql.ws.start", "graphql.error", "graphql.ws.error"
    yield _operation(conversation, attributes, events)
    yield from _below(conversation, "query", PARSING)


def _ticks(conversation: str, messages: str) -> Iterator[Recorded]:
    attributes = {
        TYPE: "subscription",
        NAME: "Ticks",
        CLIENT_ID: "ticks",
        SUBSCRIPTION_ID: "<connection>-ticks",
        END_REASON: "completed",
        RESULTS: 3,
    }
    yield _operation(conversation, attributes, _events(messages))
    yield from _below(conversation, "subscription", *["poll"] * 3)


def _live(conversation: str, messages: str, outcome: str, code: int) -> Iterator[Recorded]:
    """A subscription that is alive when its connection ends."""
    attributes = {
        TYPE: "subscription",
        NAME: "Live",
        CLIENT_ID: "live",
        SUBSCRIPTION_ID: "<connection>-live",
        END_REASON: "connection_closed",
        RESULTS: 1,
        OUTCOME: outcome,
        CODE: code,
    }
    yield _operation(conversation, attributes, _events(messages))
    yield from _below(conversation, "subscription", "poll")


def _over_http() -> Iterator[Recorded]:
    attributes = {TYPE: "query", NAME: "OverHTTP", RESOLVER: "price"}
    yield Recorded("over HTTP", "query", attributes=_text(attributes))
    yield from _below("over HTTP", "query", PARSING, VALIDATION, EXECUTION, "db")


def expected() -> Iterator[Recorded]:
    """Every span of the conversations."""
    normal = "normal 1000 client none"
    lost = "connection_lost 1006 none network"
    begun = "connection_init connection_ack"
    new, old = "subscribe next next next complete", "start data data data complete"

    yield from _connection("polite", normal, begun, "query", "subscription")
    yield from _query("polite", "subscribe next complete")
    yield from _ticks("polite", new)

    yield from _connection("vanishes", lost, begun, "subscription")
    yield from _live("vanishes", "subscribe next", "connection_lost", 1006)

    invalid = "invalid_message 4400 server client"
    yield from _connection("nonsense", invalid, f"{begun} _OTHER", "subscription")
    yield from _live("nonsense", "subscribe next", "invalid_message", 4400)

    yield from _connection("carried", normal, begun, "subscription")
    yield from _ticks("carried", new)

    yield from _connection("legacy polite", normal, begun, "query", "subscription")
    yield from _refused_query("legacy polite")
    yield from _ticks("legacy polite", old)

    yield from _connection("legacy vanishes", lost, begun, "subscription")
    yield from _live("legacy vanishes", "start data", "connection_lost", 1006)

    forbidden = "forbidden 1011 server client"
    yield from _connection("legacy rejected", forbidden, "connection_init connection_error")

    yield from _over_http()
