"""Clients that ask for too much, too long, too early or too often."""

from tests.support.frames import Frame, Opcode
from tests.support.scenarios.model import (
    CLOSED,
    LIVE,
    Scenario,
    Verdict,
    by_client,
    by_server,
    without_frames,
)
from tests.support.scenarios.steps import (
    INIT,
    LEGACY,
    TRANSPORT,
    acknowledged,
    asks,
    asks_at_once,
    closes,
    handshake,
    hears,
    live,
    says,
    sends,
    steps,
    stops,
)
from tests.support.schema import FOREVER, TICKS
from tests.support.server import Setup

NORMAL = by_client("normal", 1000)
LONE = "\ud800"
GARBAGE = {"traceparent": "00-1-2-3", "tracestate": 5, "baggage": [{}], "TraceParent": None}
NAN = float("nan")
MEGABYTE = "x" * 1_000_000
NAMED = f"subscription {MEGABYTE} {{ forever }}"
BYE = closes(1000)
RESULT = hears("next", "data")
ONE = Setup(view={"max_subscriptions_per_connection": 1})


def duplicate(id_: str) -> Verdict:
    reason = f"Subscriber for {id_} already exists"[:123]
    return by_server("duplicate_operation", 4409, reason, echo=4409)


EXCESSES = (
    Scenario(
        name="client asks 10,000 times with one id",
        talk=steps(acknowledged, asks_at_once(["one"] * 10_000, FOREVER)),
        verdict=duplicate("one"),
        operations=(CLOSED, "rejected"),
        protocols=(TRANSPORT,),
    ),
    Scenario(
        name="legacy: client asks 500 times with one id",
        talk=steps(acknowledged, asks_at_once(["one"] * 500, FOREVER), RESULT, BYE),
        verdict=NORMAL,
        operations=("client_completed",) * 499 + LIVE,
        protocols=(LEGACY,),
    ),
    Scenario(
        name="client asks for more operations than the limit",
        talk=steps(live, asks("more", TICKS, variables={"to": 1}), hears("error"), BYE),
        verdict=NORMAL,
        operations=(CLOSED, "rejected"),
        setup=ONE,
        representative=True,
    ),
    Scenario(
        name="client uses an id of 1 MB",
        talk=steps(acknowledged, asks(MEGABYTE, FOREVER), RESULT, BYE),
        verdict=NORMAL,
        operations=LIVE,
    ),
    Scenario(
        name="client uses an id of 1 MB twice",
        talk=steps(acknowledged, asks(MEGABYTE, FOREVER), RESULT, asks(MEGABYTE, FOREVER)),
        verdict=duplicate(MEGABYTE),
        operations=(CLOSED, "rejected"),
        protocols=(TRANSPORT,),
    ),
    Scenario(
        name="client names an operation with 1 MB",
        talk=steps(acknowledged, asks("a", NAMED, operationName=MEGABYTE), RESULT, BYE),
        verdict=NORMAL,
        operations=LIVE,
    ),
    Scenario(
        name="client sends garbage for the context of a trace wherever one may stand",
        talk=steps(
            handshake,
            says({"type": "connection_init", "payload": GARBAGE}),
            asks("a", FOREVER, extensions=GARBAGE),
            asks("b", FOREVER, extensions=[5]),
            RESULT,
            RESULT,
            BYE,
        ),
        verdict=NORMAL,
        operations=(CLOSED, CLOSED),
        headers={"traceparent": "00-zz-zz-zz", "tracestate": "=,=", "baggage": "a=b=c;;,"},
    ),
    Scenario(
        name="client uses NaN for an id twice",
        talk=steps(acknowledged, asks(NAN, FOREVER), RESULT, asks(NAN, FOREVER)),
        verdict=duplicate("nan"),
        operations=(CLOSED, "rejected"),
        protocols=(TRANSPORT,),
    ),
    Scenario(
        name="client sends a User-Agent that is long and no UTF-8",
        talk=steps(live, BYE),
        verdict=NORMAL,
        operations=LIVE,
        headers={"User-Agent": "\xff" * 4_000},
    ),
    Scenario(
        name="client uses a lone surrogate for an id",
        talk=steps(acknowledged, asks(LONE, FOREVER), RESULT, BYE),
        verdict=NORMAL,
        operations=LIVE,
    ),
    Scenario(
        name="client uses a lone surrogate for an id twice",
        talk=steps(acknowledged, asks(LONE, FOREVER), RESULT, asks(LONE, FOREVER)),
        verdict=without_frames("invalid_message", "UnicodeEncodeError"),
        operations=(CLOSED, "rejected"),
        protocols=(TRANSPORT,),
    ),
    Scenario(
        name="client uses ids that are equal in Python only",
        talk=steps(acknowledged, asks(1, FOREVER), RESULT, asks_at_once((True,), FOREVER)),
        verdict=duplicate("True"),
        operations=(CLOSED, "rejected"),
        protocols=(TRANSPORT,),
    ),
    Scenario(
        name="client sends a binary message",
        talk=steps(live, sends(Frame(Opcode.BINARY, b"{}"))),
        verdict=by_server(
            "invalid_message", 4400, "WebSocket message type must be text", echo=4400
        ),
        operations=LIVE,
        protocols=(TRANSPORT,),
        representative=True,
    ),
    Scenario(
        name="legacy: client sends a binary message",
        talk=steps(live, sends(Frame(Opcode.BINARY, b"{}"))),
        verdict=by_server("invalid_frame", 1002, "WebSocket message type must be text", echo=1002),
        operations=LIVE,
        protocols=(LEGACY,),
        representative=True,
    ),
    Scenario(
        name="client stops an operation before the init and sends null for the init's payload",
        talk=steps(handshake, stops("a"), says({"type": "connection_init", "payload": None})),
        verdict=by_server("invalid_message", 4400, "Invalid connection init payload", echo=4400),
        protocols=(TRANSPORT,),
    ),
    Scenario(
        name="legacy: client stops an operation before the init, and again after a second init",
        since=(0, 341),
        talk=steps(handshake, stops("a"), INIT, INIT, stops("a"), BYE),
        verdict=NORMAL,
        protocols=(LEGACY,),
    ),
)
