"""A WebSocket client that can misbehave, and keeps each frame of both sides."""

import asyncio
import socket
import ssl
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Self

from tests.support.frames import RAW, Frame, Opcode, close_frame, encode, text_frame

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HOST = "tests.local:8000"
RESET = "reset"
EOF = "eof"
REFUSED = "refused"
END_OF_HEAD = b"\r\n\r\n"


class Ended(Exception):  # noqa: N818  # an end is no error
    """The stream ended where a frame was expected."""


def content_length(head: bytes) -> int:
    fields = dict(line.lower().split(b": ") for line in head.split(b"\r\n")[1:] if line)
    return int(fields.get(b"content-length", 0))


class Client:
    """One connection, from the handshake to whatever ended it."""

    def __init__(
        self, sock: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._sock = sock
        self._reader = reader
        self._writer = writer
        self.protocol: str | None = None
        self.head = b""
        self.body = b""
        self.frames: list[Frame] = []
        self.spoken: list[Frame] = []
        self.sent = 0
        self.closed = False
        self.end: str | None = None
        self.echoes = True
        self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress

    @classmethod
    async def connect(
        cls,
        port: int,
        *,
        protocol: str | None,
        headers: Mapping[str, str] | None = None,
        path: str = "/graphql",
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """Connect and ask for the upgrade; `shake_hands` waits for the answer."""
        sock = socket.create_connection(("127.0.0.1", port))
        sock.settimeout(0)
        name = None if tls is None else HOST.partition(":")[0]
        streams = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=name)
        client = cls(sock, *streams)
        client.protocol = protocol
        client._ask(path, protocol, headers or {})
        return client

    def _ask(self, path: str, protocol: str | None, headers: Mapping[str, str]) -> None:
        fields = {
            "Host": HOST,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": KEY,
            "Sec-WebSocket-Version": "13",
            "User-Agent": "wire/1.0",
        }
        if protocol is not None:
            fields["Sec-WebSocket-Protocol"] = protocol
        lines = [f"{name}: {value}" for name, value in (fields | dict(headers)).items()]
        self.write("\r\n".join([f"GET {path} HTTP/1.1", *lines, "\r\n"]).encode("latin-1"))

    async def shake_hands(self) -> None:
        """Read the answer to the handshake; a refusal ends the conversation."""
        self.head = await self._reader.readuntil(END_OF_HEAD)
        if self.status != 101:
            self.body = await self._reader.readexactly(content_length(self.head))
            self.end = REFUSED

    @property
    def status(self) -> int | None:
        return int(self.head.split()[1]) if self.head else None

    @property
    def data_frames(self) -> list[Frame]:
        return [frame for frame in self.frames if frame.is_data]

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def send(self, *frames: Frame, masked: bool = True) -> None:
        """Write frames in one piece, so that the server reads them in one piece."""
        for frame in frames:
            if not self.closed:
                self.spoken.append(frame)
                self.sent += frame.is_data
            self.closed = self.closed or frame.opcode == Opcode.CLOSE
        self.write(b"".join(encode(frame, masked=masked) for frame in frames))

    def json(self, *messages: object) -> None:
        self.send(*map(text_frame, messages))

    def close(self, code: int | None = None, reason: bytes = b"") -> None:
        """Send a close frame; the server's answer to it needs none."""
        self.echoes = False
        self.send(close_frame(code, reason))

    async def frame(self) -> Frame:
        """The next frame, which is answered if it is a close."""
        try:
            frame = await self._read()
        except asyncio.IncompleteReadError as error:
            self.end = EOF
            raise Ended from error
        except ConnectionError as error:
            self.end = RESET
            raise Ended from error
        self.frames.append(frame)
        if frame.opcode == Opcode.CLOSE and self.echoes:
            self.close(frame.close_code)
        return frame

    async def _read(self) -> Frame:
        head = await self._reader.readexactly(2)
        if head == b"HT":
            return await self._response(head)
        size = head[1] & 0x7F
        if size > 125:
            size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
        payload = await self._reader.readexactly(size)
        rsv = head[0] >> 4 & 7
        inflated = self._inflate(payload + b"\x00\x00\xff\xff") if rsv else b""
        return Frame(head[0] & 0xF, payload, bool(head[0] >> 7), rsv, inflated)

    async def _response(self, start: bytes) -> Frame:
        """An HTTP response where a frame was due, after which the server waits for requests."""
        head = start + await self._reader.readuntil(END_OF_HEAD)
        self.end = REFUSED
        return Frame(RAW, head + await self._reader.readexactly(content_length(head)))

    async def message(self, *types: str) -> Any:
        """The next message of one of these types; others are only kept."""
        while True:
            frame = await self.frame()
            if frame.is_data and (not types or frame.json["type"] in types):
                return frame.json

    async def closing(self) -> Frame:
        """The server's close frame, which is left unanswered."""
        self.echoes = False
        while True:
            frame = await self.frame()
            if frame.opcode == Opcode.CLOSE:
                return frame

    async def until_end(self) -> None:
        while self.end is None:
            try:
                await self.frame()
            except Ended:
                return

    def fin(self) -> None:
        """Say that nothing more will come (FIN), and keep listening.

        Over TLS it is cut off: no close_notify says that this is really the end.
        """
        if self._writer.can_write_eof():
            self._writer.write_eof()
        else:
            self._sock.shutdown(socket.SHUT_WR)

    def write_beneath(self, data: bytes) -> None:
        """Write past TLS, of which the server can make nothing."""
        self._sock.send(data)

    def close_notify(self) -> None:
        """End the TLS in good order, without a close frame."""
        self._writer.close()

    def reset(self) -> None:
        """Drop the connection with an RST, and whatever was on its way."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        self.end = RESET

    async def leave(self) -> None:
        self._writer.transport.abort()
        try:
            await self._writer.wait_closed()
        except OSError:  # uvloop's may be any
            self.end = self.end or RESET
