"""What a client said, in the types that metrics count."""

import json
import zlib
from collections.abc import Iterator
from typing import Any, Final

from tests.support.frames import Frame, Opcode
from tests.support.raw_client import Client
from tests.support.scenarios.steps import LEGACY, TRANSPORT

OTHER: Final = "_OTHER"
WORDS: Final[dict[str | None, frozenset[str]]] = {
    TRANSPORT: frozenset(("connection_init", "ping", "pong", "subscribe", "complete")),
    LEGACY: frozenset(("connection_init", "start", "stop", "connection_terminate")),
}
"""What a client may say in each subprotocol."""


def spoken_types(client: Client) -> list[str]:
    """The type of each message that a client sent, in order."""
    words = WORDS.get(client.protocol, frozenset())
    return [_type(message, words) for message in _messages(client)]


def spoken_sizes(client: Client) -> list[int]:
    """The bytes of each message that a client sent, in order and before compression."""
    return list(map(len, _messages(client)))


def _messages(client: Client) -> Iterator[bytes]:
    """What the frames say, without the control frames between them."""
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress
    parts: list[bytes] = []
    for frame in client.spoken:
        if frame.is_data or frame.opcode == Opcode.CONTINUATION:
            parts.append(_text(frame, inflate))
            if frame.fin:
                yield b"".join(parts)
                parts.clear()


def _text(frame: Frame, inflate: Any) -> bytes:
    try:
        return bytes(inflate(frame.payload + b"\x00\x00\xff\xff")) if frame.rsv else frame.payload
    except zlib.error:
        return b""


def _type(message: bytes, words: frozenset[str]) -> str:
    try:
        said = json.loads(message)
    except (ValueError, RecursionError):
        return OTHER
    named = said.get("type") if isinstance(said, dict) else None
    return named if isinstance(named, str) and named in words else OTHER
