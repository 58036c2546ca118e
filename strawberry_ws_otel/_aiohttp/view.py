"""`OTelViewMixin`: the life of a connection around the host's `run`."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from functools import partial
from inspect import getattr_static
from typing import Any, ClassVar, Final, Self, cast

from aiohttp import hdrs, web
from opentelemetry.context import get_current
from opentelemetry.util.types import AttributeValue
from strawberry.aiohttp.views import (  # type: ignore[attr-defined]  # see HTTPException
    GraphQLView,
    HTTPException,  # where the view has it from differs between versions
)

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._aiohttp.websocket import (
    NotObservableError,
    Observer,
    Transport,
)
from strawberry_ws_otel._close import CloseCode, CloseFrame, HandlerEnd
from strawberry_ws_otel._config import OTelConfig, checked
from strawberry_ws_otel._connection import Connection, Request, current_request
from strawberry_ws_otel._current import Activation, Current, current
from strawberry_ws_otel._fuse import FailureLog, Fuse
from strawberry_ws_otel._limits import NAME, bounded
from strawberry_ws_otel._log import CloseLog
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._strawberry.adapter import ADAPTER_LAYER
from strawberry_ws_otel._strawberry.handlers import HANDLER_LAYERS
from strawberry_ws_otel._strawberry.layers import watch_cancellation

_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<ip>[^\[\]]+)\]|(?P<name>[^\s\[\]@:/?#]+))(?::(?P<port>[0-9]{0,5}))?"
)
"""A Host header: RFC 9110 7.2, RFC 3986 3.2.2."""

_MAX_PORT: Final = (1 << 16) - 1


class OTelViewMixin:
    """Records every WebSocket of an aiohttp `GraphQLView`, and how it closed.

        class View(OTelViewMixin, GraphQLView):
            otel_config = OTelConfig(capture_document=True)  # optional

    Raises:
        TypeError: at class creation, if the mixin stands behind `GraphQLView`, `otel_config` is no
            `OTelConfig` or `websocket_adapter_class` makes no adapters; at instantiation, if
            there is no `GraphQLView`.
    """

    otel_config: ClassVar[OTelConfig] = OTelConfig()
    """The configuration of the view."""

    _otel_shared: ClassVar[Telemetry | None] = None
    """What all views of the class record into that have its configuration."""

    _otel_own: Telemetry | None = None
    """What one view records into that was given a configuration of its own."""

    _otel_failures: ClassVar[FailureLog] = FailureLog()
    _otel_closes: ClassVar[CloseLog] = CloseLog()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the class, and lay the recording layers over its adapter and its handlers."""
        super().__init_subclass__(**kwargs)
        cls._otel_shared = None
        cls._otel_failures, cls._otel_closes = FailureLog(), CloseLog()
        checked(cls, cls.otel_config)
        if issubclass(cls, GraphQLView):
            if cls.__mro__.index(GraphQLView) < cls.__mro__.index(OTelViewMixin):
                raise TypeError(
                    f"{cls.__qualname__} would not be recorded: the mixin must stand before the"
                    f" view, class {cls.__name__}(OTelViewMixin, GraphQLView)"
                )
            for layer in (ADAPTER_LAYER, *HANDLER_LAYERS):
                setattr(cls, layer.attribute, layer.over(getattr_static(cls, layer.attribute)))

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make the view, and its instruments with it: gauges exist before the first request."""
        if not issubclass(cls, GraphQLView):
            raise TypeError(
                f"{cls.__qualname__} is no GraphQLView: derive it from OTelViewMixin and, after"
                " it, strawberry.aiohttp.views.GraphQLView"
            )
        make = super().__new__
        view = make(cls) if make is object.__new__ else make(cls, *args, **kwargs)
        with Fuse(cls._otel_failures):
            view._otel_telemetry()  # noqa: SLF001  # our own class
        return view

    async def create_websocket_response(self, *args: Any, **kwargs: Any) -> web.WebSocketResponse:
        """Upgrade as the host does, and observe the socket from then on."""
        ws: web.WebSocketResponse = await super().create_websocket_response(  # type: ignore[misc]  # the next class's
            *args, **kwargs
        )
        upgraded(ws, self._otel_failures)
        return ws

    async def run(self, request: web.Request, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Run the host's view: record a WebSocket, and tell the extension of an HTTP request."""
        run = partial(super().run, request, *args, **kwargs)  # type: ignore[misc]  # the next class's
        return await serve(request, run, self._otel_telemetry, self._otel_failures)

    def _otel_telemetry(self) -> Telemetry:
        """Return what the view records into; an instance may have been given its own config."""
        cls, config = type(self), self.otel_config
        if config is cls.otel_config:
            if cls._otel_shared is None or not cls._otel_shared.is_current(config):
                cls._otel_shared = self._otel_new_telemetry(config)
            return cls._otel_shared
        if self._otel_own is None or not self._otel_own.is_current(config):
            self._otel_own = self._otel_new_telemetry(config)
        return self._otel_own

    def _otel_new_telemetry(self, config: OTelConfig) -> Telemetry:
        return Telemetry(checked(type(self), config), self._otel_failures, self._otel_closes)


class Handshake(Request):
    """A request that becomes a WebSocket."""

    __slots__ = (
        "_alive_when_cancelled",
        "_observer",
        "_transport",
        "_ws",
        "abandonment",
    )

    connection: Connection

    def __init__(self, telemetry: Telemetry, transport: Transport) -> None:
        """Take where the handshake is recorded; its connection begins next."""
        super().__init__(telemetry)
        self.abandonment: GeneratorExit | None = None
        """What ends a handler that is abandoned, whatever leaves it as it cleans up."""
        self._transport = transport
        self._ws: web.WebSocketResponse | None = None
        self._observer: Observer | None = None
        self._alive_when_cancelled: bool | None = None

    def websocket_made(self, websocket: object) -> None:
        """Observe the socket of the upgrade; only the first call counts."""
        if self._ws is not None:
            return
        # Or what stands for it: the application may wrap it.
        self._ws = ws = cast("web.WebSocketResponse", websocket)
        with self.connection.fuse:
            # A view that has closed it already did so when nobody observed it.
            if not ws.closed:
                self._observe(ws)
        with self.connection.fuse:
            self.connection.accepted(ws.ws_protocol, is_observed=self._observer is not None)

    def _observe(self, ws: web.WebSocketResponse) -> None:
        try:
            self._observer = Observer(ws, self.connection, self._transport)
        except NotObservableError as error:
            self.telemetry.warn_once(
                "%s cannot be observed (%s): its closes are recorded as `other`, its bytes and"
                " ERROR messages are not counted; use a response class that accepts attributes",
                type(ws).__qualname__,
                error,
            )

    # --- What `watch_cancellation` reports ---------------------------------------------------

    def cancelled(self) -> None:
        """Record whether the transport is up, as a cancellation is delivered to the handler.

        Only the first one counts: the next are those of the handler's own tasks, which it awaits
        as it cleans up.
        """
        with self.connection.fuse:
            if self._alive_when_cancelled is None:
                self._alive_when_cancelled = self._transport.alive

    def went_on(self) -> None:
        """Record that the handler goes on: the cancellation was a timeout's, and taken back."""
        with self.connection.fuse:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                self._alive_when_cancelled = None

    def abandoned(self) -> None:
        """Record that the event loop was closed under the handler."""
        self.abandonment = GeneratorExit()

    # --- The end -----------------------------------------------------------------------------

    def ended(
        self, exception: BaseException | None, response: object, *, is_malformed: bool
    ) -> None:
        """End the connection: its handler is done.

        Args:
            exception: what left the handler.
            response: what it returned.
            is_malformed: whether aiohttp trips over the handshake.
        """
        connection = self.connection
        exception = self.abandonment or exception
        end = HandlerEnd(exception=exception, is_malformed=is_malformed)
        # One step may fail, and the others are still taken.
        with connection.fuse:
            if self._observer is not None:
                self._observer.remove()
        with connection.fuse:
            if self._ws is not None:
                self._report_last(self._ws, self._observer, exception)
        with connection.fuse:
            end = end._replace(
                transport_error=self._transport_error(exception),
                transport_alive=self._was_alive(exception),
                is_cancelled=_is_cancelled(exception),
                status=_refusal(response, exception),
            )
        with connection.fuse:
            connection.ended(end)
        # Timers that the host has cancelled keep the connection's context until they are due.
        self._ws = self._observer = None
        del self._transport

    def _report_last(
        self,
        ws: web.WebSocketResponse,
        observer: Observer | None,
        exception: BaseException | None,
    ) -> None:
        """Report how the socket was closed as far as nobody has seen it."""
        # `ws.close_code` shows that there was a close frame, and not whose came first.
        if not ws.closed and (observer is not None or ws.close_code is None):
            if exception is None and self._transport.writable:
                # aiohttp will close it, in `write_eof()`, when nobody observes it any more.
                self.connection.close_sent(CloseFrame(CloseCode.NORMAL_CLOSURE))
        elif observer is None or (not observer.knows_end and ws.exception() is None):
            self.connection.close_unobserved(ws.exception())

    def _transport_error(self, exception: BaseException | None) -> BaseException | None:
        """Return what the transport failed with, or the reader's own timeout."""
        if isinstance(exception, TimeoutError) and self._observer and self._observer.timed_out:
            return exception
        return None if self._ws is None else self._ws.exception()

    def _was_alive(self, exception: BaseException | None) -> bool | None:
        """Whether the transport was, when the handler was cancelled or raised."""
        if isinstance(exception, Exception):
            return self._transport.writable
        if self._alive_when_cancelled is None:
            return None
        return self._alive_when_cancelled or not self._transport.loss_cancels


def _is_cancelled(exception: BaseException | None) -> bool:
    """Whether a `CancelledError` is that of the running handler."""
    if not isinstance(exception, asyncio.CancelledError):
        return True
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def serve(
    request: web.Request,
    run: Callable[[], Coroutine[Any, Any, Any]],
    telemetry: Callable[[], Telemetry],
    failures: FailureLog,
) -> Any:  # noqa: ANN401  # the host's
    """Serve a request of a view as the host does.

    Args:
        request: to be served.
        run: the host's `run`, bound to the view and the request.
        telemetry: returns what the view records into.
        failures: the log of our own failures.
    """
    fuse = Fuse(failures)
    handshake: Handshake | None = None
    kind = _Kind.PLAIN
    activation: Activation | None = None
    response: object = None
    raised: BaseException | None = None
    with fuse:
        served, kind = telemetry(), _kind_of(request)
        if kind is _Kind.PLAIN:
            activation = Activation(
                Current(Request(served, request.headers), None, current().placement), fuse
            )
        else:
            begun = Handshake(served, Transport(request))
            connection = begun.connection = _begin(served, fuse, request)
            handshake = begun
            activation = connection.serving(begun)
    try:
        # The one place that sees every ending.
        host = run()
        response = await (host if handshake is None else watch_cancellation(host, handshake))
    except BaseException as exception:
        raised = exception
        raise
    else:
        return response
    finally:
        if handshake is not None:
            with fuse:
                handshake.ended(raised, response, is_malformed=kind is _Kind.MALFORMED)
        with fuse:
            if activation is not None:
                activation.end()
        del raised


def upgraded(ws: web.WebSocketResponse, failures: FailureLog) -> None:
    """Observe the socket that a view has made of the request which the running code serves."""
    try:
        request = current_request()
        if request is not None:
            request.websocket_made(ws)
    except Exception as error:  # noqa: BLE001  # the fuse's
        Fuse(failures).blow(error)


class _Kind(Enum):
    """What a request is to aiohttp, which decides about the upgrade."""

    PLAIN = auto()
    WELL_FORMED = auto()
    MALFORMED = auto()
    """aiohttp trips over it: a key that is no ASCII."""


class _AnyProtocol(tuple[str, ...]):
    """The subprotocols of a server that knows them all: aiohttp logs those it does not know."""

    __slots__ = ()

    def __contains__(self, _name: object) -> bool:
        return True


_PROBE: Final = web.WebSocketResponse(protocols=_AnyProtocol(), compress=False)
"""It is only asked, never prepared."""


def _kind_of(request: web.Request) -> _Kind:
    """Ask aiohttp whether it would upgrade the request, in a way that logs nothing."""
    if request.headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket":
        return _Kind.PLAIN
    try:
        return _Kind.WELL_FORMED if _PROBE.can_prepare(request).ok else _Kind.PLAIN
    except ValueError:
        return _Kind.MALFORMED


def _begin(telemetry: Telemetry, fuse: Fuse, request: web.Request) -> Connection:
    """Begin the connection of a handshake in the running context."""
    fuses = telemetry.fuses()
    fuses.library = fuse
    return Connection(
        telemetry, fuses, get_current(), request.headers, partial(_attributes, request)
    )


def _attributes(request: web.Request) -> dict[str, AttributeValue | None]:
    """Return what the handshake says about the connection."""
    agent = request.headers.get(hdrs.USER_AGENT)
    peer = request.remote  # Or what a middleware has put there, for example out of a header.
    address, port = _server(request)
    return {
        _semconv.URL_PATH: bounded(request.path, NAME),
        _semconv.HTTP_ROUTE: _route(request),
        _semconv.SERVER_ADDRESS: address,
        _semconv.SERVER_PORT: port,
        # A UNIX socket's peer has no address.
        _semconv.CLIENT_ADDRESS: bounded(peer, NAME) if peer else None,
        _semconv.USER_AGENT: None if agent is None else bounded(agent, NAME),
    }


def _route(request: web.BaseRequest) -> str | None:
    """Return the route that matched: none where aiohttp's low-level server has no application."""
    try:
        resource = request.match_info.route.resource  # type: ignore[attr-defined]  # of web.Request
    except (AttributeError, AssertionError):
        return None
    route = getattr(resource, "canonical", None)
    return route if isinstance(route, str) else None


def _server(request: web.Request) -> tuple[str | None, int | None]:
    """Return the host and port that the client asked for, as far as they can be read."""
    # Not `request.host`: without the header, older versions of aiohttp ask the resolver.
    match = _AUTHORITY.fullmatch(request.headers.get(hdrs.HOST, ""))
    if match is None:
        return None, None
    port = int(match["port"] or 0) or (443 if request.secure else 80)
    if port > _MAX_PORT:
        return None, None
    return bounded((match["ip"] or match["name"]).lower(), NAME), port


def _refusal(response: object, raised: BaseException | None) -> int | None:
    """Return the HTTP status that a refused handshake was answered with."""
    if isinstance(raised, web.HTTPException):
        return raised.status
    if isinstance(raised, HTTPException):
        return raised.status_code
    if isinstance(raised, TimeoutError):
        return web.HTTPGatewayTimeout.status_code
    if isinstance(raised, Exception):
        return web.HTTPInternalServerError.status_code
    return response.status if isinstance(response, web.StreamResponse) else None
