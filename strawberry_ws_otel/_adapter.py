"""The recording layer over a view's WebSocket adapter: it sees parsed messages."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web
from opentelemetry.context import attach
from strawberry.http.async_base_view import AsyncBaseHTTPView, AsyncWebSocketAdapter

from strawberry_ws_otel._socket import current_socket


class RecordingAdapter(AsyncWebSocketAdapter):
    """Tells the connection of each message, and hands messages on in the context they belong to."""

    def __init__(
        self,
        view: AsyncBaseHTTPView[Any, Any, Any, Any, Any, Any, Any],
        request: web.Request,
        ws: web.WebSocketResponse,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(view, request, ws, *args, **kwargs)  # type: ignore[call-arg]  # the next class's
        self._send_json = super().send_json  # type: ignore[safe-super]  # once, not per message
        socket = current_socket()
        self._recorded = None if socket is None else socket.connection
        if socket is not None:
            with socket.connection.fuse:
                socket.open(ws)

    async def iter_json(self, **kwargs: Any) -> AsyncGenerator[object, None]:
        """Iterate over the messages; each one is handled in the context of what it starts."""
        connection = self._recorded
        # Closed with this generator, as the bare adapter's would be: no task more than without us.
        async with aclosing(super().iter_json(**kwargs)) as messages:  # type: ignore[safe-super]
            async for message in messages:
                if connection is None:
                    yield message
                    continue
                with connection.fuse:
                    # Not detached: this generator may be closed by another task.
                    attach(connection.received(message))
                yield message
                with connection.fuse:
                    attach(connection.handled())

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send a message, and tell the connection when it has been sent."""
        connection = self._recorded
        try:
            await self._send_json(message)
        except Exception as error:
            if connection is not None:
                with connection.fuse:
                    connection.not_sent(message, error)
            raise
        if connection is not None:
            # The hot path: a `with` costs as much as what it would guard.
            try:
                connection.sent(message)
            except Exception as error:  # noqa: BLE001  # the fuse's
                connection.fuse.blow(error)


def recording(adapter_class: Any) -> type[RecordingAdapter]:  # noqa: ANN401  # checked here
    """Return `adapter_class` with the recording layer over it.

    Raises:
        TypeError: it is no class, so that there is nothing to derive from.
    """
    if not (isinstance(adapter_class, type) and issubclass(adapter_class, AsyncWebSocketAdapter)):
        raise TypeError(
            "websocket_adapter_class must be a subclass of AsyncWebSocketAdapter to be recorded,"
            f" not {adapter_class!r}"
        )
    if issubclass(adapter_class, RecordingAdapter):
        return adapter_class
    names = {"__module__": adapter_class.__module__, "__qualname__": adapter_class.__qualname__}
    return type(adapter_class.__name__, (RecordingAdapter, adapter_class), names)
