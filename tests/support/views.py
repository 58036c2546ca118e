"""Views and extensions that record into the telemetry of a test."""

import asyncio
import gc
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Mapping
from typing import Any, ClassVar

from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from strawberry.aiohttp.views import AiohttpWebSocketAdapter, GraphQLView

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from tests.support.telemetry import Telemetry

View = GraphQLView[Any, Any]


def config(telemetry: Telemetry, **options: Any) -> OTelConfig:
    return OTelConfig(
        tracer_provider=telemetry.tracer_provider,
        meter_provider=telemetry.meter_provider,
        **options,
    )


def instrumented(telemetry: Telemetry, base: type[View] = View, **options: Any) -> type[View]:
    """The view class `base` under the mixin."""

    class Recorded(OTelViewMixin, base):  # type: ignore[valid-type,misc]  # whichever it is
        otel_config = config(telemetry, **options)

    return Recorded


def answering(response: type[web.WebSocketResponse], base: type[View] = View) -> type[View]:
    """The view class `base` with sockets of this class."""

    class Answering(base):  # type: ignore[valid-type,misc]  # whichever it is
        async def create_websocket_response(
            self, request: web.Request, subprotocol: str | None
        ) -> web.WebSocketResponse:
            ws = response(protocols=[subprotocol] if subprotocol else [])
            await ws.prepare(request)
            return ws

    return Answering


def extension(telemetry: Telemetry, **options: Any) -> Any:
    """The class of the extension with a configuration of its own."""

    class Extension(OTelExtension):
        otel_config = config(telemetry, **options)

    return Extension


class Ends(SpanProcessor):
    """Lets a test wait for the end of spans."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._counts: Counter[str] = Counter()
        self._events: defaultdict[tuple[str, int], asyncio.Event] = defaultdict(asyncio.Event)
        telemetry.tracer_provider.add_span_processor(self)

    def on_end(self, span: ReadableSpan) -> None:
        self._counts[span.name] += 1
        self._events[span.name, self._counts[span.name]].set()

    async def of(self, name: str, count: int = 1) -> None:
        """Wait until so many spans of this name have ended."""
        async with asyncio.timeout(10):
            await self._events[name, count].wait()

    async def collected(self, name: str) -> None:
        """Wait likewise where the host leaves it to the collector to close its generators."""
        async with asyncio.timeout(10):
            while not self._counts[name]:
                gc.collect()
                await asyncio.sleep(0)


class Adapter(AiohttpWebSocketAdapter):
    """An adapter that signs what it sends, and notes what passes."""

    seen: ClassVar[list[str]] = []

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen.append("created")

    async def iter_json(self, **options: Any) -> AsyncGenerator[object, None]:
        async for message in super().iter_json(**options):
            assert isinstance(message, dict)
            self.seen.append(f"received {message['type']}")
            yield message

    async def send_json(self, message: Mapping[str, object]) -> None:
        self.seen.append(f"sent {message['type']}")
        await super().send_json({**message, "signed": True})


class Fixed(Adapter):
    """An adapter that does not let itself be changed once it is made."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "__class__":
            raise TypeError(f"{name} is fixed")
        super().__setattr__(name, value)
