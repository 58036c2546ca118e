"""An OTLP endpoint on loopback that can go down and come up again."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Endpoint:
    """Where spans arrive while it is up, by their ids; a port is its own, up or down."""

    def __init__(self) -> None:
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1/traces"
        self.arrived: list[int] = []
        self.status = 200

    async def _take(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        if self.status == 200:
            self.arrived += [
                int.from_bytes(span.span_id)
                for resource in message.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
        return web.Response(status=self.status)

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Listen while the block runs."""
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
            yield
        finally:
            await runner.cleanup()

    def close(self) -> None:
        self._reserved.close()
