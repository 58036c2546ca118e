"""`OTelViewMixin`: the life of a connection around the host's `run`."""

import re
from enum import Enum, auto
from functools import partial
from inspect import getattr_static
from typing import Any, ClassVar, Final, Self

from aiohttp import hdrs, web
from opentelemetry.context import get_current
from opentelemetry.util.types import AttributeValue
from strawberry.aiohttp.views import (  # type: ignore[attr-defined]  # see HTTPException
    GraphQLView,
    HTTPException,  # where the view has it from differs between versions
)

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._adapter import ADAPTER_LAYER
from strawberry_ws_otel._bounds import NAME, bounded
from strawberry_ws_otel._cancellation import CancellationWatch
from strawberry_ws_otel._config import OTelConfig, checked
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._current import Current, Stay, current
from strawberry_ws_otel._failsafe import FailureLog, Fuse
from strawberry_ws_otel._handlers import HANDLER_LAYERS
from strawberry_ws_otel._log import CloseLog
from strawberry_ws_otel._request import Request
from strawberry_ws_otel._socket import RecordedSocket, opened
from strawberry_ws_otel._telemetry import Telemetry
from strawberry_ws_otel._transport import Transport

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
            for layers in (ADAPTER_LAYER, *HANDLER_LAYERS):
                setattr(cls, layers.attribute, layers.over(getattr_static(cls, layers.attribute)))

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
        """Upgrade as the host does, and record the socket from then on."""
        ws: web.WebSocketResponse = await super().create_websocket_response(  # type: ignore[misc]  # the next class's
            *args, **kwargs
        )
        with Fuse(self._otel_failures):
            opened(ws)
        return ws

    async def run(self, request: web.Request, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Run the host's view: a WebSocket is recorded, an HTTP request tells the extension."""
        fuse = Fuse(self._otel_failures)
        socket: RecordedSocket | None = None
        stay: Stay | None = None
        response: object = None
        raised: BaseException | None = None
        with fuse:
            telemetry, handshake = self._otel_telemetry(), _handshake(request)
            if handshake is _Handshake.NONE:
                served = Current(Request(telemetry, request.headers), None, current().placement)
            else:
                begun = RecordedSocket(telemetry, Transport(request))
                connection = begun.connection = _begin(telemetry, fuse, request)
                connection.facts.malformed = handshake is _Handshake.MALFORMED
                served = Current(begun, None, connection.placement or current().placement)
                socket = begun
            stay = Stay(served, fuse)
        try:
            # The one place that sees every ending.
            host = super().run(request, *args, **kwargs)  # type: ignore[misc]  # the next class's
            response = await (host if socket is None else CancellationWatch(host, socket))
        except BaseException as exception:
            raised = exception
            raise
        else:
            return response
        finally:
            if socket is not None:
                _end(socket, response, raised)
            with fuse:
                if stay is not None:
                    stay.leave()
            del raised

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


class _Handshake(Enum):
    """What a request is to aiohttp, which decides about the upgrade."""

    NONE = auto()
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


def _handshake(request: web.Request) -> _Handshake:
    """Ask aiohttp whether it would upgrade the request, in a way that logs nothing."""
    if request.headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket":
        return _Handshake.NONE
    try:
        return _Handshake.WELL_FORMED if _PROBE.can_prepare(request).ok else _Handshake.NONE
    except ValueError:
        return _Handshake.MALFORMED


def _begin(telemetry: Telemetry, fuse: Fuse, request: web.Request) -> Connection:
    """Begin the connection of a handshake in the running context."""
    fuses = telemetry.fuses()
    fuses.library = fuse
    return Connection(
        telemetry, fuses, get_current(), request.headers, partial(_attributes, request)
    )


def _end(socket: RecordedSocket, response: object, raised: BaseException | None) -> None:
    """End the connection, whatever the host's view returned or raised."""
    connection = socket.connection
    raised = socket.abandonment or raised
    with connection.fuse:
        socket.release()
    with connection.fuse:
        socket.settle(raised)
        if not connection.facts.upgraded and connection.facts.transport_up:
            connection.facts.status = _refusal(response, raised)
    with connection.fuse:
        connection.ended(raised)
    with connection.fuse:
        socket.forget()


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
