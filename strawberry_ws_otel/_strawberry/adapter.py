"""Recording a view's WebSocket adapter: each message that it parses or sends."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Mapping
from types import MethodType
from typing import Any, Final

from strawberry.http.async_base_view import AsyncWebSocketAdapter

from strawberry_ws_otel._connection import Connection, Request, current_request
from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._strawberry.layers import RecordingLayer, is_derived


class _MessageIterator(AsyncGenerator[object, object]):
    """The messages of a connection, each reported as it is received.

    An async generator would be registered with the event loop (PEP 525), as the host's is already.
    That costs a good part of what a whole connection costs.
    """

    __slots__ = ("_connection", "_messages")

    def __init__(self, messages: AsyncIterable[object], connection: Connection) -> None:
        # The host's is a generator. The application's may be any iterator.
        self._messages: Any = aiter(messages)
        self._connection = connection

    def __anext__(self) -> Coroutine[Any, Any, object]:
        # The base class's is one more coroutine around `asend`.
        return self.asend(None)

    async def asend(self, value: object) -> object:
        connection, messages = self._connection, self._messages
        try:
            message = await (messages.__anext__() if value is None else messages.asend(value))
        except BaseException as error:
            with connection.fuse:
                connection.message_unreadable(error)
            raise
        try:
            connection.message_received(message)
        except Exception as error:  # noqa: BLE001  # the fuse's
            connection.fuse.blow(error)
        return message

    async def athrow(self, *error: Any) -> object:
        return await self._messages.athrow(*error)

    async def aclose(self) -> None:
        await self._messages.aclose()


def _in_span(host_send: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return a function that sends as `host_send` does, in a span of the message."""

    async def send(adapter: Any, message: Mapping[str, object], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        connection: Connection = adapter._otel_connection  # noqa: SLF001  # ours
        sending = error = None
        try:
            sending = connection.send_begun(message)
        except Exception as failure:  # noqa: BLE001  # the fuse's
            connection.fuse.blow(failure)
        try:
            return await host_send(adapter, message, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            with connection.fuse:
                connection.send_ended(sending, error)
            # Its traceback holds this frame: a cycle.
            del error

    return send


class RecordingAdapter(AsyncWebSocketAdapter):
    """The recording class of an adapter: it reports each message to the connection.

    An instance is also one of the application's class: our own names begin with `_otel_`.
    """

    _otel_request: Request | None = None
    _otel_connection: Connection | None = None
    _otel_host_send: Callable[..., Awaitable[Any]]
    """`super().send_json`, looked up once: for each message that costs as much as to count it.

    A function and not a bound method, which would make a cycle.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Call the application's `__init_subclass__` for the application's classes only."""
        if not is_derived(cls):
            super().__init_subclass__(**kwargs)

    def __init__(self, view: Any, request: Any, ws: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # the transport's
        super().__init__(view, request, ws, *args, **kwargs)  # type: ignore[call-arg]  # the next class's
        try:
            self._otel_made(view, request, ws)
        except Exception as error:  # noqa: BLE001  # the fuse's
            Fuse(getattr(view, "_otel_failures", None)).blow(error)

    def _otel_made(self, _view: object, _request: object, ws: object, *_: Any, **__: Any) -> None:
        """Record the messages of `ws` from now on, if it belongs to a connection."""
        request = current_request()
        if request is None or request.connection is None:
            return
        # Only the first call counts: the view may have made it when it upgraded.
        request.websocket_made(ws)
        bound: Any = super().send_json  # type: ignore[safe-super]  # the next class's
        is_method = isinstance(bound, MethodType) and bound.__self__ is self
        host_send = bound.__func__ if is_method else RecordingAdapter._otel_super_send
        # Chosen here, so that a message costs nothing more where it gets no span.
        spans = request.connection.has_message_spans
        self._otel_host_send = _in_span(host_send) if spans else host_send
        self._otel_request = request
        self._otel_connection = request.connection
        # Strawberry's own `iter_json` makes a message of a frame before it reads the next one.
        classes = type(self).__mro__
        behind = classes[classes.index(RecordingAdapter) + 1 :]
        reader = next(each for each in behind if "iter_json" in vars(each))
        request.connection.reads_ahead = not reader.__module__.startswith("strawberry.")

    def iter_json(self, *args: Any, **kwargs: Any) -> AsyncGenerator[object, None]:
        messages: AsyncGenerator[object, None] = super().iter_json(*args, **kwargs)  # type: ignore[safe-super]  # the next class's
        connection = self._otel_connection
        if connection is None or not isinstance(messages, AsyncIterable):
            return messages  # The host's `async for` raises a TypeError.
        return _MessageIterator(messages, connection)

    async def send_json(self, message: Mapping[str, object], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Send a message as the host does, and report it once it is sent."""
        connection = self._otel_connection
        if connection is None:
            return await self._otel_super_send(message, *args, **kwargs)
        try:
            if args or kwargs:
                returned = await self._otel_host_send(self, message, *args, **kwargs)
            else:
                returned = await self._otel_host_send(self, message)
        except (asyncio.CancelledError, Exception) as error:
            with connection.fuse:
                connection.message_failed(message, error)
            raise
        # The hot path: nearly every message is a result, and increments one integer. A method call
        # would cost more than that, a `with` as much, and another reading of the clock, too.
        try:
            if message["type"] == connection.result_name:
                results = connection.results_by_unique_id[message["id"]]
                if results.ok != results.fast_path_limit:
                    results.ok += 1
                    results.sent_at = connection.traffic.sent_at
                    return returned
        except Exception:  # noqa: BLE001, S110  # a message of any other form
            pass
        try:
            connection.message_sent(message)
        except Exception as error:  # noqa: BLE001  # the fuse's
            connection.fuse.blow(error)
        return returned

    async def _otel_super_send(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        return await super().send_json(*args, **kwargs)  # type: ignore[safe-super]  # the next class's


ADAPTER_LAYER: Final = RecordingLayer(
    "websocket_adapter_class",
    AsyncWebSocketAdapter,
    RecordingAdapter,
    RecordingAdapter._otel_made,  # noqa: SLF001  # ours
)
"""How the adapter of a view is recorded."""
