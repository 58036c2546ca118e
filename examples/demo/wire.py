"""A WebSocket client on a bare socket, to break the rules of RFC 6455."""

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from examples.demo.server import HOST, PATH

HANDSHAKE: Final = (
    f"GET {PATH} HTTP/1.1\r\n"
    "Host: {host}:{port}\r\n"
    "Connection: Upgrade\r\n"
    "Upgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: graphql-transport-ws\r\n"
    "{headers}\r\n"
)
COMPRESSION: Final = {"Sec-WebSocket-Extensions": "permessage-deflate"}

FIN: Final = 0x80
COMPRESSED: Final = 0x40
OPCODE: Final = 0x0F
TEXT: Final = 0x1
MASKED: Final = 0x80
TWO_MORE_BYTES, EIGHT_MORE_BYTES = 126, 127


@dataclass(frozen=True)
class RawClient:
    """Speaks just enough of the protocol to be accepted, then breaks its rules."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, port: int, headers: Mapping[str, str], address: str = HOST) -> Self:
        """Upgrade to graphql-transport-ws, with more headers, from an address of this machine."""
        reader, writer = await asyncio.open_connection(HOST, port, local_addr=(address, 0))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = HANDSHAKE.format(host=HOST, port=port, headers=lines)
        writer.write(request.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in answer.splitlines()[0]:
            raise ConnectionError(f"no upgrade: {answer!r}")
        return cls(reader, writer)

    def send_text(self, payload: bytes, flags: int = 0) -> None:
        """Write one text frame with any payload; a mask of zeros leaves it unchanged."""
        head = bytes([FIN | flags | TEXT])
        if len(payload) < TWO_MORE_BYTES:
            length = bytes([MASKED | len(payload)])
        else:
            length = struct.pack("!BH", MASKED | TWO_MORE_BYTES, len(payload))
        self.writer.write(head + length + bytes(4) + payload)

    def send(self, message: Mapping[str, object]) -> None:
        """Write one message of the subprotocol."""
        self.send_text(json.dumps(message).encode())

    async def receive_text(self) -> bytes:
        """Read up to the next text frame and return its payload, still compressed if it was."""
        while True:
            head, length = await self.reader.readexactly(2)
            if length == TWO_MORE_BYTES:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == EIGHT_MORE_BYTES:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            payload = await self.reader.readexactly(length)
            if head & OPCODE == TEXT:
                return payload

    async def receive(self, kind: str) -> None:
        """Read up to the next message of that type."""
        while json.loads(await self.receive_text())["type"] != kind:
            pass

    async def read_to_end(self) -> None:
        """Read without an answer until the server gives up."""
        while await self.reader.read(4096):
            pass
        self.writer.close()

    def vanish(self) -> None:
        """Cut the connection with a TCP reset, as a program that crashes does."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
