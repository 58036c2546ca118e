"""A second edge: WebSockets in memory, without sockets and without aiohttp.

It is all that another transport has to bring: a socket that reports what happens to it, a view of
Strawberry's over such sockets, and the life of a handshake. Of a connection it calls the methods of
the edge contract only. It has no fuse: a failure of the library's fails the test.
"""

import asyncio
import struct
from collections.abc import AsyncGenerator, Mapping
from json import JSONDecodeError
from typing import Any, Final, TypeGuard

from cross_web import HTTPException
from opentelemetry.context import get_current
from strawberry.http.async_base_view import AsyncBaseHTTPView, AsyncWebSocketAdapter
from strawberry.http.exceptions import (
    NonJsonMessageReceived,
    NonTextMessageReceived,
    WebSocketDisconnected,
)

from strawberry_ws_otel._close import CloseFrame, HandlerEnd
from strawberry_ws_otel._connection import Connection, Request
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, GRAPHQL_WS
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._strawberry.adapter import ADAPTER_LAYER
from strawberry_ws_otel._strawberry.handlers import HANDLER_LAYERS
from tests.support.frames import Frame, Opcode, close_frame, text_frame

UPGRADED: Final = 101
MOST_FRAMES: Final = 1000
"""As many as nobody here leaves unread."""

PATH: Final = "/graphql"


class FrameError(Exception):
    """The client has broken the WebSocket protocol."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Wire:
    """What lies between a client and a server. None is the end of the stream."""

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """That of the answer to the handshake."""
        self.to_server: asyncio.Queue[Frame | None] = asyncio.Queue()
        self.to_client: asyncio.Queue[Frame | None] = asyncio.Queue(MOST_FRAMES)
        self.is_up = True
        self.is_writable = True
        """Whether the server still writes: one that shuts down stops before it cancels handlers."""
        self.flows = asyncio.Event()
        """Set unless the client does not read, and what is written fills the buffers."""
        self.flows.set()

    def cut(self) -> None:
        """End the stream, in both directions."""
        self.is_up = self.is_writable = False
        self.to_server.put_nowait(None)
        self.to_client.put_nowait(None)
        self.flows.set()


class Handshake(Request):
    """A request that becomes a WebSocket."""

    connection: Connection

    def __init__(
        self, telemetry: Telemetry, wire: Wire, protocol: str | None, headers: Mapping[str, str]
    ) -> None:
        """Take where it is recorded, where it came from, and what the client asks for."""
        super().__init__(telemetry, headers)
        self.wire = wire
        self.protocol = protocol
        self.socket: Socket | None = None


class Socket:
    """The server's end of a WebSocket. It closes and fails as that of aiohttp does."""

    def __init__(
        self, wire: Wire, connection: Connection, *, heartbeat: float | None, knows_closes: bool
    ) -> None:
        """Take both ends.

        Args:
            wire: to the client.
            connection: gets what happens reported.
            heartbeat: seconds after which a silent client is lost.
            knows_closes: whether it can tell how it was closed, which not every transport can.
        """
        self.is_closed = False
        self._knows_closes = knows_closes
        self._wire = wire
        self._connection = connection
        self._heartbeat = heartbeat
        self._is_reading = False

    async def receive(self) -> str | bytes | None:
        """Return what the next data frame says; None once the socket is closed."""
        if self.is_closed:
            return None
        self._is_reading = True
        try:
            return await self._next()
        except TimeoutError as error:
            self._failed(error, None)
        except FrameError as error:
            self._failed(error, CloseFrame(error.code))
        finally:
            self._is_reading = False
        return None

    async def _next(self) -> str | bytes | None:
        async with asyncio.timeout(self._heartbeat):
            frame = await self._wire.to_server.get()
            while frame is not None and frame.opcode == Opcode.PING:
                self._wire.to_client.put_nowait(frame._replace(opcode=Opcode.PONG))
                frame = await self._wire.to_server.get()
        if self.is_closed:
            # Somebody has closed it meanwhile, and waits for nothing.
            return None
        if frame is None or frame.opcode == Opcode.CLOSE:
            self.is_closed = True
            self._ended(frame)
            return None
        data = text_of(frame) if frame.opcode == Opcode.TEXT else frame.payload
        self._connection.data_received(len(frame.payload))
        return data

    def _ended(self, frame: Frame | None) -> None:
        if not self._knows_closes:
            self._connection.close_unobserved()
        elif frame is None:
            self._connection.disconnected(None)
        else:
            self._connection.close_received(close_of(frame))
            self._write_close(CloseFrame(1000))

    def _failed(self, error: Exception, answer: CloseFrame | None) -> None:
        self.is_closed = True
        if answer is not None:
            self._wire.to_client.put_nowait(close_frame(answer.code))
        self._connection.error_received(error, answer)

    async def send(self, text: str) -> None:
        """Write a text frame, and wait until the client reads.

        Raises:
            ConnectionResetError: nobody can read it any more.
        """
        if self.is_closed or not self._wire.is_writable:
            self._connection.write_failed()
            raise ConnectionResetError("Cannot write to closing transport")
        frame = text_frame(text)
        self._wire.to_client.put_nowait(frame)
        if not self._wire.flows.is_set():
            await self._wait()
        self._connection.data_sent(len(frame.payload))

    async def _wait(self) -> None:
        waits = self._connection.send_blocked()
        try:
            await self._wire.flows.wait()
        except asyncio.CancelledError as error:
            self._connection.write_cancelled(error)
            raise
        finally:
            self._connection.send_unblocked(waits)

    async def close(self, *, code: int = 1000, message: bytes = b"") -> None:
        """Write a close frame, and wait for the client's unless somebody else reads."""
        if self.is_closed:
            self._connection.close_redundant()
            return
        self.is_closed = True
        if not self._wire.is_writable:
            self._connection.write_failed()
            return
        try:
            struct.pack("!H", code)
        except struct.error as error:
            self._connection.close_dropped(error)
            self._wire.cut()
            return
        self._write_close(CloseFrame(code, message.decode()))
        if self._is_reading:
            self._wire.to_server.put_nowait(None)
            return
        while (frame := await self._wire.to_server.get()) is not None:
            if frame.opcode == Opcode.CLOSE:
                self._connection.close_received(close_of(frame))
                return

    def _write_close(self, frame: CloseFrame) -> None:
        self._wire.to_client.put_nowait(close_frame(frame.code, frame.reason.encode()))
        self._connection.close_sent(frame)

    def finish(self) -> None:
        """Close what the view has left open."""
        if not self.is_closed and self._wire.is_writable:
            self._write_close(CloseFrame(1000))


def text_of(frame: Frame) -> str:
    try:
        return frame.payload.decode()
    except UnicodeDecodeError as error:
        raise FrameError(1007, "Invalid UTF-8 text message") from error


def close_of(frame: Frame) -> CloseFrame:
    return CloseFrame(frame.close_code if frame.payload else 1005, frame.payload[2:].decode())


class Adapter(AsyncWebSocketAdapter):
    """What Strawberry's handlers read from and write to."""

    def __init__(self, view: "View", _request: Handshake, socket: Socket) -> None:
        super().__init__(view)
        self._socket = socket

    async def iter_json(
        self, *, ignore_parsing_errors: bool = False
    ) -> AsyncGenerator[object, None]:
        while (data := await self._socket.receive()) is not None:
            if isinstance(data, bytes):
                raise NonTextMessageReceived
            try:
                yield self.view.decode_json(data)
            except JSONDecodeError as error:
                if not ignore_parsing_errors:
                    raise NonJsonMessageReceived from error

    async def send_json(self, message: Mapping[str, object]) -> None:
        text = self.view.encode_json(message)
        assert isinstance(text, str)
        try:
            await self._socket.send(text)
        except ConnectionResetError as error:
            raise WebSocketDisconnected from error

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code=code, message=reason.encode())


class View(AsyncBaseHTTPView[Any, Any, Any, Handshake, Socket, Any, Any]):
    """A view of Strawberry's that serves WebSockets in memory, and nothing over HTTP."""

    allow_queries_via_get = False
    keep_alive = True
    protocols = (GRAPHQL_TRANSPORT_WS, GRAPHQL_WS)
    websocket_adapter_class: Any = Adapter
    heartbeat: float | None = None
    knows_closes = True

    def __init_subclass__(cls) -> None:
        for layer in (ADAPTER_LAYER, *HANDLER_LAYERS):
            setattr(cls, layer.attribute, layer.over(getattr(cls, layer.attribute)))

    def __init__(self, schema: Any, **options: Any) -> None:
        self.schema = schema
        vars(self).update(options)

    def is_websocket_request(self, request: Any) -> TypeGuard[Handshake]:
        return True

    def get_websocket_headers(self, request: Handshake) -> Mapping[str, str]:
        return request.headers

    async def pick_websocket_subprotocol(self, request: Handshake) -> str | None:
        return request.protocol if request.protocol in self.protocols else None

    async def create_websocket_response(
        self, request: Handshake, subprotocol: str | None
    ) -> Socket:
        request.socket = Socket(
            request.wire,
            request.connection,
            heartbeat=self.heartbeat,
            knows_closes=self.knows_closes,
        )
        request.wire.status.set_result(UPGRADED)
        request.connection.accepted(subprotocol)
        return request.socket

    async def get_root_value(self, request: Any) -> Any:
        return None

    async def get_context(self, request: Any, response: Any) -> Any:
        return {}

    def _not_offered(self, *_arguments: Any, **_keywords: Any) -> Any:
        raise NotImplementedError

    get_sub_response = create_response = render_graphql_ide = reject_websocket = _not_offered


async def serve(
    view: View,
    telemetry: Telemetry,
    wire: Wire,
    protocol: str | None,
    headers: Mapping[str, str],
) -> None:
    """Serve a client that asks for a WebSocket, from the handshake to the end of its handler."""
    handshake = Handshake(telemetry, wire, protocol, headers)
    handshake.connection = connection = Connection(
        telemetry,
        telemetry.fuses(),
        get_current(),
        headers,
        lambda: {"url.path": PATH},
        PATH,
    )
    activation = connection.serving(handshake)
    exception: BaseException | None = None
    try:
        await view.run(handshake)
    except BaseException as raised:
        exception = raised
        raise
    finally:
        if exception is None and handshake.socket is not None:
            handshake.socket.finish()
        status = status_of(exception)
        connection.ended(HandlerEnd(exception=exception, transport_alive=wire.is_up, status=status))
        activation.end()
        if not wire.status.done():
            wire.status.set_result(status or 500)
        wire.cut()


def status_of(exception: BaseException | None) -> int | None:
    """The status that a handshake is refused with if this leaves the view."""
    if isinstance(exception, HTTPException):
        return exception.status_code
    return 500 if isinstance(exception, Exception) else None
