"""What every scenario gets: the server's address, and the messages of both subprotocols."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from examples.demo.server import HOST
from examples.demo.wire import RawClient

TRANSPORT_WS: Final = "graphql-transport-ws"
LEGACY_WS: Final = "graphql-ws"
TOKEN: Final = "token-of-ada"  # noqa: S105 - the only secret of a demo is none

Message = dict[str, object]


def init(token: str = TOKEN) -> Message:
    """Make the message that logs in; it is the same in both subprotocols."""
    return {"type": "connection_init", "payload": {"token": token}}


def subscribe(id_: str, query: str) -> Message:
    """Make the message that starts an operation over graphql-transport-ws."""
    return {"id": id_, "type": "subscribe", "payload": {"query": query}}


async def until(socket: ClientWebSocketResponse, kind: str, times: int = 1) -> None:
    """Read until a number of messages of one type have arrived."""
    while times:
        message = await socket.receive_json()
        times -= message["type"] == kind


async def until_closed(socket: ClientWebSocketResponse) -> int | None:
    """Read whatever comes until the server closes; return its code."""
    async for message in socket:
        if message.type is WSMsgType.ERROR:
            break
    return socket.close_code


@dataclass(frozen=True)
class Visitor:
    """One client. Its name is its user agent, which identifies its conversation afterwards.

    It sends the headers with its handshake, and comes from the address if it is `raw`: otherwise
    the session has the address.
    """

    name: str
    port: int
    url: str
    session: ClientSession
    stop_server: Callable[[], Awaitable[None]]
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str = HOST

    @asynccontextmanager
    async def socket(
        self, protocol: str = TRANSPORT_WS, origin: str | None = None
    ) -> AsyncIterator[ClientWebSocketResponse]:
        """Open a WebSocket without sending anything; close it with 1000 at the end."""
        async with self.session.ws_connect(
            self.url, protocols=[protocol], origin=origin, headers=self._handshake
        ) as socket:
            yield socket

    @asynccontextmanager
    async def logged_in(
        self, protocol: str = TRANSPORT_WS
    ) -> AsyncIterator[ClientWebSocketResponse]:
        """Open a WebSocket and log in."""
        async with self.socket(protocol) as socket:
            await socket.send_json(init())
            await until(socket, "connection_ack")
            yield socket

    async def raw(self, headers: Mapping[str, str] | None = None) -> RawClient:
        """Open a WebSocket on a bare socket, without sending anything."""
        return await RawClient.connect(
            self.port, {**self._handshake, **(headers or {})}, self.address
        )

    @property
    def _handshake(self) -> dict[str, str]:
        return {"User-Agent": self.name, **self.headers}
