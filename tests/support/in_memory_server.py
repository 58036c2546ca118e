"""Plays a scenario over the edge in memory: the client, and what it sees of the server."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from strawberry_ws_otel import OTelExtension
from strawberry_ws_otel._recording import Telemetry as Recording
from tests.support.cases import Case
from tests.support.frames import Frame
from tests.support.in_memory_edge import UPGRADED, Handshake, Socket, View, Wire, serve
from tests.support.raw_client import REFUSED, RESET, Client
from tests.support.scenarios.model import play
from tests.support.schema import make_schema
from tests.support.server import Server, Setup


class MemoryClient(Client):
    """A client that has a wire instead of streams."""

    def __init__(self, wire: Wire, protocol: str | None) -> None:
        super().__init__(*cast(Any, (None, None, None)))
        self.protocol = protocol
        self.wire = wire

    async def shake_hands(self) -> None:
        if await self.wire.status != UPGRADED:
            self.end = REFUSED

    def send(self, *frames: Frame, masked: bool = True) -> None:
        for frame in frames:
            self.wire.to_server.put_nowait(frame)

    async def _read(self) -> Frame:
        frame = await self.wire.to_client.get()
        if frame is None:
            raise asyncio.IncompleteReadError(b"", None)
        return frame

    def fin(self) -> None:
        self.wire.cut()

    def reset(self) -> None:
        self.wire.cut()
        self.end = RESET

    async def leave(self) -> None:
        self.wire.cut()


class VisitedView(View):
    """A view whose hooks are those of the scenario that visits it."""

    def __init__(self, server: "MemoryServer", **options: Any) -> None:
        super().__init__(make_schema(OTelExtension), **options)
        self.server = server

    async def create_websocket_response(
        self, request: Handshake, subprotocol: str | None
    ) -> Socket:
        socket = await super().create_websocket_response(request, subprotocol)
        self.server.sockets.append(cast(Any, socket))
        return socket

    async def get_root_value(self, request: Any) -> Any:
        return await self.server.setup.root_value(self.server)

    async def get_context(self, request: Any, response: Any) -> Any:
        await self.server.setup.context(self.server)
        return await super().get_context(request, response)

    async def on_ws_connect(self, context: Any) -> Any:
        return await self.server.setup.connect(self.server)


class MemoryServer(Server):
    """What a scenario sees of a server in memory."""

    def __init__(self, setup: Setup, recording: Recording) -> None:
        super().__init__(setup)
        view_class = type("View", (VisitedView,), dict(setup.members))
        options = {"keep_alive_interval": 3600, **setup.view, **setup.socket}
        self._view: View = view_class(self, **options)
        self._recording = recording
        self._wires: list[Wire] = []
        self.shutdown = self._shut_down

    async def connect(self, *, protocol: str | None, headers: Mapping[str, str]) -> Client:
        wire = Wire()
        self._wires.append(wire)
        self.handlers.append(asyncio.create_task(self._serve(wire, protocol, headers)))
        self.clients.append(MemoryClient(wire, protocol))
        return self.clients[-1]

    async def _serve(self, *arguments: Any) -> None:
        try:
            await serve(self._view, self._recording, *arguments)
        finally:
            self.ended.set()

    async def notices(self) -> None:
        """The server knows at once that a wire is cut."""

    async def _shut_down(self) -> None:
        await self.setup.on_shutdown(self)
        await asyncio.wait(self.handlers, timeout=0.05)
        for wire in self._wires:
            wire.is_writable = False
        for handler in self.handlers:
            handler.cancel()


async def converse_in_memory(case: Case, recording: Recording) -> None:
    """Play a case over the edge in memory, and see its handler off."""
    server = MemoryServer(case.scenario.setup, recording)
    try:
        await play(case.scenario, server, case.protocol)
    finally:
        for client in server.clients:
            await client.leave()
    await asyncio.gather(*server.handlers, return_exceptions=True)
