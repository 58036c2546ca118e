"""What a hostile client puts on the wire: handshakes, frames and ends, drawn from a seed."""

from collections.abc import Callable
from random import Random
from typing import Final

from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, GRAPHQL_WS
from tests.attacks.hostile.payloads import hostile_text
from tests.support.frames import DEFLATE, MASK, Frame, Opcode, deflate, encode

OFFERS: Final = (
    *(GRAPHQL_TRANSPORT_WS, GRAPHQL_WS) * 20,
    None,
    "",
    "soap",
    ", ".join(f"p{number}" for number in range(500)),
    f"{GRAPHQL_WS}, {GRAPHQL_TRANSPORT_WS}",
    GRAPHQL_WS.upper(),
    "\xff",
)
HEADERS: Final[tuple[dict[str, str], ...]] = (
    *({},) * 60,
    {"User-Agent": "x" * 4000},
    {"User-Agent": "\xff\xfe \x80"},
    {"Host": "\xff"},
    {"Host": "h" * 3000 + ":99999"},
    {"Host": "[::1]:80"},
    {"Host": "a:b:c"},
    {"Sec-WebSocket-Version": "12"},
    {"Sec-WebSocket-Key": "short"},
    {"Sec-WebSocket-Key": "\xff"},
    {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits=99"},
    {"Sec-WebSocket-Extensions": DEFLATE},
    {"Sec-WebSocket-Extensions": DEFLATE},
    {"Upgrade": "h2c"},
    {"Connection": "close"},
    {"Content-Length": "5"},
    {"Origin": "https://evil.example"},
    {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "a=" + "b" * 200},
    {"traceparent": "\xff", "baggage": "x" * 4000},
    {"X-Forwarded-For": "x" * 4000},
)
CLOSE_CODES: Final = (
    0,
    1,
    999,
    *range(1000, 1016),
    2999,
    3000,
    4000,
    4400,
    4499,
    4999,
    5000,
    65535,
)
REASONS: Final = (b"", b"bye", b"\xff\xfe", b"\xed\xa0\x80", b"r" * 123, b"Syntax Error: secret")


def offer(random: Random) -> str | None:
    return random.choice(OFFERS)


def headers(random: Random) -> dict[str, str]:
    return dict(random.choice(HEADERS))


def close(random: Random, _start: str = "") -> bytes:
    """A close frame of whatever code and reason; some have half a code."""
    code = random.choice((None, random.choice(CLOSE_CODES), random.randint(0, 65535)))
    half = random.random() < 0.05
    payload = b"" if code is None else code.to_bytes(2, "big") + random.choice(REASONS)
    return encode(Frame(Opcode.CLOSE, b"\x03" if half else payload))


def text(random: Random, start: str) -> bytes:
    return encode(Frame(Opcode.TEXT, hostile_text(random, start)))


def fragments(random: Random, start: str) -> bytes:
    """One message in pieces, with a control frame between them."""
    payload = hostile_text(random, start)
    cut = random.randint(0, len(payload))
    return b"".join(
        (
            encode(Frame(Opcode.TEXT, payload[:cut], fin=False)),
            encode(Frame(random.choice((Opcode.PING, Opcode.PONG)), b"p")),
            encode(Frame(Opcode.CONTINUATION, payload[cut:], fin=random.random() < 0.9)),
        )
    )


def control(random: Random, _start: str) -> bytes:
    payload = random.randbytes(random.choice((0, 1, 125)))
    return encode(Frame(random.choice((Opcode.PING, Opcode.PONG)), payload))


def binary(random: Random, start: str) -> bytes:
    return encode(Frame(Opcode.BINARY, random.choice((b"", b"\0", hostile_text(random, start)))))


def compressed(random: Random, start: str) -> bytes:
    """A compressed frame, whether or not that was agreed upon: sound, broken, or a bomb."""
    payload = random.choice((hostile_text(random, start), b"0" * 100_000))
    squeezed = deflate(payload) if random.random() < 0.7 else random.randbytes(50)
    return encode(Frame(Opcode.TEXT, squeezed, rsv=4))


def bomb(_random: Random, _start: str) -> bytes:
    """More than a server takes, inflated."""
    return encode(Frame(Opcode.TEXT, deflate(b"0" * (5 << 20)), rsv=4))


def broken(random: Random, _start: str) -> bytes:
    """What no frame may be."""
    payload = random.randbytes(random.randint(0, 130))
    return random.choice(
        (
            encode(Frame(random.choice((3, 4, 5, 6, 7, 11, 12, 15)), payload)),
            encode(Frame(Opcode.TEXT, payload, rsv=random.choice((1, 2, 3, 7)))),
            encode(Frame(Opcode.PING, b"x" * 126)),
            encode(Frame(Opcode.PING, b"x", fin=False)),
            encode(Frame(Opcode.CONTINUATION, payload)),
            encode(Frame(Opcode.TEXT, b"{}"), masked=False),
            _claiming(random.choice((1 << 62, (1 << 64) - 1, 1 << 23))) + payload,
            random.randbytes(random.randint(1, 40)),
            b"GET / HTTP/1.1\r\n\r\n",
        )
    )


def _claiming(size: int) -> bytes:
    """The head of a frame that says that it is longer than it will ever be."""
    return b"\x81\xff" + size.to_bytes(8, "big") + MASK


def beneath_tls(random: Random) -> bytes:
    """What is no TLS, or none of this connection."""
    return random.choice(
        (
            random.randbytes(random.randint(1, 100)),
            # A record that nobody encrypted, one that is longer than it will ever be, an alert.
            b"\x17\x03\x03\x00\x20" + random.randbytes(32),
            b"\x17\x03\x03\x40\x00",
            b"\x15\x03\x03\x00\x02\x02\x28",
            b"GET / HTTP/1.1\r\n\r\n",
        )
    )


KINDS: Final[dict[Callable[[Random, str], bytes], float]] = {
    text: 85,
    fragments: 3,
    control: 5,
    compressed: 0.7,
    binary: 0.3,
    close: 1,
    broken: 1,
    bomb: 0.02,
}


def frame(random: Random, start: str) -> bytes:
    """The bytes of one frame, or of one message in fragments."""
    kind = random.choices(list(KINDS), list(KINDS.values()))[0]
    return kind(random, start)
