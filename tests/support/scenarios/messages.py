"""Messages that no client of good faith sends, each to both hosts."""

from typing import Any

from tests.support.scenarios.model import (
    LIVE,
    Scenario,
    Verdict,
    by_client,
    by_server,
    without_frames,
)
from tests.support.scenarios.steps import (
    COMPLETE,
    LEGACY,
    SUBSCRIBE,
    TRANSPORT,
    closes,
    live,
    says,
    steps,
)

HELLO = {"query": "{ hello }"}
PARSE = "Failed to parse message"
LONE = "\ud800"
IGNORED = by_client("normal", 1000)


def left(error: str) -> Verdict:
    """An exception left the view, and the client saw FIN."""
    return without_frames("invalid_message", error)


def recorded(reason: str) -> Verdict:
    return by_server("invalid_message", 4400, reason, echo=4400)


def asking(**fields: object) -> dict[str, Any]:
    """What asks for an operation, except for its type."""
    return {"id": "bad", "payload": HELLO} | fields


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in asking().items() if name != key}


TYPE_ERROR = (left("TypeError"), left("TypeError"))
KEY_ERROR = (recorded(PARSE), left("KeyError"))

# message, what graphql-transport-ws makes of it, what graphql-ws makes of it
ANYTHING: dict[str, tuple[object, Verdict, Verdict]] = {
    "an empty message": ("", recorded("WebSocket message must be valid JSON"), IGNORED),
    "text": ("Hello?", recorded("WebSocket message must be valid JSON"), IGNORED),
    "a list": ("[]", *TYPE_ERROR),
    "a string": ('"ping"', *TYPE_ERROR),
    "a number": ("5", *TYPE_ERROR),
    "null": ("null", *TYPE_ERROR),
    "100,000 brackets": ("[" * 100_000, left("RecursionError"), left("RecursionError")),
    "an int of 5,000 digits": ("1" * 5_000, left("ValueError"), left("ValueError")),
    "no type": ({"id": "a"}, *KEY_ERROR),
    "a number for a type": ({"type": 5}, recorded("Unknown message type: 5"), IGNORED),
    "null for a type": ({"type": None}, recorded("Unknown message type: None"), IGNORED),
    "a list for a type": ({"type": ["x"]}, recorded("Unknown message type: ['x']"), IGNORED),
    "an unknown type": ({"type": "hack"}, recorded("Unknown message type: hack"), IGNORED),
    "a lone surrogate for a type": ({"type": LONE}, left("UnicodeEncodeError"), IGNORED),
    "a type of 1 MB": (
        {"type": "é" * 500_000},
        recorded("Unknown message type: " + "é" * 50),
        IGNORED,
    ),
}
SUBSCRIBES: dict[str, tuple[dict[str, Any], Verdict, Verdict]] = {
    "an operation without an id": (without("id"), *KEY_ERROR),
    "an operation with a list for an id": (asking(id=[]), *TYPE_ERROR),
    "an operation with an object for an id": (asking(id={}), *TYPE_ERROR),
    "an operation without a payload": (without("payload"), *KEY_ERROR),
    "an operation with null for a payload": (asking(payload=None), *TYPE_ERROR),
    "an operation with a number for a payload": (asking(payload=5), *TYPE_ERROR),
    "an operation with a string for a payload": (asking(payload="x"), *TYPE_ERROR),
    "an operation with a list for a payload": (asking(payload=[]), *TYPE_ERROR),
    "an operation without a query": (asking(payload={}), *KEY_ERROR),
}
STOPS: dict[str, tuple[dict[str, Any], Verdict, Verdict]] = {
    "a stop without an id": ({}, *KEY_ERROR),
    "a stop with a list for an id": ({"id": ["live"]}, *TYPE_ERROR),
}


def row(name: str, protocol: str, message: object, verdict: Verdict) -> Scenario:
    """A message that the host only ignores is followed by a polite close."""
    farewell = [closes(1000)] if verdict is IGNORED else []
    return Scenario(
        name=f"client sends {name}",
        talk=steps(live, says(message), *farewell),
        verdict=verdict,
        operations=LIVE,
        protocols=(protocol,),
        representative=name in ("a list", "no type"),
    )


def rows(name: str, message: object, transport: Verdict, legacy: Verdict) -> list[Scenario]:
    return [
        row(name, protocol, message(protocol) if callable(message) else message, verdict)
        for protocol, verdict in ((TRANSPORT, transport), (LEGACY, legacy))
    ]


def typed(types: dict[str, str], fields: dict[str, Any]) -> Any:
    """The message with its type in the words of each protocol."""
    return lambda protocol: {"type": types[protocol], **fields}


MESSAGES = (
    *(each for name, (any_, *both) in ANYTHING.items() for each in rows(name, any_, *both)),
    *(
        each
        for name, (fields, *both) in SUBSCRIBES.items()
        for each in rows(name, typed(SUBSCRIBE, fields), *both)
    ),
    *(
        each
        for name, (fields, *both) in STOPS.items()
        for each in rows(name, typed(COMPLETE, fields), *both)
    ),
)
