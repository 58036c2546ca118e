"""WebSocket frames built by hand (RFC 6455, RFC 7692), masked with a fixed key."""

import json
import struct
import zlib
from enum import IntEnum
from typing import Any, NamedTuple

MASK = b"\x37\xfa\x21\x3d"
DEFLATE = "permessage-deflate"
RAW = -1
"""Opcode of what is no frame at all: an HTTP response that aiohttp wrote onto the WebSocket."""


class Opcode(IntEnum):
    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Frame(NamedTuple):
    """One frame off the wire, with the bits of its first byte apart."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    inflated: bytes = b""

    @property
    def text(self) -> bytes:
        """What the frame says when it is inflated."""
        return self.inflated if self.rsv else self.payload

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def close_code(self) -> int:
        return int.from_bytes(self.payload[:2], "big")

    @property
    def is_data(self) -> bool:
        return self.opcode in (Opcode.TEXT, Opcode.BINARY)


def encode(frame: Frame, *, masked: bool = True) -> bytes:
    first = frame.fin << 7 | frame.rsv << 4 | frame.opcode
    size, mask_bit = len(frame.payload), masked << 7
    if size < 126:
        head = struct.pack("!BB", first, mask_bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, mask_bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, size)
    return head + MASK + _mask(frame.payload) if masked else head + frame.payload


def _mask(payload: bytes) -> bytes:
    size = len(payload)
    pad = (MASK * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(size)


def close_frame(code: int | None = None, reason: bytes = b"") -> Frame:
    return Frame(Opcode.CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def text_frame(data: object) -> Frame:
    """The text frame of anything: bytes and strings as they are, the rest as JSON."""
    if isinstance(data, bytes):
        return Frame(Opcode.TEXT, data)
    return Frame(Opcode.TEXT, (data if isinstance(data, str) else json.dumps(data)).encode())


def deflate(data: bytes) -> bytes:
    """The payload of a compressed frame that depends on none before it (RFC 7692)."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
