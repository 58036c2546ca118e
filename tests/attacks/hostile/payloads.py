"""What a hostile client says: text frames, from what is nearly right to what is not JSON at all."""

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.support.schema import (
    BROKEN,
    ECHO,
    FAILING,
    FOREVER,
    HELLO,
    INVALID,
    PARTIAL,
    RENAME,
    TICKS,
)
from tests.support.strategies import MESSAGE_TYPES

DOCUMENTS: Final = (
    *(BROKEN, ECHO, FAILING, FOREVER, HELLO, INVALID, PARTIAL, RENAME, TICKS),
    f"{HELLO} {TICKS} {FOREVER}",
    "{ __schema { types { name fields { name type { name } } } } }",
    "subscription Ticks { ticks(to: 50) }",
    "query ($text: String!) { a: echo(text: $text) b: echo(text: $text) }",
    'query { echo(text: "\\ud800") }',
    "{ hello @skip(if: 3) }",
    "query Q" + "x" * 2000 + " { hello }",
    "{ " + "x" * 2000 + ": broken }",
    "{ hello " + "a: hello " * 500 + "}",
    "{" * 5000,
    "{ hello" + " { hello" * 3000 + " }" * 3000 + " }",
    "[" * 3000,
    "query ($a: " + "[" * 2000 + "Int" + "]" * 2000 + ") { hello }",
    "{ echo(text: " + "[" * 2000 + "]" * 2000 + ") }",
    "fragment F on Query { ...F } { ...F }",
    "subscription { __typename }",
    "subscription { a: forever b: forever }",
    "subscription S @include(if: false) { forever }",
    "type T { a: Int }",
    "\ufeff\0 { hello }",
    "#",
    "",
)
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 1 << 31, 1 << 63, 1 << 200, 10**4000, 1e308, float("nan")),
    float("-inf"),
    *("", "a", "\0", "\ud800", "\udfff" * 200, "é" * 200, "\u202e", "x" * 5000, "\U0001f4a9" * 300),
    *([], {}, [[]], [{}], {"": None}, {"\ud800": "\ud800"}, {"id": {"id": []}}),
    "query",
    "__proto__",
)
TRACE: Final[tuple[dict[str, Any], ...]] = (
    {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"},
    {"TraceParent": f"00-{'a' * 32}-{'b' * 16}-00", "tracestate": "a=" + "x" * 9000},
    {"traceparent": f"00-{'c' * 32}-{'d' * 16}-01", "tracestate": "v=1,w=2"},
    {"traceparent": f"ff-{'0' * 32}-{'0' * 16}-ff", "baggage": "a=b"},
    {"traceparent": "-" * 10_000},
    {f"k{number}": "v" for number in range(300)},
)
HARMLESS: Final = ("ping", "complete", "stop")
MEMBERS: Final = ("type", "id", "payload", "query", "variables", "operationName", "extensions")


def hostile_text(random: Random, start: str) -> bytes:
    """One text frame's payload; `start` is what an operation's first message is called."""
    kind = random.choices(list(KINDS), list(KINDS.values()))[0]
    return kind(random, start)


def init(random: Random, _start: str) -> bytes:
    return _encoded({"type": "connection_init", **_perhaps(random, payload=_payload(random))})


def message(random: Random, start: str) -> bytes:
    """A message that a server might like."""
    type_ = random.choices((start, random.choice(MESSAGE_TYPES), *HARMLESS), (70, 3, 9, 9, 9))[0]
    value: dict[str, Any] = {"type": type_, "id": random.choice(("1", "2", "3", 1, "x" * 300))}
    if type_ == start:
        value["payload"] = _operation(random)
    return _encoded(value)


def mutant(random: Random, start: str) -> bytes:
    """A message of which something is not what it should be."""
    payload = {**_operation(random), **_perhaps(random, extensions=random.choice(TRACE))}
    type_ = random.choice((start, start, random.choice(MESSAGE_TYPES)))
    value: Any = {"type": type_, "id": "1", "payload": payload}
    for _ in range(random.randint(1, 3)):
        member = random.choice(MEMBERS)
        within = payload if member in MEMBERS[3:] else value
        if random.random() < 0.3:
            within.pop(member, None)
        else:
            within[member] = random.choice(VALUES)
    return _encoded(value if random.random() < 0.9 else random.choice(VALUES))


def noise(random: Random, _start: str) -> bytes:
    """What is not JSON, or only nearly."""
    return random.choice(
        (
            random.randbytes(random.randint(0, 200)),
            b"\xff\xfe{}",
            b"\xed\xa0\x80",
            b'{"type": "\xc3',
            b"{",
            b"",
            b"\xef\xbb\xbf{}",
            b"[" * random.choice((10, 990, 1_000, 100_000)),
            b'{"a":' * random.choice((10, 990, 100_000)),
            _deep(random.choice((10, 300, 900, 990, 5000))),
            b"1" * random.choice((1, 4300, 4301, 50_000)),
            b"NaN",
            b'{"type":"ping","type":"subscribe","id":"1"}',
            b'{"type":"subscribe","id":"\\ud800","payload":{"query":"{ hello }"}}',
            b'{"type":"start","id":"1","payload":{"query":"\\ud83d{ hello }"}}',
            b'"' + b"x" * 100_000 + b'"',
        )
    )


KINDS: Final[dict[Callable[[Random, str], bytes], int]] = {
    init: 1,
    message: 60,
    mutant: 10,
    noise: 3,
}


def _deep(depth: int) -> bytes:
    """An operation with a deep variable, which is sound JSON up to some depth."""
    head = b'{"type":"%s","id":"d","payload":{"query":"{ hello }","variables":{"text":'
    return head % b"subscribe" + b"[" * depth + b"]" * depth + b"}}}"


def _operation(random: Random) -> dict[str, Any]:
    variables: dict[str, Any] = {"text": random.choice(VALUES), "to": random.choice((0, 3, "3"))}
    return {
        "query": random.choice(DOCUMENTS),
        **_perhaps(random, variables=random.choice((variables, {"text": "t", "to": 2}))),
        **_perhaps(random, operationName=random.choice(("Hello", "Ticks", "N" * 1000, "", None))),
    }


def _payload(random: Random) -> Any:
    return random.choice((*TRACE, {}, {"token": "x" * 1000}, {"a": random.choice(VALUES)}, []))


def _perhaps(random: Random, **member: Any) -> dict[str, Any]:
    return member if random.random() < 0.5 else {}


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()
